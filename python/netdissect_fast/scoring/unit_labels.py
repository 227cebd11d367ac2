"""Unit labels: the concept that each unit overlaps best, in every category and overall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..concepts import Vocabulary
from ..types import Float64Array, Int32Array


@dataclass(frozen=True)
class UnitLabels:
    """The best concept of every unit in every category, and overall (spec 1.8).

    concept  int32 [U, categories]: column of the best concept; −1 where the unit overlaps none
    score    float64 [U, categories]: its IoU, 0 where there is none
    """

    concept: Int32Array
    score: Float64Array

    @classmethod
    def of(cls, iou: Float64Array, vocabulary: Vocabulary) -> UnitLabels:
        """Find, per category, the concept of largest IoU; ties go to the smallest number."""
        shape = len(iou), len(vocabulary.categories)
        concept, score = np.full(shape, -1, np.int32), np.zeros(shape)
        for category in range(shape[1]):
            columns = np.flatnonzero(vocabulary.category == category)
            if not len(columns) or not len(iou):
                continue
            best = iou[:, columns].argmax(axis=1)
            score[:, category] = iou[np.arange(len(iou)), columns[best]]
            concept[:, category] = np.where(score[:, category] > 0, columns[best], -1)
        return cls(concept, score)

    def top(self) -> tuple[Int32Array, Int32Array, Float64Array]:
        """Return each unit's overall label: category and concept (−1: none) and IoU; ties go to the first category."""
        if not self.score.shape[1]:
            nothing = np.full(len(self.score), -1, np.int32)
            return nothing, nothing, np.zeros(len(self.score))
        category = self.score.argmax(axis=1).astype(np.int32)
        unit = np.arange(len(category))
        concept, score = self.concept[unit, category], self.score[unit, category]
        return np.where(concept >= 0, category, -1).astype(np.int32), concept, score
