"""NVRTC, NVIDIA's compiler for CUDA text, from its wheels on PyPI, by ctypes. It needs no GPU, no driver, no headers.

Two wheels: the 12.x one is the last that compiles for sm_70, the 13.x one is the newest. Each is installed into a
folder of its own under build/ when first used; both can be loaded into one process.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .building import cached_folder

# Requirement → the targets it compiles for here.
WHEELS = {
    "nvidia-cuda-nvrtc-cu12==12.9.86": (70, 75, 80, 86, 89, 90),
    "nvidia-cuda-nvrtc==13.5.37": (90, 100, 120),
}
TARGETS = tuple((wheel, sm) for wheel, targets in WHEELS.items() for sm in targets)


def cupy_options(sm: int) -> tuple[str, ...]:
    """What CuPy 14 passes to NVRTC (its include folders aside: the kernels include nothing)."""
    return ("--std=c++17", "-ftz=true", f"-arch=sm_{sm}", "--device-as-default-execution-space")


class NvrtcMissing(Exception):
    """The wheel could not be installed (no network?): a reason to skip."""


class CompileError(Exception):
    """NVRTC refused the text; the message is its log."""


@dataclass(frozen=True)
class Use:
    """What one kernel needs of the hardware, from the log of ptxas."""

    registers: int
    shared: int  # static shared memory, bytes
    stack: int  # bytes
    spills: int  # bytes stored and loaded


@dataclass(frozen=True)
class Compiled:
    """One text compiled for one target."""

    sm: int
    version: str  # of NVRTC
    ptx: str
    cubin: bytes
    log: str
    uses: dict[str, Use]  # kernel → use


def parse_log(log: str) -> dict[str, Use]:
    """Registers, shared memory and spills of each kernel in the log that ``--ptxas-options=-v`` makes."""
    uses = {}
    for name, text in re.findall(r"Compiling entry function '([^']+)'(.*?)(?=Compiling entry function|\Z)", log, re.S):

        def number(pattern: str, text: str = text) -> int:
            found = re.search(pattern, text)
            return int(found[1]) if found else 0

        spills = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
        stack = number(r"(\d+) bytes stack frame")
        uses[name] = Use(number(r"Used (\d+) registers"), number(r"(\d+) bytes smem"), stack, spills)
    return uses


class Nvrtc:
    """One loaded libnvrtc."""

    def __init__(self, folder: Path) -> None:
        (path,) = (p for p in folder.glob("nvidia/*/lib/libnvrtc.so.*") if ".alt." not in p.name)
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):  # found by itself, but not under every sanitizer
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise CompileError(f"{name}: {self._library.nvrtcGetErrorString(code).decode()}")

    def _bytes(self, name: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{name}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{name}", program, buffer)
        return buffer.raw

    def compile(self, source: str, sm: int, options: tuple[str, ...] = ()) -> Compiled:
        """Compile with CuPy's options and ``options``. Raises CompileError with the compiler's own words."""
        program = ctypes.c_void_p()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"module.cu", 0, None, None)
        try:
            given = (*options, *cupy_options(sm), "--ptxas-options=-v", "--ptxas-options=--warn-on-spills")
            array = (ctypes.c_char_p * len(given))(*(option.encode() for option in given))
            code = self._library.nvrtcCompileProgram(program, len(given), array)
            log = self._bytes("ProgramLog", program).rstrip(b"\0").decode()
            if code:
                raise CompileError(log)
            ptx = self._bytes("PTX", program).rstrip(b"\0").decode()
            return Compiled(sm, self.version, ptx, self._bytes("CUBIN", program), log, parse_log(log))
        finally:
            self._call("nvrtcDestroyProgram", ctypes.byref(program))


@cache
def _missing(requirement: str) -> str:
    """Install a wheel; "" or why that failed (asked once a process)."""

    def fill(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--target", str(folder), requirement], check=True, capture_output=True, text=True)

    try:
        cached_folder(f"nvrtc/{requirement}", fill)
    except subprocess.CalledProcessError as error:
        return f"{requirement} cannot be installed: {error.stderr.strip().splitlines()[-1:]}"
    return ""


@cache
def load(requirement: str) -> Nvrtc:
    """NVRTC of one of WHEELS, installed when first asked for. Raises NvrtcMissing."""
    if reason := _missing(requirement):
        raise NvrtcMissing(reason)
    return Nvrtc(cached_folder(f"nvrtc/{requirement}", lambda folder: None))


def newest_for(sm: int) -> str:
    """The newest wheel of WHEELS with this target."""
    return [wheel for wheel, targets in WHEELS.items() if sm in targets][-1]


@cache
def compiled(source: str, sm: int, requirement: str = "") -> Compiled:
    """Compile once a process; by default with the newest NVRTC that knows the target."""
    return load(requirement or newest_for(sm)).compile(source, sm)
