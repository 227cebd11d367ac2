"""A layer's maps, batch by batch, into peaks or counts; and those of all images into the layer's result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from ..concepts import PackedLabels, Vocabulary
from ..data.dataset import ConceptDataset
from ..results.layer_result import LayerResult
from ..scoring.backends.base import Backend, NonFiniteError, nonfinite
from ..scoring.counts import CategoryRule, Counter, Counts
from ..scoring.peaks import Peaks
from ..scoring.thresholds import Quantile
from .plans import LayerPlan
from .ranks import Ranks

if TYPE_CHECKING:
    from torch import Tensor

State: TypeAlias = Peaks | Counts  # what has been collected of a layer: peaks, or counts where thresholds were given


@dataclass
class Collector:
    """Takes one layer's maps, batch by batch: into peaks or, where thresholds are given, into counts at once."""

    plan: LayerPlan
    labels: Callable[[], PackedLabels]  # asked only where thresholds are given
    data: ConceptDataset
    backend: Backend
    quantile: Quantile
    category_rule: CategoryRule
    peaks: Peaks = field(init=False)
    counter: Counter | None = None

    def __post_init__(self) -> None:
        self.peaks = Peaks(self.plan.units, self.plan.grid.size, len(self.data), self.quantile)
        if self.plan.thresholds is not None:
            self.counter = Counter(
                self.plan.thresholds, self.plan.grid, self.labels(), self.data.vocabulary, self.category_rule
            )

    def add(self, maps: Tensor, first_image: int) -> None:
        """Take in the maps [B, U, H, W] of consecutive images. ActivationError for NaN or infinity."""
        if self.plan.chosen is not None:
            maps = maps[:, self.plan.chosen.tolist()]
        with self._named():
            if self.counter is None:
                self.peaks.add(maps, first_image, self.backend)
            else:
                crops = self.backend.keep(maps, self.counter.thresholds, first_image)
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

    def state(self) -> State:
        """What has been collected; more may be added afterwards. ActivationError as for ``add``."""
        if self.counter is not None:
            return self.counter.counts
        with self._named():
            self.peaks.settle()
        return self.peaks


def finish_layer(
    plan: LayerPlan,
    states: Sequence[State],
    labels: PackedLabels,
    vocabulary: Vocabulary,
    category_rule: CategoryRule,
    backend: Backend,
    ranks: Ranks,
) -> LayerResult:
    """The layer's result from what was collected of disjoint images, here and on the other ranks.

    ``states`` are at least one, and used up. On ranks other than 0 the result has no peaks.
    """
    peaks, thresholds = None, plan.thresholds
    if thresholds is None:
        parts = [state for state in states if isinstance(state, Peaks)]
        peaks = parts[0] if len(parts) == 1 else Peaks.merge(parts)
        peaks.threads = backend.threads
        thresholds = ranks.finish(peaks)
    counter = Counter(thresholds, plan.grid, labels, vocabulary, category_rule)
    if peaks is not None:
        counter.add(peaks.crops, 0, peaks.images, backend)
        peaks = ranks.gather(peaks)
    counts = counter.counts
    for state in states:
        if isinstance(state, Counts):
            counts.intersection += state.intersection
            counts.unit_area += state.unit_area
    counts.intersection, counts.unit_area = ranks.sum(counts.intersection), ranks.sum(counts.unit_area)
    return LayerResult(plan.name, counts, thresholds, vocabulary, plan.grid, plan.unit_numbers, peaks)
