"""dissect() end to end on small networks: the same numbers as a plain computation on dumped activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.errors import ActivationError, ArgumentError, LayerError, ModelError, OutputError, ShapeError
from netdissect_fast.scoring.backends.reference import ReferenceBackend
from netdissect_fast.scoring.counts import Counter
from netdissect_fast.scoring.peaks import peaks_of

from ..support.networks import two_layers

IMAGES = 21


@pytest.fixture(scope="module")
def scenes() -> nd.Synthetic:
    return nd.Synthetic(IMAGES, seed=3, size=48)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def dumped(model: nn.Module, data: nd.Synthetic, layer: str, batch_size: int) -> np.ndarray:
    """All activations [N, U, H, W] of a layer, copied in a plain hook, in the same batches."""
    kept: list[torch.Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out.clone()))
    preprocess = from_model(model)
    with torch.no_grad():
        for first in range(0, len(data), batch_size):
            images = [preprocess(data.image(i)) for i in range(first, min(first + batch_size, len(data)))]
            model(torch.stack(images))
    handle.remove()
    return torch.cat(kept).numpy()


@pytest.mark.parametrize("alignment", ["receptive_field", "half_pixel", "align_corners", (4, 1.5)])
def test_counts_equal_the_reference_on_dumped_activations(scenes, alignment):
    model = two_layers()
    result = nd.dissect(model, scenes, ["0", "3"], quantile="0.02", batch_size=8, alignment=alignment)
    labels = PackedLabels.pack((scenes.labels(i) for i in range(IMAGES)), scenes.vocabulary)
    for name in ("0", "3"):
        maps, layer = dumped(model, scenes, name, 8), result[name]
        flat = np.sort(maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1))
        rank = int(0.02 * flat.shape[1]) + 1
        np.testing.assert_array_equal(layer.thresholds, flat[:, -rank])
        reference = ReferenceBackend()
        counter = Counter(layer.thresholds, layer.grid, labels, scenes.vocabulary)
        counter.add(peaks_of(maps, "0.02", reference).crops, 0, IMAGES, reference)
        np.testing.assert_array_equal(layer.counts.intersection, counter.counts.intersection)
        np.testing.assert_array_equal(layer.counts.unit_area, counter.counts.unit_area)
        np.testing.assert_array_equal(layer.counts.concept_area, counter.counts.concept_area)
        assert layer.counts.intersection.any()


def test_traced_grids_and_settings_are_recorded(scenes):
    result = nd.dissect(two_layers(), scenes, {"0": "first", "3": "last"})
    assert result["first"].grid.stride == (2, 2)
    assert result["first"].grid.offset == (0, 0)
    assert result["last"].grid.stride == (4, 4)
    assert result["last"].grid.offset == (1, 1)
    settings = result.run["settings"]
    assert settings["quantile"] == "0.005"
    assert settings["batch_size"] == 32
    assert settings["torch_threads"] == torch.get_num_threads()
    assert result.run["data"]["fingerprint"] == scenes.fingerprint()


def test_the_in_place_relu_after_the_layer_does_not_show(scenes):
    layer = nd.dissect(two_layers(), scenes, "0", quantile="0.9")["0"]
    assert (layer.thresholds < 0).all()


def test_an_interrupted_or_failing_run_leaves_no_result_and_the_model_as_it_was(scenes, tmp_path):
    model = two_layers().train()
    model[3].register_forward_hook(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    hooks = [dict(module._forward_hooks) for module in model.modules()]
    with pytest.raises(KeyboardInterrupt):
        nd.dissect(model, scenes, "0", out=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert model.training
    assert [dict(module._forward_hooks) for module in model.modules()] == hooks


def test_given_thresholds_give_the_same_counts_without_peaks(scenes):
    model = two_layers()
    first = nd.dissect(model, scenes, "3", quantile="0.02", batch_size=8)["3"]
    again = nd.dissect(model, scenes, "3", thresholds=first.thresholds, batch_size=8)["3"]
    np.testing.assert_array_equal(again.counts.intersection, first.counts.intersection)
    np.testing.assert_array_equal(again.counts.unit_area, first.counts.unit_area)
    assert again.peaks is None
    with pytest.raises(ArgumentError, match="no peaks"):
        again.top(0)


def test_saved_runs_can_be_scored_again_without_the_network(scenes, tmp_path):
    model = two_layers()
    nd.dissect(model, scenes, "3", quantile="0.05", batch_size=8, out=tmp_path)
    loaded = nd.load(tmp_path)["3"]
    smaller = nd.dissect(model, scenes, "3", quantile="0.01", batch_size=8)["3"]
    labels = PackedLabels.pack((scenes.labels(i) for i in range(IMAGES)), scenes.vocabulary)
    again = nd.score_peaks(loaded.require_peaks(), loaded.grid, labels, scenes.vocabulary, quantile="0.01")
    np.testing.assert_array_equal(again.thresholds, smaller.thresholds)
    np.testing.assert_array_equal(again.iou, smaller.iou)


def test_some_units_are_the_same_units(scenes):
    model = two_layers()
    whole = nd.dissect(model, scenes, "3", quantile="0.02", batch_size=8)["3"]
    some = nd.dissect(model, scenes, "3", quantile="0.02", batch_size=8, units=slice(2, 9, 3))["3"]
    assert some.unit_numbers.tolist() == [2, 5, 8]
    np.testing.assert_array_equal(some.iou, whole.iou[2:9:3])
    assert [row.unit for row in some.units()] == [2, 5, 8]


def test_top_images_are_those_of_the_highest_activations(scenes):
    model = two_layers()
    layer = nd.dissect(model, scenes, "0", quantile="0.1", batch_size=8)["0"]
    maxima = dumped(model, scenes, "0", 8)[:, 4].max(axis=(1, 2))
    images, values = layer.top(4, n=5)
    assert images.tolist() == np.argsort(-maxima, kind="stable")[:5].tolist()
    np.testing.assert_array_equal(values, maxima[images])


def test_fully_connected_and_transformed_layers(scenes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 7))
    model.input_size, model.mean, model.std = (3, 16, 16), (0.5,) * 3, (0.5,) * 3
    plain = nd.dissect(model, scenes, "1", quantile="0.2")["1"]
    assert plain.grid.size == (1, 1)
    doubled = nd.dissect(model, scenes, "1", quantile="0.2", transform=lambda a: torch.cat([a, -a], 1))["1"]
    np.testing.assert_array_equal(doubled.iou[:7], plain.iou)
    assert len(doubled.thresholds) == 14


def test_half_precision_networks(scenes):
    result = nd.dissect(two_layers().bfloat16(), scenes, "0", quantile="0.05")
    assert result["0"].counts.intersection.any()
    assert result.run["settings"]["dtype"] == "bfloat16"


class Poisoned(nn.Module):
    """Gives NaN for the fifth image of the second batch of four, in unit 2."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.seen = -1  # the first image goes through once before the run
        self.input_size, self.mean, self.std = (3, 16, 16), (0.5,) * 3, (0.5,) * 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        for image in range(len(x)):
            self.seen += 1
            if self.seen == 6:
                x[image, 2, 3, 3] = float("nan")
        return self.layer(x)


def test_nan_names_layer_unit_and_image(scenes):
    with pytest.raises(ActivationError, match=r"layer 'layer', unit 2, image synthetic/000005"):
        nd.dissect(Poisoned(), scenes, "layer", batch_size=4)
    with pytest.raises(ActivationError, match=r"layer 'layer', unit 2, image synthetic/000005"):
        nd.dissect(Poisoned(), scenes, "layer", batch_size=4, units=[2])


def test_a_model_that_raises(scenes):
    model = two_layers()
    model[3] = nn.Conv2d(99, 4, 3)
    with pytest.raises(ModelError, match="channels"):
        nd.dissect(model, scenes, "0")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": "conv9"}, LayerError, "no layer 'conv9'; list all with netdissect-fast layers"),
        ({"quantile": 0}, ArgumentError, "quantile"),
        ({"quantile": 1}, ArgumentError, "quantile"),
        ({"quantile": "much"}, ArgumentError, "quantile"),
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"category_rule": "mask"}, ArgumentError, "category_rule"),
        ({"backend": "tpu"}, ArgumentError, "backend"),
        ({"threads": 0}, ArgumentError, "threads"),
        ({"device": "warp9"}, ArgumentError, "device"),
        ({"alignment": "left"}, ArgumentError, "alignment"),
        ({"units": [99]}, ArgumentError, "units"),
        ({"units": [1, 1]}, ArgumentError, "units"),
        ({"thresholds": [1.0]}, ShapeError, "threshold"),
        ({"thresholds": {"other": [1.0]}}, ArgumentError, "thresholds"),
        ({"preprocess": lambda image: image}, ArgumentError, "tensor"),
    ],
)
def test_bad_arguments(scenes, options, error, message):
    layers = options.pop("layers", "0")
    with pytest.raises(error, match=message):
        nd.dissect(two_layers(), scenes, layers, **options)


def test_preprocessing_that_crops_is_refused(scenes):
    resize = nd.Preprocess(40, mean=0.5, std=0.5)

    def crop(image):
        return resize(image)[:, 4:36, 4:36]

    with pytest.raises(ArgumentError, match="lost"):
        nd.dissect(two_layers(), scenes, "0", preprocess=crop)
    nd.dissect(two_layers(), scenes, "0", preprocess=crop, crop="allow")


def test_a_model_without_a_configuration_needs_preprocess(scenes):
    with pytest.raises(ArgumentError, match=r"nd\.Preprocess\("):
        nd.dissect(nn.Sequential(nn.Conv2d(3, 2, 3)), scenes, "0")


def test_an_unwritable_folder_is_noticed_before_the_run(scenes, tmp_path):
    (tmp_path / "file").write_text("")
    model = two_layers()
    model.register_forward_hook(lambda *_: pytest.fail("the network ran"))
    with pytest.raises(OutputError, match="cannot write"):
        nd.dissect(model, scenes, "0", out=tmp_path / "file" / "out")


class Varied:
    """Images with label grids of different sizes, whole-image labels only, and none at all."""

    vocabulary = Vocabulary(np.array([1, 2]), ("a", "b"), np.array([0, 1], np.int32), ("pixel", "whole"))

    def __len__(self) -> int:
        return 5

    def image(self, index):
        return nd.Synthetic(5, size=32).image(index)

    def labels(self, index):
        size = [(9, 7), (9, 7), (20, 31), (1, 1), (8, 8)][index]
        maps = np.ones((0 if index in (2, 4) else 1, *size), np.int32)
        return ImageLabels(maps, (2,) if index == 2 else ())

    def name(self, index):
        return f"image {index}"

    def fingerprint(self):
        return "varied" * 10 + "1234"


def test_any_data_set_with_any_label_sizes():
    layer = nd.dissect(two_layers(), Varied(), "0", quantile="0.3")["0"]
    assert layer.counts.concept_area.tolist() == [63 + 63 + 1, 620]
    np.testing.assert_array_equal(layer.counts.intersection, layer.counts.unit_area)


def test_an_empty_data_set():
    empty = Varied()
    empty.__class__ = type("Empty", (Varied,), {"__len__": lambda self: 0})
    with pytest.raises(ArgumentError, match="no image"):
        nd.dissect(two_layers(), empty, "0")
