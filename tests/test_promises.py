"""docs/promises.md: every promise is there, and every test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")


def test_every_promise_is_there() -> None:
    assert set(re.findall(r"^\| \*\*(P\d+)\*\*", TEXT, re.MULTILINE)) >= {
        f"P{n}" for n in range(1, 30) if n not in (18, 21)
    }
    assert {"**P18**", "**P21**"} <= set(re.findall(r"\*\*P\d+\*\*", TEXT))


def test_every_test_that_is_named_exists() -> None:
    named = 0
    for line in TEXT.splitlines():
        source = ""
        for name in re.findall(r"`([^`]+)`", line.split(" | ")[1] if line.startswith("| **") else ""):
            if name.startswith("tests/"):
                source = (ROOT / name).read_text(encoding="utf-8")
            elif name.startswith("test_"):
                assert f"def {name}(" in source, f"{name} is not in the file named before it"
                named += 1
    assert named > 100
