"""Numbered versions of the kernel: see README.md beside this file."""
