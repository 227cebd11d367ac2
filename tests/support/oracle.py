"""spec 1, steps 1 to 9, once more: plain loops over ints and np.float32, sharing no code with the package.

Slow on purpose; for tiny cases. Images are nested lists or arrays; labels of an image are (list of label maps, set of
whole-image numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

F = np.float32
Table = list[tuple[int, int, np.float32]]
Labels = tuple[list[list[list[int]]], set[int]]


def axis_table(pixels: int, features: int, size: int, stride: float, offset: float) -> Table:
    """spec 1.2: (i0, i1, f) of every label pixel, from a stride and offset in pixels of an input of ``size``."""
    table = []
    for p in range(pixels):
        c = (p + 0.5) * (size / pixels) - 0.5
        table.append(_entry(min(max((c - offset) / stride, 0.0), features - 1.0), features))
    return table


def corner_table(pixels: int, features: int) -> Table:
    """spec 1.2, align_corners."""
    return [_entry(p * (features - 1) / (pixels - 1) if pixels > 1 else 0.0, features) for p in range(pixels)]


def _entry(x: float, features: int) -> tuple[int, int, np.float32]:
    i0 = math.floor(x)
    f = round((x - i0) * 2**24) / 2**24  # round() takes halves to even, as rint does
    if f == 1:
        i0, f = i0 + 1, 0.0
    return i0, min(i0 + 1, features - 1), F(f)


def flushed(value: float) -> np.float32:
    value = F(value)
    return F(0) if abs(value) < F(2.0**-72) else value


def threshold(values: list[np.float32], quantile: Fraction) -> np.float32:
    """spec 1.1 as its first sentence has it: the smallest t with at most ⌊q·n⌋ values above it."""
    allowed = math.floor(quantile * len(values))
    return min(t for t in values if sum(v > t for v in values) <= allowed)


@dataclass
class Found:
    thresholds: list[np.float32]
    intersection: dict[tuple[int, int], int] = field(default_factory=dict)  # (unit, concept number)
    unit_area: dict[tuple[int, int], int] = field(default_factory=dict)  # (unit, category)
    concept_area: dict[int, int] = field(default_factory=dict)
    iou: dict[tuple[int, int], float] = field(default_factory=dict)
    best: list[list[tuple[int | None, float]]] = field(default_factory=list)  # [unit][category]
    top: list[tuple[int | None, int | None, float]] = field(default_factory=list)  # category, number, IoU


def mask(map_: list[list[np.float32]], t: np.float32, y: Table, x: Table) -> list[list[bool]]:
    """spec 1.3: S > T and a corner > T."""
    rows = []
    with np.errstate(all="ignore"):
        for y0, y1, fy in y:
            row = []
            for x0, x1, fx in x:
                a00, a01, a10, a11 = map_[y0][x0], map_[y0][x1], map_[y1][x0], map_[y1][x1]
                top = F(a00 + F(fx * F(a01 - a00)))
                bot = F(a10 + F(fx * F(a11 - a10)))
                s = F(top + F(fy * F(bot - top)))
                row.append(bool(s > t) and any(a > t for a in (a00, a01, a10, a11)))
            rows.append(row)
    return rows


def dissect(
    acts: np.ndarray,  # [N, U, H, W]
    labels: list[Labels],
    category: dict[int, int],  # concept number → primary category; −1: none
    categories: int,
    axes: tuple[Table, Table],
    quantile: Fraction,
    given: list[float] | None = None,  # thresholds
    image_rule: bool = True,
) -> Found:
    images, units = acts.shape[:2]
    y, x = axes
    maps = [[[[flushed(v) for v in row] for row in acts[i, k]] for k in range(units)] for i in range(images)]
    found = Found(
        [flushed(t) for t in given]
        if given is not None
        else [threshold([v for i in range(images) for row in maps[i][k] for v in row], quantile) for k in range(units)]
    )
    numbers = sorted(category)
    found.intersection = {(k, n): 0 for k in range(units) for n in numbers}
    found.unit_area = {(k, c): 0 for k in range(units) for c in range(categories)}
    found.concept_area = dict.fromkeys(numbers, 0)
    for i, (planes, whole) in enumerate(labels):
        carried = {}
        for n in numbers:
            carried[n] = [
                [n in whole or any(plane[py][px] == n for plane in planes) for px in range(len(x))]
                for py in range(len(y))
            ]
            found.concept_area[n] += sum(map(sum, carried[n]))
        there = {category[n] for n in numbers if n in whole or any(map(any, carried[n]))}
        for k in range(units):
            on = mask(maps[i][k], found.thresholds[k], y, x)
            for n in numbers:
                found.intersection[k, n] += sum(
                    on[py][px] and carried[n][py][px] for py in range(len(y)) for px in range(len(x))
                )
            for c in range(categories):
                if c in there or not image_rule:
                    found.unit_area[k, c] += sum(map(sum, on))
    for k in range(units):
        for n in numbers:
            if category[n] < 0:  # no image carries its category
                found.iou[k, n] = 0.0
                continue
            union = found.unit_area[k, category[n]] + found.concept_area[n] - found.intersection[k, n]
            found.iou[k, n] = found.intersection[k, n] / union if union else 0.0
        _label(found, k, numbers, category, categories)
    return found


def _label(found: Found, unit: int, numbers: list[int], category: dict[int, int], categories: int) -> None:
    """spec 1.8: per category, then overall; the first of equals wins."""
    best: list[tuple[int | None, float]] = []
    top: tuple[int | None, int | None, float] = (None, None, 0.0)
    for c in range(categories):
        name, score = None, 0.0
        for n in numbers:
            if category[n] == c and found.iou[unit, n] > score:
                name, score = n, found.iou[unit, n]
        best.append((name, score))
        if score > top[2]:
            top = (c, name, score)
    found.best.append(best)
    found.top.append(top)
