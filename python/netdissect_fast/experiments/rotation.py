"""Is interpretability axis-aligned? Layers dissected in increasingly rotated bases (the paper's section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import ConceptDataset
from ..dissection import dissect
from ..errors import ArgumentError, require
from ..network.hooks import resolve_layers
from ..plot import lines
from ..results.layer_result import LayerResult
from ..results.run_result import Dissection, layer_folders
from ..runs.ranks import find_ranks
from .orthogonal import Turn
from .rows import detector_row, save_figure, save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn

    from ..network.layers import Layers


@dataclass(frozen=True)
class Rotation:
    """Layers in rotated bases: ``views`` by layer, alpha and seed (None for alpha 0, which has a single view)."""

    result: Dissection
    views: Mapping[tuple[str, float, int | None], str]  # the name in ``result``

    def rows(self, iou_threshold: float = 0.04) -> list[dict[str, Any]]:
        """Return one row per layer, alpha and seed: detectors, unique detectors, and the latter by category."""
        return [
            {
                "layer": layer,
                "alpha": alpha,
                "seed": "" if seed is None else seed,
                "units": len(view.thresholds),
                **detector_row(view, iou_threshold),
            }
            for (layer, alpha, seed), view in self._views()
        ]

    def means(self, iou_threshold: float = 0.04) -> list[dict[str, Any]]:
        """Return one row per layer and alpha: means over seeds, and ``share``, unique detectors relative to alpha 0."""
        rows, means = self.rows(iou_threshold), []
        for layer, alpha in dict.fromkeys((row["layer"], row["alpha"]) for row in rows):
            same = [row for row in rows if (row["layer"], row["alpha"]) == (layer, alpha)]
            numbers = [name for name in same[0] if name not in ("layer", "alpha", "seed")]
            means.append(
                {"layer": layer, "alpha": alpha, "seeds": len(same)}
                | {name: sum(row[name] for row in same) / len(same) for name in numbers}
            )
        plain = {row["layer"]: row["unique"] for row in means if row["alpha"] == 0}
        return [row | {"share": row["unique"] / (plain.get(row["layer"]) or float("nan"))} for row in means]

    def _views(self) -> list[tuple[tuple[str, float, int | None], LayerResult]]:
        return [(key, self.result[name]) for key, name in self.views.items()]

    def plot(self, layer: str | None = None, *, iou_threshold: float = 0.04, ax: Axes | None = None) -> Axes:
        """Plot unique detectors of a layer (the first) against alpha, by category: means over seeds, dots for seeds."""
        layer = layer or next(iter(self.views))[0]
        means = [row for row in self.means(iou_threshold) if row["layer"] == layer]
        means.sort(key=lambda row: float(row["alpha"]))
        if not means:
            raise ArgumentError(f"layer {layer!r} was not rotated, only {', '.join({key[0] for key in self.views})}")
        names = {"total": "unique", **{name: name for name in self.result.vocabulary.categories}}
        series = {name: [row[column] for row in means] for name, column in names.items()}
        alphas = [row["alpha"] for row in means]
        ax = lines(
            alphas, series, xlabel="α: from the layer's own basis to a random one", ylabel="unique detectors", ax=ax
        )
        dots = [(row["alpha"], row["unique"]) for row in self.rows(iou_threshold) if row["layer"] == layer]
        ax.plot(*zip(*dots, strict=True), linestyle="none", marker=".", markersize=4, color="0.6", zorder=1)
        ax.set_title(layer)
        return ax

    def save(self, out: str | Path, iou_threshold: float = 0.04) -> list[Path]:
        """Write rotation.csv, rotation-means.csv and, if matplotlib is installed, a figure for each layer."""
        written = [save_rows(out, "rotation", self.rows(iou_threshold))]
        written.append(save_rows(out, "rotation-means", self.means(iou_threshold)))
        folders = layer_folders(dict.fromkeys(layer for layer, _, _ in self.views))
        for layer, name in folders.items():
            draw = partial(self.plot, layer, iou_threshold=iou_threshold)
            written += save_figure(out, f"rotation-{name}", draw)
        return written


def rotate(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    alphas: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    seeds: int | Sequence[int] = 3,
    iou_threshold: float = 0.04,
    out: str | Path | None = None,
    **options: Any,
) -> Rotation:
    """Dissect layers in their own basis and in rotated bases Q^α·a, all in one forward pass.

    Q is uniform on SO(K), by seed; Q^α lies on the path from the layer's own basis (α = 0) to Q (α = 1) (spec 5). A
    rotation preserves everything that a linear read-out can tell: if it costs unique detectors, the units' own
    directions are special.

    Parameters
    ----------
    model, data, layers, options :
        as for ``dissect``, except ``transform``.
    alphas :
        how far to rotate; 0 is always included.
    seeds :
        seeds of Q: how many (0, 1, ...), or which.
    iou_threshold :
        for rotation.csv and the figures.
    out :
        folder for the dissection, rotation.csv, and figures if matplotlib is installed. With ``shard``, only the shard
        is written there: once all are, the same call without ``shard`` finishes the run.

    Raises
    ------
    ArgumentError, MissingExtra (scipy), and what ``dissect`` raises.

    Examples
    --------
    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> model, data = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), nd.Synthetic(images=8, size=32)
    >>> options = {"preprocess": nd.Preprocess(32), "progress": False}
    >>> with TemporaryDirectory() as cache:
    ...     rotation = nd.rotate(model, data, "0", alphas=[0.5], seeds=2, cache=cache, **options)
    >>> [(row["layer"], row["alpha"], row["seed"], row["units"]) for row in rotation.rows()]
    [('0', 0.0, '', 4), ('0', 0.5, 0, 4), ('0', 0.5, 1, 4)]
    """
    require("scipy.linalg", "experiments")
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    turned = [float(alpha) for alpha in alphas if alpha]
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ArgumentError(f"seeds must be one or more different, non-negative numbers; got {seeds}")
    if not np.isfinite(turned).all() or len({f"{alpha:g}" for alpha in turned}) < len(turned):
        raise ArgumentError(f"alphas must be finite and differ in their first six digits; got {alphas}")
    if "transform" in options:
        raise ArgumentError(
            "rotate() sets its own transforms: to rotate a transformed layer, use dissect(transform=...)"
        )
    names = {f"alpha {alpha:g} seed {seed}": (alpha, seed) for alpha in turned for seed in chosen}
    transforms = {"alpha 0": None, **{name: Turn(*which) for name, which in names.items()}}
    found = list(resolve_layers(model, layers))
    result = dissect(model, data, layers, transform=dict.fromkeys(found, transforms), out=out, **options)
    views: dict[tuple[str, float, int | None], str] = {}
    for layer in found:
        views[layer, 0.0, None] = f"{layer} alpha 0"
        views |= {(layer, *which): f"{layer} {name}" for name, which in names.items()}
    rotation = Rotation(result, views)
    if out is not None and result.layers and not find_ranks(options.get("group", "auto")).rank:
        rotation.save(out, iou_threshold)
    return rotation
