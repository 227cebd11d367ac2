"""The masks drawn are the masks counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import netdissect_fast as nd
from netdissect_fast.concepts import PackedLabels
from netdissect_fast.data.label_cache import packed_labels
from netdissect_fast.errors import ArgumentError
from netdissect_fast.pages.pictures import Look, Masks, Photo, Photos, UnitStrips, dimmed, heated, strip
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.backends.reference import ReferenceBackend, upsample

from .scenes import Scenes, dissection

LOOK = Look(images=12, size=48)


def only(result: nd.Dissection) -> LayerResult:
    (layer,) = result.values()
    return layer


def masks_of(layer: LayerResult, backend: Any = None) -> Masks:
    return Masks(layer.grid, layer.thresholds, backend)


def photo(picture: np.ndarray) -> Photo:
    bright = Image.fromarray(picture)
    return Photo(bright, bright.point(lambda value: value // 4))


def assert_drawn_as_counted(layer: LayerResult, labels: PackedLabels, step: int = 1) -> None:
    """I and A from the pictures' masks at label resolution, of every ``step``-th unit, are those counted."""
    vocabulary, masks, units = layer.vocabulary, masks_of(layer), range(0, len(layer.thresholds), step)
    present = labels.category_present(vocabulary)
    intersection = np.zeros((len(units), len(vocabulary)), np.int64)
    area = np.zeros((len(units), len(vocabulary.categories)), np.int64)
    images = np.arange(len(labels))
    for row, unit in enumerate(units):
        strips = UnitStrips.of(layer.require_peaks(), masks, labels, unit, images, -1)
        for image, crop in zip(images, strips.crops, strict=True):
            mask = masks.mask(crop, (int(labels.grid[image, 0]), int(labels.grid[image, 1])))
            area[row] += mask.sum() * present[image]
            for concept, label in labels.masks(image).items():
                intersection[row, concept] += (mask & label).sum()
    assert area.any()
    np.testing.assert_array_equal(intersection, layer.counts.intersection[::step])
    np.testing.assert_array_equal(area, layer.counts.unit_area[::step])


@pytest.mark.parametrize("alignment", ["half_pixel", "align_corners", ((5.0, 4.5), (1.0, -2.0))])
def test_masks_are_those_that_were_counted(alignment):
    data = Scenes()
    layer = only(dissection(data=data, alignment=alignment))
    labels = PackedLabels.pack((data.labels(i) for i in range(len(data))), data.vocabulary)
    assert_drawn_as_counted(layer, labels)


@pytest.mark.slow
def test_masks_of_the_demo(demo):
    layer = nd.load(demo / "trained")["layer4"]
    data = nd.Broden(next(demo.glob("scenes-*")))
    assert_drawn_as_counted(layer, packed_labels(data, demo / "cache"), step=8)


@pytest.mark.slow
@pytest.mark.data
def test_masks_of_squeezenet(squeezenet_run, shared_data):
    data = nd.Broden(shared_data / "minibroden_224")
    labels = packed_labels(data, squeezenet_run.parent / "cache")
    for layer in nd.load(squeezenet_run).values():
        assert_drawn_as_counted(layer, labels, step=64)


def test_pixels_of_a_strip():
    """White photographs of the labels' size: as many pixels stay white as were counted in these images."""
    data = Scenes()
    data.image = lambda index: Scenes.image(data, 0)
    layer = only(dissection(data=data))
    labels = PackedLabels.pack((data.labels(i) for i in range(len(data))), data.vocabulary)
    masks, photos = masks_of(layer), Photos(data, 48)
    for unit in range(1, len(layer.thresholds)):
        images, _ = layer.top(unit, 12)
        concept = int(layer.labels.top()[1][unit])
        strips = UnitStrips.of(layer.require_peaks(), masks, labels, unit, images, concept)
        pictures = {kind: np.asarray(image) for kind, image in strips.draw(photos, LOOK).items()}
        assert list(pictures) == ["mask", "concept"]
        assert pictures["mask"].shape == (24, 24 * len(images), 3)
        carried = [i for i in range(len(labels)) if concept in labels.masks(i)]
        category = layer.vocabulary.category[concept]
        present = labels.category_present(layer.vocabulary)[:, category]
        assert len(images) == layer.require_peaks().count(unit)  # all in which the unit is on
        white = (pictures["mask"] == 255).all(axis=2).reshape(24, len(images), 24).sum(axis=(0, 2))
        assert white[present[images]].sum() == layer.counts.unit_area[unit, category]
        labelled = (pictures["concept"] == 255).all(axis=2).sum()
        assert labelled == sum(int(labels.mask(i, concept).sum()) for i in images if i in carried)


def test_any_resolution_has_the_geometry_of_the_score():
    """At 3 times the label resolution a mask is S > T there, from the same grid."""
    layer = only(dissection())
    masks, reference, peaks = masks_of(layer), masks_of(layer, ReferenceBackend()), layer.require_peaks()
    for unit in range(1, len(layer.thresholds)):
        crop = peaks.of_unit(unit).take(np.array([0]))
        size = 60, 72
        y, x = layer.grid.axis(0, size[0]), layer.grid.axis(1, size[1])
        full = np.full(layer.grid.size, layer.thresholds[unit], np.float32)
        y0, x0, height, width = crop.box[0].astype(int)
        full[y0 : y0 + height, x0 : x0 + width] = crop.values.reshape(height, width)
        expected = upsample(full, y, x) > layer.thresholds[unit]
        np.testing.assert_array_equal(masks.mask(crop, size), expected)
        np.testing.assert_array_equal(reference.mask(crop, size), expected)
        heat = masks.heat(crop, size, float(crop.values.max()))
        np.testing.assert_array_equal(heat > 0, expected)
        assert heat.max() <= 1


def test_silent_images_have_empty_masks():
    layer = only(dissection())
    data = Scenes()
    labels = PackedLabels.pack((data.labels(i) for i in range(len(data))), data.vocabulary)
    masks = masks_of(layer, CpuBackend(2))
    (crop,) = UnitStrips.of(layer.require_peaks(), masks, labels, 0, np.array([3]), -1).crops
    assert not len(crop)
    assert not masks.mask(crop, (20, 24)).any()
    assert not masks.heat(crop, (20, 24), 1.0).any()


def test_looks():
    grey = photo(np.full((4, 6, 3), 200, np.uint8))
    mask = np.zeros((4, 6), bool)
    mask[:3, 1:5] = True
    dark = np.asarray(dimmed(grey, mask, outline=False))
    assert (dark[mask] == 200).all()
    assert (dark[~mask] == 50).all()
    line = np.asarray(dimmed(grey, mask, outline=True))
    yellow = (line == (255, 224, 32)).all(axis=2)
    assert yellow.sum() == 8  # left, right and lower edge; none along the border of the picture
    assert not yellow[~mask].any()
    heat = np.asarray(heated(grey, mask.astype(np.float32)))
    assert (heat[~mask] == 100).all()
    assert (heat[mask] != 100).all()
    smaller = np.asarray(dimmed(grey, mask[::2, ::2], outline=False))  # a label map's pixels are enlarged
    np.testing.assert_array_equal(smaller[..., 0] == 200, mask[::2, ::2].repeat(2, 0).repeat(2, 1))
    picture = np.asarray(strip([grey.bright, grey.bright.crop((0, 0, 6, 2))]))
    assert picture.shape == (6, 12, 3)
    assert picture.astype(int).sum() == 200 * 3 * (24 + 12)


def test_photographs_are_made_small():
    data = Scenes()
    data.image = lambda index: Image.new("RGB", (300, 100), (200, 100, 50))
    got = Photos(data, 60).get(0)
    assert got.size == (20, 60)
    assert (got.bright.getpixel((5, 5)), got.dark.getpixel((5, 5))) == ((200, 100, 50), (50, 25, 12))


@pytest.mark.parametrize("options", [{"images": 0}, {"size": 8}, {"size": 4000}, {"images": 400, "size": 224}])
def test_impossible_looks(options):
    with pytest.raises(ArgumentError, match="pixels"):
        Look(**options)
