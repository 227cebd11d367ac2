"""Which variant runs: the best of the processor, or the one that NETDISSECT_FAST_ISA names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from netdissect_fast import _core

ISAS = _core.available_isas()


def in_subprocess(isa: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NETDISSECT_FAST_ISA"}
    if isa is not None:
        environment["NETDISSECT_FAST_ISA"] = isa
    program = """
import numpy as np
from netdissect_fast import _core
try:
    print(_core.isa())
    print(_core.keep(np.ones((1, 2, 3, 3), np.float32), np.zeros(2, np.float32))[1].tolist())
except ValueError as error:
    print(error)
    try:
        _core.keep(np.ones((1, 2, 3, 3), np.float32), np.zeros(2, np.float32))
    except ValueError as again:
        print(again)
"""
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=True
    )


@pytest.mark.parametrize("isa", ISAS)
def test_variant_from_the_environment(isa: str) -> None:
    assert in_subprocess(isa).stdout.splitlines() == [isa, "[0, 1]"]


def test_the_best_variant_is_the_default() -> None:
    for nothing in (None, ""):
        assert in_subprocess(nothing).stdout.splitlines()[0] == ISAS[0]
    assert ISAS[-1] in ("baseline", "neon")
    assert "baseline" in ISAS


@pytest.mark.parametrize("isa", ["avx3", "AVX2", "avx2 ", "best", "neon" if "neon" not in ISAS else "avx512"])
def test_a_misspelt_or_impossible_variant(isa: str) -> None:
    expected = (
        f"instruction set '{isa}' (from NETDISSECT_FAST_ISA) is unknown or not available on this CPU; "
        f"choose one of: {', '.join(ISAS)}"
    )
    assert in_subprocess(isa).stdout.splitlines() == [expected] * 2


def test_variants_are_those_of_the_cpu() -> None:
    """Against what the operating system says about the processor."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            flags = next((set(line.split(":")[1].split()) for line in file if line.startswith("flags")), None)
    except OSError:
        flags = None
    if flags is None:
        pytest.skip("no /proc/cpuinfo with x86 flags on this machine")
    wanted = ["avx512"] if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vpopcntdq"} <= flags else []
    wanted += ["avx2"] if {"avx2", "bmi2", "popcnt"} <= flags else []
    assert [*wanted, "baseline"] == ISAS
