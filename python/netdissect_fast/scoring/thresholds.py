"""Thresholds: the quantile as an exact number, and the rank among a unit's activations that it stands for."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..types import Float32Array
from .crops import flush

Quantile: TypeAlias = float | str | Decimal | Fraction

_SMALLEST = Decimal("1e-30")  # quantile


def exact_quantile(quantile: Quantile) -> Fraction:
    """The quantile as the decimal number that its text shows (0.005 is 5/1000, not a binary neighbour)."""
    text = str(quantile)
    try:
        # The fraction of a decimal with a huge exponent would take for ever.
        sane = len(text) < 100 and ("/" in text or _SMALLEST < Decimal(text) < 1)
        exact = Fraction(text) if sane else Fraction(-1)
    except (ValueError, ArithmeticError):
        exact = Fraction(-1)
    if not 0 < exact < 1:
        raise ArgumentError(f"quantile must lie between 0 and 1, for example 0.005; got {quantile!r}")
    return exact


def tail_rank(quantile: Quantile, values: int) -> int:
    """The rank m = ⌊q·n⌋ + 1: the threshold is the m-th largest of n values (spec 1.1)."""
    return math.floor(exact_quantile(quantile) * values) + 1


def checked_thresholds(thresholds: Any, units: int) -> Float32Array:
    """User-given thresholds as float32 [U], flushed (spec 1.3); ArgumentError where they do not fit or are NaN."""
    values = np.asarray(thresholds, np.float32)
    if values.shape != (units,):
        raise ShapeError(f"expected one threshold a unit, shape ({units},), got {values.shape}")
    if np.isnan(values).any():
        raise ArgumentError(f"the threshold of unit {int(np.flatnonzero(np.isnan(values))[0])} is NaN")
    return flush(values)
