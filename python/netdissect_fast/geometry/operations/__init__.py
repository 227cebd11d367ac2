"""What each operation of a network does to the positions of its features: one rule per operation, by kind.

Used by the tracer alone.
"""
