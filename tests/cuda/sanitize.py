"""The host build under sanitizers: ``python -m tests.cuda.sanitize asan`` (or ``tsan``), then any pytest arguments.

asan: AddressSanitizer and UndefinedBehaviorSanitizer (reads and writes outside of buffers and shared memory, misaligned
access, overflow). tsan: ThreadSanitizer with each CUDA thread a thread of its own (races in shared and global memory).
A report ends the run with a status other than 0.
"""

from __future__ import annotations

import os
import subprocess
import sys

from .building import ROOT
from .host import compiler

RUNTIMES = {"asan": ("libasan.so", "libubsan.so"), "tsan": ("libtsan.so",)}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=66",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=66",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66:report_signal_unsafe=0",
}
# What runs there: all of the kernels' fixed cases, as source.
CHOSEN = ["tests/cuda/test_kernels.py", "-k", "as_source or any_grid"]


def environment(variant: str) -> dict[str, str]:
    """Variables that make a Python process use this build and load the sanitizer first."""
    found = [
        subprocess.run([compiler(), f"-print-file-name={name}"], check=True, capture_output=True, text=True).stdout
        for name in RUNTIMES[variant]
    ]
    preload = " ".join(path.strip() for path in found)
    return {**os.environ, **OPTIONS, "LD_PRELOAD": preload, "NETDISSECT_CUDA_HOST_BUILD": variant,
            "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip


def run(variant: str, command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """A Python command under a sanitizer, ``text`` on its standard input.

    Address randomisation is off, which ThreadSanitizer may need.
    """
    fixed = ["setarch", "-R"] if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode == 0 else []
    return subprocess.run([*fixed, sys.executable, *command], env=environment(variant), cwd=ROOT,
                          input=text, capture_output=True, text=True)  # fmt: skip


def main() -> int:
    variant, *rest = sys.argv[1:] or [""]
    if variant not in RUNTIMES:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    done = run(variant, ["-m", "pytest", "-q", "-p", "no:cacheprovider", *(rest or CHOSEN)])
    sys.stdout.write(done.stdout[-6000:] + done.stderr[-6000:])
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
