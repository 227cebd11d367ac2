"""A series of checkpoints: each is what dissect() makes of its weights, in the order of training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError, ModelError

from ..support.networks import two_layers
from ..support.small_results import assert_same_layer
from .conftest import DATA

OPTIONS: dict[str, Any] = {"quantile": "0.05", "batch_size": 8, "progress": False}


def save(folder: Path, *names: str) -> list[Path]:
    """Weights of networks of different seeds."""
    for seed, name in enumerate(names):
        torch.save(two_layers(seed=seed).state_dict(), folder / name)
    return [folder / name for name in names]


def test_results_in_order_of_training(tmp_path: Path) -> None:
    paths, model = save(tmp_path, "net_2000.pth", "net_500.pth"), two_layers(seed=9)
    series = nd.dissect_series(model, paths, DATA, ["0", "3"], out=tmp_path / "out", **OPTIONS)
    assert list(series.results) == [paths[1], paths[0]]
    assert list(series.steps) == [500, 2000]
    for seed, path in enumerate(paths):
        alone = nd.dissect(two_layers(seed=seed), DATA, ["0", "3"], **OPTIONS)
        loaded = nd.load(tmp_path / "out" / path.stem)
        for layer in alone:
            assert_same_layer(series.results[path][layer], alone[layer])
            assert_same_layer(loaded[layer], alone[layer])
    assert torch.equal(model[0].weight, two_layers(seed=0)[0].weight)  # those of the last
    rows = series.rows()
    assert [(row["checkpoint"], row["step"], row["layer"]) for row in rows] == [
        (name, step, layer) for name, step in (("net_500.pth", 500), ("net_2000.pth", 2000)) for layer in ("0", "3")
    ]
    last = series.results[paths[0]]["3"]
    assert rows[-1]["unique"] == sum(last.unique_detectors().values())
    assert (rows[-1]["detectors"], rows[-1]["units"]) == (sum(last.detectors().values()), 12)
    with (tmp_path / "out" / "training.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]
    figures = {f"training-{layer}.{end}" for layer in "03" for end in ("png", "svg")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"net_500", "net_2000", "training.csv", *figures}
    total = next(line for line in series.plot("3").lines if line.get_label() == "total")
    assert list(total.get_xdata()) == [500, 2000]
    assert list(total.get_ydata()) == [row["unique"] for row in rows if row["layer"] == "3"]
    with pytest.raises(ArgumentError, match="'9' was not dissected"):
        series.plot("9")


@pytest.mark.parametrize(
    ("names", "order", "steps"),
    [
        (["b.pth", "a.pth"], ["a.pth", "b.pth"], [0, 1]),
        (["epoch10.pth", "start.pth", "epoch9.pth"], ["start.pth", "epoch9.pth", "epoch10.pth"], [0, 1, 2]),
        (["b-7.pth", "a-7.pth", "c-1.pth"], ["c-1.pth", "a-7.pth", "b-7.pth"], [0, 1, 2]),
        (["run2-epoch3.pth", "run1-epoch4.pth"], ["run2-epoch3.pth", "run1-epoch4.pth"], [3, 4]),
    ],
)
def test_steps(names: list[str], order: list[str], steps: list[int], tmp_path: Path) -> None:
    series = nd.dissect_series(two_layers(), save(tmp_path, *names), nd.Subset.first(DATA, 2), "0", **OPTIONS)
    assert [path.name for path in series.results] == order
    assert list(series.steps) == steps


def test_an_iou_threshold_and_what_dissect_takes(tmp_path: Path) -> None:
    options = {"iou_threshold": 1.0, "units": slice(0, 2), "out": tmp_path / "out"}
    nd.dissect_series(two_layers(), save(tmp_path, "1.pth"), DATA, {"3": "last"}, **options, **OPTIONS)
    with (tmp_path / "out" / "training.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["layer"], row["units"], row["detectors"]) == ("last", "2", "0")


def test_shards_leave_no_table(tmp_path: Path) -> None:
    paths = save(tmp_path, "1.pth")
    nd.dissect_series(two_layers(), paths, DATA, "0", out=tmp_path / "out", shard=(0, 2), **OPTIONS)
    assert not (tmp_path / "out" / "training.csv").exists()


def test_errors(tmp_path: Path) -> None:
    (path,) = save(tmp_path, "1.pth")
    (tmp_path / "again").mkdir()
    for paths in ([], [path, *save(tmp_path / "again", "1.pth")]):
        with pytest.raises(ArgumentError, match="at least one checkpoint, all with different names"):
            nd.dissect_series(two_layers(), paths, DATA, "0", **OPTIONS)
    with pytest.raises(ModelError, match="no such weights file"):
        nd.dissect_series(two_layers(), [tmp_path / "2.pth"], DATA, "0", **OPTIONS)
    with pytest.raises(ModelError, match=r"1\.pth: does not fit the model"):
        nd.dissect_series(two_layers(units=4), [path], DATA, "0", **OPTIONS)
