"""Where the positions of a layer sit on the image: grids, axis tables, and the tracer that finds them.

Knows nothing but tensors; used by scoring and everything above it.
"""
