"""Errors of optional packages: one line names the package, what it said, and what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from netdissect_fast.errors import MissingExtra, require


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('built for\\nanother NumPy')", "raised RuntimeError: built for another NumPy"),
        ("raise AttributeError('numpy has no attribute x')", "raised AttributeError: numpy has no attribute x"),
        ("import nothing_of_that_name", "raised ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise ImportError('libfoo.so.3: not found')", "raised ImportError: libfoo.so.3: not found"),
        ("1/0", "raised ZeroDivisionError: division by zero"),
        ("(", r"raised SyntaxError: '(' was never closed"),
    ],
)
def test_packages_that_cannot_be_imported(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "an_extra.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtra) as told:
        require("an_extra", "report")
    text = str(told.value)
    assert text.startswith(f"an_extra is installed, but importing it {message}")
    assert text.endswith(": pip install --upgrade 'netdissect-fast[report]'")
    assert "\n" not in text
    assert "an_extra" not in sys.modules


@pytest.mark.parametrize("module", ["nothing_of_that_name", "nothing_of_that_name.inside", "json.nothing"])
def test_packages_that_are_not_installed(module: str) -> None:
    with pytest.raises(MissingExtra, match=rf"^{module} is not installed: pip install 'netdissect-fast\[report\]'$"):
        require(module, "report")
