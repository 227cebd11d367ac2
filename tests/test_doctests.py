"""The examples in the docstrings of the package print what they show."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import netdissect_fast as nd

PACKAGE = Path(nd.__file__).parent
NAMES = {"np": np, "nd": nd}  # what every example may use without importing it
LEAST = 85  # examples that are run, of all modules together

# The rooms whose public names must have an example.
ROOMS = ("concepts", "dissection", "errors", "geometry", "network", "plot", "results", "scoring")
# Public names of these rooms that need none, and why.
WITHOUT = {"NetDissectError": "only its subclasses are raised; the examples of others show two"}


def modules() -> list[str]:
    """Return the dotted names of the package's modules with examples in their text."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))
    found = [path.relative_to(PACKAGE.parent).with_suffix("").parts for path in paths]
    return [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in found]


def docstrings(module: ModuleType) -> list[doctest.DocTest]:
    """Return the docstrings of a module that have examples."""
    return [test for test in doctest.DocTestFinder().find(module, extraglobs=NAMES) if test.examples]


def run(tests: Iterable[doctest.DocTest]) -> tuple[int, str]:
    """Run examples; return how many were attempted, without skipped ones, and a report of the failures."""
    report: list[str] = []
    attempted = 0
    for test in tests:
        outcome = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
        attempted += outcome.attempted - getattr(outcome, "skipped", 0)  # before Python 3.13 these are not counted
    return attempted, "".join(report)


def shown(name: str) -> int:
    """Count the examples of a public name, including those of its methods or, if it is a module, its functions."""
    value = getattr(nd, name)
    module = value if inspect.ismodule(value) else import_module(value.__module__)
    full = module.__name__ if inspect.ismodule(value) else f"{module.__name__}.{value.__qualname__}"
    return sum(len(test.examples) for test in docstrings(module) if f"{test.name}.".startswith(f"{full}."))


@pytest.mark.parametrize("name", modules())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of a module prints what its docstring shows, and leaves no file behind."""
    monkeypatch.chdir(tmp_path)
    tests = docstrings(import_module(name))
    assert tests, "there is >>> in the text, but in no docstring"
    assert not run(tests)[1]
    assert not list(tmp_path.iterdir())


def test_there_are_enough_of_them() -> None:
    tests = [test for name in modules() for test in docstrings(import_module(name))]
    assert sum(not one.options.get(doctest.SKIP) for test in tests for one in test.examples) >= LEAST


def test_public_names_have_one() -> None:
    wanted = {name for name in nd.__all__ if nd._WHERE.get(name, name).partition(".")[0] in ROOMS}
    assert set(WITHOUT) <= wanted
    assert {name for name in wanted if not shown(name)} == set(WITHOUT)


def test_a_wrong_example_is_found() -> None:
    text = ">>> nd.Tokens(prefix=1).prefix\n2\n>>> np.arange(2).tolist()\n[0, 1]\n>>> 1  # doctest: +SKIP\n2\n"
    test = doctest.DocTestParser().get_doctest(text, dict(NAMES), "example", None, None)
    attempted, report = run((test,))
    assert attempted == 2
    assert "Expected:\n    2\nGot:\n    1\n" in report
    assert report.count("Expected:") == 1
