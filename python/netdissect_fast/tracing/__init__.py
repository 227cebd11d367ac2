"""Where the features of a layer are centred on the input, found by following one real forward pass."""

from .tracer import GridTracer, Traced, Unknown, trace_grids

__all__ = ["GridTracer", "Traced", "Unknown", "trace_grids"]
