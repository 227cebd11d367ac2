"""Peaks: all that the masks of a layer depend on, kept from one pass in memory proportional to the quantile.

Let m = ⌊q·n⌋ + 1 for the n = N·H·W activations of a unit. The m-th largest value seen so far only rises and
never exceeds the final threshold T, so whatever does not exceed it can be dropped as it arrives: exact, no sketch.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .. import _core
from ..errors import ArgumentError, DataError, ShapeError, shortened
from ..storage import read_arrays, write_arrays
from ..types import Array, Float32Array, Int64Array
from .backends.base import Backend, Stage
from .backends.choice import choose
from .crops import Crops
from .thresholds import Quantile, exact_quantile, tail_rank

_GROWTH = 2.0  # the store may grow by this factor between prunings
SMALL = 1 << 20  # bytes below which pruning is not worth the time
_PIECE = 100  # pieces of a batch are at most this fraction of the images, so that bounds rise before much is kept


class Peaks:
    """The peaks of one layer's activation maps.

    units      U
    map_size   (H, W)
    images     N, of the whole data set; thresholds are available once all have been seen
    quantile   the largest that the peaks can serve
    crops      what has been kept; ``bounds`` float32 [U]: nothing above them was dropped
    seen       ranges [first, last) of the images seen, ascending
    threads    of the kernels

    ============ =============================================== =================================================
    verb         drops (neighbours of what is kept stay)         needs
    ============ =============================================== =================================================
    add          what does not exceed the bounds, which rise     images in ascending order, none twice
                 to the m-th largest so far as the store doubles
    settle       nothing: takes over what a device holds back    nothing
    compact      what the m-th largest so far rules out          nothing; no effect before m activations were seen
    raise_bounds what does not exceed the given bounds           bounds from the current ones up to T
    finish       what does not exceed T, which it returns        all images
    thresholds   nothing                                         all images; a quantile up to the peaks' own
    merge        what does not exceed the parts' largest bounds  disjoint images; same units, sizes, N and quantile
    ============ =============================================== =================================================

    >>> from netdissect_fast.scoring.backends.choice import choose
    >>> maps = np.arange(32, dtype=np.float32).reshape(2, 1, 4, 4)  # [images, units, H, W]
    >>> peaks = nd.Peaks(units=1, map_size=(4, 4), images=2, quantile="1/8")
    >>> peaks.add(maps, first_image=0, backend=choose("cpu"))
    >>> peaks.finish().tolist()  # 4 of the 32 activations exceed it
    [27.0]
    >>> peaks.crops.image.tolist(), peaks.crops.box.tolist(), peaks.crops.values.tolist()
    ([1], [[2, 0, 2, 4]], [24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0, 31.0])
    """

    def __init__(self, units: int, map_size: tuple[int, int], images: int, quantile: Quantile = 0.005) -> None:
        self.units, self.map_size, self.images = units, map_size, images
        self.quantile = exact_quantile(quantile)
        self._crops = Crops.empty()
        self.bounds: Float32Array = np.full(units, -np.inf, np.float32)
        self.seen: list[tuple[int, int]] = []
        self._prune_at = SMALL
        self.threads = 1
        self._stage: Stage | None = None
        self._by_unit: tuple[Int64Array, Int64Array, Int64Array] | None = None  # valid until the crops change

    def __repr__(self) -> str:
        return (
            f"Peaks({self.units} units of {self.map_size[0]}×{self.map_size[1]}, quantile {float(self.quantile)}, "
            f"{self.images_seen} of {self.images} images, {len(self._crops)} crops, {self.nbytes / 1e6:.1f} MB)"
        )

    @property
    def crops(self) -> Crops:
        """All that has been kept, including what a device still holds back; NonFiniteError as for ``settle``."""
        self.settle()
        return self._crops

    @crops.setter
    def crops(self, crops: Crops) -> None:
        self._crops, self._by_unit = crops, None

    @property
    def images_seen(self) -> int:
        """Number of images added."""
        return sum(last - first for first, last in self.seen)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._crops.nbytes + self.bounds.nbytes

    def add(self, maps: Any, first_image: int, backend: Backend) -> None:
        """Add the activations of consecutive images.

        maps         [B, U, H, W], NumPy or torch, float32, float16 or bfloat16
        first_image  number of the first; images must come in ascending order
        Raises ShapeError for other units or sizes, ArgumentError for images out of order, and the backend's
        NonFiniteError.
        """
        if tuple(maps.shape[1:]) != (self.units, *self.map_size):
            raise ShapeError(
                f"expected maps [B, {self.units}, {self.map_size[0]}, {self.map_size[1]}], got {list(maps.shape)}"
            )
        self._by_unit = None
        last_image = first_image + len(maps)
        self.threads = backend.threads
        if last_image > self.images or first_image < (self.seen[-1][1] if self.seen else 0):
            raise ArgumentError(
                f"images {first_image} to {last_image - 1} were already added, are out of order, "
                f"or exceed the expected {self.images}"
            )
        piece = max(1, self.images // _PIECE)
        if self._stage is None:
            self._stage = backend.stage()
        for start in range(0, len(maps), piece):
            self._crops.append(self._stage.keep(maps[start : start + piece], self.bounds, first_image + start))
            self._saw(first_image + start, min(first_image + start + piece, last_image))
            if self._crops.nbytes > self._prune_at and self._positions_seen >= self.threshold_rank:
                self._raise_bounds(self._kth_largest(self.threshold_rank))
                self._prune_at = max(SMALL, int(_GROWTH * self._crops.nbytes))

    def _saw(self, first: int, last: int) -> None:
        if self.seen and self.seen[-1][1] == first:
            first = self.seen.pop()[0]
        self.seen.append((first, last))

    @property
    def threshold_rank(self) -> int:
        """m: the thresholds are the m-th largest values (spec 1.1)."""
        return tail_rank(self.quantile, self.images * self.map_size[0] * self.map_size[1])

    @property
    def _positions_seen(self) -> int:
        return self.images_seen * self.map_size[0] * self.map_size[1]

    def _kth_largest(self, rank: int) -> Float32Array:
        return _core.kth_largest(*self._crops.arrays, self.bounds, rank, threads=self.threads)

    def _raise_bounds(self, bounds: Float32Array) -> None:
        self._by_unit = None
        self.bounds = bounds
        self._crops.truncate(*_core.prune(*self._crops.arrays, bounds, threads=self.threads))

    def settle(self) -> None:
        """Take over what a device still holds back. The backend's NonFiniteError may be raised only here."""
        if self._stage is not None:
            stage, self._stage, self._by_unit = self._stage, None, None
            self._crops.append(stage.drain())

    def thresholds(self, quantile: Quantile | None = None) -> Float32Array:
        """Return T, float32 [U]: the (⌊q·n⌋+1)-th largest activation of each unit over all images (spec 1.1).

        ``quantile``: any up to the one that the peaks were kept for (the default). Raises ArgumentError if it is
        larger, or images are missing.
        """
        self.settle()
        if self.images_seen != self.images:
            raise ArgumentError(
                f"thresholds need all {self.images} images, these peaks hold {self.images_seen}: merge the others first"
            )
        quantile = self.quantile if quantile is None else exact_quantile(quantile)
        if quantile > self.quantile:
            raise ArgumentError(
                f"these peaks were kept for quantiles up to {float(self.quantile)}, got {float(quantile)}: "
                "dissect again with the larger quantile"
            )
        return self._kth_largest(tail_rank(quantile, self.images * self.map_size[0] * self.map_size[1]))

    def finish(self) -> Float32Array:
        """Drop all that the thresholds make superfluous, and return them. All images must have been seen.

        What remains depends on the activations alone, not on batches or the order of merging.
        """
        thresholds = self.thresholds()
        self.raise_bounds(thresholds)
        return thresholds

    def raise_bounds(self, bounds: Float32Array) -> None:
        """Drop what does not exceed the new ``bounds``, float32 [U], which must be at least the current ones."""
        self.settle()
        self._raise_bounds(bounds)
        self._crops.trim()

    def compact(self) -> None:
        """Drop all that the images seen so far make superfluous."""
        self.settle()
        if self._positions_seen >= self.threshold_rank:
            self.raise_bounds(self._kth_largest(self.threshold_rank))

    @classmethod
    def merge(cls, parts: Sequence[Peaks]) -> Peaks:
        """Merge peaks of disjoint images of one layer, in any order.

        Raises ArgumentError if units, sizes, images or quantile differ, or images are duplicated.
        """
        first = parts[0]
        parts = sorted(parts, key=lambda part: part.seen[:1])  # so that the crops are usually in order already
        merged = cls(first.units, first.map_size, first.images, first.quantile)
        merged.threads = max(part.threads for part in parts)
        key = (first.units, first.map_size, first.images, first.quantile)
        for part in parts:
            if (part.units, part.map_size, part.images, part.quantile) != key:
                raise ArgumentError(f"cannot merge peaks of different runs: {first!r} and {part!r}")
        ranges = sorted(span for part in parts for span in part.seen)
        for before, after in pairwise(ranges):
            if after[0] < before[1]:
                raise ArgumentError(f"cannot merge: images {after[0]} to {min(before[1], after[1]) - 1} are duplicated")
        for span in ranges:
            merged._saw(*span)
        # Each part's bound is at most T and the part has all that exceeds it, so all above the largest one is here.
        bounds = np.max([part.bounds for part in parts], axis=0)
        arrays = zip(*(part.crops.arrays for part in parts), strict=True)
        merged.crops = Crops(*(np.concatenate(same) for same in arrays))
        if np.any(merged.crops.image[1:] < merged.crops.image[:-1]):
            merged.crops = merged.crops.ordered()
        merged.raise_bounds(bounds)
        return merged

    def count(self, unit: int) -> int:
        """Count the images in which the unit exceeds its bound somewhere."""
        return int((self.crops.unit == unit).sum())

    def of_unit(self, unit: int) -> Crops:
        """Return a copy of the unit's crops, images ascending. Raises ArgumentError for a unit that does not exist."""
        if not 0 <= unit < self.units:
            raise ArgumentError(f"unit {unit} does not exist: the layer has units 0 to {self.units - 1}")
        if self._by_unit is None:
            order = np.argsort(self.crops.unit, kind="stable")
            edges = np.searchsorted(self.crops.unit[order], np.arange(self.units + 1))
            self._by_unit = order, edges, self.crops.starts()
        order, edges, starts = self._by_unit
        return self.crops.take(order[edges[unit] : edges[unit + 1]], starts)

    def top(self, unit: int, n: int = 10) -> tuple[Int64Array, Float32Array]:
        """Return the images with the unit's highest activations: their numbers and maxima, descending.

        Ties go to the smaller number. At most as many as exceed the threshold.
        """
        mine = self.of_unit(unit)
        maxima, images = mine.maxima(), mine.image.astype(np.int64)
        order = np.lexsort((images, -maxima))[:n]
        return images[order], maxima[order]

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        image, unit, box, values = self.crops.arrays
        arrays: dict[str, Array] = {
            "image": image,
            "unit": unit,
            "box": box,
            "values": values,
            "bounds": self.bounds,
        }
        seen = np.array(self.seen, np.int64).reshape(-1, 2)
        sizes = np.array([self.units, *self.map_size, self.images], np.int64)
        write_arrays(path, {**arrays, "seen": seen, "sizes": sizes}, {"quantile": str(self.quantile)})

    @classmethod
    def load(cls, path: Path) -> Peaks:
        """Read what ``save`` wrote. Raises DataError if the file is missing, broken or inconsistent."""
        arrays, metadata = read_arrays(path)
        try:
            units, height, width, images = (int(size) for size in arrays["sizes"])
            if arrays["bounds"].shape != (units,):
                raise ValueError("one bound per unit is needed")
            numerator, denominator = (int(part) for part in metadata["quantile"].split("/"))
            peaks = cls(units, (height, width), images, Fraction(numerator, denominator))
            peaks.bounds = arrays["bounds"]
            # Copies own their memory, so that these peaks too can grow and shrink in place.
            peaks.crops = Crops(*(arrays.pop(name).copy() for name in ("image", "unit", "box", "values")))
            peaks._check(arrays["seen"])
            for first, last in arrays["seen"]:
                peaks._saw(int(first), int(last))
        except (KeyError, ValueError, TypeError, ArithmeticError) as error:
            raise DataError(path, f"does not hold the peaks of a layer: {shortened(error)}") from error
        return peaks

    def _check(self, seen: Int64Array) -> None:
        """Raise ValueError or TypeError unless the arrays are consistent, so that no kernel reads out of bounds."""
        self._kth_largest(1)  # checks dtypes, units and sizes
        if not (0 <= min(self.map_size) <= max(self.map_size) < 2**16 and 0 <= self.images < 2**31):
            raise ValueError(f"{self.images} images of {self.map_size[0]}×{self.map_size[1]} are impossible")
        edges = seen.reshape(-1)
        if seen.dtype != np.int64 or seen.ndim != 2 or seen.shape[1] != 2 or np.any(edges[1:] < edges[:-1]):
            raise ValueError("the images seen are not ascending ranges")
        if len(edges) and (edges[0] < 0 or edges[-1] > self.images):
            raise ValueError("some of the images seen do not exist")
        if np.isnan(self.bounds).any() or not np.isfinite(self.crops.values).all():
            raise ValueError("a bound is NaN, or a value is NaN or infinite")
        box = self.crops.box.astype(np.int64)
        if len(box) and np.any(box[:, :2] + box[:, 2:] > self.map_size):
            raise ValueError("a crop leaves the activation grid")
        image = self.crops.image
        if np.any(np.searchsorted(seen[:, 0], image, "right") == np.searchsorted(seen[:, 1], image, "right")):
            raise ValueError("a crop belongs to an image that was not seen")
        key = image.astype(np.int64) * self.units + self.crops.unit
        if np.any(np.diff(key) <= 0):
            raise ValueError("crops are not in ascending order of image, then unit")


def peaks_of(maps: Any, quantile: Quantile = 0.005, backend: Backend | None = None) -> Peaks:
    """Return the finished peaks of the activations of all images, [N, U, H, W]."""
    peaks = Peaks(int(maps.shape[1]), (int(maps.shape[2]), int(maps.shape[3])), len(maps), quantile)
    peaks.add(maps, 0, backend or choose())
    peaks.finish()
    return peaks
