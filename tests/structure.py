"""The structure of the package, measured from its source: ``python -m tests.structure [PACKAGE_DIR]``.

Rooms are the modules and folders at the top of the package; its own ``__init__`` is one, and so is a compiled module,
by its stub. A room that imports another has an arrow to it. Rooms that import none are on floor 1, every other is one
floor above the highest that it imports. Rooms that reach each other form a circle, and share a floor.

Nothing is imported: the files are parsed. Counted are ``import`` and ``from ... import``, also inside functions. Those
under ``if TYPE_CHECKING:`` are kept apart, since they never run: they are arrows only where they run back up, to the
same floor or a higher one. Not followed are names given to ``import_module``, and the ``__init__`` that Python runs on
the way to a module in a folder.

``from . import name``, where that is no module, is an arrow to ``__init__``. That file imports what the package offers
only when it is first used, and under ``TYPE_CHECKING`` for type checkers: these imports lead to rooms above it, but are
no arrows that run back up. They are counted by themselves.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).parents[1] / "python" / "netdissect_fast"
ROOT = "__init__"  # the package itself, as a module and as a room

Arrow = tuple[str, str]  # from, to


@dataclass(frozen=True)
class Import:
    """One module of the package imports another, at ``place``: file:line."""

    importer: str
    imported: str
    place: str
    type_only: bool

    @property
    def rooms(self) -> Arrow:
        """The rooms it leads from and to."""
        return _room(self.importer), _room(self.imported)


@dataclass(frozen=True)
class Structure:
    """What was measured.

    floors          rooms by floor, from the bottom up
    arrows          between rooms, of imports that run
    back_up         arrows that run back up, each with the places of its imports
    circles         of rooms
    module_circles  of modules, some of which may lie in one room
    lines           of each .py file, by its path in the package
    offered         names that the package's __init__ offers
    """

    floors: tuple[tuple[str, ...], ...]
    arrows: frozenset[Arrow]
    back_up: Mapping[Arrow, tuple[str, ...]]
    circles: tuple[tuple[str, ...], ...]
    module_circles: tuple[tuple[str, ...], ...]
    lines: Mapping[str, int]
    offered: int

    @property
    def totals(self) -> dict[str, float]:
        """All of it in numbers, by name."""
        return {
            "rooms": sum(map(len, self.floors)),
            "floors": len(self.floors),
            "arrows": len(self.arrows),
            "arrows back up": len(self.back_up),
            "circles": len(self.circles),
            "circles of modules": len(self.module_circles),
            "names the package offers": self.offered,
            "files": len(self.lines),
            "median lines": median(self.lines.values()),
            "largest lines": max(self.lines.values()),
        }


def measure(package: Path) -> Structure:
    """Measure a package by its files. ValueError where it is none, or imports a module of its own that is not there."""
    if not (package / "__init__.py").is_file():
        raise ValueError(f"{package} is no package: it has no __init__.py")
    files = {_module(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
    stubs = {_module(path.relative_to(package)) for path in package.rglob("*.pyi")}
    modules = files.keys() | stubs
    imports = [one for name, path in files.items() for one in _imports(package, name, path, modules)]
    arrows = _arrows(one.rooms for one in imports if not one.type_only)
    floors = _floors({_room(name) for name in modules}, arrows)
    circles = _circles(floors, arrows)
    circle = {room: number for number, members in enumerate(circles) for room in members}

    back_up: dict[Arrow, list[str]] = defaultdict(list)
    offered = 0
    for one in imports:
        start, end = one.rooms
        if one.type_only and one.importer == ROOT:
            offered += 1
        elif start != end:
            in_circle = start in circle and circle[start] == circle.get(end)
            if in_circle or (one.type_only and floors[end] >= floors[start]):
                back_up[start, end].append(f"{one.place} (type only)" if one.type_only else one.place)
    levels = range(1, max(floors.values()) + 1)
    return Structure(
        floors=tuple(tuple(sorted(room for room in floors if floors[room] == level)) for level in levels),
        arrows=arrows,
        back_up={arrow: tuple(places) for arrow, places in sorted(back_up.items())},
        circles=circles,
        module_circles=_circles(modules, _arrows((i.importer, i.imported) for i in imports if not i.type_only)),
        lines={path.relative_to(package).as_posix(): len(path.read_bytes().splitlines()) for path in files.values()},
        offered=offered,
    )


def _module(path: Path) -> str:
    """The dotted name, in the package, of a file: data/index.py is data.index, data/__init__.py is data."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == ROOT else parts)


def _room(module: str) -> str:
    return module.partition(".")[0]


def _imports(package: Path, module: str, path: Path, modules: Collection[str]) -> Iterator[Import]:
    """What a module imports of its package, in the order of its lines; each name by itself."""
    here = list(path.relative_to(package).parts[:-1])  # the folder, where relative imports begin
    for node, type_only in _statements(ast.parse(path.read_bytes(), str(path)), False):
        place = f"{path.relative_to(package).as_posix()}:{node.lineno}"
        for target, name in _targets(node, package.name, here):
            candidates = [*([".".join([*target, name])] if name else []), ".".join(target) or ROOT]
            found = next((candidate for candidate in candidates if candidate in modules), None)
            if found is None:
                raise ValueError(f"{place}: {candidates[-1]!r} is no module of {package.name}")
            yield Import(module, found, place, type_only)


def _statements(node: ast.AST, type_only: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """All import statements below a node, and whether only a type checker sees them."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, type_only
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for part in child.body:
                yield from _statements(ast.Module([part], []), True)
            for part in child.orelse:
                yield from _statements(ast.Module([part], []), type_only)
        else:
            yield from _statements(child, type_only)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _targets(
    node: ast.Import | ast.ImportFrom, package: str, here: list[str]
) -> Iterator[tuple[list[str], str | None]]:
    """The modules of the package that a statement names, each with the name it takes from there, if any."""
    if isinstance(node, ast.Import):
        named = [(alias.name.split("."), None) for alias in node.names]
    elif node.level:
        base = [package, *here]
        base = base[: max(0, len(base) + 1 - node.level)] + (node.module.split(".") if node.module else [])
        named = [(base, alias.name) for alias in node.names]
    else:
        named = [((node.module or "").split("."), alias.name) for alias in node.names]
    for target, name in named:
        if target[:1] == [package]:
            yield target[1:], name


def _arrows(pairs: Iterable[Arrow]) -> frozenset[Arrow]:
    return frozenset((start, end) for start, end in pairs if start != end)


def _reach(nodes: Iterable[str], arrows: Collection[Arrow]) -> dict[str, set[str]]:
    """From each node all that arrows lead to, itself only where they lead back."""
    next_to: dict[str, set[str]] = defaultdict(set)
    for start, end in arrows:
        next_to[start].add(end)
    reach: dict[str, set[str]] = {}
    for node in nodes:
        found, left = set(), list(next_to[node])
        while left:
            if (one := left.pop()) not in found:
                found.add(one)
                left += next_to[one]
        reach[node] = found
    return reach


def _circles(nodes: Iterable[str], arrows: Collection[Arrow]) -> tuple[tuple[str, ...], ...]:
    """The strongly connected components of more than one node."""
    reach = _reach(nodes, arrows)
    circles = {tuple(sorted(other for other in reach[node] if node in reach[other])) for node in reach}
    return tuple(sorted(circle for circle in circles if circle))


def _floors(nodes: Iterable[str], arrows: Collection[Arrow]) -> dict[str, int]:
    """The floor of each node: the longest way down, where a circle is one step."""
    reach = _reach(nodes, arrows)
    floors: dict[str, int] = {}
    # What a node reaches, outside of its circle, reaches less: it comes before.
    for node in sorted(reach, key=lambda one: len(reach[one] | {one})):
        below = [other for other in reach[node] if node not in reach[other]]
        floors[node] = 1 + max((floors[other] for other in below), default=0)
    return floors


def main(arguments: list[str]) -> int:
    """Print the floors from the top down, the totals, and the arrows that run back up."""
    if len(arguments) > 1:
        print("usage: python -m tests.structure [PACKAGE_DIR]")
        return 2
    try:
        found = measure(Path(arguments[0]).resolve() if arguments else PACKAGE)
    except (ValueError, SyntaxError) as error:
        print(error)
        return 1
    for number, rooms in reversed(list(enumerate(found.floors, 1))):
        print(f"floor {number}: {', '.join(f'{room} ({_size(found, room)})' for room in rooms)}")
    print()
    for name, value in found.totals.items():
        print(f"{name}: {value:g}")
    for title, circles in (("circle", found.circles), ("circle of modules", found.module_circles)):
        for circle in circles:
            print(f"\n{title}: {', '.join(circle)}")
    if found.back_up:
        print("\narrows that run back up:")
    for (start, end), places in found.back_up.items():
        print(f"{start} -> {end}: {', '.join(places)}")
    return 0


def _size(found: Structure, room: str) -> str:
    lines = [lines for file, lines in found.lines.items() if file == f"{room}.py" or file.startswith(f"{room}/")]
    if not lines:
        return "compiled"
    return f"{sum(lines)} lines" if len(lines) == 1 else f"{len(lines)} files, {sum(lines)} lines"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
