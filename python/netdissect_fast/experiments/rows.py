"""Output of experiments: tables, which are lists of dicts with the same keys, and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..csv_tables import csv_text
from ..errors import printable, require
from ..plot import detached
from ..storage import atomic_file, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..results.layer_result import LayerResult

Rows: TypeAlias = Sequence[Mapping[str, Any]]


def detector_row(layer: LayerResult, iou_threshold: float) -> dict[str, int]:
    """Return a layer's detectors, unique detectors, and the latter by category."""
    unique = layer.unique_detectors(iou_threshold)
    return {"detectors": sum(layer.detectors(iou_threshold).values()), "unique": sum(unique.values()), **unique}


def rows_csv(rows: Rows) -> str:
    """Return a header and a line for each row, "" without rows; floats as Python's repr."""
    if not rows:
        return ""
    columns = list(rows[0])
    return csv_text(columns, ([row.get(name, "") for name in columns] for row in rows))


def rows_text(rows: Rows) -> str:
    """Return the same for a terminal: columns aligned, floats with four digits, all names printable."""
    if not rows:
        return "(nothing)"
    lines = [[printable(name) for name in rows[0]], *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    number = [isinstance(value, int | float) for value in rows[0].values()]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, number, strict=True)
        ).rstrip()
        for line in lines
    )


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def save_rows(out: str | Path, name: str, rows: Rows) -> Path:
    """Write NAME.csv into a folder. Raises OutputError if that fails."""
    path = Path(out) / f"{name}.csv"
    write_text(path, rows_csv(rows))
    return path


def save_figure(out: str | Path, name: str, draw: Callable[[], Axes]) -> list[Path]:
    """Write what ``draw`` draws as NAME.png and NAME.svg; nothing without matplotlib. Raises OutputError on failure."""
    if find_spec("matplotlib") is None:
        return []
    paths = [Path(out) / f"{name}.{kind}" for kind in ("png", "svg")]
    with detached():
        figure: Any = draw().figure
    same = {"svg.hashsalt": "netdissect_fast"}  # so that the same figure is the same file
    for path in paths:
        with atomic_file(path) as file, require("matplotlib", "report").rc_context(same):
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(file, format=path.suffix[1:], dpi=200, metadata=metadata)
    return paths
