"""Plans of layers, from a first image through the network: units, grid, and what to do with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..errors import ArgumentError
from ..geometry.grids import Alignment, Grid, make_grid
from ..geometry.traced import Traced
from ..geometry.tracks import Unknown
from ..network.hooks import resolve_layers, views_of, watch
from ..scoring.thresholds import checked_thresholds
from ..types import Float32Array, Int64Array

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..geometry.layout import Layout
    from ..network.hooks import Tokens
    from ..network.layers import Layers
    from ..network.views import Transforms


class WatchOptions(TypedDict):
    """Arguments of ``watch`` besides model, layers and consumer."""

    transform: Transforms
    tokens: Tokens | Mapping[str, Tokens] | None


@dataclass(frozen=True)
class LayerPlan:
    """The plan for dissecting one layer."""

    name: str
    units: int
    grid: Grid
    chosen: Int64Array | None  # numbers of the requested units; None: all
    thresholds: Float32Array | None = None  # given by the user, [U]; None: found from the peaks
    layer: str = ""  # whose output, or a transform of it, this is
    layout: Layout | None = None  # how that output is cut into maps; None for parts that were saved

    @property
    def unit_numbers(self) -> Int64Array:
        """The units' numbers in the layer, int64 [U]."""
        return np.arange(self.units) if self.chosen is None else self.chosen


def plan_layers(
    model: nn.Module,
    layers: Layers,
    options: WatchOptions,
    first: Tensor,  # [1, c, H, W]; any [1, ...] if nothing is traced
    size: tuple[int, int],  # (height, width) of the picture in pixels
    alignment: Alignment,
    units: Any,
) -> dict[str, LayerPlan]:
    """Run a first input through the network; return the units, map size and grid (traced if needed) of each layer."""
    shapes: dict[str, tuple[int, ...]] = {}

    def look(name: str, maps: Tensor) -> None:
        shapes[name] = tuple(maps.shape[1:])

    # A transform mixes units and leaves positions alone, so the grid is that of the layer itself.
    with watch(model, layers, look, **options) as run:
        run.trace_within = options["transform"] is None  # a transform of the user's is not followed
        run(first)
    plans = {}
    views = views_of(options["transform"], resolve_layers(model, layers))
    for name, layer in ((name, layer) for layer, names in views.items() for name in names):
        count, height, width = shapes[name]
        layout, traced = run.layouts[layer], (run.traced or {}).get(layer)
        if isinstance(traced, Traced) and traced.layout not in (None, layout):
            traced = Unknown("", "its output is not cut into maps as the trace says")
        grid = make_grid(alignment, traced, (height, width), size, layer=name)
        chosen = None if units is None else _chosen_units(units, count, name)
        count = count if chosen is None else len(chosen)
        plans[name] = LayerPlan(name, count, grid, chosen, layer=layer, layout=layout)
    return plans


def layouts_of(plans: Mapping[str, LayerPlan]) -> dict[str, Layout]:
    """Return how the output of each layer is cut, for ``watch``."""
    return {plan.layer: plan.layout for plan in plans.values() if plan.layout is not None}


def _chosen_units(units: Any, count: int, layer: str) -> Int64Array:
    try:
        chosen: Int64Array = np.arange(count)[units].astype(np.int64).reshape(-1)
    except (IndexError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"units={units!r} does not fit layer {layer!r}, which has {count} units: {error}"
        ) from error
    if len(np.unique(chosen)) != len(chosen) or not len(chosen):
        raise ArgumentError(f"units={units!r} selects no unit, or one twice, of the {count} in layer {layer!r}")
    return chosen


def with_thresholds(plans: Mapping[str, LayerPlan], thresholds: Any) -> dict[str, LayerPlan]:
    """Return the plans with the user's thresholds: an array [U], a dict of them by layer, or None (no change)."""
    if thresholds is None:
        return dict(plans)
    if not isinstance(thresholds, Mapping):
        if len(plans) != 1:
            raise ArgumentError("with several layers, thresholds must be a dict of arrays by layer name")
        thresholds = dict.fromkeys(plans, thresholds)
    if set(thresholds) != set(plans):
        raise ArgumentError(f"thresholds are given for {sorted(thresholds)}, but the layers are {sorted(plans)}")
    return {
        name: replace(plan, thresholds=checked_thresholds(thresholds[name], plan.units)) for name, plan in plans.items()
    }
