"""Collectors: what a run gathers from a layer, batch by batch, and how that becomes the layer's result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..concepts import PackedLabels, Vocabulary
from ..data.dataset import ConceptDataset
from ..errors import DataError
from ..results.layer_result import LayerResult
from ..scoring.backends.base import Backend, NonFiniteError, nonfinite
from ..scoring.counts import CategoryRule, Counter, Counts, Sums, Totals, count_crops
from ..scoring.peaks import Peaks
from ..scoring.thresholds import Quantile
from ..storage import read_arrays, write_arrays
from ..types import Float32Array
from .plans import LayerPlan
from .ranks import Ranks
from .spans import Span

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Counting:
    """Inputs and settings for collecting and counting the layers of a run.

    data      images and vocabulary
    labels    waits for the packed labels of all images and returns them
    """

    data: ConceptDataset
    labels: Callable[[], PackedLabels]
    backend: Backend
    quantile: Quantile
    category_rule: CategoryRule

    @property
    def vocabulary(self) -> Vocabulary:
        """The concepts of the data set."""
        return self.data.vocabulary


class Collected(ABC):
    """Data collected from one layer on some images: peaks, or sums if thresholds were given."""

    def __init__(self, plan: LayerPlan) -> None:
        self.plan = plan

    @staticmethod
    def begin(plan: LayerPlan, counting: Counting) -> Collected:
        """Return an empty collector for a layer."""
        return _kind(plan).empty(plan, counting)

    @staticmethod
    def load(path: Path, plan: LayerPlan, span: Span) -> Collected:
        """Read what ``save`` wrote. Raises DataError if the file is missing, broken or not of these images."""
        return _kind(plan).read(path, plan, span)

    def add(self, maps: Tensor, first_image: int, counting: Counting) -> None:
        """Add the maps [B, U, H, W] of consecutive images. Raises ActivationError for NaN or infinity."""
        if self.plan.chosen is not None:
            maps = maps[:, self.plan.chosen.tolist()]
        with self._errors_named(counting.data):
            self._add(maps, first_image, counting)

    def settle(self, counting: Counting) -> None:
        """Fetch what a device still holds back. Raises ActivationError as ``add`` does."""
        with self._errors_named(counting.data):
            self._settle()

    @abstractmethod
    def compact(self) -> None:
        """Drop what the images so far have made superfluous, as is done before a checkpoint."""

    @contextmanager
    def _errors_named(self, data: ConceptDataset) -> Iterator[None]:
        """Add the names of layer, unit and image to a kernel's NonFiniteError."""
        try:
            yield
        except NonFiniteError as error:
            if self.plan.chosen is not None:
                error.unit = int(self.plan.chosen[error.unit])
            raise nonfinite(self.plan.name, error, data.name(error.image)) from None

    @classmethod
    @abstractmethod
    def empty(cls, plan: LayerPlan, counting: Counting) -> Self:
        """See ``begin``."""

    @classmethod
    @abstractmethod
    def read(cls, path: Path, plan: LayerPlan, span: Span) -> Self:
        """See ``load``."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""

    @classmethod
    @abstractmethod
    def finish(cls, parts: Sequence[Self], counting: Counting, ranks: Ranks) -> LayerResult:
        """Return the result of a layer from parts of disjoint images, here and on the other ranks.

        ``parts`` holds at least one part, and they are used up. On ranks other than 0 the result has no peaks.
        """

    @abstractmethod
    def _add(self, maps: Tensor, first_image: int, counting: Counting) -> None: ...

    @abstractmethod
    def _settle(self) -> None: ...


class CollectedPeaks(Collected):
    """Peaks, from which thresholds are found once all images have been seen."""

    def __init__(self, plan: LayerPlan, peaks: Peaks) -> None:
        super().__init__(plan)
        self.peaks = peaks

    @classmethod
    def empty(cls, plan: LayerPlan, counting: Counting) -> Self:
        """See Collected."""
        return cls(plan, Peaks(plan.units, plan.grid.size, len(counting.data), counting.quantile))

    @classmethod
    def read(cls, path: Path, plan: LayerPlan, span: Span) -> Self:
        """See Collected."""
        peaks = Peaks.load(path)
        if (peaks.units, peaks.map_size, peaks.seen) != (plan.units, plan.grid.size, [tuple(span)]):
            raise DataError(path, f"holds {peaks!r} instead of images {span} of {plan.units} units")
        return cls(plan, peaks)

    def compact(self) -> None:
        """See Collected."""
        self.peaks.compact()

    def save(self, path: Path) -> None:
        """See Collected."""
        self.peaks.save(path)

    @classmethod
    def finish(cls, parts: Sequence[Self], counting: Counting, ranks: Ranks) -> LayerResult:
        """See Collected."""
        plan, backend = parts[0].plan, counting.backend
        peaks = parts[0].peaks if len(parts) == 1 else Peaks.merge([part.peaks for part in parts])
        peaks.threads = backend.threads
        thresholds = ranks.finish(peaks)
        counts = count_crops(
            peaks.crops, thresholds, plan.grid, counting.labels(), counting.vocabulary, backend, counting.category_rule
        )
        return _result(plan, counts, thresholds, ranks.gather(peaks), counting, ranks)

    def _add(self, maps: Tensor, first_image: int, counting: Counting) -> None:
        self.peaks.add(maps, first_image, counting.backend)

    def _settle(self) -> None:
        self.peaks.settle()


class CollectedSums(Collected):
    """Sums over images at given thresholds: counted as the maps arrive, or read from a part."""

    def __init__(self, plan: LayerPlan, counted: Counter | Sums) -> None:
        super().__init__(plan)
        self._counted = counted

    @classmethod
    def empty(cls, plan: LayerPlan, counting: Counting) -> Self:
        """See Collected."""
        thresholds, rule = _given(plan), counting.category_rule
        return cls(plan, Counter(thresholds, plan.grid, counting.labels(), counting.vocabulary, rule))

    @classmethod
    def read(cls, path: Path, plan: LayerPlan, span: Span) -> Self:
        """See Collected. What the file says about labels, which older versions wrote, is not used."""
        arrays, _ = read_arrays(path)
        try:
            sums = Sums(arrays["intersection"], arrays["unit_area"])
        except KeyError as error:
            raise DataError(path, f"has no array {error}") from error
        if any(array.dtype != "int64" or (array < 0).any() for array in vars(sums).values()):
            raise DataError(path, "an area is not an integer, or is negative")
        if any(array.ndim != 2 or len(array) != plan.units for array in vars(sums).values()):
            raise DataError(path, f"does not hold the sums of {plan.units} units")
        return cls(plan, sums)

    @property
    def sums(self) -> Sums:
        """Return I and A over the images so far."""
        return self._counted.sums if isinstance(self._counted, Counter) else self._counted

    def compact(self) -> None:
        """Do nothing: sums hold nothing superfluous."""

    def save(self, path: Path) -> None:
        """See Collected."""
        write_arrays(path, dict(vars(self.sums)))

    @classmethod
    def finish(cls, parts: Sequence[Self], counting: Counting, ranks: Ranks) -> LayerResult:
        """See Collected."""
        plan, totals = parts[0].plan, Totals.of(counting.labels(), counting.vocabulary, counting.category_rule)
        counts = Counts.of(reduce(add, (part.sums for part in parts)), totals)
        return _result(plan, counts, _given(plan), None, counting, ranks)

    def _add(self, maps: Tensor, first_image: int, counting: Counting) -> None:
        counter, backend = self._counted, counting.backend
        assert isinstance(counter, Counter), "a part that was read is complete"
        crops = backend.keep(maps, counter.thresholds, first_image)
        counter.add(crops, first_image, first_image + len(maps), backend)

    def _settle(self) -> None:
        pass  # the accumulators are read when the sums are


def finish_layer(parts: Sequence[Collected], counting: Counting, ranks: Ranks) -> LayerResult:
    """Return the result of a layer; see ``Collected.finish``."""
    return type(parts[0]).finish(parts, counting, ranks)


def _kind(plan: LayerPlan) -> type[Collected]:
    return CollectedPeaks if plan.thresholds is None else CollectedSums


def _given(plan: LayerPlan) -> Float32Array:
    assert plan.thresholds is not None
    return plan.thresholds


def _result(
    plan: LayerPlan, counts: Counts, thresholds: Float32Array, peaks: Peaks | None, counting: Counting, ranks: Ranks
) -> LayerResult:
    """Return the result of a layer whose counts are still to be summed over ranks."""
    counts = replace(counts, intersection=ranks.sum(counts.intersection), unit_area=ranks.sum(counts.unit_area))
    return LayerResult(plan.name, counts, thresholds, counting.vocabulary, plan.grid, plan.unit_numbers, peaks)
