"""Detectors against quantile and IoU threshold, and labels chosen on half of the images but scored on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import ConceptDataset
from ..errors import ArgumentError
from ..plot import lines
from ..results.layer_result import LayerResult
from ..results.run_result import Dissection, layer_folders
from ..results.scores import score_peaks
from ..scoring.counts import Counts, count_crops
from ..scoring.thresholds import Quantile, exact_quantile
from ..scoring.unit_labels import UnitLabels
from ..types import Int64Array
from .rows import Rows, detector_row, save_figure, save_rows
from .saved_run import Saved, saved

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = (1, 2, 5, 10, 20, 50)  # the run's quantile is divided by these
IOU_THRESHOLDS = (0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3)


@dataclass(frozen=True)
class Curve:
    """A run's detectors as its settings vary.

    rows   one per layer, quantile and IoU threshold: detectors, unique detectors, and the latter by category
    held   one per unit: the label chosen on half of the images, and its IoU there and on the other half; empty
           unless requested
    """

    rows: Rows
    held: Rows
    quantile: float  # the run's
    iou_threshold: float

    @property
    def layers(self) -> list[str]:
        """The names of the layers."""
        return list(dict.fromkeys(row["layer"] for row in self.rows))

    def held_out(self) -> Rows:
        """Return one row per layer: detectors on the half that chose the labels, and those left on the other half."""
        found = []
        for layer in self.layers if self.held else ():
            units = [row for row in self.held if row["layer"] == layer]
            chosen = [row for row in units if row["iou chosen"] > self.iou_threshold]
            kept = [row for row in chosen if row["iou held out"] > self.iou_threshold]
            found.append(
                {
                    "layer": layer,
                    "units": len(units),
                    "detectors chosen": len(chosen),
                    "detectors held out": len(kept),
                    "unique chosen": len({row["label"] for row in chosen}),
                    "unique held out": len({row["label"] for row in kept}),
                }
            )
        return found

    def plot(self, layer: str, along: str, ax: Axes | None = None) -> Axes:
        """Plot unique detectors of a layer along "quantile" or "iou_threshold", in total and by category."""
        fixed = {"quantile": ("iou_threshold", self.iou_threshold), "iou_threshold": ("quantile", self.quantile)}
        if along not in fixed:
            raise ArgumentError(f"along must be quantile or iou_threshold, got {along!r}")
        other, value = fixed[along]
        rows = [row for row in self.rows if row["layer"] == layer and row[other] == value]
        if not rows:
            raise ArgumentError(f"there is no curve for layer {layer!r}, only for {', '.join(map(repr, self.layers))}")
        names = list(rows[0])[list(rows[0]).index("unique") + 1 :]
        series = {"total": [row["unique"] for row in rows], **{name: [row[name] for row in rows] for name in names}}
        label = "quantile" if along == "quantile" else "IoU threshold"
        ax = lines([row[along] for row in rows], series, xlabel=label, ylabel="unique detectors", ax=ax)
        ax.set_xscale("log")
        ax.set_title(f"{layer}, {other.replace('_', ' ').replace('iou', 'IoU')} {value:g}")
        return ax

    def save(self, out: str | Path) -> list[Path]:
        """Write curve.csv, held-out.csv if requested and, if matplotlib is installed, two figures per layer."""
        written = [save_rows(out, "curve", self.rows)]
        if self.held:
            written.append(save_rows(out, "held-out", self.held))
        for layer, name in layer_folders(dict.fromkeys(self.layers)).items():
            for along in ("quantile", "iou_threshold"):
                kind = along.partition("_")[0]
                written += save_figure(out, f"curve-{kind}-{name}", partial(self.plot, layer, along))
        return written


def curve(
    run: Dissection,
    *,
    quantiles: Sequence[Quantile] | None = None,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    iou_threshold: float = 0.04,
    split: bool = False,
    seed: int = 0,
    data: ConceptDataset | None = None,
    backend: str = "auto",
    threads: int | None = None,
    cache: str | Path | None = None,
) -> Curve:
    """Count detectors of a run's layers at other quantiles and IoU thresholds, from the saved peaks.

    Parameters
    ----------
    run :
        a dissection with peaks, such as ``nd.load`` returns.
    quantiles :
        at most the run's own, which is added; default: from that down to a fiftieth of it.
    iou_thresholds, iou_threshold :
        those of the curve; the one at which quantiles are compared, which is added.
    split, seed :
        also choose labels on a random half of the images and report their IoU on the other half, which shows how much
        choosing the best of many concepts adds to a score.
    data, backend, threads, cache :
        as for ``null``.

    Raises
    ------
    ArgumentError
        a layer has no peaks, a quantile is larger than the run's, or the data set is a different one.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> model, data = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), nd.Synthetic(images=8, size=32)
    >>> with TemporaryDirectory() as cache:
    ...     run = nd.dissect(model, data, "0", preprocess=nd.Preprocess(32), cache=cache, progress=False)
    ...     curve = nd.curve(run, quantiles=[0.001], iou_thresholds=[], cache=cache)
    >>> [(row["layer"], row["quantile"], row["iou_threshold"]) for row in curve.rows]
    [('0', 0.001, 0.04), ('0', 0.005, 0.04)]
    """
    if seed < 0:
        raise ArgumentError(f"seed must be 0 or larger, got {seed}")
    sources = saved(run, data, backend, threads, cache)
    own = max(layer.require_peaks().quantile for layer in run.values())
    asked = {exact_quantile(quantile) for quantile in quantiles or [own / part for part in PARTS]}
    rows: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for name, layer in run.items():
        for quantile in sorted(asked | {own}):
            scored = score_peaks(
                layer.require_peaks(), layer.grid, sources.labels, layer.vocabulary, name=name, quantile=quantile,
                category_rule=sources.category_rule, unit_numbers=layer.unit_numbers, backend=sources.backend,
            )  # fmt: skip
            rows += [
                {"layer": name, "quantile": float(quantile), "iou_threshold": t, **detector_row(scored, t)}
                for t in sorted({*iou_thresholds, iou_threshold})
            ]
        if split:
            held += _held_out(layer, sources, np.random.default_rng(seed))
    return Curve(rows, held, float(own), iou_threshold)


def _held_out(layer: LayerResult, sources: Saved, rng: np.random.Generator) -> list[dict[str, Any]]:
    halves = np.array_split(rng.permutation(len(sources.labels)), 2)
    words = layer.vocabulary
    one, two = (counts_of(layer, sources, np.sort(half)).iou(words) for half in halves)
    category, concept, score = UnitLabels.of(one, words).top()
    return [
        {
            "layer": layer.name,
            "unit": int(layer.unit_numbers[u]),
            "label": words.names[concept[u]] if concept[u] >= 0 else "",
            "category": words.categories[category[u]] if concept[u] >= 0 else "",
            "iou chosen": float(score[u]),
            "iou held out": float(two[u, concept[u]]) if concept[u] >= 0 else 0.0,
        }
        for u in range(len(score))
    ]


def counts_of(layer: LayerResult, sources: Saved, images: Int64Array) -> Counts:
    """Return counts over some images, ascending, at the thresholds of all images."""
    crops = layer.require_peaks().crops
    mine = crops.take(np.flatnonzero(np.isin(crops.image, images)))
    mine = replace(mine, image=np.searchsorted(images, mine.image).astype(np.int32))
    labels = sources.labels.take(images)
    return count_crops(
        mine, layer.thresholds, layer.grid, labels, layer.vocabulary, sources.backend, sources.category_rule
    )
