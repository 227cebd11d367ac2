"""The result of one layer: its counts, thresholds and peaks, and all that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..concepts import Vocabulary
from ..errors import ArgumentError, DataError
from ..geometry.grids import Grid
from ..scoring.counts import Counts
from ..scoring.crops import flush
from ..scoring.detectors import CountRule
from ..scoring.peaks import Peaks
from ..scoring.unit_labels import UnitLabels
from ..storage import read_arrays, remove_file, write_arrays, write_text
from ..types import Array, Float32Array, Float64Array, Int64Array
from .null import Null
from .tables import UnitRow, UnitTable


@dataclass
class LayerResult:
    """One dissected layer.

    name        of the layer, as requested
    counts      I, A, G (spec 1.6)
    thresholds  T, float32 [U]
    vocabulary  the C concepts
    grid        where the layer's H×W positions lie on the network's input
    unit_numbers int64 [U]: the units' numbers in the layer, 0, 1, ... unless a subset was requested
    peaks       what further questions are answered from; None if thresholds were given
    null        how high units score by chance, once computed (``nd.null``)

    >>> maps = np.array([[[[4, 0], [0, 0]]], [[[0, 0], [0, 3]]]], np.float32)  # [images, units, H, W]
    >>> labels = np.array([[[7, 0], [0, 0]], [[0, 0], [9, 7]]])  # [images, Y, X], concept numbers
    >>> layer = nd.score(maps, labels, quantile="1/4", name="conv1")
    >>> layer
    LayerResult('conv1': 1 units of 2×2, 1 detectors of 1 concepts)
    >>> layer.units()[0].label, layer.iou.tolist()
    ('7', [[1.0, 0.0]])
    >>> layer.unique_detectors()
    {'concept': 1}
    >>> images, maxima = layer.top(unit=0, n=10)
    >>> images.tolist(), maxima.tolist()
    ([0, 1], [4.0, 3.0])
    """

    name: str
    counts: Counts
    thresholds: Float32Array
    vocabulary: Vocabulary
    grid: Grid
    unit_numbers: Int64Array
    peaks: Peaks | None = None
    null: Null | None = None
    _table: tuple[Null | None, UnitTable] | None = field(default=None, init=False, repr=False)

    def __repr__(self) -> str:
        return (
            f"LayerResult({self.name!r}: {len(self.thresholds)} units of {self.grid.size[0]}×{self.grid.size[1]}, "
            f"{sum(self.detectors().values())} detectors of {sum(self.unique_detectors().values())} concepts)"
        )

    @cached_property
    def iou(self) -> Float64Array:
        """IoU of every unit with every concept, float64 [U, C] (spec 1.7)."""
        return self.counts.iou(self.vocabulary)

    @cached_property
    def chance(self) -> Float64Array:
        """IoU expected of a random mask as large as the unit's, float64 [U, C] (spec 1.10)."""
        return self.counts.chance(self.vocabulary)

    @cached_property
    def labels(self) -> UnitLabels:
        """The best concept of each unit in each category (spec 1.8)."""
        return UnitLabels.of(self.iou, self.vocabulary)

    @property
    def table(self) -> UnitTable:
        """The best concepts of each unit with their areas: the content of result.csv."""
        if self._table is None or self._table[0] is not self.null:
            self._table = self.null, UnitTable.of(self)
        return self._table[1]

    def units(self, iou_threshold: float = 0.04) -> list[UnitRow]:
        """Return one row per unit, in the order of units: label, category, IoU, chance level, threshold, detector."""
        return self.table.rows(iou_threshold)

    def to_pandas(self) -> Any:
        """Return the columns of result.csv as a pandas.DataFrame, in the order of units, which count from 0 here."""
        return self.table.to_pandas()

    def detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> dict[str, int]:
        """Count the units that detect a concept (IoU above the threshold), by category (spec 1.9).

        ``count``: "top_label" counts a unit once, for its overall label; "per_category" once in every
        category whose best label exceeds the threshold, as the paper's published totals do.
        """
        return self.table.detectors(iou_threshold, count)

    def unique_detectors(self, iou_threshold: float = 0.04, count: CountRule = "top_label") -> dict[str, int]:
        """Count the distinct concepts that are detected, by category (spec 1.9); arguments as for ``detectors``."""
        return self.table.unique_detectors(iou_threshold, count)

    def top(self, unit: int, n: int = 10) -> tuple[Int64Array, Float32Array]:
        """Return the images on which the unit (0-based position) is highest: their indices and maxima, descending.

        At most as many as exceed its threshold. Raises ArgumentError if no peaks were kept.
        """
        images, maxima = self.require_peaks().top(unit, n)
        above = maxima > self.thresholds[unit]  # the peaks may serve a larger quantile
        return images[above], maxima[above]

    def require_peaks(self) -> Peaks:
        """Return the peaks, or raise an ArgumentError that says why there are none."""
        if self.peaks is None:
            raise ArgumentError(f"layer {self.name!r} has no peaks: thresholds were given, so none were kept")
        return self.peaks

    def save(self, folder: Path) -> None:
        """Write result.csv, counts.safetensors and peaks/peaks.safetensors; each file is replaced as a whole."""
        arrays: dict[str, Array] = {
            "intersection": self.counts.intersection,
            "unit_area": self.counts.unit_area,
            "concept_area": self.counts.concept_area,
            "pixels": self.counts.pixels,
            "thresholds": self.thresholds,
            "unit_numbers": self.unit_numbers,
        }
        write_arrays(folder / "counts.safetensors", arrays)
        peaks_path = folder / "peaks" / "peaks.safetensors"
        if self.peaks is not None:
            self.peaks.save(peaks_path)
        else:
            remove_file(peaks_path)  # of an earlier result
        self.save_null(folder)

    def save_null(self, folder: Path) -> None:
        """Write null.safetensors, if there is a null, and result.csv, whose last columns follow from it."""
        if self.null is not None:
            self.null.save(folder / "null.safetensors")
        else:
            remove_file(folder / "null.safetensors")  # of an earlier result
        write_text(folder / "result.csv", self.table.to_csv())

    @classmethod
    def load(cls, folder: Path, name: str, vocabulary: Vocabulary, grid: Grid) -> LayerResult:
        """Read what ``save`` wrote. Raises DataError if files are missing, broken or inconsistent."""
        path = folder / "counts.safetensors"
        arrays, _ = read_arrays(path)
        try:
            counts = Counts(*(arrays[k] for k in ("intersection", "unit_area", "concept_area", "pixels")))
            thresholds, numbers = arrays["thresholds"], arrays["unit_numbers"]
        except KeyError as error:
            raise DataError(path, f"has no array {error}") from error
        units, categories = thresholds.size, len(vocabulary.categories)
        shapes = [(units, len(vocabulary)), (units, categories), (len(vocabulary),), (categories,), (units,), (units,)]
        dtypes = [np.int64] * 5 + [np.float32]
        for array, shape, dtype in zip([*vars(counts).values(), numbers, thresholds], shapes, dtypes, strict=True):
            if array.shape != shape or array.dtype != dtype:
                raise DataError(path, f"expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")
        if np.isnan(thresholds).any() or np.any(numbers < 0):
            raise DataError(path, "a threshold is NaN or a unit number is negative")
        if not counts.consistent(vocabulary):
            raise DataError(path, "an area is negative or larger than what contains it")
        peaks_path = folder / "peaks" / "peaks.safetensors"
        there = peaks_path.exists() or peaks_path.is_symlink()  # a link to nowhere is an error, not an absence
        peaks = Peaks.load(peaks_path) if there else None
        if peaks is not None and (peaks.units != units or peaks.map_size != grid.size):
            raise DataError(peaks_path, f"holds {peaks!r}, but the layer has {units} units of {grid.size}")
        null_path = folder / "null.safetensors"
        null = Null.load(null_path, units) if null_path.exists() or null_path.is_symlink() else None
        return cls(name, counts, flush(thresholds), vocabulary, grid, numbers, peaks, null)
