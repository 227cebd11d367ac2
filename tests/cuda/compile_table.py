"""What each kernel takes on each target, as a markdown table: ``python -m tests.cuda.compile_table``.

Exit status 1 if anything spills or the PTX contains a forbidden form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .forms import forbidden
from .nvrtc import TARGETS, Compiled, compiled


def compile_all(source: str) -> Iterator[Compiled]:
    """The text for every target of every NVRTC."""
    for requirement, sm in TARGETS:
        yield compiled(source, sm, requirement)


def table(results: list[Compiled]) -> str:
    """Registers / static shared bytes / spilled bytes, kernels down, targets across."""
    heads = [f"sm_{result.sm} ({result.version})" for result in results]
    lines = ["| kernel | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for kernel in sorted(results[0].uses):
        uses = [result.uses[kernel] for result in results]
        cells = [f"{use.registers} / {use.shared} / {use.spills + use.stack}" for use in uses]
        lines.append(f"| {kernel} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def faults(result: Compiled) -> list[str]:
    """Spills, stack frames and forbidden forms."""
    where = f"sm_{result.sm}, NVRTC {result.version}"
    spilled = [f"{where}: {name} spills: {use}" for name, use in result.uses.items() if use.spills or use.stack]
    return spilled + [f"{where}: {line}" for line in forbidden(result.ptx)]


def main() -> int:
    from netdissect_fast.scoring.backends.engine import source

    results = list(compile_all(source()))
    sys.stdout.write("Registers / bytes of static shared memory / bytes spilled or on the stack.\n\n")
    sys.stdout.write(table(results) + "\n")
    wrong = [fault for result in results for fault in faults(result)]
    sys.stdout.write("".join(f"\n{fault}" for fault in wrong) + ("\n" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
