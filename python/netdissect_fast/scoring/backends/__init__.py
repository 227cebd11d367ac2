"""Backends for keep, count and masks: reference (NumPy, the definition), cpu (compiled), cuda. All agree to the bit.

Counting and peaks use ``base.Backend`` and know none of them by name.
"""
