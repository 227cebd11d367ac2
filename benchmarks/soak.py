"""A run as large as they come, in flat memory: ``python -m benchmarks.soak``; exits with 1 where anything is wrong.

Activations and labels are generated as they are needed, from the numbers of image and unit alone, so that any of them
can be had again. All go through Peaks and score_peaks; then some units are computed once more, plainly, from all their
activations at once, and must agree in every integer. Needs /proc.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from tests.support.oracle import axis_table

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.geometry.grids import make_grid
from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.peaks import Peaks
from netdissect_fast.types import Array, Float32Array

from .timing import header
from .workload import feature_maps, segments

QUANTILE = "0.005"
LABELS = 32  # height and width of a label map
CONCEPTS = {"object": 30, "part": 20, "scene": 10}
SLACK = 64e6  # bytes by which memory may differ that is not the store's: batches, and what malloc does not give back
_POOL, _GAINS, _SHAPES = 4096, 1 << 16, 256

VOCABULARY = Vocabulary(
    np.arange(1, sum(CONCEPTS.values()) + 1),
    tuple(f"{name} {i}" for name, count in CONCEPTS.items() for i in range(count)),
    np.repeat(np.arange(3, dtype=np.int32), list(CONCEPTS.values())),
    tuple(CONCEPTS),
)


class World:
    """Activations and labels of any image.

    A map is one of 4,096 smooth ones, times one of 65,536 gains, times its unit's; every 61st unit is silent. A label
    image is a shape of four segments and one of up to three parts, out of 256 each, with concepts drawn for each image;
    two thirds of the images have a scene.
    """

    def __init__(self, units: int, side: int) -> None:
        self.units, self.side = units, side
        rng = np.random.default_rng(7)
        self._pool = feature_maps(rng, _POOL, side, side).reshape(_POOL, -1)
        self._gains = np.exp(0.9 * rng.standard_normal(_GAINS)).astype(np.float32)
        self._scale = np.exp(rng.standard_normal(units)).astype(np.float32)
        self._scale[5::61] = 0
        self._objects, self._parts = (
            np.array([segments(rng, LABELS, numbers) for _ in range(_SHAPES)])
            for numbers in (np.arange(4), np.array([1, 2, 3, 0, 0, 0]))
        )

    def maps(self, first: int, last: int, units: Array | None = None) -> Float32Array:
        """float32 [last − first, U, H, W] of all units, or of some."""
        units = np.arange(self.units) if units is None else units
        key = np.arange(first, last, dtype=np.uint64)[:, None] << np.uint64(20) | units.astype(np.uint64)
        for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):  # MurmurHash3's finalizer
            key ^= key >> np.uint64(shift)
            key *= np.uint64(factor)
        maps = self._pool.take((key >> np.uint64(52)).astype(np.int64), axis=0)
        gain = self._gains[(key >> np.uint64(20)).astype(np.int64) % _GAINS] * self._scale[units]
        maps *= gain[..., None]
        return maps.reshape(last - first, len(units), self.side, self.side)

    def labels(self, image: int) -> ImageLabels:
        rng = np.random.default_rng([7, image])
        objects, parts = 1 + rng.permutation(30)[:4], 31 + rng.permutation(20)[:3]
        scene = int(rng.integers(51, 66))
        shapes = rng.integers(0, _SHAPES, 2)
        maps = objects[self._objects[shapes[0]]], np.append(0, parts)[self._parts[shapes[1]]]
        return ImageLabels(np.array(maps, np.int32), (scene,) if scene <= 60 else ())

    def packed(self, images: int, block: int = 2000) -> PackedLabels:
        """Labels of the first images, packed block by block: 1 kB an image."""
        blocks = [
            PackedLabels.pack((self.labels(i) for i in range(first, min(first + block, images))), VOCABULARY)
            for first in range(0, images, block)
        ]
        joined = {}
        for name in vars(blocks[0]):
            arrays = [getattr(one, name) for one in blocks]
            if name.endswith("_start"):
                offsets = np.cumsum([0, *(one[-1] for one in arrays)])[:-1]
                arrays = [one[i > 0 :] + offset for i, (one, offset) in enumerate(zip(arrays, offsets, strict=True))]
            joined[name] = np.concatenate(arrays)
        return PackedLabels(**joined)


# --------------------------------------------------------------------------------------------------- memory


@dataclass(frozen=True)
class Moment:
    """Bytes after so many images: what the store holds, the memory it has for that, and the whole process."""

    images: int
    store: int
    room: int
    rss: int

    @classmethod
    def of(cls, peaks: Peaks) -> Moment:
        owners = [array if array.base is None else array.base for array in peaks.crops.arrays]
        return cls(peaks.images_seen, peaks.nbytes, sum(owner.nbytes for owner in owners), rss())

    @property
    def rest(self) -> int:
        return self.rss - self.room


def rss() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_rss() -> int:
    """The most bytes that it ever had there. (getrusage would also tell of the process that started this one.)"""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def not_flat(moments: list[Moment], peak: int) -> list[str]:
    """What is wrong with the memory: the store may grow, the rest may not; a pruning copies at most the store."""
    most, allowed = max(moment.rest for moment in moments), moments[0].rest + SLACK
    found = [f"memory beside the store grew to {most / 1e6:.0f} MB"] if most > allowed else []
    allowed += 2 * max(moment.room for moment in moments)
    return [*found, f"peak of {peak / 1e6:.0f} MB, expected {allowed / 1e6:.0f}"] if peak > allowed else found


# -------------------------------------------------------------------------------------- the same, plainly


def direct(world: World, unit: int, images: int) -> tuple[np.float32, Array, Array]:
    """T, I [C] and A [categories] of one unit, from all its activations at once."""
    blocks = [world.maps(i, min(i + 4096, images), np.array([unit])) for i in range(0, images, 4096)]
    maps = np.concatenate(blocks)[:, 0]
    place = maps.size - 1 - math.floor(Fraction(QUANTILE) * maps.size)
    t = np.partition(maps, place, axis=None)[place]
    active = np.flatnonzero((maps > t).any(axis=(1, 2)))
    stride = LABELS / world.side
    i0, i1, f = (
        np.array(part) for part in zip(*axis_table(LABELS, world.side, LABELS, stride, (stride - 1) / 2), strict=True)
    )
    maps = maps[active]
    rows = maps[..., i0] + f * (maps[..., i1] - maps[..., i0])
    on = rows[:, i0] + f[:, None] * (rows[:, i1] - rows[:, i0]) > t
    beside = (maps[..., i0] > t) | (maps[..., i1] > t)
    on &= beside[:, i0] | beside[:, i1]
    intersection, area = np.zeros(1 + len(VOCABULARY), np.int64), np.zeros(len(CONCEPTS), np.int64)
    for image, mask in zip(active, on, strict=True):
        labels = world.labels(int(image))
        pixels = int(mask.sum())
        intersection += np.bincount(labels.maps[:, mask].reshape(-1), minlength=len(intersection))
        intersection[list(labels.whole)] += pixels
        area += pixels * np.array([*labels.maps.any(axis=(1, 2)), bool(labels.whole)])
    return t, intersection[1:], area


def differences(world: World, layer: nd.LayerResult, units: Array, images: int) -> list[str]:
    """Units for which the result is not what the plain computation gives; areas of the concepts likewise."""
    found = []
    for unit in units.tolist():
        t, intersection, area = direct(world, unit, images)
        counts = layer.counts
        same = np.array_equal(counts.intersection[unit], intersection) and np.array_equal(counts.unit_area[unit], area)
        if layer.thresholds[unit] != t or not same:
            found.append(f"unit {unit} differs")
    concept_area = np.zeros(1 + len(VOCABULARY), np.int64)
    for image in range(images):
        labels = world.labels(image)
        concept_area += np.bincount(labels.maps.reshape(-1), minlength=len(concept_area))
        concept_area[list(labels.whole)] += LABELS**2
    return found if np.array_equal(layer.counts.concept_area, concept_area[1:]) else [*found, "concept areas differ"]


# ------------------------------------------------------------------------------------------------- the run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--units", type=int, default=2048)
    parser.add_argument("--map", type=int, default=7, help="height and width of the activation maps")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--every", type=int, default=10_000, help="images between two lines")
    parser.add_argument("--check", type=int, default=16, help="units to compute once more")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)
    images, units, side = options.images, options.units, options.map
    print(f"{header()}\n{images:,} images × {units:,} units of {side}×{side}, labels {LABELS}×{LABELS}\n")
    world, backend = World(units, side), CpuBackend(options.threads)
    begun = time.perf_counter()
    packed = world.packed(images)
    print(f"labels packed in {time.perf_counter() - begun:.1f} s: {packed.words.nbytes / 1e6:.0f} MB\n", flush=True)

    peaks = Peaks(units, (side, side), images, QUANTILE)
    moments, generating, begun = [], 0.0, time.perf_counter()
    print("| images | store, MB | its memory, MB | process, MB | rest, MB | images/s | without generating |")
    print("| --- " * 7 + "|")
    for first in range(0, images, options.batch):
        start = time.perf_counter()
        maps = world.maps(first, min(first + options.batch, images))
        generating += time.perf_counter() - start
        peaks.add(maps, first, backend)
        if peaks.images_seen // options.every > first // options.every or peaks.images_seen == images:
            moments.append(now := Moment.of(peaks))
            seconds = time.perf_counter() - begun
            rates = now.images / seconds, now.images / (seconds - generating)
            sizes = (size / 1e6 for size in (now.store, now.room, now.rss, now.rest))
            print("|", " | ".join(f"{figure:,.0f}" for figure in (now.images, *sizes, *rates)), "|", flush=True)
    begun = time.perf_counter()
    peaks.finish()
    finished = time.perf_counter()
    layer = nd.score_peaks(
        peaks, make_grid("half_pixel", None, (side, side), (LABELS, LABELS)), packed, VOCABULARY, backend=backend
    )
    counted = time.perf_counter()
    peak = most_rss()
    kept, dense = peaks.nbytes / 1e6, 4 * images * units * side**2 / 1e6
    print(f"\nfinished in {finished - begun:.1f} s, counted in {counted - finished:.1f} s; ", end="")
    print(f"peak {peak / 1e6:,.0f} MB; kept {kept:,.0f} MB of {dense:,.0f} ({kept / dense:.1%})", flush=True)

    chosen = np.unique(np.linspace(0, units - 1, options.check).astype(int))
    chosen = np.union1d(chosen, [5]) if units > 5 else chosen  # a silent one
    wrong = [*not_flat(moments, peak), *differences(world, layer, chosen, images)]
    print(f"checked against all activations of {len(chosen)} units in {time.perf_counter() - counted:.1f} s: ", end="")
    print("; ".join(wrong) or "thresholds, intersections and areas are the same")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
