"""The strongest simple baseline: one loop in numba that upsamples active maps and counts as it goes."""

from __future__ import annotations

import numba
import numpy as np

from .baselines import Task

_TOGETHER = 64  # units, side by side in memory


@numba.njit(cache=True)
def _count(map_, t, y, fy, x, fx, labels, layers, intersection):
    """Add an active map's pixels to its unit's intersections; gives the mask's area."""
    height, width = map_.shape
    row = np.empty(width, np.float32)
    area = 0
    for cell in range(height):
        above, below = map_[cell], map_[min(cell + 1, height - 1)]
        near = False
        for i in range(width):
            near |= (above[i] > t) | (below[i] > t)
        if not near:
            continue
        for py in range(y[cell], y[cell + 1]):
            for i in range(width):
                row[i] = above[i] + fy[py] * (below[i] - above[i])
            for i in range(width):
                left, right = row[i], row[min(i + 1, width - 1)]
                if not (left > t or right > t):
                    continue
                for px in range(x[i], x[i + 1]):
                    if left + fx[px] * (right - left) > t:
                        area += 1
                        first = (py * len(fx) + px) * layers
                        for layer in range(first, first + layers):
                            intersection[labels[layer]] += 1
    return area


@numba.njit(parallel=True, cache=True)
def _fused(maps, thresholds, y, fy, x, fx, labels, label_start, whole, whole_start, present, intersection, unit_area):
    images, units = maps.shape[:2]
    for block in numba.prange((units + _TOGETHER - 1) // _TOGETHER):
        for image in range(images):
            here = labels[label_start[image] : label_start[image + 1]]
            layers = len(here) // (len(fy) * len(fx))
            for unit in range(_TOGETHER * block, min(units, _TOGETHER * (block + 1))):
                active = False
                for value in maps[image, unit].ravel():
                    active |= value > thresholds[unit]
                if not active:
                    continue
                area = _count(maps[image, unit], thresholds[unit], y, fy, x, fx, here, layers, intersection[unit])
                for i in range(whole_start[image], whole_start[image + 1]):
                    intersection[unit, whole[i]] += area
                for category in range(present.shape[1]):
                    unit_area[unit, category] += area * present[image, category]


def numba_fused(task: Task):
    """A function that counts the task once; compiled at its first call. Labels lie pixel by pixel, layers innermost."""
    work = task.work
    axes = []
    for axis in (0, 1):
        table = work.grid.axis(axis, work.label_shape[axis])
        axes += [np.searchsorted(table.i0, np.arange(work.grid.size[axis] + 1)), table.f]
    flat = [maps.T.ravel() for maps in task.maps]
    whole = [np.array(image.whole, np.int64) for image in work.images]

    def starts(arrays):
        return np.cumsum([0, *map(len, arrays)])

    forms = np.concatenate(flat), starts(flat), np.concatenate(whole), starts(whole), task.present
    return lambda: _fused(work.maps, work.thresholds, *axes, *forms, task.intersection, task.unit_area)
