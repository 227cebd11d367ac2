"""What a run will need, estimated from a few batches, against what the run then needs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.errors import ActivationError, ArgumentError

from ..support.networks import two_layers

IMAGES = 360
FACTOR = 1.5  # how far off the store may be estimated


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> nd.Broden:
    folder = tmp_path_factory.mktemp("estimating") / "scenes"
    write_synthetic(folder, images=IMAGES, size=32)
    return nd.Broden(folder)


def three_layers() -> nn.Sequential:
    """Maps of 16×16, 8×8 and, of a linear layer, 1×1; large enough that the first is pruned on its way."""
    net = two_layers(24)
    net.extend([nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * 48, 30)])
    return net


def bytes_held(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Bytes of every store after each batch, by the store's number of units."""
    held: dict[int, list[int]] = {}
    add = nd.Peaks.add

    def watched(self: nd.Peaks, *arguments: object) -> None:
        add(self, *arguments)
        held.setdefault(self.units, []).append(self.nbytes)

    monkeypatch.setattr(nd.Peaks, "add", watched)
    return held


def test_memory_is_what_the_run_then_needs(data, tmp_path, monkeypatch) -> None:
    """The store within a factor of 1.5, its peak not above the estimate by more, the counters to the byte."""
    layers = ["0", "3", "7"]
    estimate = nd.estimate(three_layers(), data, layers, batch_size=16, cache=tmp_path)
    assert not list(tmp_path.iterdir()), "something was written"
    held = bytes_held(monkeypatch)
    result = nd.dissect(three_layers(), data, layers, batch_size=16, cache=tmp_path)
    assert (estimate.images, estimate.sampled, list(estimate.layers)) == (IMAGES, 48, layers)
    for name, expected in estimate.layers.items():
        layer = result[name]
        assert layer.peaks is not None
        assert layer.peaks.nbytes / FACTOR <= expected.store_bytes <= layer.peaks.nbytes * FACTOR
        assert max(held[expected.units]) <= FACTOR * expected.peak_bytes
        assert expected.counter_bytes == sum(array.nbytes for array in vars(layer.counts).values())
        assert expected.dense_bytes == 4 * IMAGES * expected.units * layer.grid.size[0] * layer.grid.size[1]
        assert (expected.units, expected.grid) == (len(layer.thresholds), layer.grid)
    labels = sum(file.stat().st_size for file in tmp_path.rglob("words.bin"))
    assert labels / FACTOR <= estimate.label_bytes <= FACTOR * 1.2 * labels


def test_cached_labels_are_known(data, tmp_path) -> None:
    before = nd.estimate(two_layers(), data, "0", cache=tmp_path)
    nd.dissect(two_layers(), data, "0", cache=tmp_path)
    after = nd.estimate(two_layers(), data, "0", cache=tmp_path)
    assert (before.labels_cached, after.labels_cached) == (False, True)
    assert before.seconds["labels"] > after.seconds["labels"] == 0
    assert set(after.seconds) == {"labels", "forward", "keep", "count"}
    assert all(after.seconds[part] > 0 for part in ("forward", "keep", "count"))


def test_batches_are_spread_and_the_first_runs_twice(data, tmp_path) -> None:
    net, sizes = two_layers(), []
    net[0].register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    estimate = nd.estimate(net, data, "3", batch_size=100, batches=2, cache=tmp_path)
    assert sizes == [1, 100, 100, 100]  # the first image, to plan; then the warm-up
    assert estimate.sampled == 200
    sizes.clear()
    few = nd.Subset.first(data, 10)
    assert nd.estimate(net, few, "3", batch_size=4, batches=9, cache=tmp_path).sampled == 8
    assert sizes == [1, 4, 4, 4]
    one = nd.estimate(net, nd.Subset.first(data, 1), "3", cache=tmp_path)
    assert one.sampled == 1
    for layer in one.layers.values():
        assert layer.store_bytes > 0


def test_units_and_quantile(data, tmp_path) -> None:
    common = {"cache": tmp_path, "batch_size": 16}
    small, large = (nd.estimate(two_layers(), data, "0", quantile=q, **common) for q in ("0.001", "0.05"))
    assert small.layers["0"].store_bytes < large.layers["0"].store_bytes
    half = nd.estimate(two_layers(), data, "0", units=slice(0, 3), **common)
    assert half.layers["0"].units == 3


def test_bad_arguments_and_activations(data, tmp_path) -> None:
    for options, words in (({"batches": 0}, "batches"), ({"quantile": 2}, "quantile"), ({"batch_size": 0}, "batch")):
        with pytest.raises(ArgumentError, match=words):
            nd.estimate(two_layers(), data, "0", cache=tmp_path, **options)
    net = two_layers()
    with torch.no_grad():
        net[3].weight[2] = float("nan")
    with pytest.raises(ActivationError, match="layer '3', unit 2, image synthetic/"):
        nd.estimate(net, data, "3", cache=tmp_path)


def test_dry_run(data, tmp_path, capsys) -> None:
    """The command prints a row a layer, as text or JSON, and writes neither result nor cache."""
    (tmp_path / "net.py").write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.support.networks import two_layers\ndef make(): return two_layers()\n"
    )
    where = ["--data", str(data.path), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    command = ["dissect", "--model", f"{tmp_path / 'net.py'}:make", "--layers", "0,3", *where, "--dry-run"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"estimated for {IMAGES} images from 96" in text
    assert re.search(r"^3 +12 +8×8 +[\d.]+ kB ", text, re.MULTILINE)
    assert re.search(r"^packed labels: [\d.]+ [kM]B, to be packed$", text, re.MULTILINE)
    assert re.search(r"^time: .* \(labels .*, forward .*, keep .*, count .*\)$", text, re.MULTILINE)
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [layer["units"] for layer in printed["layers"].values()] == [6, 12]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["net.py"]


def test_sizes_are_readable() -> None:
    from netdissect_fast.runs.estimates import _duration, _size

    assert [_size(n) for n in (0, 999, 1000, 5_290_000, 1.5e9, 2e15)] == [
        "0 B", "999 B", "1 kB", "5.29 MB", "1.5 GB", "2e+03 TB"]  # fmt: skip
    assert [_duration(s) for s in (0.04, 45, 600, 20000)] == ["0.0 s", "45 s", "10 min", "5.6 h"]
