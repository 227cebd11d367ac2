"""The host build under sanitizers (sanitize.py): the kernels are clean, and seeded defects are reported."""

from __future__ import annotations

import shutil
from functools import cache

import pytest

from .host import default_build
from .sanitize import CHOSEN, RUNTIMES, run
from .test_engines import DEFECTS

pytestmark = [
    pytest.mark.cuda_host,
    pytest.mark.slow,
    pytest.mark.skipif(default_build() != "plain", reason="this process is under a sanitizer itself"),
]

# Defect → what the sanitizer that must see it says.
SEEN = {
    ("asan", "write past a buffer"): "heap-buffer-overflow",
    ("asan", "read past a buffer"): "heap-buffer-overflow",
    ("asan", "past shared memory"): "use-after-poison",
    ("asan", "misaligned"): "misaligned address",
    ("tsan", "no barrier after clearing"): "data race",
    ("tsan", "no barrier after loading"): "data race",
    ("tsan", "no barrier after reading"): "data race",
    ("tsan", "no barrier after adding"): "data race",
    ("tsan", "no __syncwarp"): "data race",
    ("tsan", "shared sum without atomic"): "data race",
    ("tsan", "global sum without atomic"): "data race",
}
RUN = """
from tests.cuda.host import HostEngine
from tests.cuda.test_engines import complaint, seeded
print("says:", complaint(HostEngine(seeded({defect!r})), {kernel!r}))
"""


@cache
def missing(variant: str) -> str:
    """Why the sanitizer cannot be used here, "" if it can."""
    done = run(variant, ["-c", "print('alive')"])
    return "" if "alive" in done.stdout else f"{variant} does not start here: {done.stderr[-200:]}"


@pytest.mark.parametrize("variant", RUNTIMES)
def test_kernels_are_clean(variant: str) -> None:
    if shutil.which("setarch") is None and missing(variant):
        pytest.skip(missing(variant))
    done = run(variant, ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *CHOSEN])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.parametrize(("variant", "defect"), SEEN)
def test_defects_are_reported(variant: str, defect: str) -> None:
    done = run(variant, ["-c", RUN.format(defect=defect, kernel=DEFECTS[defect][0])])
    assert done.returncode == 66 or "runtime error" in done.stderr, done.stdout + done.stderr[-2000:]
    assert SEEN[variant, defect] in done.stderr
