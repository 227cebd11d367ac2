"""Real networks on real photographs, through the command line: the numbers of an independent program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.data.label_cache import packed_labels
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.network.models import load_model
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.counts import Counter

pytestmark = [pytest.mark.data, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
LAYERS = ["features.9", "features.10", "features.12"]
# detectors, unique detectors: receptive_field, then half_pixel
YARDSTICK = {
    "features.9": ((101, 17), (82, 12)),
    "features.10": ((157, 29), (156, 25)),
    "features.12": ((177, 51), (182, 50)),
}


def squeezenet(shared_data: Path) -> torch.nn.Module:
    return load_model(f"{EXAMPLES / 'squeezenet.py'}:squeezenet", shared_data / "models" / "squeezenet1_0_imagenet.npz")


def both(layer: nd.LayerResult) -> tuple[int, int]:
    return sum(layer.detectors().values()), sum(layer.unique_detectors().values())


@pytest.mark.parametrize("name", LAYERS)
def test_detectors_are_those_of_an_independent_program(squeezenet_run, shared_data, name):
    layer = nd.load(squeezenet_run)[name]
    traced, half = YARDSTICK[name]
    np.testing.assert_allclose(both(layer), traced, atol=1)
    data = nd.Broden(shared_data / "minibroden_224")
    labels = packed_labels(data, squeezenet_run.parent / "cache")
    grid = make_grid("half_pixel", None, layer.grid.size, layer.grid.input_size)
    again = nd.score_peaks(layer.require_peaks(), grid, labels, data.vocabulary)
    np.testing.assert_allclose(both(again), half, atol=1)


@pytest.mark.parametrize("name", ["features.9", "features.12"])
def test_counts_equal_the_reference_on_dumped_activations(squeezenet_run, shared_data, name):
    """The run's own thresholds and grid, and the images' activations copied out in the same batches of 32."""
    images, step = 64, 4  # every fourth unit: the reference is slow
    layer = nd.load(squeezenet_run)[name]
    data = nd.Broden(shared_data / "minibroden_224")
    model = squeezenet(shared_data)
    preprocess, kept = from_model(model), []
    handle = model.get_submodule(name).register_forward_hook(lambda _m, _i, out: kept.append(out.clone()))
    with torch.no_grad():
        for first in range(0, images, 32):
            model(torch.stack([preprocess(data.image(i)) for i in range(first, first + 32)]))
    handle.remove()
    maps = torch.cat(kept).numpy()[:, ::step]
    labels = PackedLabels.pack((data.labels(i) for i in range(images)), data.vocabulary)
    reference = ReferenceBackend()
    thresholds = np.ascontiguousarray(layer.thresholds[::step])
    expected = Counter(thresholds, layer.grid, labels, data.vocabulary)
    expected.add(reference.keep(maps, thresholds, 0), 0, images, reference)
    crops = layer.require_peaks().crops.of_images(0, images)
    backend = CpuBackend()
    found = Counter(layer.thresholds, layer.grid, labels, data.vocabulary)
    found.add(crops, 0, images, backend)
    np.testing.assert_array_equal(found.counts.intersection[::step], expected.counts.intersection)
    np.testing.assert_array_equal(found.counts.unit_area[::step], expected.counts.unit_area)
    assert expected.counts.intersection.sum() > 10_000


def test_thresholds_equal_a_sort_of_all_activations(squeezenet_run, shared_data):
    layer = nd.load(squeezenet_run)["features.12"]
    data = nd.Broden(shared_data / "minibroden_224")
    model = squeezenet(shared_data)
    preprocess, kept = from_model(model), []
    handle = model.features[12].register_forward_hook(lambda _m, _i, out: kept.append(out.clone()))
    with torch.no_grad():
        for first in range(0, len(data), 32):
            images = range(first, min(first + 32, len(data)))
            model.features(torch.stack([preprocess(data.image(i)) for i in images]))
    handle.remove()
    flat = np.sort(torch.cat(kept).numpy().transpose(1, 0, 2, 3).reshape(512, -1), axis=1)
    np.testing.assert_array_equal(layer.thresholds, flat[:, -(flat.shape[1] * 5 // 1000 + 1)])


def test_resnet20_at_32_pixels_with_the_same_command(shared_data, tmp_path, capsys):
    command = ["dissect", "--model", f"{EXAMPLES / 'resnet20.py'}:resnet20"]
    command += ["--weights", str(shared_data / "models" / "resnet20_cifar10-12fca82f.th")]
    command += ["--layers", "layer1,layer3", "--data", str(shared_data / "minibroden_224"), "--limit", "200"]
    assert main([*command, "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert sum(printed["layers"]["layer3"]["detectors"].values()) > 10
    result = nd.load(tmp_path / "out")
    assert result["layer1"].grid.stride == (1, 1)
    assert result["layer3"].grid.stride == (4, 4)
    assert result["layer3"].grid.offset == (0, 0)
    assert result["layer3"].grid.input_size == (32, 32)
