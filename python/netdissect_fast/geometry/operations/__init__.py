"""Rules for what each operation of a network does to the positions of its features, by kind.

Used only by the tracer.
"""
