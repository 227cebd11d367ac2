"""Workloads that differ in one thing each: what keep and count cost as a layer, the labels or the quantile grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from netdissect_fast.concepts import ImageLabels

from .workload import SEED, SETTINGS, VOCABULARY, Setting, Workload, make, segments

BASE = SETTINGS["vgg_conv5_3"]
_IMAGES = 24


def layer(units: int, side: int) -> Setting:
    return Setting(f"{units} of {side}×{side}", units, side, side, _IMAGES)


def crowded(work: Workload, concepts: int) -> Workload:
    """The same activations; labels of one map an image, cut into segments of that many concepts."""
    images = []
    for i in range(len(work)):
        rng = np.random.default_rng([SEED, 4, i])
        numbers = 1 + rng.choice(len(VOCABULARY), concepts, replace=False)
        images.append(ImageLabels(segments(rng, work.label_shape[0], numbers)[None].astype(np.int32)))
    return replace(work, images=tuple(images))


def cases(small: bool = False) -> dict[str, dict[str, Callable[[], Workload]]]:
    """What is varied → its values, each with its workload; ``small``: to check the answers only."""
    few = 2 if small else _IMAGES
    base = replace(BASE, units=32) if small else BASE
    count = (1, 2) if small else (6, 24, 96)
    units = (16, 48) if small else (64, 256, 1024, 4096)
    concepts = (8, 64) if small else (8, 16, 32, 64, 128, 256)
    sides = (7, 112) if small else (7, 14, 28, 56, 112)
    sizes = (56, 384) if small else (56, 112, 224, 384)
    return {
        "images": {str(n): lambda n=n: make(base, n) for n in count},
        "units": {str(u): lambda u=u: make(layer(u, 14), few) for u in units},
        "concepts in an image": {str(c): lambda c=c: crowded(make(base, few), c) for c in concepts},
        "grid": {f"{s}×{s}": lambda s=s: make(layer(min(base.units, 128), s), few) for s in sides},
        "labels": {f"{s}×{s}": lambda s=s: make(base, few, size=s) for s in sizes},
        "quantile": {str(q): lambda q=q: make(base, few, quantile=q) for q in (0.001, 0.005, 0.02, 0.05)},
    }
