"""The package on the oldest processor that it is made for, as QEMU plays it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

import pytest

QEMU = shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="this machine is not an x86-64"),
    pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed (Debian: qemu-user)"),
]
NEHALEM = [str(QEMU), "-cpu", "Nehalem"]  # x86-64-v2, which NumPy wants too: no AVX

PROGRAM = """
import hashlib
import numpy as np
import netdissect_fast as nd
from netdissect_fast import _core
from netdissect_fast.pages.overlaps import mask_overlap

rng = np.random.default_rng(0)
maps = rng.standard_normal((6, 19, 9, 11)).astype(np.float32)
labels = rng.integers(0, 40, (6, 50, 61))
sums = hashlib.sha256()
for given in (maps, maps.astype(np.float16), maps.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)):
    layer = nd.score(given, labels, quantile="0.05")
    overlap = mask_overlap(layer.peaks, layer.thresholds, layer.grid, np.array([[50, 61]] * 6, np.int32))
    for array in (layer.thresholds, layer.counts.intersection, layer.counts.unit_area, layer.iou, overlap):
        sums.update(np.ascontiguousarray(array).tobytes())
print(layer.counts.intersection.sum(), sums.hexdigest())
print(_core.isa(), _core.available_isas())
"""


def run(command: list[str], program: str, isa: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, sys.executable, "-c", program],
        env={**os.environ, "NETDISSECT_FAST_ISA": isa}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_same_result() -> None:
    here, there = run([], PROGRAM), run(NEHALEM, PROGRAM)
    assert here.returncode == 0, here.stderr
    assert there.returncode == 0, f"status {there.returncode} (-4: an instruction it lacks): {there.stderr}"
    assert there.stdout.splitlines() == [here.stdout.splitlines()[0], "baseline ['baseline']"]
    assert not here.stdout.startswith("0 ")


def test_what_it_lacks_is_refused() -> None:
    done = run(NEHALEM, "from netdissect_fast import _core; _core.isa()", "avx2")
    assert done.returncode == 1
    assert "ValueError: instruction set 'avx2' (from NETDISSECT_FAST_ISA) is unknown or not" in done.stderr
    assert done.stderr.endswith("choose one of: baseline\n")
