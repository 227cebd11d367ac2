"""Grids and axis tables: spec 1.2, its vectors, and what every table must satisfy."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from netdissect_fast.errors import ArgumentError
from netdissect_fast.geometry.grids import AxisTable, Grid, GridWarning, make_grid
from netdissect_fast.geometry.traced import Traced
from netdissect_fast.geometry.tracks import Unknown

SAMPLES = np.array([1, 2, 4, 8], np.float32)


def upsampled(table: AxisTable, samples: np.ndarray) -> np.ndarray:
    return samples[table.i0] + table.f * (samples[table.i1] - samples[table.i0])


def plain(alignment: Any, w: int, pixels: int) -> Grid:
    return make_grid(alignment, None, (w, w), (pixels, pixels))


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        ("half_pixel", [1, 1.25, 1.75, 2.5, 3.5, 5, 7, 8]),
        ("align_corners", [1, 10 / 7, 13 / 7, 18 / 7, 24 / 7, 32 / 7, 44 / 7, 8]),
    ],
)
@pytest.mark.parametrize("pixels", [8, 16, 224])
def test_upsampling_vectors(alignment: str, expected: list[float], pixels: int) -> None:
    """Neither alignment depends on the size of the network's input."""
    table = plain(alignment, 4, pixels).axis(0, 8)
    np.testing.assert_allclose(upsampled(table, SAMPLES), expected, rtol=1e-6)


def test_receptive_field_table() -> None:
    """ResNet's layer4, stride 32 and offset 0, on labels of half the input: pixel p is input pixel 2p + 0.5."""
    grid = make_grid("receptive_field", Traced((7, 7), (32, 32), (0, 0), (1, 1)), (7, 7), (224, 224))
    table = grid.axis(1, 112)
    at = table.i0 + table.f.astype(np.float64)
    np.testing.assert_allclose(at, np.clip((2 * np.arange(112) + 0.5) / 32, 0, 6), atol=2.0**-24)
    assert (table.i0[-1], table.i1[-1], table.f[-1]) == (6, 6, 0)


def test_order_of_operations() -> None:
    """The table is exactly spec 1.2's float64 formula, written out pixel by pixel."""
    grid = Grid((13, 27), (227, 229), (16.3, 8.1), (14.7, -3.3), "explicit")
    for axis, labels in ((0, 113), (1, 97)):
        table = grid.axis(axis, labels)
        for p in range(labels):
            c = (p + 0.5) * (grid.input_size[axis] / labels) - 0.5
            x = min(max((c - grid.offset[axis]) / grid.stride[axis], 0.0), grid.size[axis] - 1.0)
            i0 = math.floor(x)
            f = round((x - i0) * 2**24) / 2**24
            i0, f = (i0 + 1, 0.0) if f == 1 else (i0, f)
            assert (table.i0[p], table.i1[p], table.f[p]) == (i0, min(i0 + 1, grid.size[axis] - 1), f)


def test_a_fraction_that_rounds_to_one_moves_on() -> None:
    """x = 1 − 2⁻³⁰ is index 1, fraction 0."""
    table = Grid((3, 3), (3, 3), (1, 1), (2.0**-30, 0), "explicit").axis(0, 3)
    assert table.i0.tolist() == [0, 1, 2]
    assert table.i1.tolist() == [1, 2, 2]
    assert table.f.tolist() == [0, 0, 0]


sizes = st.integers(1, 300)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    size, pixels = (draw(sizes), draw(sizes)), (draw(sizes), draw(sizes))
    stride = st.floats(1e-3, 1e3)
    offset = st.floats(-1e4, 1e4)
    kind = draw(st.sampled_from(["half_pixel", "align_corners", "explicit"]))
    explicit = ((draw(stride), draw(stride)), (draw(offset), draw(offset)))
    return make_grid(explicit if kind == "explicit" else kind, None, size, pixels)


@given(grids(), st.integers(0, 400), st.integers(0, 1))
@example(Grid((5, 5), (9, 9), (5e-324, 1), (0, 0), "explicit"), 7, 0)
def test_tables_of_any_size(grid: Grid, labels: int, axis: int) -> None:
    table, w = grid.axis(axis, labels), grid.size[axis]
    assert (table.i0.dtype, table.i1.dtype, table.f.dtype) == (np.int32, np.int32, np.float32)
    assert len(table) == len(table.i0) == len(table.i1) == len(table.f) == labels
    assert np.all((table.i0 >= 0) & (table.i1 < w))
    np.testing.assert_array_equal(table.i1, np.minimum(table.i0 + 1, w - 1))
    assert np.all((table.f >= 0) & (table.f < 1))
    steps = table.f.astype(np.float64) * 2**24
    np.testing.assert_array_equal(steps, np.rint(steps))
    assert np.all(table.f[table.i0 == w - 1] == 0)
    assert np.all(np.diff(table.i0 + table.f.astype(np.float64)) >= 0)


@given(st.integers(1, 40), st.integers(1, 160), st.integers(1, 300))
def test_half_pixel_is_interpolate(w: int, labels: int, pixels: int) -> None:
    """half_pixel agrees with torch's interpolation, up and down (neither smooths)."""
    samples = np.random.default_rng(w).normal(size=w).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(samples)[None, None], size=labels, mode="linear", align_corners=False
    )
    ours = upsampled(plain("half_pixel", w, pixels).axis(1, labels), samples)
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=2e-5)


@given(st.integers(1, 40), st.integers(1, 160))
def test_align_corners_is_interpolate(w: int, labels: int) -> None:
    samples = np.random.default_rng(w).normal(size=w).astype(np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(samples)[None, None], size=labels, mode="linear", align_corners=True
    )
    ours = upsampled(plain("align_corners", w, 224).axis(1, labels), samples)
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-4)


@given(grids().filter(lambda grid: grid.alignment != "explicit"), st.integers(1, 99))
def test_one_value_is_constant(grid: Grid, labels: int) -> None:
    one = Grid((1, 1), grid.input_size, grid.stride, grid.offset, grid.alignment).axis(0, labels)
    assert not one.i0.any()
    assert not one.i1.any()
    assert not one.f.any()


@given(grids())
def test_json_round_trip(grid: Grid) -> None:
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


@pytest.mark.parametrize("data", [{}, {"size": 3}, {**plain("half_pixel", 2, 8).to_json(), "stride": ["a", 1]}])
def test_json_of_something_else(data: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="expected a grid"):
        Grid.from_json(data)


def test_explicit_numbers_or_pairs() -> None:
    grid = make_grid((16, 15.5), None, (13, 13), (224, 224))
    assert (grid.stride, grid.offset, grid.alignment) == ((16, 16), (15.5, 15.5), "explicit")
    pairs = make_grid(((16, 8), [1, 2]), None, (13, 13), (224, 224))
    assert (pairs.stride, pairs.offset) == ((16, 8), (1, 2))


@pytest.mark.parametrize(
    ("alignment", "words"),
    [
        ("receptive", "unknown alignment 'receptive'"),
        ("explicit", "unknown alignment 'explicit'"),
        ((0, 15), "positive"),
        ((-16, 15), "positive"),
        ((float("inf"), 15), "positive and finite"),
        ((float("nan"), 15), "positive and finite"),
        ((16, float("nan")), "offset must be finite"),
        ((16, 15, 3), r"expected alignment=\(stride, offset\)"),
        (((1, 2, 3), 4), r"expected alignment=\(stride, offset\)"),
        (("a", "b"), r"expected alignment=\(stride, offset\)"),
        (16, r"expected alignment=\(stride, offset\)"),
    ],
)
def test_bad_alignment(alignment: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        make_grid(alignment, None, (13, 13), (224, 224))


def test_bad_sizes_and_axes() -> None:
    with pytest.raises(ArgumentError, match="at least 1"):
        make_grid("half_pixel", None, (0, 3), (224, 224))
    with pytest.raises(ArgumentError, match="expected axis 0"):
        plain("half_pixel", 3, 8).axis(2, 8)
    with pytest.raises(ArgumentError, match="unknown alignment"):
        Grid((1, 1), (1, 1), (1, 1), (0, 0), "corners")


def test_untraced_layer_warns_and_names_the_operation() -> None:
    with pytest.warns(GridWarning, match=r"layer 'body\.4'.*aten::grid_sampler_2d.*half_pixel"):
        grid = make_grid("receptive_field", Unknown("aten::grid_sampler_2d"), (7, 7), (224, 224), layer="body.4")
    assert grid == plain("half_pixel", 7, 224)
    with pytest.warns(GridWarning, match=r"a map of \(7, 7\) but has the size \(14, 14\)"):
        make_grid("receptive_field", Traced((7, 7), (32, 32), (0, 0), (1, 1)), (14, 14), (224, 224))
    with pytest.warns(GridWarning, match="not traced"):
        make_grid("receptive_field", None, (14, 14), (224, 224))


def test_one_value_needs_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make_grid("receptive_field", Unknown("aten::topk"), (1, 1), (224, 224)).alignment == "half_pixel"
