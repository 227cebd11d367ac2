"""Curves are what fresh dissections say at other settings; halves of the images add up to the whole."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.errors import ArgumentError
from netdissect_fast.experiments.curves import IOU_THRESHOLDS, PARTS, counts_of, curve
from netdissect_fast.experiments.saved_run import saved
from netdissect_fast.scoring.unit_labels import UnitLabels

from ..support.networks import two_layers
from ..support.small_results import dissection
from .conftest import DATA
from .labels_alone import dissected, drawn


def test_the_runs_own_settings_are_among_the_rows(run: nd.Dissection) -> None:
    found = nd.curve(run)
    assert found.quantile == 0.05
    assert found.layers == ["0", "3"]
    assert len(found.rows) == 2 * len(PARTS) * len(IOU_THRESHOLDS)
    for row in found.rows:
        if row["quantile"] == 0.05:
            layer, threshold = run[row["layer"]], row["iou_threshold"]
            assert row["detectors"] == sum(layer.detectors(threshold).values())
            assert row["unique"] == sum(layer.unique_detectors(threshold).values())
            assert {name: row[name] for name in run.vocabulary.categories} == layer.unique_detectors(threshold)


@pytest.mark.parametrize("rule", ["image", "none"])
def test_other_quantiles_are_fresh_dissections(rule: str) -> None:
    options = {"batch_size": 8, "category_rule": rule, "units": slice(2, 9), "progress": False}
    run = nd.dissect(two_layers(), DATA, "3", quantile="0.05", **options)
    found = nd.curve(run, quantiles=["0.01", 0.02], iou_thresholds=[0.1], iou_threshold=0.06)
    assert [(row["quantile"], row["iou_threshold"]) for row in found.rows] == [
        (quantile, threshold) for quantile in (0.01, 0.02, 0.05) for threshold in (0.06, 0.1)
    ]
    for quantile in ("0.01", "0.02"):
        fresh = nd.dissect(two_layers(), DATA, "3", quantile=quantile, **options)["3"]
        for row in (row for row in found.rows if row["quantile"] == float(quantile)):
            assert row["detectors"] == sum(fresh.detectors(row["iou_threshold"]).values())
            assert row["unique"] == sum(fresh.unique_detectors(row["iou_threshold"]).values())


def test_what_cannot_be_asked(run: nd.Dissection) -> None:
    with pytest.raises(ArgumentError, match="quantile"):
        nd.curve(run, quantiles=["0.06"])
    with pytest.raises(ArgumentError, match="quantile"):
        nd.curve(run, quantiles=["much"])
    with pytest.raises(ArgumentError, match="seed"):
        nd.curve(run, split=True, seed=-1)
    with pytest.raises(ArgumentError, match="not the data set that was dissected"):
        nd.curve(run, data=nd.Synthetic(7, size=32))
    with pytest.raises(ArgumentError, match="no peaks"):
        nd.curve(nd.Dissection({"fc": dissection()["fc:logits@0"]}, {}, drawn(8, 0)))


# ---------------------------------------------------------------------------------------------- held out


@pytest.mark.parametrize("rule", ["image", "none"])
def test_halves_add_up(rule: str) -> None:
    """Intersections and areas over all images are the run's; over two halves they sum up to it."""
    data = drawn(15, 0)
    maps = np.random.default_rng(0).standard_normal((15, 6, 5, 5)).astype(np.float32)
    run = dissected(maps, data, category_rule=rule)
    run.run["settings"] = {"category_rule": rule}
    layer, sources = run["maps"], saved(run, None, "cpu", 1, None)
    order = np.random.default_rng(1).permutation(15)
    one, two = (counts_of(layer, sources, np.sort(half)) for half in (order[:6], order[6:]))
    whole = counts_of(layer, sources, np.arange(15))
    for name, expected in vars(layer.counts).items():
        np.testing.assert_array_equal(getattr(whole, name), expected)
        np.testing.assert_array_equal(getattr(one, name) + getattr(two, name), expected)
        assert getattr(one, name).any()


def test_labels_are_chosen_on_one_half(run: nd.Dissection) -> None:
    found = nd.curve(run, split=True, seed=4)
    halves = [np.sort(half) for half in np.array_split(np.random.default_rng(4).permutation(len(DATA)), 2)]
    sources, words = saved(run, None, "cpu", 1, None), run.vocabulary
    assert len(found.held) == 6 + 12
    for name, layer in run.items():
        one, two = (counts_of(layer, sources, half).iou(words) for half in halves)
        _, concept, score = UnitLabels.of(one, words).top()
        rows = [row for row in found.held if row["layer"] == name]
        assert [row["label"] for row in rows] == [words.names[n] for n in concept]
        assert [row["iou chosen"] for row in rows] == score.tolist()
        assert [row["iou held out"] for row in rows] == two[np.arange(len(concept)), concept].tolist()
    for row in found.held_out():
        units = [unit for unit in found.held if unit["layer"] == row["layer"]]
        chosen = [unit for unit in units if unit["iou chosen"] > 0.04]
        kept = [unit for unit in chosen if unit["iou held out"] > 0.04]
        assert (row["units"], row["detectors chosen"], row["detectors held out"]) == (
            len(units), len(chosen), len(kept),
        )  # fmt: skip
        assert row["unique held out"] == len({unit["label"] for unit in kept})
    assert nd.curve(run, split=True, seed=4).held == found.held != nd.curve(run, split=True, seed=5).held
    assert nd.curve(run).held_out() == []


def test_choosing_the_best_of_many_adds_to_a_score() -> None:
    """Where maps know nothing of labels, what was chosen on one half is no better than others on the other half."""
    data = drawn(40, 2)
    maps = np.random.default_rng(2).standard_normal((40, 60, 4, 4)).astype(np.float32)
    rows = curve(dissected(maps, data), split=True, threads=1).held
    assert np.mean([row["iou chosen"] for row in rows]) > 1.05 * np.mean([row["iou held out"] for row in rows])


# --------------------------------------------------------------------------------------- figures and files


def test_figures_show_the_rows(run: nd.Dissection) -> None:
    found = nd.curve(run)
    for along in ("quantile", "iou_threshold"):
        fixed = {"quantile": ("iou_threshold", 0.04), "iou_threshold": ("quantile", 0.05)}[along]
        rows = [row for row in found.rows if row["layer"] == "3" and row[fixed[0]] == fixed[1]]
        ax = found.plot("3", along)
        drawn_lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}
        assert drawn_lines["total"] == ([row[along] for row in rows], [row["unique"] for row in rows])
        assert drawn_lines["object"][1] == [row["object"] for row in rows]
        assert ax.get_xscale() == "log"
    with pytest.raises(ArgumentError, match="no curve for layer '9', only for '0', '3'"):
        found.plot("9", "quantile")
    with pytest.raises(ArgumentError, match="along"):
        found.plot("3", "time")


def test_files(run: nd.Dissection, tmp_path: Path) -> None:
    found = nd.curve(run, quantiles=["0.02"], split=True)
    written = found.save(tmp_path)
    stems = [f"curve-{kind}-{layer}" for kind in ("quantile", "iou") for layer in "03"]
    figures = {f"{stem}.{end}" for stem in stems for end in ("png", "svg")}
    assert {path.name for path in written} == {"curve.csv", "held-out.csv", *figures}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}
    for name, rows in (("curve", found.rows), ("held-out", found.held)):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == [{key: str(value) for key, value in row.items()} for row in rows]
