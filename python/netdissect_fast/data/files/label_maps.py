"""Label maps: their size, resizing them, and storing overlapping masks in few of them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from ...errors import ArgumentError
from ...types import Array, BoolArray, Int32Array
from .pictures import SIZES, possible_size

LabelSize: TypeAlias = int | tuple[int, int] | None  # pixels on a side, or (Y, X); None: the size of the masks


def checked_label_size(size: LabelSize) -> tuple[int, int] | None:
    """Return ``label_size=`` of a data set as (Y, X); None for None. ArgumentError if it is not a size."""
    if size is None:
        return None
    try:
        height, width = (size, size) if not isinstance(size, tuple | list) else size
        height, width = operator.index(height), operator.index(width)
    except (TypeError, ValueError):
        height, width = 0, 0
    if not possible_size(height, width):
        raise ArgumentError(f"label_size must be a number of pixels, (Y, X) or None: {SIZES}; got {size!r}")
    return height, width


def resized(labels: Array, size: tuple[int, int] | None) -> Array:
    """Return labels [..., H, W] at ``size`` (Y, X): each pixel gets the label at its centre. None: unchanged."""
    if size is None or labels.shape[-2:] == size:
        return labels
    rows, columns = (
        ((2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new))
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return np.ascontiguousarray(labels[..., rows[:, None], columns])


def layered(masks: Iterable[tuple[int, BoolArray]], size: tuple[int, int]) -> Int32Array:
    """Return label maps int32 [L, Y, X] of concept numbers, from (number, mask [Y, X]): L > 1 only if masks overlap."""
    layers: list[Int32Array] = []
    for number, mask in masks:
        for layer in layers:
            under = layer[mask]
            if not np.any((under != 0) & (under != number)):
                break
        else:
            layers.append(layer := np.zeros(size, np.int32))
        layer[mask] = number
    return np.stack(layers) if layers else np.zeros((0, *size), np.int32)
