"""Rotations are what spec 5 says; layers in rotated bases are what dissect() makes of each basis alone."""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError, LayerError, MissingExtra
from netdissect_fast.experiments.orthogonal import Turn, random_rotation, rotation_power

from ..support.networks import two_layers
from ..support.run_folders import contents
from ..support.small_results import assert_same_layer
from .conftest import DATA

OPTIONS: dict[str, Any] = {"quantile": "0.05", "batch_size": 8, "progress": False}


def planted(angles: list[float], ones: int, minus_ones: int, seed: int) -> np.ndarray:
    """An orthogonal matrix with these angles of planes and so many eigenvalues 1 and −1, in a random basis."""
    blocks = np.diag([1.0] * (2 * len(angles) + ones) + [-1.0] * minus_ones)
    for plane, angle in enumerate(angles):
        cos, sin = math.cos(angle), math.sin(angle)
        blocks[2 * plane : 2 * plane + 2, 2 * plane : 2 * plane + 2] = [[cos, -sin], [sin, cos]]
    basis = random_rotation(len(blocks), seed)
    return basis @ blocks @ basis.T


def check_powers(rotation: np.ndarray) -> None:
    """spec 5."""
    one, close = np.eye(len(rotation)), {"atol": 1e-10 * len(rotation), "rtol": 0}
    np.testing.assert_allclose(rotation_power(rotation, 0), one, **close)
    np.testing.assert_allclose(rotation_power(rotation, 1), rotation, **close)
    half = rotation_power(rotation, 0.5)
    np.testing.assert_allclose(half @ half, rotation, **close)
    np.testing.assert_allclose(half @ rotation_power(rotation, 0.25), rotation_power(rotation, 0.75), **close)
    for alpha in (0.1, 0.5, 1):
        power = rotation_power(rotation, alpha)
        np.testing.assert_allclose(power @ power.T, one, **close)
        assert np.linalg.slogdet(power)[0] == 1


@given(st.one_of(st.integers(1, 9), st.sampled_from([16, 33, 64])), st.integers(0, 2**32))
def test_powers_of_random_rotations(units: int, seed: int) -> None:
    check_powers(random_rotation(units, seed))


@given(
    st.lists(st.one_of(st.floats(-math.pi, math.pi), st.sampled_from([0.0, 1e-9, math.pi - 1e-9])), max_size=4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_powers_with_real_eigenvalues(angles: list[float], ones: int, pairs: int, seed: int) -> None:
    if angles or ones or pairs:
        check_powers(planted(angles, ones, 2 * pairs, seed))


@pytest.mark.parametrize("angle", [0.3, -0.3, 3.0, -3.0])
def test_the_sign_of_an_angle(angle: float) -> None:
    expected = planted([angle / 3], 0, 0, 0)
    np.testing.assert_allclose(rotation_power(planted([angle], 0, 0, 0), 1 / 3), expected, atol=1e-12)


@pytest.mark.parametrize(("ones", "minus_ones"), [(0, 1), (1, 1), (0, 3), (4, 5)])
def test_a_reflection_is_refused(ones: int, minus_ones: int) -> None:
    with pytest.raises(ArgumentError, match="reflection"):
        rotation_power(planted([0.5], ones, minus_ones, 0), 0.5)


def test_no_unit() -> None:
    with pytest.raises(ArgumentError, match="at least one unit"):
        random_rotation(0, 0)


def test_rotations_are_uniform() -> None:
    """Moments of SO(4), and the angle of SO(2), over seeds."""
    drawn = np.array([random_rotation(4, seed) for seed in range(2000)])
    error = 1 / math.sqrt(len(drawn))
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=4 * error * 0.5)  # E q = 0, E q² = 1/4
    np.testing.assert_allclose((drawn**2).mean(axis=0), 1 / 4, atol=4 * error * 0.25)
    trace = np.trace(drawn, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 * error
    assert abs((trace**2).mean() - 1) < 8 * error
    angle = np.sort([math.atan2(q[1, 0], q[0, 0]) for q in (random_rotation(2, seed) for seed in range(1000))])
    even = np.linspace(-math.pi, math.pi, len(angle))
    assert np.abs(angle - even).max() / (2 * math.pi) < 1.63 / math.sqrt(len(angle))  # Kolmogorov–Smirnov, 1 %


# -------------------------------------------------------------------------------------------------- Turn


@pytest.mark.parametrize("units", [1, 2, 7, 64])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_turn_multiplies_every_position(units: int, alpha: float) -> None:
    maps = torch.randn(3, units, 5, 4, generator=torch.Generator().manual_seed(units))
    before, matrix = maps.clone(), torch.from_numpy(rotation_power(random_rotation(units, 7), alpha))
    for arranged in (maps, maps.to(memory_format=torch.channels_last), maps.half(), maps.bfloat16()):
        turned, exact = Turn(alpha, 7)(arranged), torch.einsum("ij,bjhw->bihw", matrix, arranged.double())
        assert turned.dtype == torch.float32
        torch.testing.assert_close(turned.double(), exact, atol=1e-5, rtol=1e-5)
    assert torch.equal(maps, before)


def test_one_turn_serves_layers_of_several_sizes() -> None:
    turn = Turn(0.5, 1)
    for units in (4, 6, 4):
        maps = torch.randn(2, units, 3, 3)
        assert torch.equal(turn(maps), Turn(0.5, 1)(maps))


def test_a_turn_shows_what_it_is() -> None:
    assert repr(Turn(0.5, 3)) == "Turn(alpha=0.5, seed=3)"
    maps = torch.eye(4)[None, :, :, None]
    np.testing.assert_allclose(Turn(1, 3)(maps)[0, :, :, 0], random_rotation(4, 3), atol=1e-6)


# ------------------------------------------------------------------------------------------------ rotate()


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("rotated") / "out"
    return nd.rotate(two_layers(), DATA, ["0", "3"], alphas=(1, 0.5), seeds=2, out=out, **OPTIONS), out


def test_views_are_dissections_of_each_basis(rotated: tuple[Any, Path]) -> None:
    rotation, _ = rotated
    assert len(rotation.views) == 2 * (1 + 2 * 2)
    for alpha, seed in ((0.0, None), (0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)):
        transform = None if seed is None else Turn(alpha, seed)
        alone = nd.dissect(two_layers(), DATA, ["0", "3"], transform=transform, **OPTIONS)
        for layer in alone:
            view = rotation.result[rotation.views[layer, alpha, seed]]
            assert_same_layer(view, replace(alone[layer], name=view.name))


def test_rows_means_and_files(rotated: tuple[Any, Path]) -> None:
    rotation, out = rotated
    rows, means = rotation.rows(), rotation.means()
    assert len(rows) == len(rotation.views)
    for row in rows:
        view = rotation.result[rotation.views[row["layer"], row["alpha"], None if row["seed"] == "" else row["seed"]]]
        assert row["unique"] == sum(view.unique_detectors().values())
        assert row["object"] == view.unique_detectors()["object"]
        assert (row["units"], row["detectors"]) == (len(view.thresholds), sum(view.detectors().values()))
    assert [(mean["layer"], mean["alpha"], mean["seeds"]) for mean in means] == [
        ("0", 0, 1), ("0", 1, 2), ("0", 0.5, 2), ("3", 0, 1), ("3", 1, 2), ("3", 0.5, 2),
    ]  # fmt: skip
    for mean in means:
        same = [row["unique"] for row in rows if (row["layer"], row["alpha"]) == (mean["layer"], mean["alpha"])]
        assert mean["unique"] == sum(same) / len(same)
        plain = next(row["unique"] for row in rows if (row["layer"], row["alpha"]) == (mean["layer"], 0))
        assert mean["share"] == mean["unique"] / plain
    with (out / "rotation.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in rows]
    names = {f"rotation{end}" for end in (".csv", "-means.csv", "-0.png", "-0.svg", "-3.png", "-3.svg")}
    assert names | {"run.json"} <= {path.name for path in out.iterdir()}
    assert nd.load(out)["3 alpha 0.5 seed 1"].units() == rotation.result["3 alpha 0.5 seed 1"].units()


def test_the_figure_runs_from_the_own_basis_to_a_random_one(rotated: tuple[Any, Path]) -> None:
    ax = rotated[0].plot("3")
    total = next(line for line in ax.lines if line.get_label() == "total")
    unique = {row["alpha"]: row["unique"] for row in rotated[0].means() if row["layer"] == "3"}
    assert list(total.get_xdata()) == [0, 0.5, 1]
    assert list(total.get_ydata()) == [unique[alpha] for alpha in (0, 0.5, 1)]
    with pytest.raises(ArgumentError, match="'9' was not rotated"):
        rotated[0].plot("9")


def test_the_iou_threshold_reaches_the_files(tmp_path: Path) -> None:
    options = {"alphas": (1,), "seeds": [5], "iou_threshold": 1.0}
    rotation = nd.rotate(two_layers(), DATA, "0", out=tmp_path, **options, **OPTIONS)
    with (tmp_path / "rotation.csv").open(newline="") as file:
        assert [row["detectors"] for row in csv.DictReader(file)] == ["0", "0"]
    assert all(math.isnan(row["share"]) for row in rotation.means(1.0))


class Stopped(Exception):
    """Ends a run early."""


def test_resume_and_shards_end_with_the_same_bytes(tmp_path: Path) -> None:
    def rotate(out: str, model: Any = None, **options: Any) -> Any:
        model, options = model or two_layers(), {"checkpoint_every": 0} | OPTIONS | options
        return nd.rotate(model, DATA, ["3"], alphas=(0.5,), seeds=1, out=tmp_path / out, **options)

    rotate("whole")
    model, batches = two_layers(), []

    def stop(*_: Any) -> None:
        batches.append(1)
        if len(batches) == 4:  # the first image runs alone
            raise Stopped

    model.register_forward_pre_hook(stop)
    with pytest.raises((Stopped, nd.NetDissectError)):
        rotate("resumed", model)
    rotate("resumed")
    for shard in range(2):
        assert not rotate("shards", shard=(shard, 2)).result.layers
    assert not (tmp_path / "shards" / "rotation.csv").exists()
    model, sizes = two_layers(), []
    model.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    rotate("shards", model)
    assert set(sizes) == {1}  # only the first image, alone: no batch was left to compute
    assert contents(tmp_path / "resumed") == contents(tmp_path / "shards") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"seeds": 0}, ArgumentError, "one or more"),
        ({"seeds": []}, ArgumentError, "one or more"),
        ({"seeds": [1, 1]}, ArgumentError, "different"),
        ({"seeds": [-1]}, ArgumentError, "non-negative"),
        ({"alphas": (0.5, 0.5)}, ArgumentError, "differ"),
        ({"alphas": (0.1234567, 0.1234568)}, ArgumentError, "first six digits"),
        ({"alphas": (float("nan"),)}, ArgumentError, "finite"),
        ({"transform": torch.relu}, ArgumentError, "its own transforms"),
        ({"layers": "9"}, LayerError, "no layer '9'"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        nd.rotate(two_layers(), DATA, options.pop("layers", "0"), **options, **OPTIONS)


def test_without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.linalg", None)
    with pytest.raises(MissingExtra, match=r"pip install 'netdissect-fast\[experiments\]'"):
        nd.rotate(two_layers(), DATA, "0", **OPTIONS)
