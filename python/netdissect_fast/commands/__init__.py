"""The commands, one per file: each adds its options and makes one call to the library."""
