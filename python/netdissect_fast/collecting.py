"""What a run does for each layer: looked at once to plan, then its maps collected batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .backends import Backend, NonFiniteError
from .concepts import PackedLabels
from .counts import CategoryRule, Counter
from .data.dataset import ConceptDataset
from .errors import ArgumentError
from .grids import Alignment, Grid, make_grid
from .hooks import pad_batch, resolve_layers, unwrap, watch
from .peaks import Peaks, Quantile
from .results import LayerResult
from .scoring import checked_thresholds, nonfinite, score_peaks
from .tracing import GridTracer
from .types import Int64Array

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .layers import Layers


@dataclass
class LayerPlan:
    """What a first image tells about a layer."""

    name: str
    units: int
    grid: Grid
    chosen: Int64Array | None  # numbers of the units asked for; None: all

    @property
    def unit_numbers(self) -> Int64Array:
        """The units' numbers in the layer, int64 [U]."""
        return np.arange(self.units) if self.chosen is None else self.chosen


def plan_layers(
    model: nn.Module,
    layers: Layers,
    options: dict[str, Any],
    image: Tensor,  # [1, c, H, W]
    alignment: Alignment,
    units: Any,
) -> dict[str, LayerPlan]:
    """Run one image through the network: every layer's units, map size and traced grid."""
    shapes: dict[str, tuple[int, ...]] = {}
    traced: dict[str, Any] = {}
    image = pad_batch(unwrap(model), image)
    tracer = GridTracer(image)

    def look(name: str, maps: Tensor) -> None:
        shapes[name], traced[name] = tuple(maps.shape[1:]), tracer.lookup(maps)

    # A transform mixes units and leaves positions alone, so the grid is that of the layer itself.
    with watch(model, layers, look, tokens=options["tokens"]) as run, tracer:
        run(image)
    if options["transform"] is not None:

        def reshape(name: str, maps: Tensor) -> None:
            shapes[name] = tuple(maps.shape[1:])

        with watch(model, layers, reshape, **options) as run:
            run(image)
    plans = {}
    for name in resolve_layers(model, layers):
        count, height, width = shapes[name]
        grid = make_grid(
            alignment, traced[name], (height, width), (int(image.shape[2]), int(image.shape[3])), layer=name
        )
        chosen = None if units is None else _chosen_units(units, count, name)
        plans[name] = LayerPlan(name, count if chosen is None else len(chosen), grid, chosen)
    return plans


def _chosen_units(units: Any, count: int, layer: str) -> Int64Array:
    try:
        chosen: Int64Array = np.arange(count)[units].astype(np.int64).reshape(-1)
    except (IndexError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"units={units!r} does not fit layer {layer!r}, which has {count} units: {error}"
        ) from error
    if len(np.unique(chosen)) != len(chosen) or not len(chosen):
        raise ArgumentError(f"units={units!r} chooses no unit, or one twice, of the {count} of layer {layer!r}")
    return chosen


def thresholds_by_layer(thresholds: Any, plans: Mapping[str, LayerPlan]) -> dict[str, Any]:
    """The user's thresholds, one array or a dict of them, as a checked float32 [U] for each layer; {} for None."""
    if thresholds is None:
        return {}
    if not isinstance(thresholds, Mapping):
        if len(plans) != 1:
            raise ArgumentError("with several layers, thresholds must be a dict of arrays by layer name")
        thresholds = dict.fromkeys(plans, thresholds)
    if set(thresholds) != set(plans):
        raise ArgumentError(f"thresholds are given for {sorted(thresholds)}, the layers are {sorted(plans)}")
    return {name: checked_thresholds(thresholds[name], plan.units) for name, plan in plans.items()}


@dataclass
class Collector:
    """Takes one layer's maps, batch by batch: into peaks or, where thresholds are given, into counts at once."""

    plan: LayerPlan
    labels: Callable[[], PackedLabels]  # asked at once where thresholds are given, else only for the result
    data: ConceptDataset
    backend: Backend
    quantile: Quantile
    category_rule: CategoryRule
    thresholds: Any
    peaks: Peaks = field(init=False)
    counter: Counter | None = None

    def __post_init__(self) -> None:
        self.peaks = Peaks(self.plan.units, self.plan.grid.size, len(self.data), self.quantile)
        if self.thresholds is not None:
            self.counter = Counter(
                self.thresholds, self.plan.grid, self.labels(), self.data.vocabulary, self.category_rule
            )

    def add(self, maps: Tensor, first_image: int) -> None:
        """Take in the maps [B, U, H, W] of consecutive images. ActivationError for NaN or infinity."""
        if self.plan.chosen is not None:
            maps = maps[:, self.plan.chosen.tolist()]
        with self._named():
            if self.counter is None:
                self.peaks.add(maps, first_image, self.backend)
            else:
                crops = self.backend.keep(maps, self.thresholds, first_image)
                self.counter.add(crops, first_image, first_image + len(maps), self.backend)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Give a kernel's NonFiniteError the names of layer, unit and image."""
        try:
            yield
        except NonFiniteError as error:
            if self.plan.chosen is not None:
                error.unit = int(self.plan.chosen[error.unit])
            raise nonfinite(self.plan.name, error, self.data.name(error.image)) from None

    def result(self) -> LayerResult:
        """The layer's result, once all images have been added."""
        plan, vocabulary = self.plan, self.data.vocabulary
        if self.counter is not None:
            return LayerResult(
                plan.name, self.counter.counts, self.thresholds, vocabulary, plan.grid, plan.unit_numbers
            )
        with self._named():
            self.peaks.finish()
        return score_peaks(
            self.peaks,
            plan.grid,
            self.labels(),
            vocabulary,
            name=plan.name,
            category_rule=self.category_rule,
            unit_numbers=plan.unit_numbers,
            backend=self.backend,
        )
