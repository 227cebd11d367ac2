"""Detectors: units whose label has an IoU above the IoU threshold, and how many concepts they detect."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from ..errors import check_option
from ..types import Int32Array, Int64Array
from .unit_labels import UnitLabels

CountRule: TypeAlias = Literal["top_label", "per_category"]


def detectors(labels: UnitLabels, iou_threshold: float = 0.04, count: CountRule = "top_label") -> Int64Array:
    """Count the units of each category whose label there has an IoU above the threshold, int64 [categories] (spec 1.9).

    ``count``: "top_label" counts a unit once, for its overall label; "per_category" once in every category whose best
    label exceeds the threshold.
    """
    return np.array([len(found) for found in _detected(labels, iou_threshold, count)], np.int64)


def unique_detectors(labels: UnitLabels, iou_threshold: float = 0.04, count: CountRule = "top_label") -> Int64Array:
    """Count the distinct labels among the detectors of each category, int64 [categories] (spec 1.9)."""
    return np.array([len(np.unique(found)) for found in _detected(labels, iou_threshold, count)], np.int64)


def _detected(labels: UnitLabels, iou_threshold: float, count: CountRule) -> list[Int32Array]:
    """Return, per category, the concept of every unit that counts as a detector there."""
    check_option("count", count, CountRule)
    categories = labels.score.shape[1]
    hit = labels.score > iou_threshold
    if count == "top_label":
        hit &= labels.top()[0][:, None] == np.arange(categories)
    return [labels.concept[hit[:, category], category] for category in range(categories)]
