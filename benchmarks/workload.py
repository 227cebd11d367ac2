"""Seeded activations and labels to measure with. Image i is the same however many images are asked for.

Activations stand for a network after its ReLU: smooth noise, cut off below, each map with a gain of its own, so that a
map is either far above its unit's threshold somewhere or not at all. Labels stand for Broden's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import accumulate

import numpy as np

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.geometry.grids import Grid, make_grid
from netdissect_fast.scoring.thresholds import tail_rank
from netdissect_fast.types import Array, Float32Array, Int32Array

SEED = 63305
CONCEPTS = {"color": 11, "object": 480, "part": 200, "material": 32, "scene": 430, "texture": 47}  # 1200
_FIRST = dict(zip(CONCEPTS, accumulate((1, *CONCEPTS.values())), strict=False))  # number of a category's first concept
_FLOOR, _GAIN = 0.6, 0.9  # cut off, and the spread of log gains; both in standard deviations


@dataclass(frozen=True)
class Setting:
    """U units of H×W: one layer. ``images`` is how many are measured unless said otherwise."""

    name: str
    units: int
    height: int
    width: int
    images: int


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("alexnet_conv5", 256, 13, 13, 240),
        Setting("resnet_layer4", 2048, 7, 7, 120),
        Setting("vgg_conv5_3", 512, 14, 14, 120),
        Setting("wide", 4096, 14, 14, 30),
        Setting("autoencoder", 65536, 14, 14, 3),
    )
}


@dataclass(frozen=True)
class Workload:
    """The activations of one layer, and labels of the same images.

    maps        float32 [N, U, H, W]
    thresholds  float32 [U]: what the quantile gives over very many such images, so that few stand for many
    images      labels of each
    """

    setting: Setting
    quantile: float
    maps: Float32Array
    thresholds: Float32Array
    images: tuple[ImageLabels, ...]

    def __len__(self) -> int:
        return len(self.maps)

    @cached_property
    def packed(self) -> PackedLabels:
        """The labels as the kernels read them."""
        return PackedLabels.pack(self.images, VOCABULARY)

    @property
    def label_shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.images[0].shape

    @property
    def grid(self) -> Grid:
        """Half-pixel alignment, which all baselines share."""
        return make_grid("half_pixel", None, self.maps.shape[2:], self.label_shape)

    def head(self, images: int, units: int | None = None) -> Workload:
        """The first images, the first units (default: all)."""
        maps = np.ascontiguousarray(self.maps[:images, :units])
        return replace(self, maps=maps, thresholds=self.thresholds[:units], images=self.images[:images])


def make(setting: Setting, images: int = 0, size: int = 112, quantile: float = 0.005, seed: int = SEED) -> Workload:
    """The workload of a setting; ``size`` of the label maps on both sides."""
    count = images or setting.images
    shape = setting.units, setting.height, setting.width
    maps = np.empty((count, *shape), np.float32)
    for image in range(count):
        maps[image] = feature_maps(np.random.default_rng([seed, 1, image]), *shape)
    thresholds = np.full(setting.units, population_threshold(setting.height, setting.width, quantile, seed), np.float32)
    return Workload(setting, quantile, maps, thresholds, tuple(image_labels(i, size, seed) for i in range(count)))


def population_threshold(height: int, width: int, quantile: float, seed: int = SEED) -> np.float32:
    """The threshold that every unit nears as images are added: all units are draws of one kind."""
    values, top = _population(height, width, seed)
    return top[tail_rank(quantile, values) - 1]


@cache
def _population(height: int, width: int, seed: int) -> tuple[int, Float32Array]:
    """How many activations were drawn, and the largest tenth of them, descending."""
    maps = max(2000, 24_000_000 // (height * width))
    values = feature_maps(np.random.default_rng([seed, 2]), maps, height, width).reshape(-1)
    tenth = values.size // 10
    return values.size, np.sort(np.partition(values, values.size - tenth)[values.size - tenth :])[::-1]


def feature_maps(rng: np.random.Generator, maps: int, height: int, width: int) -> Float32Array:
    """max(smooth noise of variance 1 − floor, 0) times a gain, [maps, H, W]."""
    noise = rng.standard_normal((maps, height, width), dtype=np.float32)
    smooth = _smoothing(height) @ noise @ _smoothing(width).T
    gain = np.exp(_GAIN * rng.standard_normal((maps, 1, 1), dtype=np.float32))
    return np.maximum(smooth - np.float32(_FLOOR), 0) * gain


def _smoothing(length: int) -> Float32Array:
    """Gaussian smoothing as a matrix that keeps the variance of white noise; as wide as an object in the map."""
    distance = np.subtract.outer(np.arange(length), np.arange(length)) / (0.35 + 0.09 * length)
    kernel = np.exp(-(distance**2) / 2)
    return (kernel / np.linalg.norm(kernel, axis=1, keepdims=True)).astype(np.float32)


def _vocabulary() -> Vocabulary:
    category = np.repeat(np.arange(len(CONCEPTS)), list(CONCEPTS.values())).astype(np.int32)
    numbers = np.arange(1, len(category) + 1)
    return Vocabulary(numbers, tuple(f"concept {number}" for number in numbers), category, tuple(CONCEPTS))


VOCABULARY = _vocabulary()


def image_labels(image: int, size: int, seed: int = SEED) -> ImageLabels:
    """Label maps and whole-image labels of one image: each category is there as often as in Broden's sources."""
    rng = np.random.default_rng([seed, 3, image])
    texture, scene, objects, parts, material, color = rng.random(6) < (0.10, 0.60, 0.70, 0.65, 0.40, 0.95)
    objects = objects or not (texture or scene or material or color)
    maps: list[Array] = []
    if color:
        maps.append(_colors(rng, size))
    if objects:
        numbers = _draw(rng, "object", 8, 2, 20)
        maps.append(segments(rng, size, np.append(numbers, 0)))
    if objects and parts:
        numbers = _draw(rng, "part", 6, 1, 16)
        middle = (len(numbers) + 1) // 2 if rng.random() < 0.4 else len(numbers)
        maps.extend(_ellipses(rng, size, some) for some in (numbers[:middle], numbers[middle:]) if len(some))
    if material:
        numbers = _draw(rng, "material", 4, 1, 9)
        maps.append(segments(rng, size, np.append(numbers, np.zeros(len(numbers) + 1))))
    whole = [int(_draw(rng, name, 1, 1, 1)[0]) for name, there in (("scene", scene), ("texture", texture)) if there]
    return ImageLabels(np.array(maps, np.int32).reshape(-1, size, size), tuple(whole))


def _draw(rng: np.random.Generator, category: str, mean: float, least: int, most: int) -> Int32Array:
    """Concepts of a category, without repetition; the r-th is drawn 1/r as often as the first (Zipf)."""
    size = CONCEPTS[category]
    weight = 1 / np.arange(1, size + 1) ** (1.0 if size > 100 else 0.6)
    count = int(np.clip(rng.poisson(mean), least, most))
    return _FIRST[category] + rng.choice(size, count, replace=False, p=weight / weight.sum())


def _field(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Noise on a coarse grid, interpolated: [size, size]."""
    across = np.array([np.interp(np.linspace(0, cells - 1, size), np.arange(cells), row) for row in np.eye(cells)])
    return across.T @ rng.standard_normal((cells, cells)) @ across


def _colors(rng: np.random.Generator, size: int) -> Array:
    """Every pixel has one of about 8 of the 11 colours, with ragged edges."""
    numbers = _draw(rng, "color", 8, 4, 11)
    shade = _field(rng, size, 9) + 0.3 * _field(rng, size, size // 3)
    edges = np.quantile(shade, np.sort(rng.uniform(0.02, 0.98, len(numbers) - 1)))
    return numbers[np.searchsorted(edges, shade)]


def segments(rng: np.random.Generator, size: int, numbers: Array) -> Array:
    """Segments that fill the image: every pixel goes to the nearest of scattered points, space being bent a little."""
    bent = np.mgrid[:size, :size] / size + 0.09 * np.array([_field(rng, size, 8), _field(rng, size, 8)])
    points, reach = rng.random((len(numbers), 2, 1, 1)), rng.uniform(0.5, 1.6, (len(numbers), 1, 1))
    nearest = (np.square(bent - points).sum(axis=1) / reach**2).argmin(axis=0)
    return numbers[nearest]


def _ellipses(rng: np.random.Generator, size: int, numbers: Array) -> Array:
    """Small parts on an empty ground; later ones cover earlier ones."""
    label = np.zeros((size, size), np.int64)
    place = np.mgrid[:size, :size] / size
    for number in numbers:
        centre, radius = rng.random((2, 1, 1)), rng.uniform(0.027, 0.2, (2, 1, 1))
        label[np.square((place - centre) / radius).sum(axis=0) < 1] = number
    return label
