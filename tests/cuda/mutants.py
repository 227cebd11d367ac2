"""Does the ladder notice when the kernels are wrong? ``python -m tests.cuda.mutants`` prints a table of mutants.

Mutants are made by rule: every comparison, every ±1, barrier, mask, shuffle, vote, atomic, min and max, logical
operator, and the separate rounding. Each goes up the ladder until a rung notices: the host build in six schedules,
NVRTC and the forbidden forms, the checked PTX, the sanitizers. Survivors must be known to be equivalent (EQUIVALENT),
with the reason.

Arguments: numbers of mutants (``12``) or ranges (``40-60``) to run only those. One takes a few seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from netdissect_fast.scoring.backends.engine import CONSTANTS

from .building import CACHE, ROOT
from .sanitize import RUNTIMES
from .sanitize import run as sanitized

FILES = ("common.cuh", "keep.cu", "count.cu")
PLAIN = """
template <class T> __device__ inline T plain_add(T* p, T v) { const T old = *p; *p = old + v; return old; }
template <class T> __device__ inline T plain_min(T* p, T v) { const T old = *p; if (v < old) *p = v; return old; }
"""
SWAPS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "&&": "||", "||": "&&", "min": "max",
         "max": "min"}  # fmt: skip
# Rule → (pattern, replacement); a group named x is what changes, by SWAPS if the replacement is None.
RULES: dict[str, list[tuple[str, str | None]]] = {
    "comparison": [(r" (?P<x><=|>=|==|!=|<|>) ", None)],
    "±1": [(r"(?P<x> [+-] 1)\b(?!\.)", "")],
    "barrier": [(r"(?P<x>__sync(?:threads|warp)\([^)]*\));", "(void)0")],
    "mask": [(r"_sync\((?P<x>kAll),", "(kAll >> 1)")],
    "shuffle": [
        (r"(?P<x>__shfl_up_sync)", "__shfl_down_sync"),
        (r"(?P<x>__shfl_xor_sync)", "__shfl_up_sync"),
        (r"__shfl_sync\([^;]*, (?P<x>owner)\)", "owner ^ 1"),
    ],
    "vote": [(r"(?P<x>__any_sync)", "__all_sync"), (r"__ballot_sync\(kAll,(?P<x> )", " !")],
    "atomic": [(r"(?P<x>atomicAdd)", "plain_add"), (r"(?P<x>atomicMin)", "plain_min")],
    "min and max": [(r"\b(?P<x>min|max)\(", None)],
    "logic": [(r" (?P<x>&&|\|\|) ", None), (r"(?P<x>\|=)", "=")],
    "rounding": [(r"(?P<x>__fadd_rn\(a, __fmul_rn\(f, __fsub_rn\(b, a\)\)\))", "a + f * (b - a)")],
}

# Mutants that compute the same: part of the line, what is changed to what → why.
EQUIVALENT: dict[tuple[str, str], str] = {
    ("for (int distance = 1;", "< → <="): "a 64-bit scan step of 32 lanes finds no lane that far up",
    ("u64 place = sum > 0 ?", "> → >="): "adds 0 to the counter; nobody uses the place",
    ("active = __ballot_sync(kAll, size > 0)", "> → >="): "lanes without a crop copy 0 values",
    ("of_image = __shfl_sync", "owner → owner ^ 1"): "all lanes of a warp have the same image",
    ("above |= value > bound", "> → >="): "only an early way out: a second scan then finds nothing above the bound",
    ("if (__any_sync(kAll, nonfinite)", "== → !="): "the other 31 lanes report the same map; the smallest is kept",
    ("if (py.begin >= py.end", ">= → >"): "only an early way out: no pixel of an empty range is inside",
    ("if (py.begin >= py.end", "|| → &&"): "only an early way out: no pixel of an empty range is inside",
    ("first_slot == 0 || first_slot < slots", "< → <="): "one more round, without slots; the area is the same again",
    ("for (int ty = py.begin / kTile;", "< → <="): "one more row of tiles, without a pixel inside",
    ("for (int tx = px.begin / kTile;", "< → <="): "one more tile, without a pixel inside",
    ("sum[i] += static_cast<unsigned>", "< → <="): "the word beside the image's slots is counted, but never added",
    ("if (slot < slots && sum[i] > 0)", "< → <="): "the sum of a slot that is not there is 0",
}


@dataclass(frozen=True)
class Mutant:
    """One change in one place."""

    number: int
    rule: str
    file: str
    line: int
    was: str  # the line
    change: str
    source: str

    @property
    def reason(self) -> str:
        """Why it is equivalent, "" if that is not known."""
        return next(
            (why for (line, change), why in EQUIVALENT.items() if line in self.was and change == self.change), ""
        )


def mutants() -> Iterator[Mutant]:
    """Every mutant, in the order of the text."""
    texts = {name: (ROOT / "csrc" / "gpu" / name).read_text(encoding="utf-8") for name in FILES}
    number = 0
    for name, text in texts.items():
        places = [
            (found.start("x"), found.end("x"), rule, SWAPS[found["x"]] if replacement is None else replacement)
            for rule, patterns in RULES.items()
            for pattern, replacement in patterns
            for found in re.finditer(pattern, text)
        ]
        for start, end, rule, replacement in sorted(places):
            first = text.rfind("\n", 0, start) + 1
            if "//" in text[first:start] or text[first:].startswith("template"):
                continue  # a comment, a template's brackets
            changed = {**texts, name: text[:start] + replacement + text[end:]}
            changed[FILES[0]] += PLAIN
            number += 1
            was = text[first : text.find("\n", start)].strip()
            change = f"{text[start:end].strip() or 'p'} → {replacement.strip() or 'nothing'}"
            joined = "\n".join([CONSTANTS, *(changed[file] for file in FILES)])
            yield Mutant(number, rule, name, text.count("\n", 0, start) + 1, was, change, joined)


# ------------------------------------------------------------------------------------- one mutant, in a process


def judge(source: str) -> str:
    """What notices this text: rung and words; "" if nothing does."""
    from .cases import count_agrees, count_cases, keep_agrees, keep_cases
    from .compile_table import faults
    from .device import FakeDevice, LaunchError
    from .host import SCHEDULES, HostEngine, default_build
    from .nvrtc import CompileError, compiled
    from .ptx_engine import PtxEngine

    def trial(make: type[FakeDevice], *options: object) -> str:
        for agrees, all_cases in ((keep_agrees, keep_cases()), (count_agrees, count_cases())):
            for case in all_cases:
                try:
                    if not agrees(make(source, *options), case):  # type: ignore[operator]
                        return f"differs: {case.name}"
                except LaunchError as error:
                    return str(error)
                except Exception as error:  # the backend stumbles over what the kernels left
                    return f"{type(error).__name__}: {error}"
        return ""

    for schedule in SCHEDULES:
        if found := trial(HostEngine, schedule, "quick" if default_build() == "plain" else default_build()):
            return f"source, schedule {schedule}: {found}"
    if default_build() != "plain":
        return ""
    try:
        result = compiled(source, 80)
    except CompileError as error:
        return f"NVRTC: {error}"
    if wrong := faults(result):
        return f"forms: {wrong[0]}"
    found = trial(PtxEngine, 80)
    return f"PTX: {found}" if found else ""


def run(mutant: Mutant) -> str:
    """judge() in a process of its own: mutants may crash or never end."""
    command = [sys.executable, "-m", "tests.cuda.mutants", "--judge"]
    try:
        done = subprocess.run(command, input=mutant.source, capture_output=True, text=True, cwd=ROOT, timeout=90)
    except subprocess.TimeoutExpired:
        return "source: does not end"
    if done.returncode:
        return f"source: crash: {done.stderr.strip().splitlines()[-1:]}" if done.returncode < 0 else done.stderr
    if done.stdout.strip() or mutant.reason:
        return done.stdout.strip()
    for variant in RUNTIMES:
        done = sanitized(variant, command[1:], mutant.source)
        if said := re.search(r"ERROR: .*|runtime error: .*|data race.*", done.stderr) or re.search(".+", done.stdout):
            return f"{variant}: {said[0]}"
    return ""


def chosen(arguments: list[str]) -> list[Mutant]:
    everything = list(mutants())
    if not arguments:
        return everything
    numbers = set()
    for argument in arguments:
        first, _, last = argument.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return [mutant for mutant in everything if mutant.number in numbers]


def main() -> int:
    if sys.argv[1:] == ["--judge"]:
        sys.stdout.write(judge(sys.stdin.read()))
        return 0
    print("| # | rule | where | change | line | noticed by |\n|---|---|---|---|---|---|")
    tally: Counter[str] = Counter()
    for mutant in chosen(sys.argv[1:]):
        found = " ".join(run(mutant).split())
        shutil.rmtree(CACHE / "host", ignore_errors=True) if mutant.number % 50 == 0 else None
        rung = found.partition(":")[0].partition(",")[0]
        tally["survived" if not found and not mutant.reason else rung or "equivalent"] += 1
        words = found[:90] or (f"equivalent: {mutant.reason}" if mutant.reason else "**survived**")
        where = f"{mutant.file}:{mutant.line}"
        cells = (str(mutant.number), mutant.rule, where, mutant.change, f"`{mutant.was[:70]}`", words)
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |", flush=True)
    print("\n" + ", ".join(f"{count} {rung}" for rung, count in tally.most_common()) + f"; {tally.total()} in all")
    return 1 if tally["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
