"""tests/structure.py measures small packages as one would by hand, and finds the real one in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .structure import PACKAGE, Structure, main, measure


def write(folder: Path, **sources: str) -> Path:
    """A package "pack" of these modules; two underscores in a name are a folder's slash."""
    package = folder / "pack"
    for name, source in {"__init__": "", **sources}.items():
        path = package / f"{name if name == '__init__' else name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return package


def measured(folder: Path, **sources: str) -> Structure:
    return measure(write(folder, **sources))


def test_floors_are_the_longest_way_down(tmp_path: Path) -> None:
    found = measured(
        tmp_path, errors="", types="", middle="from .errors import E", top="from . import middle\nfrom .types import T"
    )
    assert found.floors == (("__init__", "errors", "types"), ("middle",), ("top",))
    assert found.arrows == {("middle", "errors"), ("top", "middle"), ("top", "types")}
    assert not found.circles
    assert not found.back_up


@pytest.mark.parametrize(
    "source",
    [
        "import pack.low",
        "import os, pack.low as other",
        "from pack import low",
        "from pack.low import name",
        "from . import low",
        "from .low import *",
        "def function():\n    from .low import name",
        "class C:\n    try:\n        from . import low\n    except ImportError:\n        pass",
        "if TYPE_CHECKING:\n    import os\nelse:\n    from . import low",
    ],
)
def test_all_ways_to_import(source: str, tmp_path: Path) -> None:
    assert measured(tmp_path, low="", high=source).arrows == {("high", "low")}


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import packing",
        "from os import path",
        "from .. import above",
        "from ..low import name",
        "import_module('.low', 'pack')",
    ],
)
def test_what_is_no_import_of_the_package(source: str, tmp_path: Path) -> None:
    assert not measured(tmp_path, low="", high=source).arrows


def test_a_circle_is_one_floor_and_its_arrows_run_back_up(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        low="",
        one="from . import two\n",
        two="import os\n\n\ndef function():\n    from .one import name\n    from .low import name\n",
        top="from . import one",
    )
    assert found.circles == found.module_circles == (("one", "two"),)
    assert found.floors == (("__init__", "low"), ("one", "two"), ("top",))
    assert found.back_up == {("one", "two"): ("one.py:1",), ("two", "one"): ("two.py:5",)}


def test_type_only_imports_are_arrows_only_where_they_run_back_up(tmp_path: Path) -> None:
    types = "import typing\n\nif typing.TYPE_CHECKING:\n    from .{} import name\n"
    found = measured(
        tmp_path,
        low=types.format("high"),
        beside=types.format("low"),
        high="from . import low\n" + types.format("beside"),
    )
    assert found.arrows == {("high", "low")}
    assert found.floors == (("__init__", "beside", "low"), ("high",))
    assert found.back_up == {
        ("beside", "low"): ("beside.py:4 (type only)",),  # to the same floor
        ("low", "high"): ("low.py:4 (type only)",),
    }
    assert not found.circles


def test_folders_are_rooms(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        low="",
        room__shelf="",
        room__reading="from ..low import name\nfrom . import shelf\nfrom .deep.inner import name",
        room__deep__inner="from ...low import name\nfrom ..reading import name\n",
        plain__only="from ..room import shelf",  # a folder without __init__.py
    )
    assert found.arrows == {("room", "low"), ("plain", "room")}
    assert found.floors == (("__init__", "low"), ("room",), ("plain",))
    assert not found.circles
    assert found.module_circles == (("room.deep.inner", "room.reading"),)
    assert set(found.lines) == {
        "__init__.py", "low.py", "plain/only.py", "room/deep/inner.py", "room/reading.py", "room/shelf.py",
    }  # fmt: skip


def test_a_name_of_a_folder_that_is_a_module_is_that_module(tmp_path: Path) -> None:
    package = write(tmp_path, room__shelf="", high="from .room import shelf, name")
    (package / "room" / "__init__.py").write_text("from . import shelf\nname = 1\n")
    (package / "room" / "page.html").write_text("no module\n")
    (package / "templates").mkdir()
    (package / "templates" / "page.html").write_text("no room\n")
    found = measure(package)
    assert found.floors == (("__init__", "room"), ("high",))
    assert len(found.lines) == 4


def test_the_package_itself_is_a_room(tmp_path: Path) -> None:
    offers = (
        "from typing import TYPE_CHECKING\nfrom . import _core\nif TYPE_CHECKING:\n    from .high import one, two\n"
    )
    package = write(tmp_path, high="from . import __version__, _core\nimport pack")
    (package / "__init__.py").write_text(offers)
    (package / "_core.pyi").write_text("")  # compiled
    found = measure(package)
    assert found.floors == (("_core",), ("__init__",), ("high",))
    assert found.arrows == {("__init__", "_core"), ("high", "__init__"), ("high", "_core")}
    assert found.offered == 2
    assert not found.back_up
    assert "_core.pyi" not in found.lines


def test_totals(tmp_path: Path) -> None:
    found = measured(tmp_path, one="from . import two\n", two="from . import one\n\n\n", three="pass")
    assert found.totals == {
        "rooms": 4, "floors": 1, "arrows": 2, "arrows back up": 2, "circles": 1, "circles of modules": 1,
        "names the package offers": 0, "files": 4, "median lines": 1, "largest lines": 3,
    }  # fmt: skip


@pytest.mark.parametrize("source", ["from .gone import name", "import pack.gone"])
def test_a_module_that_is_not_there(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(write(tmp_path, high=f"\n{source}"))]) == 1
    assert capsys.readouterr().out == "high.py:2: 'gone' is no module of pack\n"


def test_no_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "has no __init__.py" in capsys.readouterr().out


def test_what_is_printed(tmp_path: Path) -> None:
    package = write(tmp_path, high__x="")
    (package / "high" / "__init__.py").write_text("from ..low import name\n")
    (package / "low.py").write_text("if TYPE_CHECKING:\n    from .high.x import name\n")
    command = [sys.executable, "-m", "tests.structure", str(package)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "floor 2: high (2 files, 1 lines)",
        "floor 1: __init__ (0 lines), low (2 lines)",
        "",
        "rooms: 3",
        "floors: 2",
        "arrows: 1",
        "arrows back up: 1",
        "circles: 0",
        "circles of modules: 0",
        "names the package offers: 0",
        "files: 4",
        "median lines: 0.5",
        "largest lines: 2",
        "",
        "arrows that run back up:",
        "low -> high: low.py:2 (type only)",
    ]


def test_the_package_has_no_circle() -> None:
    found = measure(PACKAGE)
    assert not found.circles
    assert {"errors", "types"} <= set(found.floors[0])
    assert "__main__" in found.floors[-1]
