"""Parts of a run on disk: what was collected on some images, to resume from or to merge.

    OUT/parts/0000000-0004096/part.json                  record of the run, layers
                              LAYER.safetensors          peaks, or counts if thresholds were given

A part appears under its name once it is complete. A checkpoint is the part of all images so far of one process; the
next replaces it, so if two parts in a folder begin at the same image, the longer includes the shorter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, DataError
from ..geometry.grids import Grid
from ..results.run_result import layer_folders
from ..storage import new_folder, read_json, remove_tree, write_json
from .collectors import Collected
from .plans import LayerPlan
from .records import require_same
from .spans import Span

FORMAT = 1
PARTS = "parts"  # folder in a run's folder
_REMEDY = "Start over with --restart (resume=False), or choose a different --out"


@dataclass(frozen=True)
class Part:
    """A part on disk: images ``span`` of the run that ``record`` describes, from shard (i, n) if not None."""

    path: Path
    span: Span
    record: dict[str, Any]
    plans: dict[str, LayerPlan]
    shard: tuple[int, int] | None

    @classmethod
    def read(cls, path: Path) -> Part:
        """Read what ``save_part`` wrote, without the arrays. Raises DataError if it is broken or of a later format."""
        file = path / "part.json"
        values = read_json(file)
        try:
            if values["format"] != FORMAT:
                raise DataError(file, f"was not written in format {FORMAT}; use the version that wrote it")
            first, last = (int(edge) for edge in values["images"])
            if not 0 <= first < last <= int(values["record"]["data"]["images"]):
                raise ValueError(f"images {first} to {last - 1} are impossible")
            plans = {name: _plan_from_json(name, plan) for name, plan in values["layers"].items()}
            shard = values["shard"] and (int(values["shard"][0]), int(values["shard"][1]))
            return cls(path, Span(first, last), values["record"], plans, shard)
        except DataError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DataError(file, f"does not describe a part of a run: {error!r}") from error

    def collected(self) -> dict[str, Collected]:
        """Return what was collected, by layer. Raises DataError if a file is missing, broken or of other images."""
        folders = layer_folders(self.plans)
        return {
            name: Collected.load(self.path / f"{folders[name]}.safetensors", plan, self.span)
            for name, plan in self.plans.items()
        }


def save_part(
    out: Path,
    span: Span,
    record: Mapping[str, Any],
    plans: Mapping[str, LayerPlan],
    collected: Mapping[str, Collected],
    shard: tuple[int, int] | None = None,
) -> Path:
    """Write a part into a run's folder, then remove shorter ones that begin at the same image; return its folder.

    Raises OutputError if that fails; the shorter ones then remain.
    """
    folders = layer_folders(plans)
    path = out / PARTS / f"{span.first:07}-{span.last:07}"
    with new_folder(path) as new:
        for name, layer in collected.items():
            layer.save(new / f"{folders[name]}.safetensors")
        layers = {name: _plan_to_json(plan) for name, plan in plans.items()}
        part = {"format": FORMAT, "images": span, "shard": shard, "record": dict(record), "layers": layers}
        write_json(new / "part.json", part)
    for other in _folders(out):
        if other[0] == span.first and other[1] < span.last:
            remove_tree(other[2])
    return path


def find_parts(out: Path, record: Mapping[str, Any] | None = None, within: Span | None = None) -> list[Part]:
    """Return the parts in a run's folder, in the order of their images.

    record   of the run that they must belong to
    within   only parts that hold some of these images; other processes may be working on the rest
    Raises ResumeMismatch if one belongs to a different run, DataError if one is broken, ArgumentError if images are
    duplicated.
    """
    longest = {
        first: path
        for first, last, path in sorted(_folders(out))
        if within is None or (first < within.last and within.first < last)
    }
    parts = [Part.read(path) for path in longest.values()]
    if record is not None:
        for part in parts:
            require_same(part.record, record, str(part.path), _REMEDY)
    require_disjoint(parts)
    return parts


def remove_parts(out: Path, within: Span | None = None) -> None:
    """Remove all parts of a run, or those that lie within a span."""
    if within is None:
        remove_tree(out / PARTS)
        return
    for first, last, path in _folders(out):
        if within.first <= first and last <= within.last:
            remove_tree(path)


def require_disjoint(parts: Sequence[Part]) -> None:
    """Raise ArgumentError if an image is in two parts."""
    for one, two in pairwise(sorted(parts, key=lambda part: part.span)):
        if two.span.first < one.span.last:
            last = min(one.span.last, two.span.last) - 1
            raise ArgumentError(
                f"images {two.span.first} to {last} are in both {one.path} and {two.path}: remove one of them"
            )


def _folders(out: Path) -> list[tuple[int, int, Path]]:
    names = ((re.fullmatch(r"(\d{7,})-(\d{7,})", path.name), path) for path in (out / PARTS).glob("[0-9]*"))
    return [(int(match[1]), int(match[2]), path) for match, path in names if match]


def _plan_to_json(plan: LayerPlan) -> dict[str, Any]:
    chosen = None if plan.chosen is None else plan.chosen.tolist()
    thresholds = None if plan.thresholds is None else plan.thresholds.tolist()
    return {"units": plan.units, "grid": plan.grid.to_json(), "chosen": chosen, "thresholds": thresholds}


def _plan_from_json(name: str, values: Mapping[str, Any]) -> LayerPlan:
    units = int(values["units"])
    chosen = None if values["chosen"] is None else np.array(values["chosen"], np.int64)
    thresholds = None if values["thresholds"] is None else np.array(values["thresholds"], np.float32)
    for array in (chosen, thresholds):
        if array is not None and array.shape != (units,):
            raise ValueError(f"layer {name!r} has {units} units, not {array.shape}")
    return LayerPlan(name, units, Grid.from_json(values["grid"]), chosen, thresholds)
