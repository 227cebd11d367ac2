"""Ablation: silencing units is the same as taking them out by hand; sets of units are chosen as they say."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.errors import ArgumentError, LayerError, ModelError
from netdissect_fast.experiments.ablation import Ablation, silenced

from .classifier import CLASSES, UNITS, Classifier, Wrapped, state_of
from .conftest import DATA


@pytest.fixture(scope="module")
def layer() -> Any:
    return nd.dissect(Classifier(), DATA, "features", quantile="0.1", progress=False)["features"]


@cache
def images() -> torch.Tensor:
    return torch.stack([from_model(Classifier())(DATA.image(i)) for i in range(len(DATA))])


def answers(model: nn.Module) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(images()).argmax(1).numpy()


def without(units: list[int]) -> nn.Module:
    """The network in which nothing reads these units."""
    model = Classifier()
    with torch.no_grad():
        model.read.weight[:, units] = 0
    return model


SETS = {"none": [], "one": [3], "some": [0, 3, 6], "all": list(range(UNITS))}


@pytest.mark.parametrize("batch_size", [5, 64])
def test_silencing_is_taking_out(batch_size: int) -> None:
    found = nd.ablate(Classifier(), DATA, "features", SETS, batch_size=batch_size)
    plain = answers(Classifier())
    assert found.accuracy == 1
    for row, (name, units) in zip(found.rows, SETS.items(), strict=True):
        changed = float((answers(without(units)) != plain).mean())
        assert (row["set"], row["units"], row["changed"]) == (name, len(units), changed)
        assert (row["accuracy"], row["drop"]) == pytest.approx((1 - changed, changed))
    assert found.rows[0]["changed"] == 0 < found.rows[-1]["changed"]


def test_targets() -> None:
    """Accuracy is that of the answers; an ablation may raise it."""
    targets = np.random.default_rng(0).integers(0, CLASSES, len(DATA))
    found = nd.ablate(Classifier(), DATA, "features", SETS, targets=targets.tolist())
    assert found.accuracy == float((answers(Classifier()) == targets).mean())
    for row, units in zip(found.rows, SETS.values(), strict=True):
        assert row["accuracy"] == float((answers(without(units)) == targets).mean())
        assert row["drop"] == found.accuracy - row["accuracy"]


def test_before_and_after_an_in_place_relu(layer: Any) -> None:
    """A convolution at zero is a ReLU at zero."""
    one, two = (nd.ablate(Classifier(), DATA, name, SETS).rows for name in ("conv", "features"))
    assert one == two


def test_vectors_and_modules() -> None:
    model = Classifier()
    found = nd.ablate(model, DATA, model.read, {"all": range(CLASSES)})  # all scores 0: the first class
    assert found.rows[0]["changed"] == float((answers(model) != 0).mean())


def test_compiled_parts_are_silenced_too() -> None:
    """They skip hooks that came after they were compiled."""
    model, plain = Wrapped(lambda net, x: net(x)), nd.ablate(Classifier(), DATA, "features", SETS).rows
    model.net = torch.compile(model.net, backend="eager")  # type: ignore[assignment]
    with torch.no_grad():
        model.eval()(torch.zeros(len(DATA), 3, 32, 32))
    assert nd.ablate(model, DATA, "net.features", SETS).rows == plain


# --------------------------------------------------------------------------------------------------- sets


def test_sets_by_label(layer: Any) -> None:
    sets, units = nd.sets_by_label(layer, 0.06), layer.units(0.06)
    expected: dict[str, list[int]] = {}
    for row in units:
        if row.detector:
            expected.setdefault(f"{row.category}: {row.label}", []).append(row.unit)
    assert sets == expected
    sizes = [len(numbers) for numbers in sets.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sets
    assert nd.sets_by_label(layer, 1) == {}


def test_sets_by_rank(layer: Any) -> None:
    sets = nd.sets_by_rank(layer, (1, 3, 100), seed=1)
    iou = {row.unit: row.iou for row in layer.units()}
    assert list(sets) == [f"{order} {step}" for order in ("best", "worst", "random") for step in (1, 3, UNITS)]
    ranked = sorted(iou, key=lambda unit: (-iou[unit], unit))
    assert sets["best 3"] == ranked[:3]
    assert sets["worst 3"] == ranked[::-1][:3]
    assert sorted(sets[f"random {UNITS}"]) == list(range(UNITS))
    assert sets["random 3"][:1] == sets["random 1"]
    assert nd.sets_by_rank(layer, seed=1)[f"random {UNITS}"] == sets[f"random {UNITS}"]
    assert nd.sets_by_rank(layer, seed=2)[f"random {UNITS}"] != sets[f"random {UNITS}"]


def test_sets_of_a_subset_are_the_layers_own_numbers() -> None:
    some = nd.dissect(Classifier(), DATA, "features", units=[5, 7], quantile="0.1", progress=False)["features"]
    assert set(nd.sets_by_rank(some)["best 2"]) == {5, 7}
    assert {unit for units in nd.sets_by_label(some).values() for unit in units} <= {5, 7}


# -------------------------------------------------------------------------------------------------- files


def test_files_and_figure(layer: Any, tmp_path: Path) -> None:
    found = nd.ablate(Classifier(), DATA, "features", nd.sets_by_rank(layer, (1, 4)))
    assert [path.name for path in found.save(tmp_path / "rank")] == ["ablation.csv", "ablation.png", "ablation.svg"]
    with (tmp_path / "rank" / "ablation.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in found.rows]
    drawn = {line.get_label(): list(line.get_ydata()) for line in found.plot().lines}
    assert list(drawn) == ["best", "worst", "random"]
    assert drawn["best"] == [row["drop"] for row in found.rows if row["set"].startswith("best")]
    by_label = nd.ablate(Classifier(), DATA, "features", nd.sets_by_label(layer))
    assert [path.name for path in by_label.save(tmp_path / "label")] == ["ablation.csv"]
    Ablation(1.0, []).save(tmp_path / "nothing")


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("model", "layer", "options", "error", "words"),
    [
        (Classifier(), "features", {"sets": {"far": [UNITS]}}, ArgumentError, f"units 0 to {UNITS - 1}"),
        (Classifier(), "features", {"sets": {"last": [-1]}}, ArgumentError, "cannot silence"),
        (Classifier(), "features", {"targets": [0]}, ArgumentError, "26 images, but 1 targets"),
        (Classifier(), "features", {"batch_size": 0}, ArgumentError, "batch_size"),
        (Classifier(), "missing", {}, LayerError, "no layer 'missing'"),
        (Wrapped(lambda net, x: {"scores": net(x)}), "net.features", {}, ModelError, "dict"),
        (Wrapped(lambda net, x: net(x)[:1]), "net.features", {}, ModelError, "row of scores"),
        (Wrapped(lambda net, x: net(x) + net.nothing), "net.features", {}, ModelError, "AttributeError"),
    ],
)
def test_errors(model: nn.Module, layer: str, options: Any, error: type[Exception], words: str) -> None:
    model.train()
    before, sets = state_of(model), {"one": [1]}
    with pytest.raises(error, match=words):
        nd.ablate(model, DATA, layer, **({"sets": sets} | options))
    assert state_of(model) == before


def test_layers_that_are_no_stack_of_units() -> None:
    class Tokens(nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return maps.flatten(2)

    model = Wrapped(lambda net, x: net(x) + net.stem(x).mean() * net.conv.tokens(net.stem(x)).mean())
    model.net.conv.tokens = Tokens()
    with pytest.raises(LayerError, match="cannot be silenced"):
        nd.ablate(model, DATA, "net.conv.tokens", {"one": [1]})


def test_the_model_is_left_as_found() -> None:
    model = Classifier().train()
    model.conv.eval()
    before = state_of(model)
    nd.ablate(model, DATA, "features", SETS)
    with pytest.raises(KeyboardInterrupt), silenced(model, "features", [1]):
        raise KeyboardInterrupt
    assert state_of(model) == before
