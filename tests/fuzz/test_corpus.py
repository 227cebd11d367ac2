"""What once failed, and hundreds of changes to good files: a NetDissectError or success, soon, in little memory."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .mutating import mutate
from .targets import TARGETS, Target, limited_memory

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
CHANGES = {"exports": 100}  # else 300
SOON = 10  # seconds


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in TARGETS.items()}


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with limited_memory():
        yield


def soon(target: Target, data: bytes) -> bool:
    start = time.perf_counter()
    accepted = target(data)
    assert time.perf_counter() - start < SOON
    return accepted


@pytest.mark.parametrize("name", TARGETS)
def test_good_files_are_accepted(name: str, targets: dict[str, Target]) -> None:
    """Else the fuzzer would only ever see the first check; 16-bit photographs alone are refused."""
    refused = [seed for seed in targets[name].seeds() if not soon(targets[name], seed)]
    assert len(refused) == (name == "pictures")


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found(path: Path, targets: dict[str, Target]) -> None:
    """Every input that a reader once accepted without reason, or let fall with another error, is refused."""
    assert not soon(targets[path.parent.name], path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_changes(name: str, targets: dict[str, Target]) -> None:
    """The same changes each time; enough are accepted that what comes after the checks is tried too."""
    rng = random.Random(0)
    seeds, target = targets[name].seeds(), targets[name]
    accepted = 0
    for _ in range(CHANGES.get(name, 300)):
        seed = rng.choice(seeds)
        try:
            accepted += soon(target, data := seed[:1] + mutate(seed[1:], rng))
        except Exception:
            sys.stderr.write(f"the input: {data!r}\n")
            raise
    assert accepted


def test_every_finding_belongs_to_a_target() -> None:
    assert {path.parent.name for path in FOUND} <= set(TARGETS)
    assert all(path.stat().st_size < 10_000 for path in FOUND)
