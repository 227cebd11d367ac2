"""Thresholds: a quantile as an exact number, its rank, and the value of that rank over several processes.

In a single process ``Peaks.thresholds`` takes the value from the compiled core (csrc/order.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..types import Float32Array, Int32Array, Int64Array, Uint32Array
from .crops import flush

_CHUNK = 1 << 24  # values processed together; their indices need 8 bytes each

Quantile: TypeAlias = float | str | Decimal | Fraction

_SMALLEST = Decimal("1e-30")  # quantile


def exact_quantile(quantile: Quantile) -> Fraction:
    """Return the quantile as the decimal number that its text shows (0.005 is 5/1000, not a binary neighbour)."""
    text = str(quantile)
    try:
        # Converting a decimal with a huge exponent would take forever.
        sane = len(text) < 100 and ("/" in text or _SMALLEST < Decimal(text) < 1)
        exact = Fraction(text) if sane else Fraction(-1)
    except (ValueError, ArithmeticError):
        exact = Fraction(-1)
    if not 0 < exact < 1:
        raise ArgumentError(f"quantile must lie between 0 and 1, for example 0.005; got {quantile!r}")
    return exact


def tail_rank(quantile: Quantile, values: int) -> int:
    """Return the rank m = ⌊q·n⌋ + 1: the threshold is the m-th largest of n values (spec 1.1)."""
    return math.floor(exact_quantile(quantile) * values) + 1


def checked_thresholds(thresholds: Any, units: int) -> Float32Array:
    """Return the user's thresholds as flushed float32 [U] (spec 1.3). ArgumentError if they do not fit or are NaN."""
    values = np.asarray(thresholds, np.float32)
    if values.shape != (units,):
        raise ShapeError(f"expected one threshold per unit, shape ({units},), got {values.shape}")
    if np.isnan(values).any():
        raise ArgumentError(f"the threshold of unit {int(np.flatnonzero(np.isnan(values))[0])} is NaN")
    return flush(values)


def kth_largest_over_ranks(
    unit: Int32Array,
    values: Float32Array,
    bounds: Float32Array,
    rank: int,
    total: Callable[[Int64Array], Int64Array],
) -> Float32Array:
    """Return the ``rank``-th largest value of each unit over several processes, exactly, float32 [U].

    unit, values  int32 and float32 [V]: the values of this process that exceed their unit's bound, and their units
    bounds        float32 [U], the same in all processes; returned where fewer than ``rank`` values exceed them
    total         sums an int64 array over all processes

    Works digit by digit, counting the values that share the leading bits found so far: four rounds of [U, 256] sums.
    """
    key = _key(values)
    wanted = np.full(len(bounds), rank, np.int64)  # T's rank among the values that share its bits
    prefix = np.zeros(len(bounds), np.uint32)
    enough = np.ones(len(bounds), bool)
    for shift in (24, 16, 8, 0):
        found = total(_histogram(unit, key, prefix, shift, len(bounds)))
        at_least = found[:, ::-1].cumsum(axis=1)[:, ::-1]
        if shift == 24:
            enough = at_least[:, 0] >= wanted
        digit = np.maximum((at_least >= wanted[:, None]).sum(axis=1) - 1, 0)
        wanted -= np.take_along_axis(at_least - found, digit[:, None], axis=1)[:, 0]
        prefix |= digit.astype(np.uint32) << np.uint32(shift)
    return np.where(enough, _from_key(prefix), bounds)


def _key(values: Float32Array) -> Uint32Array:
    """Return bits that ascend with the values."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _from_key(key: Uint32Array) -> Float32Array:
    return np.where(key >> 31, key & np.uint32((1 << 31) - 1), ~key).view(np.float32)


def _histogram(unit: Int32Array, key: Uint32Array, prefix: Uint32Array, shift: int, units: int) -> Int64Array:
    """Count the values that share their unit's leading bits, by their next eight bits; int64 [U, 256]."""
    found = np.zeros(units * 256, np.int64)
    for start in range(0, len(key), _CHUNK):
        u, k = unit[start : start + _CHUNK], key[start : start + _CHUNK]
        if shift < 24:
            same = (k ^ prefix[u]) >> np.uint32(shift + 8) == 0
            u, k = u[same], k[same]
        digit = (k >> np.uint32(shift)) & np.uint32(255)
        found += np.bincount(u.astype(np.int64) * 256 + digit, minlength=units * 256)
    return found.reshape(units, 256)
