"""What one would write without netdissect_fast: NumPy and PIL, PyTorch, PyTorch tuned, and the bare read of the data.

The fused loop in numba is in compiled.py. All get their labels in the form that suits them and their sums before the
clock starts, as netdissect_fast does. They upsample in another order of operations, so a pixel in 10⁵ may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from netdissect_fast.scoring.counts import Counts
from netdissect_fast.types import Array, BoolArray, Int64Array

from .workload import CONCEPTS, VOCABULARY, Workload

_TOGETHER = 128  # maps upsampled at once: their masks stay in the cache


@dataclass
class Task:
    """A workload, its labels in several forms, and what has been counted.

    intersection  int64 [U, C + 1]: column = number of the concept; 0 collects what is unlabelled
    unit_area     int64 [U, categories]
    """

    work: Workload
    intersection: Int64Array = field(init=False)
    unit_area: Int64Array = field(init=False)

    def __post_init__(self) -> None:
        units = len(self.work.thresholds)
        self.intersection = np.zeros((units, len(VOCABULARY) + 1), np.int64)
        self.unit_area = np.zeros((units, len(CONCEPTS)), np.int64)

    @cached_property
    def present(self) -> BoolArray:
        return self.work.packed.category_present(VOCABULARY)

    @property
    def pixels(self) -> int:
        """YX."""
        return self.work.label_shape[0] * self.work.label_shape[1]

    @cached_property
    def maps(self) -> list[Array]:
        """Label maps of each image, int16 [L, YX]."""
        return [image.maps.reshape(-1, self.pixels).astype(np.int16) for image in self.work.images]

    @cached_property
    def one_hot(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each image: concept numbers, and int8 [concepts, YX]; first a row of ones, which gives the mask's area."""
        forms = []
        for maps in self.maps:
            numbers = [np.unique(plane[plane > 0]) for plane in maps]
            rows = [plane == some[:, None] for plane, some in zip(maps, numbers, strict=True)]
            ones = np.ones((1, self.pixels), bool)
            forms.append((torch.from_numpy(np.concatenate([[0], *numbers]).astype(np.int64)),
                          torch.from_numpy(np.concatenate([ones, *rows]).view(np.int8))))  # fmt: skip
        return forms

    def add_areas(self, image: int, units: Array, areas: Array) -> None:
        """Add the masks' areas where the image has a whole-image label or a category."""
        for number in self.work.images[image].whole:
            self.intersection[units, number] += areas
        self.unit_area[units] += areas[:, None] * self.present[image]

    def add_products(self, image: int, units: Array, products: torch.Tensor) -> None:
        """Add what a product of one-hots and masks gives, [concepts, units]."""
        counts = products.numpy().astype(np.int64)
        self.intersection[units[:, None], self.one_hot[image][0].numpy()[1:]] += counts[1:].T
        self.add_areas(image, units, counts[0])

    def differing(self, counts: Counts) -> int:
        """Pixels in which the sums differ from others."""
        return int(np.abs(self.intersection[:, 1:] - counts.intersection).sum())


def numpy_loop(task: Task) -> None:
    """Image by image, unit by unit: PIL's bilinear resize, compare, count the labels under the mask."""
    work = task.work
    for image, maps in enumerate(work.maps):
        for unit in np.flatnonzero(maps.max((1, 2)) > work.thresholds):
            large = Image.fromarray(maps[unit]).resize(work.label_shape[::-1], Image.Resampling.BILINEAR)
            on = np.flatnonzero(np.asarray(large) > work.thresholds[unit])
            under = task.maps[image][:, on].reshape(-1)
            task.intersection[unit] += np.bincount(under, minlength=task.intersection.shape[1])
            task.add_areas(image, np.array([unit]), np.array([len(on)]))


@torch.no_grad()
def torch_plain(task: Task) -> None:
    """interpolate, compare, and a matrix product with one-hot labels; every map."""
    work, units = task.work, np.arange(len(task.work.thresholds))
    thresholds = torch.from_numpy(work.thresholds)[:, None, None]
    for image, maps in enumerate(torch.from_numpy(work.maps)):
        labels = task.one_hot[image][1].float()
        for first in range(0, len(maps), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            large = interpolate(maps[None, some], work.label_shape, mode="bilinear", align_corners=False)[0]
            masks = (large > thresholds[some]).float().flatten(1)
            task.add_products(image, units[some], labels @ masks.T)


@torch.no_grad()
def torch_tuned(task: Task) -> None:
    """As torch_plain, for active maps only, with units innermost (several times as fast) and in int8 (exact)."""
    work = task.work
    thresholds = torch.from_numpy(work.thresholds)
    for image, maps in enumerate(torch.from_numpy(work.maps)):
        active = (maps.flatten(1).amax(1) > thresholds).nonzero()[:, 0]
        for units in active.split(_TOGETHER):
            some = maps[units][None].contiguous(memory_format=torch.channels_last)
            large = interpolate(some, work.label_shape, mode="bilinear", align_corners=False)
            masks = (large > thresholds[units][:, None, None]).permute(0, 2, 3, 1).reshape(-1, len(units))
            product = torch._int_mm(task.one_hot[image][1], masks.view(torch.int8))
            task.add_products(image, units.numpy(), product)


def plain_reads(work: Workload) -> dict[str, Callable[[], Array]]:
    """The least that any dissection does, look at every activation; NumPy's ways of doing that."""
    bar = work.thresholds[:, None, None]
    return {
        "maps.max((2, 3)) > T": lambda: work.maps.max((2, 3)) > work.thresholds,
        "(maps > T).any((2, 3))": lambda: (work.maps > bar).any((2, 3)),
    }
