"""Benchmarks of netdissect_fast: see README.md beside this file."""
