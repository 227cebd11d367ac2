"""Runs PTX, the assembly text that NVRTC emits, on the CPU with NumPy: all threads of many blocks at once.

Each thread has its own program counter; the threads with the lowest go on next, so that those that diverged meet again.
Votes, shuffles and barriers wait for the threads that they must wait for. Every access is checked: bounds, alignment,
memory that was never written, races between threads that nothing orders. What is wrong or unknown raises PtxError.
"""

from .machine import Machine
from .text import Kernel, PtxError, parse

__all__ = ["Kernel", "Machine", "PtxError", "parse"]
