"""Explanations: contributions that add up to the score, masks as upsampled activations say, the network left alone."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.errors import ArgumentError, LayerError, ModelError
from netdissect_fast.experiments.explanation import Explanation
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.scoring.backends.reference import upsample

from .classifier import CLASSES, UNITS, Classifier, Wrapped, state_of
from .conftest import DATA


@pytest.fixture(scope="module")
def layers() -> nd.Dissection:
    return nd.dissect(Classifier(), DATA, ["features", "conv"], quantile="0.1", progress=False)


def activations(model: nn.Module, layer: str, index: int) -> np.ndarray:
    """Maps [K, H, W] of one image, before anything changes them in place."""
    kept: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out.detach().clone()))
    with torch.no_grad():
        model(from_model(model)(DATA.image(index))[None])
    handle.remove()
    return kept[0][0].numpy()


def by_unit(explanation: Explanation, column: str) -> np.ndarray:
    return np.array([row[column] for row in sorted(explanation.rows, key=lambda row: row["unit"])])


@pytest.mark.parametrize("target", range(CLASSES))
def test_contributions_are_weight_times_pooled_and_add_up(layers: nd.Dissection, target: int) -> None:
    model = Classifier().eval()
    found, maps = nd.explain(model, layers["features"], DATA.image(1), target), activations(model, "features", 1)
    weight, bias = (value.detach().numpy() for value in (model.read.weight[target], model.read.bias[target]))
    np.testing.assert_allclose(by_unit(found, "pooled"), maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(by_unit(found, "contribution"), weight * maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-7)
    alive = maps.any(axis=(1, 2))
    np.testing.assert_allclose(by_unit(found, "weight")[alive], weight[alive], rtol=1e-4)
    assert by_unit(found, "contribution").sum() + bias == pytest.approx(found.score, abs=1e-5)
    assert [row["contribution"] for row in found.rows] == sorted(by_unit(found, "contribution"), reverse=True)
    assert found.target == target


def test_units_have_their_labels(layers: nd.Dissection) -> None:
    units = {row.unit: row for row in layers["features"].units()}
    for row in nd.explain(Classifier(), layers["features"], DATA.image(0)).rows:
        unit = units[row["unit"]]
        assert (row["label"], row["category"], row["iou"]) == (unit.label, unit.category, unit.iou)


def test_the_highest_output_is_the_default(layers: nd.Dissection) -> None:
    model = Classifier().eval()
    with torch.no_grad():
        scores = model(from_model(model)(DATA.image(2))[None])[0]
    found = nd.explain(model, layers["features"], DATA.image(2))
    assert found.target == int(scores.argmax())
    assert found.score == pytest.approx(float(scores.max()), rel=1e-5)


def test_through_an_in_place_relu_after_the_layer(layers: nd.Dissection) -> None:
    """Negative activations contribute nothing and are told as they were."""
    model = Classifier().eval()
    found, maps = nd.explain(model, layers["conv"], DATA.image(3), 2), activations(model, "conv", 3)
    assert (maps < 0).any()
    weight = model.read.weight[2].detach().numpy()
    expected = weight * np.maximum(maps, 0).mean(axis=(1, 2))
    np.testing.assert_allclose(by_unit(found, "contribution"), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(by_unit(found, "pooled"), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (45, 28)])
def test_masks_are_where_upsampled_activations_exceed_thresholds(layers: nd.Dissection, size: tuple[int, int]) -> None:
    model, layer = Classifier().eval(), layers["features"]
    found, maps = nd.explain(model, layer, DATA.image(4), top=UNITS), activations(model, "features", 4)
    image = DATA.image(4).resize(size[::-1])
    if size != (32, 32):  # a mask has the size of the image that was given
        found, seen = nd.explain(model, layer, image, top=UNITS), from_model(model)(image)[None]
        with torch.no_grad():
            maps = torch.relu(model.conv(model.stem(seen)))[0].numpy()
    assert found.masks.shape == (UNITS, *size)
    axes = layer.grid.axis(0, size[0]), layer.grid.axis(1, size[1])
    for row, mask in zip(found.rows, found.masks, strict=True):
        np.testing.assert_array_equal(mask, upsample(maps[row["unit"]], *axes) > layer.thresholds[row["unit"]])
    assert found.masks.any()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(layers: nd.Dissection, frozen: bool, fails: bool) -> None:
    model = Classifier().train().requires_grad_(not frozen)
    model.conv.eval()
    model.read.register_forward_hook(lambda *_: None)
    before = state_of(model)
    if fails:
        with pytest.raises(ArgumentError):
            nd.explain(model, layers["features"], DATA.image(0), 99)
    else:
        assert nd.explain(model, layers["features"], DATA.image(0)).rows
    assert state_of(model) == before


def test_without_gradients_around_it(layers: nd.Dissection) -> None:
    with torch.no_grad():
        inside = nd.explain(Classifier(), layers["features"], DATA.image(0))
    assert inside.rows == nd.explain(Classifier(), layers["features"], DATA.image(0)).rows


def test_figure_and_files(layers: nd.Dissection, tmp_path: Path) -> None:
    found = nd.explain(Classifier(), layers["features"], DATA.image(0), top=3)
    assert len(found.masks) == 3
    assert [path.name for path in found.save(tmp_path, "dog")] == ["dog.csv", "dog.png", "dog.svg"]
    with (tmp_path / "dog.csv").open(newline="") as file:
        assert [int(row["unit"]) for row in csv.DictReader(file)] == [row["unit"] for row in found.rows]
    assert len(found.plot().child_axes) == 4
    assert len(nd.explain(Classifier(), layers["features"], DATA.image(0), top=0).masks) == 0


# ------------------------------------------------------------------------------------------------- errors


def renamed(layers: nd.Dissection, name: str) -> LayerResult:
    return replace(layers["features"], name=name)


@pytest.mark.parametrize(
    ("model", "layer", "options", "error", "words"),
    [
        (Classifier(), "again", {}, LayerError, "must run once"),
        (Classifier(), "unused", {}, LayerError, "did not run"),
        (Classifier(), "missing", {}, LayerError, "no layer 'missing'"),
        (Classifier(), "stem", {}, ArgumentError, "6 units in this network, 8 in the result"),
        (Classifier(), "features", {"target": CLASSES}, ArgumentError, f"0 to {CLASSES - 1}"),
        (Classifier(), "features", {"target": -1}, ArgumentError, "target"),
        (Classifier(), "features", {"preprocess": nd.Preprocess(48, 0.5, 0.25)}, ArgumentError, "preprocess"),
        (Classifier(), "features", {"preprocess": nd.Preprocess(16, 0.5, 0.25)}, ArgumentError, "preprocess"),
        (Wrapped(lambda net, x: {"scores": net(x)}), "net.features", {}, ModelError, "dict"),
        (Wrapped(lambda net, x: net(x)[:0]), "net.features", {}, ModelError, "row of scores"),
        (Wrapped(lambda net, x: net(x) + net.nothing), "net.features", {}, ModelError, "AttributeError"),
        (Wrapped(lambda net, x: net(x).detach()), "net.features", {}, LayerError, "does not depend"),
        (Wrapped(lambda net, x: (net(x), net.read(x.mean((2, 3)).repeat(1, 3)[:, :8]))[1]), "net.features", {},
         LayerError, "does not depend"),
    ],
)  # fmt: skip
def test_errors(
    layers: nd.Dissection, model: nn.Module, layer: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    before = state_of(model)
    with pytest.raises(error, match=words):
        nd.explain(model, renamed(layers, layer), DATA.image(0), **options)
    assert state_of(model) == before


def test_a_subset_of_units_is_refused() -> None:
    some = nd.dissect(Classifier(), DATA, "features", units=slice(2, 4), progress=False)["features"]
    with pytest.raises(ArgumentError, match="all units, without transform"):
        nd.explain(Classifier(), some, DATA.image(0))
