"""Summaries of a result: a few lines of text, and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import printable
from .layer_result import LayerResult
from .run_file import FORMAT, WITHOUT_CHECKSUM, read_run
from .run_result import Dissection, load


def layer_text(layer: LayerResult, iou_threshold: float = 0.04, best: int = 10) -> str:
    """Return detectors and unique detectors by category, and the best units, as a table for a terminal."""
    detectors, unique = layer.detectors(iou_threshold), layer.unique_detectors(iou_threshold)
    grid, units = layer.grid, layer.units(iou_threshold)
    shown = {name: printable(name) for name in detectors}
    wide = max(12, *(len(name) + 2 for name in shown.values()))
    lines = [
        f"{printable(layer.name)}: {len(units)} units of {grid.size[0]}×{grid.size[1]}, {grid}",
        "",
        f"  {'category':<{wide}}{'detectors':>10}{'unique':>8}",
        *(f"  {shown[name]:<{wide}}{detectors[name]:>10}{unique[name]:>8}" for name in detectors),
        f"  {'total':<{wide}}{sum(detectors.values()):>10}{sum(unique.values()):>8}",
    ]
    ranked = sorted((row for row in units if row.label), key=lambda row: (-row.iou, row.unit))[:best]
    if ranked:
        lines += ["", f"  {'unit':>6}  {'concept':<24}{'category':<{wide}}{'IoU':>7}{'chance':>8}"]
        lines += [
            f"  {row.unit:>6}  {printable(row.label):<24}{shown[row.category]:<{wide}}{row.iou:>7.3f}{row.chance:>8.3f}"
            for row in ranked
        ]
    return "\n".join(lines)


def result_text(result: Dissection, folder: Path | None, iou_threshold: float = 0.04) -> str:
    """Return the text of all layers, the seconds the run took and, if it was written, the command to run next."""
    layers = [layer_text(layer, iou_threshold) for layer in result.values()]
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result.run["timings"].items())
    lines = [f"{result.run['data']['images']} images; seconds: {seconds}"]
    if folder is not None:
        lines.append(f"written to {folder}; pictures: netdissect-fast report {folder}{_data_option(result.run)}")
    return "\n\n".join([*layers, "\n".join(lines)])


def _data_option(run: dict[str, Any]) -> str:
    """Return the ``--data`` option that a report needs if a function of the user's returned the data set."""
    source = run["data"].get("source")
    while isinstance(source, dict) and isinstance(source.get("of"), dict):
        source = source["of"]
    return f" --data {source['spec']}" if isinstance(source, dict) and source.get("kind") == "function" else ""


def saved_facts(folder: Path) -> dict[str, Any]:
    """Read a result folder and return what it is: plain values by name. Raises DataError, as ``load`` does.

    That a run was written before run.json had a checksum is said here alone.
    """
    number, record = read_run(folder / "run.json")
    result = load(folder)
    old = number == WITHOUT_CHECKSUM
    versions, data = (record[name] if isinstance(record.get(name), dict) else {} for name in ("versions", "data"))
    return {
        "run": str(folder),
        "model": str(record.get("model", "unknown")),
        "data": str(data.get("name", "unknown")),
        "images": data.get("images", "unknown"),
        "layers": [f"{name} ({len(layer.thresholds)} units)" for name, layer in result.items()],
        "version": str(versions.get("netdissect_fast", "unknown")),
        "format": number,
        "checksum": f"none before format {FORMAT}; to add one: nd.load({str(folder)!r}).save({str(folder)!r})"
        if old
        else "matches",
    }


def result_json(result: Dissection, iou_threshold: float = 0.04) -> dict[str, Any]:
    """Return the same, and every unit, for programs."""
    return {
        "run": result.run,
        "layers": {
            name: {
                "detectors": layer.detectors(iou_threshold),
                "unique_detectors": layer.unique_detectors(iou_threshold),
                "units": [row._asdict() for row in layer.units(iou_threshold)],
            }
            for name, layer in result.items()
        },
    }
