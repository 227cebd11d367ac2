"""Dissecting generators, whose pictures a segmenter labels: end to end, against a direct computation."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.dataset import Subset
from netdissect_fast.data.formats.segmented import Segmented
from netdissect_fast.errors import ArgumentError, ModelError, ResumeMismatch

from ..support.generators import COUNT, NAMES, SIDE, UNITS, Brightest, Generator, eight_bits, generated, latents

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))


def direct_counts(layer: Any, maps: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """I and A of maps upsampled to 8×8 half-pixel in float32 and the order of spec 1.3, by NumPy alone."""
    x = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, SIDE - 1)
    low = np.minimum(np.floor(x).astype(int), SIDE - 1)
    high, f = np.minimum(low + 1, SIDE - 1), (x - low).astype(np.float32)
    rows = maps[..., low, :], maps[..., high, :]
    top, bottom = (row[..., low] + f * (row[..., high] - row[..., low]) for row in rows)
    on = top + f[:, None] * (bottom - top) > layer.thresholds[None, :, None, None]
    found = [[(on[:, k] & (labels == n)).sum() for n in (1, 2, 3)] for k in range(UNITS)]
    return np.array(found), on.sum((0, 2, 3))


@pytest.mark.parametrize("thresholds", [None, np.linspace(-0.2, 0.2, UNITS, dtype=np.float32)])
def test_counts_equal_a_direct_computation(thresholds: Any) -> None:
    model, z = Generator().eval(), latents()
    result = nd.dissect(
        model, generated(generator=model), "units", quantile="0.1", thresholds=thresholds, alignment="half_pixel",
        batch_size=8, threads=2,
    )["units"]  # fmt: skip
    with torch.no_grad():
        maps = torch.cat([model.units(part) for part in z.split(8)]).numpy()  # in the same batches: the same last bits
    if thresholds is None:
        rank = int(Fraction("0.1") * COUNT * SIDE**2)
        descending = -np.sort(-maps.transpose(1, 0, 2, 3).reshape(UNITS, -1))
        np.testing.assert_array_equal(result.thresholds, descending[:, rank])
    labels = eight_bits(z).argmax(1) + 1
    intersection, area = direct_counts(result, maps, labels)
    np.testing.assert_array_equal(result.counts.intersection, intersection)
    np.testing.assert_array_equal(result.counts.unit_area[:, 0], area)
    np.testing.assert_array_equal(result.counts.concept_area, [(labels == n).sum() for n in (1, 2, 3)])
    assert (result.grid.input_size, result.grid.size, result.grid.stride) == ((8, 8), (4, 4), (2, 2))


def test_latents_of_any_shape_and_an_estimate() -> None:
    model = nn.Sequential(
        nn.Linear(6, 3 * 16), nn.Unflatten(1, (3, 4, 4)), nn.Tanh(), nn.Upsample(scale_factor=2)
    ).eval()
    data = generated(z=torch.randn(COUNT, 6), generator=model)
    result = nd.dissect(model, data, ["0", "2"], alignment="half_pixel", batch_size=8, workers=1)
    assert [result[name].grid.size for name in ("0", "2")] == [(1, 1), (4, 4)]
    assert nd.estimate(model, data, ["0", "2"], alignment="half_pixel", batch_size=8).layers["0"].units == 48


def test_images_of_a_data_set_dissected_as_any() -> None:
    scenes = nd.Synthetic(6, size=32)
    data = Segmented(scenes, Brightest().eval(), NAMES, label_size=None)
    assert data.name(2) == scenes.name(2)
    assert data.labels(0).shape == (32, 32)
    net = nn.Conv2d(3, 2, 3, padding=1).eval()
    result = nd.dissect(net, data, "", preprocess=nd.Preprocess((32, 32), 0.5, 0.5), quantile=0.1, batch_size=2)
    assert result["model"].counts.concept_area.sum() == 6 * 32 * 32


def test_a_subset_of_it() -> None:
    data, model = generated(), Generator().eval()
    part = Subset(data, [5, 3, 8, 20])
    np.testing.assert_array_equal(part.labels(1).maps, data.labels(3).maps)
    assert torch.equal(part.input(3), latents()[20])
    result = nd.dissect(model, part, "units", alignment="half_pixel", quantile=0.2)
    assert result["units"].counts.concept_area.sum() == 4 * 64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "alignment='receptive_field' has no meaning.*alignment='half_pixel'"),
        ({"alignment": "half_pixel", "preprocess": nd.Preprocess((8, 8), 0, 1)}, "omit preprocess"),
        ({"alignment": "quarter_pixel"}, "unknown alignment"),
    ],
)
@pytest.mark.parametrize("run", [nd.dissect, nd.estimate])
def test_what_latents_do_not_go_with(options: dict[str, Any], said: str, run: Any) -> None:
    with pytest.raises(ArgumentError, match=said):
        run(Generator().eval(), generated(), "units", **options)


class OwnInputs(nd.Synthetic):
    """A data set of the user's own whose inputs are no tensors of one shape."""

    def __init__(self, given: Any) -> None:
        super().__init__(4, size=32)
        self.given = given

    def input(self, index: int) -> Any:
        return self.given[index]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2, 3, 4], r"input\(0\) of .* must be a float tensor, got int"),
        ([torch.zeros(3, 8, 8), torch.zeros(3, 9, 8)] * 2, r"different shapes, \[3, 8, 8\] and \[3, 9, 8\]"),
    ],
)
def test_bad_inputs_of_a_data_set_of_ones_own(given: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        nd.dissect(nn.Conv2d(3, 2, 1).eval(), OwnInputs(given), "", alignment="half_pixel")


def test_saved_resumed_and_reported(tmp_path: Path) -> None:
    model, out = Generator().eval(), tmp_path / "out"
    arguments: dict[str, Any] = {"quantile": 0.1, "alignment": "half_pixel", "batch_size": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.up, "forward", _fails_at(4))
        with pytest.raises(ModelError, match="interrupted"):
            nd.dissect(model, generated(), "units", out=out, checkpoint_every=0, **arguments)
    with pytest.raises(ResumeMismatch, match="data"):
        nd.dissect(model, generated(names=("red", "green", "other")), "units", out=out, **arguments)
    whole = nd.dissect(model, generated(), "units", **arguments)
    seen: list[int] = []
    handle = model.units.register_forward_hook(lambda _m, _i, output: seen.append(len(output)))
    resumed = nd.dissect(model, generated(), "units", out=out, **arguments)
    handle.remove()
    assert sum(seen) < COUNT, "what the checkpoint had is not done again"
    np.testing.assert_array_equal(resumed["units"].counts.intersection, whole["units"].counts.intersection)
    loaded = nd.load(out)
    with pytest.raises(ArgumentError, match="where the images are"):
        nd.report(loaded, tmp_path / "report")
    with pytest.raises(ArgumentError, match="not the data set that was dissected"):
        nd.report(loaded, tmp_path / "report", data=generated(label_size=4))
    report = nd.report(loaded, tmp_path / "report", data=generated(), picture_size=16)
    assert report.pictures == 2 * UNITS + len(NAMES)


def _fails_at(batch: int) -> Callable[[Tensor], Tensor]:
    """The last layer of a generator that fails at a batch, not counting the first of one latent."""
    calls: list[int] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(len(x))
        if len([n for n in calls if n > 1]) == batch:
            raise RuntimeError("interrupted")
        return torch.nn.functional.interpolate(x, scale_factor=2)

    return forward


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.support.generators import Generator, generated\ndef make(): return Generator().eval()\n"
        "def data(): return generated()\n"
    )
    command = ["dissect", "--model", f"{file}:make", "--layers", "units", "--data", f"{file}:data", "--quiet"]
    command += ["--out", str(tmp_path / "out")]
    assert main(command) != 0
    assert "--alignment half_pixel" in capsys.readouterr().err
    assert main([*command, "--alignment", "half_pixel"]) == 0
    assert nd.load(tmp_path / "out")["units"].counts.concept_area.sum() == COUNT * 64
