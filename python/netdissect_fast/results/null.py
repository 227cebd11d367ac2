"""How sure a unit's label is: the best IoU that units reach on other images' labels, and what follows from it."""

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

    A shuffling gives each image, category by category, the labels of another one that carries the category, so that
    every area stays and only the meeting of masks and concepts is left to chance.

    held_out  float64 [U]: those of one more shuffling, which is not among the scores: to see how many units pass for
              detectors where there are none
    """

    scores: Float64Array
    held_out: Float64Array

    @property
    def repeats(self) -> int:
        """R, how many shufflings."""
        return len(self.scores)

    def p_values(self, observed: Float64Array) -> Float64Array:
        """float64 [U]: (1 + null scores ≥ the unit's) / (1 + R·U), the nulls of all units pooled.

        The pool makes small p possible: R nulls of one unit alone never give less than 1/(1+R). It asks how often
        any unit of this layer would score so high by chance.
        """
        pool = np.sort(self.scores.reshape(-1))
        reached = len(pool) - np.searchsorted(pool, observed, "left")
        return np.asarray((1 + reached) / (1 + len(pool)), np.float64)

    def q_values(self, observed: Float64Array) -> Float64Array:
        """float64 [U]: p by Benjamini and Hochberg (1995) over units: the share of chance among all units as good."""
        p = self.p_values(observed)
        if not len(p):
            return p
        order = np.argsort(p, kind="stable")
        steps = p[order] * len(p) / np.arange(1, len(p) + 1)
        q = np.empty_like(p)
        q[order] = np.minimum.accumulate(steps[::-1])[::-1]
        return np.minimum(q, 1.0)

    def expected_detectors(self, iou_threshold: float = 0.04) -> float:
        """How many units pass the IoU threshold by chance: the mean over shufflings."""
        return float((self.scores > iou_threshold).sum(axis=1).mean()) if len(self.scores) else 0.0

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        write_arrays(path, {"scores": self.scores, "held_out": self.held_out})

    @classmethod
    def load(cls, path: Path, units: int) -> Null:
        """Read what ``save`` wrote. DataError where it is missing, broken or of another number of units."""
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
