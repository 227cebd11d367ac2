"""Network Dissection, exact and at the speed of the forward pass."""

__version__ = "0.1.0"
