"""Crops: the pieces of activation maps that the masks depend on, as flat arrays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..types import Float32Array, Int32Array, Int64Array, Uint16Array

SMALLEST = np.float32(2.0**-72)
_ARRAYS = "image", "unit", "box", "values"
_CHUNK = 1 << 24  # values processed together


def flush(values: Float32Array) -> Float32Array:
    """Set values |a| < 2⁻⁷² to +0 (spec 1.3), so that flush-to-zero hardware decides every pixel the same way."""
    values = np.asarray(values, np.float32)
    return np.where(np.abs(values) < SMALLEST, np.float32(0), values)


def _room(array: Any) -> Any:
    """Return the array that owns the memory that begins with ``array``, so that it can grow in place; else a copy."""
    if array.base is None:
        return array
    base = array.base
    first = isinstance(base, np.ndarray) and base.flags.owndata and base.ctypes.data == array.ctypes.data
    return base if first and base.shape[1:] == array.shape[1:] else array.copy()


@dataclass
class Crops:
    """P crops in ascending order of (image, unit), at most one per pair.

    A crop is the bounding box, dilated by one, of the positions of one map that exceed a bound: every pixel that
    can be on has all four corner samples inside it.

    image  int32 [P]
    unit   int32 [P]
    box    uint16 [P, 4]: first row, first column, height, width on the H×W grid
    values float32 [V]: row by row, crop after crop
    """

    image: Int32Array
    unit: Int32Array
    box: Uint16Array
    values: Float32Array

    @classmethod
    def empty(cls) -> Crops:
        """Return no crops."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 4), np.uint16), np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.image)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.image.nbytes + self.unit.nbytes + self.box.nbytes + self.values.nbytes

    @property
    def arrays(self) -> tuple[Int32Array, Int32Array, Uint16Array, Float32Array]:
        """(image, unit, box, values), as the kernels take them."""
        return self.image, self.unit, self.box, self.values

    def starts(self) -> Int64Array:
        """Return where each crop's values begin, int64 [P+1]."""
        sizes = self.box[:, 2].astype(np.int64) * self.box[:, 3]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    def append(self, other: Crops) -> None:
        """Add crops of later images in place: in the room that ``truncate`` left, else growing by an eighth."""
        for name in _ARRAYS:
            mine, more = getattr(self, name), getattr(other, name)
            old, total, room = len(mine), len(mine) + len(more), _room(mine)
            if len(room) < total:
                room.resize((total + total // 8, *mine.shape[1:]), refcheck=False)
            room[old:total] = more
            setattr(self, name, room[:total])

    def truncate(self, crops: int, values: int) -> None:
        """Keep the first ``crops`` crops, ``values`` values. The memory stays for ``append``, until ``trim``."""
        self.image, self.unit, self.box = self.image[:crops], self.unit[:crops], self.box[:crops]
        self.values = self.values[:values]

    def trim(self) -> None:
        """Release the memory that no crop needs."""
        for name in _ARRAYS:
            shape, room = getattr(self, name).shape, _room(getattr(self, name))
            room.resize(shape, refcheck=False)
            setattr(self, name, room)

    def of_images(self, first: int, last: int, starts: Int64Array | None = None) -> Crops:
        """Return the crops of images ``first`` ≤ image < ``last``, as views."""
        i, j = np.searchsorted(self.image, [first, last])
        starts = self.starts() if starts is None else starts
        return Crops(self.image[i:j], self.unit[i:j], self.box[i:j], self.values[starts[i] : starts[j]])

    def ordered(self) -> Crops:
        """Return a copy in ascending order of (image, unit)."""
        return self.take(np.lexsort((self.unit, self.image)))

    def maxima(self) -> Float32Array:
        """Return the largest value of each crop, float32 [P]."""
        if not len(self):
            return np.zeros(0, np.float32)
        return np.asarray(np.maximum.reduceat(self.values, self.starts()[:-1]), np.float32)

    def above(self, bounds: Float32Array) -> tuple[Int32Array, Float32Array]:
        """Return all values above their unit's bound, float32 [V], and their units, int32 [V]."""
        starts = self.starts()
        units, values = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
        edges = np.minimum(np.searchsorted(starts, np.arange(0, starts[-1] + _CHUNK, _CHUNK)), len(self))
        for first, last in pairwise(edges):
            some = self.values[starts[first] : starts[last]]
            unit = np.repeat(self.unit[first:last], np.diff(starts[first : last + 1]))
            keep = some > bounds[unit]
            units.append(unit[keep])
            values.append(some[keep])
        return np.concatenate(units), np.concatenate(values)

    def take(self, order: Int64Array, starts: Int64Array | None = None) -> Crops:
        """Return a copy of the crops at these positions, in this order."""
        starts = self.starts() if starts is None else starts
        sizes = starts[order + 1] - starts[order]
        # Source position of every value: the start of its crop, minus where that crop lands, counted up.
        landing = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])[:-1]
        source = np.repeat(starts[order] - landing, sizes) + np.arange(sizes.sum())
        return Crops(self.image[order], self.unit[order], self.box[order], self.values[source])
