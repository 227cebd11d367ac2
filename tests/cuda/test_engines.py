"""The test engines themselves: right programs give the right numbers, wrong programs are reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from . import nvrtc
from .compile_table import faults
from .device import DeviceOutOfMemory, FakeDevice, LaunchError
from .forms import forbidden
from .host import SCHEDULES, HostEngine, kernel_names
from .ptx_engine import PtxEngine
from .settings import needs_nvrtc

pytestmark = pytest.mark.cuda_host
TOYS = (Path(__file__).parent / "toys.cu").read_text()
SMS = (70, 80, 90, 100, 120)

Make = Callable[[str], FakeDevice]
HOSTS = [pytest.param(lambda text, s=s: HostEngine(text, s), id=f"host-{s}") for s in SCHEDULES]
PTXS = [pytest.param(lambda text, s=s: PtxEngine(text, s), id=f"sm_{s}", marks=needs_nvrtc) for s in SMS]
every_engine = pytest.mark.parametrize("make", [*HOSTS, *PTXS])


# ----------------------------------------------------------------------------------------- right programs


def run_warps(device: FakeDevice, n: int = 500, block: int = 96) -> tuple[np.ndarray, np.ndarray]:
    x = (np.random.default_rng(1).integers(0, 130, n) - 30).astype(np.int32)
    out, histogram = device.zeros((n,), np.int32), device.zeros((66,), np.uint64)
    device.launch("warps", -(-n // block), block, 0, [device.to_device(x), np.int32(n), out, histogram])
    return device.to_host(out), device.to_host(histogram)


def expected_warps(n: int = 500, block: int = 96) -> tuple[np.ndarray, np.ndarray]:
    x = (np.random.default_rng(1).integers(0, 130, n) - 30).astype(np.int32)
    out, histogram = np.full(n, -7, np.int32), np.zeros(66, np.int64)
    for start in [b + w for b in range(0, n, block) for w in range(0, block, 32)]:
        warp = x[start : min(start + 32, start // block * block + block, n)]
        there = [int(v) for v in warp if v >= 0]
        if not there:
            continue
        histogram[64] += sum(there)
        histogram[65] = max(histogram[65], sum(there))
        extra = 1000000 * (min(there) > 0) + 2000000 * (max(there) > 90)
        found: dict[int, list[int]] = {0: [], 1: []}
        for i, v in enumerate(warp):
            if v < 0:
                continue
            same = found[int(v) & 1]
            same.append(int(v))
            out[start + i] = (same[0] * 1000 + len(same) - 1) * (1 if v & 1 else -1) + extra
            histogram[v & 63] += 1
    return out, histogram.astype(np.uint64)


def run_scan(device: FakeDevice, n: int = 300, block: int = 128) -> np.ndarray:
    x = np.random.default_rng(2).integers(0, 1000, n) << 33
    y = device.zeros((n,), np.int64)
    device.launch("scan", -(-n // block), block, 8 * block, [device.to_device(x), y, np.int32(n)])
    return device.to_host(y)


def expected_scan(n: int = 300, block: int = 128) -> np.ndarray:
    x = np.random.default_rng(2).integers(0, 1000, n) << 33
    return np.concatenate([np.cumsum(x[i : i + block]) for i in range(0, n, block)])


def run_swap(device: FakeDevice) -> np.ndarray:
    y = device.empty((32,), np.int32)
    device.launch("swap", 1, 32, 0, [device.to_device(np.arange(32, dtype=np.int32)), y])
    return device.to_host(y)


@every_engine
def test_warp_operations(make: Make) -> None:
    for got, expected in zip(run_warps(make(TOYS)), expected_warps(), strict=True):
        np.testing.assert_array_equal(got, expected)


@every_engine
def test_barriers_and_shared_memory(make: Make) -> None:
    np.testing.assert_array_equal(run_scan(make(TOYS)), expected_scan())
    np.testing.assert_array_equal(run_swap(make(TOYS)), np.arange(32) ^ 1)


@every_engine
def test_float_arithmetic_rounds_each_operation_and_flushes(make: Make) -> None:
    rng = np.random.default_rng(3)
    a, b, c = rng.standard_normal((3, 1000)).astype(np.float32)
    a[:4], b[:4], c[:4] = [1e-20, 1, 1e-41, 1], [1e-20, 1e-41, 1, 1], [0, 1e-40, 1e-45, -1 + 2.0**-24]
    device = make(TOYS)
    result = device.empty((1000,), np.float32)
    args = [device.to_device(v) for v in (a, b, c)]
    device.launch("arithmetic", 1, 64, 0, [*args, result, np.int32(1000)])
    got = device.to_host(result)
    np.testing.assert_array_equal(got[4:], a[4:] * b[4:] + c[4:])
    np.testing.assert_array_equal(got[:4], np.float32([0, 0, 0, 2.0**-24]))


# ----------------------------------------------------------------------------------------- wrong programs

EVERYTHING = "everything"
# Kernel, text, its replacement, what the host build says (None: nothing; EVERYTHING: anything, or other numbers), what
# the PTX interpreter says.
DEFECTS = {
    "write past a buffer": ("scan", "if (g < n) y[g]", "y[g]", "wrote beside", "out of bounds"),
    "read past a buffer": ("scan", "g < n ? x[g] : 0", "x[g]", None, "out of bounds"),
    "past shared memory": ("scan", "const i64 before = t >= d ? part[t - d] : 0;",
                           "const i64 before = t >= d ? part[t - d] : part[t + blockDim.x];", EVERYTHING,
                           "out of bounds"),
    "misaligned": ("scan", "part[t] = g < n", "*(i64*)((char*)part + 4) = 0; part[t] = g < n", EVERYTHING,
                   "misaligned"),
    "uninitialised shared memory": ("scan", "part[t] = g < n ? x[g] : 0;", "if (g < n) part[t] = x[g];", None,
                                    "uninitialised"),
    "no barrier after clearing": ("warps", "__syncthreads();  // after clearing", "", None, "race"),
    "no barrier after loading": ("scan", "__syncthreads();  // after loading", "", EVERYTHING, "race"),
    "no barrier after reading": ("scan", "__syncthreads();  // after reading", "", EVERYTHING, "race"),
    "no barrier after adding": ("scan", "__syncthreads();  // after adding", "", EVERYTHING, "race"),
    "no __syncwarp": ("swap", "__syncwarp();", "", EVERYTHING, "race"),
    "shared sum without atomic": ("warps", "atomicAdd(&seen[v & 63], 1u);", "seen[v & 63] += 1u;", None, "race"),
    "global sum without atomic": ("warps", "atomicAdd(&histogram[64], (u64)sum);", "histogram[64] += sum;", None,
                                  "race"),
    "barrier in a branch": ("scan", "part[t] += before;", "part[t] += before; if (t & 1) __syncthreads();",
                            "different barriers", "different barriers"),
    "exit before the vote": ("warps", "const u32 there = __ballot_sync(0xffffffffu, v >= 0);",
                             "u32 there = 0; if (lane & 1) there = __ballot_sync(0xffffffffu, v >= 0);\n"
                             "else there = __ballot_sync(0xffffffffu, v >= 0);", EVERYTHING, EVERYTHING),
    "not in its own mask": ("warps", "__ballot_sync(there, v & 1)", "__ballot_sync(there & 1u, v & 1)", "own mask",
                            "own mask"),
    "different masks": ("warps", "__syncwarp(there);", "__syncwarp(v & 1 ? there : 1u << lane);", "mask", "mask"),
    "shuffle from an absent lane": ("warps", "__shfl_sync(odd, v, leader)", "__shfl_sync(odd, v, leader ^ 1)",
                                    "shuffle from lane", "shuffle from lane"),
    "vote in a branch": ("warps", "__syncwarp(there);", "if (lane < 9) __ballot_sync(there, 1);", EVERYTHING,
                         EVERYTHING),
}  # fmt: skip


def seeded(defect: str) -> str:
    _, old, new, _, _ = DEFECTS[defect]
    assert old in TOYS
    return TOYS.replace(old, new, 1)


def complaint(device: FakeDevice, kernel: str) -> str:
    """What the engine says about a wrong kernel, "different" if it gives other numbers, else ""."""
    try:
        if kernel == "warps":
            same = all(map(np.array_equal, run_warps(device), expected_warps()))
        elif kernel == "scan":
            same = np.array_equal(run_scan(device), expected_scan())
        else:
            same = np.array_equal(run_swap(device), np.arange(32) ^ 1)
    except LaunchError as error:
        return str(error)
    return "" if same else "different"


@pytest.mark.parametrize("defect", [name for name, defect in DEFECTS.items() if defect[3]])
def test_the_host_engine_reports_defects(defect: str) -> None:
    kernel, _, _, expected, _ = DEFECTS[defect]
    found = [complaint(HostEngine(seeded(defect), schedule), kernel) for schedule in SCHEDULES]
    assert any(found), "unnoticed"
    if expected != EVERYTHING:
        assert any(expected in text for text in found), found


@needs_nvrtc
@pytest.mark.parametrize("sm", [80, 100])
@pytest.mark.parametrize("defect", [name for name, defect in DEFECTS.items() if defect[4]])
def test_the_ptx_engine_reports_defects(defect: str, sm: int) -> None:
    kernel, _, _, _, expected = DEFECTS[defect]
    found = complaint(PtxEngine(seeded(defect), sm), kernel)
    assert found, "unnoticed"
    if expected != EVERYTHING:
        assert expected in found


@needs_nvrtc
def test_the_ptx_engine_reports_memory_never_written() -> None:
    device = PtxEngine(TOYS, 80)
    with pytest.raises(LaunchError, match="uninitialised"):
        device.launch("swap", 1, 32, 0, [device.empty((32,), np.int32), device.zeros((32,), np.int32)])
    with pytest.raises(LaunchError, match="never written"):
        device.to_host(device.empty((3,), np.int32))


# --------------------------------------------------------------------------------- launches and allocations


@pytest.mark.parametrize("make", [HOSTS[0], PTXS[1]])
def test_launches_are_checked(make: Make) -> None:
    device = make(TOYS)
    x = device.zeros((32,), np.int32)
    for grid, block, shared, args, wrong in [
        (1, 32, 0, [x], "takes 2 arguments"),
        (1, 32, 0, [x, 3], "int, not a buffer"),
        (1, 32, 0, [x, np.int32(3)], "8 bytes are expected"),
        (0, 32, 0, [x, x], "cannot be launched"),
        (1, 1025, 0, [x, x], "cannot be launched"),
        (1, 32, 49 * 1024, [x, x], "dynamic shared memory"),
        (1, 32, 0, [x, make(TOYS).zeros((32,), np.int32)], "another device"),
    ]:
        with pytest.raises(LaunchError, match=wrong):
            device.launch("swap", grid, block, shared, args)
    with pytest.raises(LaunchError, match="no kernel"):
        device.launch("nothing", 1, 32, 0, [])


def test_memory_is_limited_and_given_back() -> None:
    device = HostEngine(TOYS, memory=1000)
    held = device.zeros((100,), np.int64)
    part = held[10:20]
    with pytest.raises(DeviceOutOfMemory):
        device.empty((201,), np.uint8)
    del held
    assert device.free_bytes() == 200
    assert device.to_host(part).tolist() == [0] * 10
    del part
    assert device.free_bytes() == 1000
    with pytest.raises(LaunchError, match="copy of"):
        device.copy_to(device.zeros((2,), np.int32), np.zeros(3, np.int32))


def test_kernels_are_found_behind_macros() -> None:
    text = '#define K(t) extern "C" __global__ void __launch_bounds__(64, 2) k_##t(t* p) { p[0] = 1; }\nK(int) K(float)'
    assert kernel_names(text) == ["k_int", "k_float"]


# ------------------------------------------------------------------------------------------- compile checks

FORMS = {
    "contracts": "sum[0] = a[0] * b[0] + c[0];",
    "divides": "sum[0] = a[0] / b[0];",
    "approximate": "sum[0] = __fdividef(a[0], b[0]);",
    "not needed": "sum[0] = sqrtf(a[0]);",
    "local memory": "float t[40]; for (int i = 0; i < 40; ++i) t[i] = a[i]; sum[0] = t[n]; sum[1] = t[n + 1];",
    "no fixed order": "atomicAdd(sum, a[0]);",
}


@needs_nvrtc
@pytest.mark.parametrize(("why", "statement"), FORMS.items())
def test_forbidden_forms_are_found(why: str, statement: str) -> None:
    assert not forbidden(nvrtc.compiled(TOYS, 80).ptx)
    text = TOYS.replace("for (int i = threadIdx.x; i < n;", f"{statement}\nfor (int i = threadIdx.x; i < n;")
    assert any(why in line for line in forbidden(nvrtc.compiled(text, 80).ptx))


@needs_nvrtc
def test_spills_are_found() -> None:
    names = [f"v{i}" for i in range(200)]
    body = "".join(f"float {v} = p[{i} * n];" for i, v in enumerate(names)) + "__syncthreads();"
    body += "".join(f"p[{i}] = {v};" for i, v in enumerate(names))
    text = f'extern "C" __global__ void __launch_bounds__(1024) many(volatile float* p, int n) {{ {body} }}'
    assert any("spills" in fault for fault in faults(nvrtc.compiled(text, 80)))


@needs_nvrtc
def test_compile_errors_carry_the_compilers_words() -> None:
    with pytest.raises(nvrtc.CompileError, match="undefined"):
        nvrtc.compiled("__global__ void f() { undefined_name(); }", 80)
