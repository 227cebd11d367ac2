"""The PTX that NVRTC makes of the kernels, run on the CPU by the interpreter in ptx/."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from . import nvrtc
from .device import Buffer, FakeDevice, LaunchError
from .ptx import Kernel, Machine, PtxError, parse
from .ptx.machine import profile
from .ptx.memory import Region
from .ptx.races import Watch

REGISTERS = 65536  # of a multiprocessor: a block must fit


@cache
def module(source: str, sm: int) -> dict[str, Kernel]:
    """A text's kernels as PTX for one target."""
    return parse(nvrtc.compiled(source, sm).ptx)


class PtxEngine(FakeDevice):
    """Runs a module's PTX for one target (sm), checked: bounds, alignment, races, memory never written, masks.

    What is wrong raises LaunchError. ``watch=False`` leaves out races and memory never written: faster.
    ``profiles`` has, for each launch, the kernel, thread-instructions and bytes moved.
    """

    name = "ptx"

    def __init__(self, source: str, sm: int = 90, watch: bool = True, memory: int = 2**30) -> None:
        super().__init__(memory)
        self.watched = watch
        self.kernels = module(source, sm)
        self.uses = nvrtc.compiled(source, sm).uses
        self.profiles: list[tuple[str, dict[str, int]]] = []

    def _kernel(self, name: str) -> Kernel:
        if name not in self.kernels:
            raise LaunchError(f"no kernel {name!r}")
        return self.kernels[name]

    def _sizes(self, kernel: str) -> list[int]:
        return [type_.bits // 8 for _, type_ in self._kernel(kernel).params]

    def _run(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Buffer | np.generic]) -> None:
        registers = self.uses[kernel].registers
        if -(-registers // 8) * 8 * block > REGISTERS:
            raise LaunchError(f"{kernel}: {block} threads with {registers} registers each do not fit")
        given = [
            Region(f"argument {i}", arg.bytes, arg.written, Watch(len(arg.bytes)) if self.watched else None)
            if isinstance(arg, Buffer)
            else arg
            for i, arg in enumerate(args)
        ]
        try:
            machine = Machine(self._kernel(kernel), grid, block, shared, given, self.watched).run()
        except PtxError as error:
            raise LaunchError(f"{kernel}: {error}") from error
        self.profiles.append((kernel, dict(profile(machine))))
