"""The command line, run as a user would, on a drawn data set and a network in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast import _core
from netdissect_fast.cli import main
from netdissect_fast.demo.demo import run_demo

from ..support.networks import two_layers

MODEL = """
from torch import nn

def make():
    net = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.ReLU(inplace=True), nn.Conv2d(6, 12, 3))
    net.input_size, net.mean, net.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    return net

def bare():
    return nn.Sequential(nn.Conv2d(3, 6, 5))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with ``net.py`` and the data set ``scenes`` (24 images); it also holds the cache."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "net.py").write_text(MODEL)
    assert main(["data", "synth", str(folder / "scenes"), "--images", "24", "--size", "48"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(folder / "cache"))


def dissect(*options: str) -> int:
    return main(["dissect", "--model", "net.py:make", "--data", "scenes", "--batch-size", "8", *options])


def test_dissect_prints_a_table_and_writes_the_result(tmp_path, capsys):
    assert dissect("--layers", "0,2", "--quantile", "0.02", "--out", str(tmp_path / "out")) == 0
    printed = capsys.readouterr().out
    assert "0: 6 units of 16×16, stride 2, offset 0 (receptive_field)" in printed
    assert "2: 12 units of 14×14, stride 2, offset 2 (receptive_field)" in printed
    assert "24 images" in printed
    result = nd.load(tmp_path / "out")
    assert list(result) == ["0", "2"]
    assert result.run["settings"]["quantile"] == "0.02"
    assert sum(result["2"].detectors().values()) == sum(row.detector for row in result["2"].units())
    assert (tmp_path / "out" / "0" / "result.csv").read_text().startswith("unit,category,label,score,")


def test_json(capsys):
    assert dissect("--layers", "2", "--quantile", "0.02", "--units", "3:7", "--limit", "10", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["unit"] for row in printed["layers"]["2"]["units"]] == [3, 4, 5, 6]
    assert printed["run"]["data"]["images"] == 10


def test_options_reach_the_dissection(tmp_path):
    options = "--alignment 2,3.5 --category-rule none --split val --categories object,scene --threads 1 --quiet"
    see = "--input-size 24x40 --mean 100,100,100 --std 50,50,50 --channels BGR --value-range 255"
    threads = torch.get_num_threads()
    try:
        assert dissect("--layers", "0", *options.split(), *see.split(), "--out", str(tmp_path)) == 0
    finally:
        torch.set_num_threads(threads)
    result = nd.load(tmp_path)
    assert result["0"].grid.stride == (2, 2)
    assert result["0"].grid.offset == (3.5, 3.5)
    assert result["0"].grid.input_size == (24, 40)
    assert result["0"].vocabulary.categories == ("object", "scene")
    assert result.run["settings"]["category_rule"] == "none"
    assert result.run["settings"]["threads"] == 1
    assert result.run["data"]["images"] == len(nd.Broden("scenes", split="val"))


def test_weights_and_exported_networks_agree(tmp_path):
    net = two_layers()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "two.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.support.networks import two_layers\ndef make(): return two_layers(seed=9)\n"
    )
    images = torch.zeros(8, 3, 32, 32)
    torch.export.save(torch.export.export(net, (images,)), tmp_path / "net.pt2")  # takes batches of 8 only
    common = ["--data", "scenes", "--layers", "3", "--quantile", "0.02", "--limit", "20", "--quiet"]
    see = ["--input-size", "32", "--mean", "0.5", "--std", "0.25", "--batch-size", "8"]
    from_file = ["--model", f"{tmp_path / 'two.py'}:make", "--weights", str(tmp_path / "net.pth")]
    assert main(["dissect", *from_file, *common, *see, "--out", str(tmp_path / "a")]) == 0
    assert main(["dissect", "--model", str(tmp_path / "net.pt2"), *common, *see, "--out", str(tmp_path / "b")]) == 0
    first, second = nd.load(tmp_path / "a")["3"], nd.load(tmp_path / "b")["3"]
    np.testing.assert_allclose(first.thresholds, second.thresholds, rtol=1e-5)
    np.testing.assert_allclose(first.iou, second.iou, atol=2e-3)
    assert first.grid == second.grid


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layers", "9"], "no layer '9'"),
        (["--layers", "0", "--quantile", "2"], "quantile"),
        (["--layers", "0", "--limit", "0"], "limit"),
        (["--layers", "0", "--split", "test"], "split"),
        (["--layers", "0", "--categories", "animal"], "animal"),
        (["--layers", "0", "--threads", "0"], "threads"),
        (["--layers", "0", "--device", "cuda:7"], "--device"),
        (["--layers", "0", "--mean", "1,2,3"], "value_range=255"),
        (["--layers", "0", "--model", "net.py:bare", "--mean", "0.5"], "--input-size"),
        (["--layers", "0", "--weights", "none.pth"], "none.pth"),
        (["--layers", "0", "--out", "net.py/out"], "cannot write"),
        (["--layers", "0", "--data", "nowhere"], "nowhere"),
        (["--layers", "0", "--model", "net.py:missing"], "missing"),
        (["--layers", "0", "--model", "net.py:bare"], "--input-size"),
        (["--layers", "0", "--model", "torchvision:resnet18"], "torchvision"),
    ],
)
def test_errors_are_one_line_and_exit_status_1(options, words, capsys):
    assert dissect(*options) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("netdissect-fast: error: ")
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


NEEDED = "dissect --model net.py:make --layers 0 --data scenes"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "netdissect-fast: error: the following arguments are required: COMMAND"),
        ("unknown", "netdissect-fast: error: argument COMMAND: invalid choice: 'unknown'"),
        ("data", "netdissect-fast data: error: the following arguments are required: COMMAND"),
        ("data dig", "netdissect-fast data: error: argument COMMAND: invalid choice: 'dig'"),
        ("dissect", "netdissect-fast dissect: error: the following arguments are required: --model, --layers, --data"),
        (f"{NEEDED} --unknown 3", "netdissect-fast dissect: error: unrecognized arguments: --unknown 3"),
        ("data info scenes more", "netdissect-fast data info: error: unrecognized arguments: more"),
        (f"{NEEDED} --layers ,", "--layers: expected names separated by commas, got ','"),
        (f"{NEEDED} --categories ,", "--categories: expected names separated by commas"),
        (f"{NEEDED} --units x", "--units: expected a number, START:STOP or START:STOP:STEP, got 'x'"),
        (f"{NEEDED} --units 1:2:3:4", "--units: expected a number, START:STOP or"),
        (f"{NEEDED} --mean red", "--mean: expected a number, or several separated by commas, got 'red'"),
        (f"{NEEDED} --std 1,", "--std: expected a number, or several separated by commas, got '1,'"),
        (f"{NEEDED} --input-size 2x", "--input-size: expected a number of pixels, or HEIGHTxWIDTH, got '2x'"),
        (f"{NEEDED} --label-size big", "--label-size: expected a number of pixels"),
        (f"{NEEDED} --quantile much", "--quantile: expected a number such as 0.005 or 1/200, got 'much'"),
        (f"{NEEDED} --quantile 1/2/3", "--quantile: expected a number such as"),
        (f"{NEEDED} --alignment middle", "--alignment: expected receptive_field, half_pixel, align_corners or"),
        (f"{NEEDED} --alignment 1,2,3", "--alignment: expected receptive_field, half_pixel, align_corners or"),
        (f"{NEEDED} --alignment a,b", "--alignment: expected a number"),
        (f"{NEEDED} --channels CMYK", "--channels: expected RGB, BGR, L or a number of bands, got 'CMYK'"),
        (f"{NEEDED} --category-rule some", "--category-rule: invalid choice: 'some'"),
        (f"{NEEDED} --backend abacus", "--backend: invalid choice: 'abacus'"),
        (f"{NEEDED} --batch-size many", "--batch-size: invalid int value: 'many'"),
        (f"{NEEDED} --out o --shard two", "--shard: expected I/N with I from 0 to N-1, such as 0/4, got 'two'"),
        (f"{NEEDED} --out o --shard 2/2", "--shard: expected I/N with I from 0 to N-1"),
        (f"{NEEDED} --out o --shard=-1/2", "--shard: expected I/N with I from 0 to N-1"),
        (
            f"{NEEDED} --shard 0/2",
            "netdissect-fast dissect: error: --shard saves a part of the run for merge: add --out",
        ),
        (f"{NEEDED} --checkpoints *.pth --weights net.pth", "error: --checkpoints dissects whole runs with weights of"),
        (f"{NEEDED} --checkpoints *.pth --shard 0/2 --out o", "with weights of their own: omit --weights and --shard"),
        ("merge one two", "netdissect-fast merge: error: --out is required if there are several folders of shards"),
        ("merge one --backend abacus", "--backend: invalid choice: 'abacus'"),
        ("curve out --quantiles 0.1,much", "--quantiles: expected a number such as 0.005 or 1/200, got 'much'"),
        ("curve out --iou-thresholds high", "--iou-thresholds: expected a number"),
        ("rotate --model m --layers 0 --data d --alphas half", "--alphas: expected a number"),
        ("compare a --count all", "--count: invalid choice: 'all'"),
        ("ablate out --model m --by hand", "--by: invalid choice: 'hand'"),
        ("explain out --model m", "the following arguments are required: --image"),
        ("explain out --model m --image a/x.png --image b/x.png", "error: two images have the same name: x, x"),
        ("data build --out o", "netdissect-fast data build: error: no source is given: add --ade20k, --dtd,"),
        ("data show scenes door --out o.gif", "--out: must end in .jpg, .jpeg, .png, got 'o.gif'"),
    ],
)
def test_wrong_usage_is_exit_status_2(line, message, capsys):
    """One line below the usage says so, before anything is opened."""
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 2
    printed = capsys.readouterr()
    *usage, said = printed.err.splitlines()
    assert message in said
    assert said.startswith("netdissect-fast")
    assert usage[0].startswith("usage: netdissect-fast")
    assert len(usage) <= 3
    assert not printed.out


def test_info(capsys):
    assert main(["info", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["netdissect_fast"] == nd.__version__
    assert printed["isa"] in printed["available_isas"] == _core.available_isas()
    assert main(["info"]) == 0
    assert nd.__version__ in capsys.readouterr().out


def test_python_m_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "netdissect_fast", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, nd.__version__)


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_control_c_writes_nothing(tmp_path):
    slow = (
        "import time\nfrom net import make as plain\n"
        "def make():\n    net = plain()\n"
        "    net.register_forward_hook(lambda *_: (print('running', flush=True), time.sleep(0.5)) and None)\n"
        "    return net\n"
    )
    (Path("slow.py")).write_text(slow)
    command = [sys.executable, "-m", "netdissect_fast", "dissect", "--model", "slow.py:make", "--data", "scenes"]
    with subprocess.Popen(
        [*command, "--layers", "0", "--batch-size", "1", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "running\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "netdissect-fast: interrupted; no half-written result was left" in printed
    assert not list((tmp_path / "out").iterdir())


def test_the_demo_gives_the_same_bytes_twice(tmp_path, capsys):
    tables = []
    for run in ("first", "second"):
        assert main(["demo", "--out", str(tmp_path / run), "--images", "60"]) == 0
        assert "after training" in capsys.readouterr().out
        tables.append((tmp_path / run / "trained" / "layer4" / "result.csv").read_bytes())
    assert tables[0] == tables[1]
    assert main(["demo", "--out", str(tmp_path / "first"), "--images", "60"]) == 0  # over an earlier demo


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demos_trained_network_detects_three_times_the_concepts_of_the_random_one(tmp_path, seed):
    results = run_demo(tmp_path, seed=seed, images=400, progress=False)
    unique = {name: sum(result["layer4"].unique_detectors().values()) for name, result in results.items()}
    assert unique["trained"] >= 3 * unique["random"] > 0
