"""What lets the compiled count look at tiles instead of pixels: interpolation never exceeds both of its samples."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.scoring.crops import flush

HUGE = 2.0**126
LARGEST = np.nextafter(np.float32(1), np.float32(0))

samples = st.floats(-HUGE, HUGE, width=32, exclude_min=True, exclude_max=True)


def lerp(a: np.ndarray, b: np.ndarray, f: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return a + f * (b - a)


@given(samples, samples, st.one_of(st.just(float(LARGEST)), st.floats(0, float(LARGEST), width=32)))
def test_never_above_both_samples(a: float, b: float, f: float) -> None:
    low, high = flush(np.array([a, b], np.float32))
    assert lerp(low, high, np.float32(f)) <= max(low, high)


def test_never_above_both_samples_nearby() -> None:
    """The hard cases: neighbours of powers of two, a few steps apart."""
    powers = np.array([1, 2, 3, 0.5], np.float32)
    steps = np.arange(-40, 41, dtype=np.int32)
    near = (powers.view(np.int32)[:, None] + steps).astype(np.int32).view(np.float32).reshape(-1)
    values = np.concatenate([near, -near, np.float32(2.0**-24) * near, np.zeros(1, np.float32)])
    a, b = np.meshgrid(values, values)
    for f in (LARGEST, np.nextafter(LARGEST, np.float32(0)), np.float32(0.5), np.float32(2.0**-24)):
        assert (lerp(a, b, f) <= np.maximum(a, b)).all()
