"""The place of a layer's positions on the image: grids, axis tables, and the tracer that finds them.

Deals with tensors only; used by scoring and everything above it.
"""
