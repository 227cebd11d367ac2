"""The commands, one a file: each adds its options and does one call of the library."""
