"""The commands of the experiments, run as a user would: tables, files, and one line when something is wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.network.models import load_model

MODEL = """
import torch
from torch import nn

def make():
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    )
    net.input_size, net.mean, net.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return net

def flip(maps):
    return -maps

def fails(maps):
    raise RuntimeError("not today")

def narrow():
    net = make()
    net[4] = nn.Linear(5, 4)
    return net
"""
RUN = ["--model", "net.py:make", "--data", "scenes", "--quantile", "0.05", "--quiet"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``net.py``, the data set ``scenes`` (16 images), a run in ``out`` and two checkpoints."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "net.py").write_text(MODEL)
    (folder / "ckpt").mkdir()
    write_synthetic(folder / "scenes", images=16, seed=3, size=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["dissect", *RUN, "--layers", "1", "--out", "out"]) == 0
        for step in (20, 3):
            torch.manual_seed(step)
            torch.save(load_model("net.py:make").state_dict(), f"ckpt/net-{step}.pth")
    return folder


@pytest.fixture(autouse=True)
def _in_folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


@pytest.fixture
def out(work: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, for tests that change it."""
    return Path(shutil.copytree(work / "out", tmp_path / "out"))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_dissect_transform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["dissect", *RUN, "--layers", "1", "--transform", "net.py:flip"]
    assert main([*options, "--out", str(tmp_path)]) == 0
    assert "flip" in nd.load(tmp_path).run["settings"]["transform"]
    assert nd.load(tmp_path)["1"].thresholds.tolist() != nd.load("out")["1"].thresholds.tolist()
    assert main([*options, "--out", str(tmp_path), "--dry-run"]) == 0
    capsys.readouterr()
    assert main([*options[:-1], "net.py:fails"]) == 1
    assert "the transform of layer '1' raised RuntimeError" in capsys.readouterr().err


def test_dissect_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["dissect", *RUN, "--layers", "1", "--checkpoints", "ckpt/*.pth", "--out", str(tmp_path)]
    assert main([*command, "--iou-threshold", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["checkpoint", "step", "layer"], ["net-3.pth", "3", "1"], ["net-20.pth", "20", "1"],
    ]  # fmt: skip
    last = nd.load(tmp_path / "net-20")["1"]
    assert table(tmp_path / "training.csv")[1]["detectors"] == str(sum(last.detectors(0.1).values()))
    assert {"net-3", "training-1.png"} <= names(tmp_path)


@pytest.mark.filterwarnings("always")
def test_dissect_checkpoints_of_which_one_network_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (3, 20):
        weights = torch.load(f"ckpt/net-{step}.pth", weights_only=True)
        other = {name: value + 1 for name, value in weights.items()}
        torch.save({"state_dict_ema": weights, "state_dict": other}, tmp_path / f"net-{step}.pth")
    plain = ["dissect", *RUN, "--layers", "1", "--out", str(tmp_path / "plain"), "--checkpoints", "ckpt/*.pth"]
    command = [*plain[:-3], str(tmp_path / "out"), "--checkpoints", str(tmp_path / "*.pth")]
    assert main(command) == 1
    assert "under 'state_dict_ema', 'state_dict'; choose one with --weights-prefix" in capsys.readouterr().err
    assert main([*command, "--weights-prefix", "state_dict_ema"]) == 0
    assert "left over: 4 tensors (state_dict.0.weight" in capsys.readouterr().err
    assert main(plain) == 0
    for name in ("net-3", "net-20"):
        first, second = (nd.load(tmp_path / folder / name).run for folder in ("out", "plain"))
        assert first["weights"] == second["weights"]


@pytest.mark.filterwarnings("always")
def test_weights_without_a_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the error says to do is done, and the run goes through."""
    weights = torch.load("ckpt/net-3.pth", weights_only=True)
    torch.save({name: value for name, value in weights.items() if not name.startswith("4.")}, tmp_path / "w.pth")
    command = ["dissect", *RUN, "--layers", "1", "--weights", str(tmp_path / "w.pth")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "2 missing: 4.weight, 4.bias" in said
    assert main([*command, *said[said.index("--without-head") :].split()[:2]]) == 0
    assert "not read, as without_head says: 2 tensors (4.weight, 4.bias)" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["dissect", *RUN, "--layers", "1", "--without-head", "4"])
    assert stop.value.code == 2
    assert "add --weights" in capsys.readouterr().err


def test_rotate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--alphas", "1", "--seeds", "2", "--iou-threshold", "0.1"]
    assert main(["rotate", *RUN, "--layers", "1", *options, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split()[:4] == ["layer", "alpha", "seeds", "units"]
    assert f"written to {tmp_path}" in printed
    assert {"rotation.csv", "rotation-means.csv", "rotation-1.png", "run.json"} <= names(tmp_path)
    result = nd.load(tmp_path)
    assert list(result) == ["1 alpha 0", "1 alpha 1 seed 0", "1 alpha 1 seed 1"]
    expected = [str(sum(layer.detectors(0.1).values())) for layer in result.values()]
    assert [row["detectors"] for row in table(tmp_path / "rotation.csv")] == expected


def test_null(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["null", str(out), "--repeats", "3"]) == 0
    assert "expected by chance" in capsys.readouterr().out
    loaded = nd.load(out)
    assert all(layer.null is not None and layer.null.repeats == 3 for layer in loaded.values())
    assert set(table(out / "1" / "result.csv")[0]) >= {"p", "q"}


def test_curve(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve", str(out), "--split"]) == 0
    assert "detectors held out" in capsys.readouterr().out
    assert {"curve.csv", "held-out.csv", "curve-iou-1.svg"} <= names(out)
    options = ["--quantiles", "0.01,0.02", "--iou-thresholds", "0.1", "--out", str(tmp_path / "other")]
    assert main(["curve", str(out), *options]) == 0
    assert {row["quantile"] for row in table(tmp_path / "other" / "curve.csv")} == {"0.01", "0.02", "0.05"}
    assert {row["iou_threshold"] for row in table(tmp_path / "other" / "curve.csv")} == {"0.04", "0.1"}


def test_compare(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv_file = str(shutil.copy(out / "1" / "result.csv", tmp_path / "lite.csv"))
    command = ["compare", str(out), csv_file, "--count", "per_category", "--out", str(tmp_path / "both")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "out 1" in printed
    assert "lite" in printed
    rows = table(tmp_path / "both" / "comparison.csv")
    assert [row["run"] for row in rows] == ["out 1", "lite"]
    assert rows[0] | {"run": "lite"} == rows[1]
    assert {"changes.csv", "comparison.svg"} <= names(tmp_path / "both")


def test_explain(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = sorted((work / "scenes" / "images" / "synthetic").glob("00000[01].png"))
    command = ["explain", "out", "--model", "net.py:make", "--image", str(images[0]), "--image", str(images[1])]
    assert main([*command, "--top", "2", "--target", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("output 1, ") == 2
    assert names(tmp_path) == {f"{image.stem}.{end}" for image in images for end in ("csv", "png", "svg")}
    assert len(table(tmp_path / f"{images[0].stem}.csv")) == 6
    assert main([*command, "--layer", "1"]) == 0


def test_ablate(out: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ablate", str(out), "--model", "net.py:make"]
    assert main(command) == 0
    assert "accuracy with all units: 1.0000" in capsys.readouterr().out
    assert [row["set"] for row in table(out / "ablation.csv")][:4] == ["best 1", "best 2", "best 4", "best 6"]
    images = [row["image"] for row in table(work / "scenes" / "index.csv")]
    targets = tmp_path / "targets.csv"
    targets.write_text("image,target\n" + "".join(f"{name},2\n" for name in images))
    options = ["--by", "label", "--targets", str(targets), "--limit", "4", "--out", str(tmp_path / "o")]
    assert main([*command, *options]) == 0
    expected = nd.sets_by_label(nd.load(out)["1"])
    assert [row["set"] for row in table(tmp_path / "o" / "ablation.csv")] == list(expected)


IMAGE = "scenes/images/synthetic/000000.png"
DISSECT, EXPLAIN = ["dissect", *RUN, "--layers", "1"], ["explain", "out", "--model", "net.py:make", "--image", IMAGE]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([*DISSECT, "--transform", "net.py"], "say which function"),
        ([*DISSECT, "--transform", "net.py:missing"], "no function 'missing'"),
        ([*DISSECT, "--transform", "missing.py:flip"], "no such file"),
        ([*DISSECT, "--transform", "flip"], "path/to/file.py:function"),
        ([*DISSECT, "--checkpoints", "ckpt/*.npz"], "no file matches"),
        ([*DISSECT, "--checkpoints", "net.py"], "net.py"),
        (["rotate", *RUN, "--layers", "1", "--seeds", "0"], "seeds must be one or more different"),
        (["rotate", *RUN, "--layers", "1", "--alphas", "0.5,0.5"], "alphas"),
        (["rotate", *RUN, "--layers", "9"], "no layer '9'"),
        (["null", "nowhere"], "nowhere"),
        (["null", "out", "--repeats", "0"], "repeats"),
        (["null", "out", "--seed", "-1"], "seed"),
        (["null", "out", "--data", "nowhere"], "nowhere"),
        (["curve", "out", "--quantiles", "0.5"], "quantile"),
        (["curve", "out", "--threads", "0"], "threads"),
        (["curve", "out", "--out", "net.py/o"], "cannot write"),
        (["compare", "nowhere"], "nowhere"),
        (["compare", "out", "out"], "rename one"),
        (["compare", "scenes/index.csv"], "no column unit"),
        ([*EXPLAIN, "--layer", "9"], "'9' was not dissected"),
        ([*EXPLAIN, "--target", "4"], "0 to 3"),
        ([*EXPLAIN[:-1], "net.py"], "not a readable JPEG or PNG"),
        ([*EXPLAIN[:-1], "nowhere.png"], "nowhere.png"),
        ([*EXPLAIN, "--input-size", "48"], "preprocess"),
        (["explain", "out", "--model", "net.py:narrow", "--image", IMAGE], "RuntimeError"),
        (["ablate", "out", "--model", "net.py:narrow"], "RuntimeError"),
        (["ablate", "out", "--model", "net.py:make", "--batch-size", "0"], "batch_size"),
        (["ablate", "out", "--model", "net.py:make", "--limit", "0"], "limit"),
        (["ablate", "out", "--model", "net.py:make", "--targets", "scenes/index.csv"], "no column target"),
        (["ablate", "out", "--model", "net.py:make", "--targets", "few.csv"], "no target for 15 images"),
        (["ablate", "out", "--model", "net.py:make", "--targets", "empty.csv"], "line 2: target is empty"),
    ],
)
def test_errors_are_one_line(command: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("few.csv").write_text("image,target\nsynthetic/000000.png,1\n")
    Path("empty.csv").write_text("image,target\nsynthetic/000000.png,\n")
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("netdissect-fast: error: ")
    assert words in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("command", ["rotate", "null", "curve", "compare", "explain", "ablate"])
def test_wrong_usage_and_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options, status in (([], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as stop:
            main([command, *options])
        assert stop.value.code == status
    assert "usage:" in capsys.readouterr().out


def test_exported_networks_of_a_fixed_batch_size(tmp_path: Path) -> None:
    """They get padded batches, as in dissect."""
    net = load_model("net.py:make")
    torch.export.save(torch.export.export(net, (torch.zeros(5, 3, 32, 32),)), tmp_path / "net.pt2")
    see = ["--mean", "0.5", "--std", "0.25", "--input-size", "32"]
    model = ["--model", str(tmp_path / "net.pt2"), *see]
    common = ["--data", "scenes", "--quiet", "--quantile", "0.05", "--batch-size", "5"]
    assert main(["dissect", *model, *common, "--layers", "1", "--out", str(tmp_path / "run")]) == 0
    assert main(["explain", str(tmp_path / "run"), *model, "--image", IMAGE, "--out", str(tmp_path)]) == 0
    assert main(["ablate", str(tmp_path / "run"), *model, "--batch-size", "5"]) == 0
    run = nd.load(tmp_path / "run")
    plain = nd.explain(net, run["1"], nd.Broden("scenes").image(0), preprocess=nd.Preprocess(32, 0.5, 0.25))
    got = [float(row["contribution"]) for row in table(tmp_path / "000000.csv")]
    assert got == pytest.approx([row["contribution"] for row in plain.rows], abs=1e-5)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["batch_size"] == 5
