"""The kernels' text run on the CPU: compiled by g++ with host/cuda_on_host.hpp, threads of a block as fibers."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from .building import cached_folder, digest
from .device import Buffer, FakeDevice, LaunchError

HEADERS = Path(__file__).parent / "host"
BUILDS = {
    "plain": ("-O2",),
    "quick": ("-O0",),
    "asan": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
             "-fsanitize-sections=coh_shared"),
    "tsan": ("-O1", "-g", "-fsanitize=thread"),
}  # fmt: skip
FLAGS = ("-std=c++20", "-ffp-contract=off", "-fno-strict-aliasing", "-w", "-fPIC", "-shared", "-pthread")
MODULE = """#include "cuda_on_host.hpp"
#include "entry.hpp"
namespace {{
#include "module.cu"
const coh::Kernel table[] = {{{table}}};
}}
std::span<const coh::Kernel> coh::kernels() {{ return table; }}
"""


def default_build() -> str:
    """The build of this process: ``plain`` unless it runs under a sanitizer."""
    return os.environ.get("NETDISSECT_CUDA_HOST_BUILD", "plain")


# Ascending, descending, four random orders. Sanitizers are slow, and see what does not happen in one order, too.
SCHEDULES = range(6) if default_build() == "plain" else range(1)


def compiler() -> str:
    """g++, or what CXX names (GCC: the sections of shared memory are its extension)."""
    return os.environ.get("CXX", "g++")


def kernel_names(source: str) -> list[str]:
    """Every ``extern "C" __global__`` function, macros expanded."""
    command = [compiler(), "-E", "-P", "-x", "c++", "-D__launch_bounds__(...)=", "-"]
    text = subprocess.run(command, input=source, check=True, capture_output=True, text=True).stdout
    return re.findall(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(', text)


@cache
def build(source: str, variant: str) -> Path:
    """The shared library of a module's text, kept under build/ by a hash of all that goes into it."""
    headers = sorted(HEADERS.glob("*.hpp"))
    flags = [*FLAGS, *BUILDS[variant]]
    if platform.machine() == "x86_64":
        flags.append("-march=native")
    name = digest(source, compiler(), platform.node(), *flags, *(path.read_text() for path in headers))

    def fill(folder: Path) -> None:
        table = ", ".join(f"COH_KERNEL({kernel})" for kernel in kernel_names(source))
        (folder / "module.cu").write_text(source)
        (folder / "module.cpp").write_text(MODULE.format(table=table))
        command = [compiler(), *flags, f"-I{HEADERS}", "-o", str(folder / "module.so"), str(folder / "module.cpp")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LaunchError(f"the host build fails:\n{done.stderr[-4000:]}")

    return cached_folder(f"host/{variant}-{name}", fill) / "module.so"


class HostEngine(FakeDevice):
    """Runs a module's text; ``schedule`` (one of SCHEDULES, or any seed) orders threads and blocks.

    What is undefined on a GPU (divergent barriers, wrong masks, deadlocks) raises LaunchError; so do writes beside a
    buffer. Under a sanitizer, reads beside one and races end the process.
    """

    name = "host"

    def __init__(self, source: str, schedule: int = 0, variant: str = "", memory: int = 2**30) -> None:
        super().__init__(memory)
        self.schedule = schedule
        variant = variant or default_build()
        self.guard = 0 if variant in ("asan", "tsan") else FakeDevice.guard  # AddressSanitizer has its own
        self._library = ctypes.CDLL(str(build(source, variant)))
        self._library.coh_error.restype = ctypes.c_char_p

    def _sizes(self, kernel: str) -> list[int]:
        sizes = (ctypes.c_int * 64)()
        count = self._library.coh_arguments(kernel.encode(), sizes)
        if count < 0:
            raise LaunchError(f"no kernel {kernel!r}")
        return list(sizes)[:count]

    def _run(self, kernel: str, grid: int, block: int, shared: int, args: Sequence[Buffer | np.generic]) -> None:
        values = [np.uint64(arg.bytes.ctypes.data) if isinstance(arg, Buffer) else arg for arg in args]
        held = [np.array([value]) for value in values]
        pointers = (ctypes.c_void_p * len(held))(*(value.ctypes.data for value in held))
        sized = ctypes.c_uint(grid), ctypes.c_uint(block), ctypes.c_size_t(shared), ctypes.c_uint(self.schedule)
        if self._library.coh_launch(kernel.encode(), *sized, pointers):
            raise LaunchError(f"{kernel}, schedule {self.schedule}: {self._library.coh_error().decode()}")
