"""Where keep, count and masks run: reference (NumPy, the definition), cpu (compiled), cuda. All agree to the bit.

Counting and peaks go through ``base.Backend`` and know none of them by name.
"""
