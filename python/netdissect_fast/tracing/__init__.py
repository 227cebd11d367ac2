"""Where the features of a layer are centred on the input, found by following one real forward pass."""

from .traced import Traced
from .tracer import GridTracer, trace_grids
from .tracks import Unknown

__all__ = ["GridTracer", "Traced", "Unknown", "trace_grids"]
