"""Null scores: the best IoU that units reach on other images' labels, and how sure that makes a label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..storage import read_arrays, write_arrays
from ..types import Float64Array


@dataclass(frozen=True)
class Null:
    """Best IoU of every unit over all concepts, float64 [R, U], in R shufflings of images and labels.

    A shuffling gives each image, category by category, the labels of another image that carries the category, so that
    all areas stay the same and only the overlap of masks and concepts is left to chance.

    held_out  float64 [U]: the scores of one more shuffling, which is not among ``scores``: to see how many units pass
              as detectors where there are none

    >>> null = nd.Null(scores=np.array([[0.01, 0.02], [0.03, 0.05]]), held_out=np.array([0.02, 0.01]))
    >>> null.p_values(np.array([0.2, 0.02])).tolist()  # 1/5 and 4/5: none and three of the four reach them
    [0.2, 0.8]
    >>> null.q_values(np.array([0.2, 0.02])).tolist()
    [0.4, 0.8]
    >>> null.expected_detectors(iou_threshold=0.04)
    0.5
    """

    scores: Float64Array
    held_out: Float64Array

    @property
    def repeats(self) -> int:
        """R, the number of shufflings."""
        return len(self.scores)

    def p_values(self, observed: Float64Array) -> Float64Array:
        """Return p, float64 [U]: (1 + null scores ≥ the unit's) / (1 + R·U), nulls of all units pooled.

        Pooling makes small p possible: with the R nulls of one unit alone, p is at least 1/(1+R). p says how often any
        unit of this layer would score as high by chance.
        """
        pool = np.sort(self.scores.reshape(-1))
        reached = len(pool) - np.searchsorted(pool, observed, "left")
        return np.asarray((1 + reached) / (1 + len(pool)), np.float64)

    def q_values(self, observed: Float64Array) -> Float64Array:
        """Return q, float64 [U]: p by Benjamini and Hochberg (1995): the share of chance among units as good."""
        p = self.p_values(observed)
        if not len(p):
            return p
        order = np.argsort(p, kind="stable")
        steps = p[order] * len(p) / np.arange(1, len(p) + 1)
        q = np.empty_like(p)
        q[order] = np.minimum.accumulate(steps[::-1])[::-1]
        return np.minimum(q, 1.0)

    def expected_detectors(self, iou_threshold: float = 0.04) -> float:
        """Return how many units exceed the IoU threshold by chance: the mean over shufflings."""
        return float((self.scores > iou_threshold).sum(axis=1).mean()) if len(self.scores) else 0.0

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        write_arrays(path, {"scores": self.scores, "held_out": self.held_out})

    @classmethod
    def load(cls, path: Path, units: int) -> Null:
        """Read what ``save`` wrote. Raises DataError if it is missing, broken or has a different number of units."""
        arrays, _ = read_arrays(path)
        try:
            null = cls(arrays["scores"], arrays["held_out"])
        except KeyError as error:
            raise DataError(path, f"has no array {error}") from error
        if null.scores.ndim != 2 or null.scores.shape[1] != units or null.held_out.shape != (units,):
            raise DataError(path, f"does not hold null scores for {units} units")
        for scores in (null.scores, null.held_out):
            if scores.dtype != np.float64 or not ((scores >= 0) & (scores <= 1)).all():
                raise DataError(path, "a null score is not an IoU")
        return null
