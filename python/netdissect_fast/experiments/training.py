"""Detectors in the course of training: a series of checkpoints dissected one after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.dataset import ConceptDataset
from ..dissection import dissect
from ..errors import ArgumentError
from ..network.layers import unwrap
from ..network.weights import load_weights
from ..plot import unique_detectors
from ..results.layer_result import LayerResult
from ..results.run_result import Dissection, layer_folders
from ..runs.ranks import find_ranks
from .rows import Rows, detector_row, save_figure, save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from ..network.layers import Layers


@dataclass(frozen=True)
class Series:
    """The same layers with the weights of each checkpoint: results by file, in order; ``steps`` are their abscissas."""

    results: Mapping[Path, Dissection]
    steps: Sequence[int]

    def rows(self, iou_threshold: float = 0.04) -> Rows:
        """Return one row per checkpoint and layer: detectors, unique detectors, and the latter by category."""
        return [
            {
                "checkpoint": path.name,
                "step": step,
                "layer": name,
                "units": len(layer.thresholds),
                **detector_row(layer, iou_threshold),
            }
            for step, (path, result) in zip(self.steps, self.results.items(), strict=True)
            for name, layer in result.items()
        ]

    def plot(self, layer: str, *, iou_threshold: float = 0.04, ax: Axes | None = None) -> Axes:
        """Plot the unique detectors of a layer against the step, in total and by category."""
        layers: list[LayerResult] = [result[layer] for result in self.results.values()]
        ax = unique_detectors(self.steps, layers, iou_threshold=iou_threshold, xlabel="step of training", ax=ax)
        ax.set_title(layer)
        return ax

    def save(self, out: str | Path, iou_threshold: float = 0.04) -> list[Path]:
        """Write training.csv and, if matplotlib is installed, a figure for each layer."""
        written = [save_rows(out, "training", self.rows(iou_threshold))]
        first = next(iter(self.results.values()))
        for name, folder in layer_folders(first.layers).items():
            written += save_figure(out, f"training-{folder}", partial(self.plot, name, iou_threshold=iou_threshold))
        return written


def dissect_series(
    model: nn.Module,
    checkpoints: Sequence[str | Path],
    data: ConceptDataset,
    layers: Layers,
    *,
    prefix: str | None = None,
    without_head: str | Sequence[str] | None = None,
    iou_threshold: float = 0.04,
    out: str | Path | None = None,
    **options: Any,
) -> Series:
    """Dissect a network with the weights of each file in turn; afterwards the network has those of the last.

    Parameters
    ----------
    model, data, layers, options :
        as for ``dissect``.
    checkpoints :
        files of weights, sorted by the last number in their names ("net_2000.pth" after "net_500.pth"), which is the
        step; if some have no number, or two have the same, steps are 0, 1, ...
    prefix :
        prefix, or part of it, of the network's names in the files, such as "state_dict_ema"; needed if a file holds
        the network more than once.
    without_head :
        names of modules that the files lack; they keep the weights that they have.
    iou_threshold :
        for training.csv and the figures.
    out :
        folder: each result goes into a folder named after its file, beside training.csv and the figures.

    Raises
    ------
    ArgumentError for no files, or two of the same name; ModelError if weights do not fit; and what ``dissect`` raises.
    """
    numbers = {Path(path): re.findall(r"\d+", Path(path).stem) for path in checkpoints}
    names = [path.stem for path in numbers]
    if not names or len(set(names)) < len(names):
        raise ArgumentError(f"expected at least one checkpoint, all with different names; got {names}")
    paths = sorted(numbers, key=lambda path: (int(numbers[path][-1]) if numbers[path] else -1, path.name))
    steps = [int(numbers[path][-1]) for path in paths] if all(numbers.values()) else []
    results = {}
    for path in paths:  # try all before the first run
        load_weights(unwrap(model), path, prefix=prefix, without_head=without_head)
    for path in paths:
        load_weights(unwrap(model), path, prefix=prefix, without_head=without_head)
        results[path] = dissect(model, data, layers, out=None if out is None else Path(out) / path.stem, **options)
    series = Series(results, steps if len(set(steps)) == len(paths) else range(len(paths)))
    if out is not None and any(results.values()) and not find_ranks(options.get("group", "auto")).rank:
        series.save(out, iou_threshold)
    return series
