"""IoU of masks and concepts, and the IoU expected by chance alone."""

from __future__ import annotations

import numpy as np

from ..types import Float64Array, Int64Array


def iou(intersection: Int64Array, unit_area: Int64Array, concept_area: Int64Array) -> Float64Array:
    """Return I / (A + G − I) in float64, 0 where the denominator is 0 (spec 1.7)."""
    union = unit_area + concept_area - intersection
    result: Float64Array = np.divide(intersection, union, out=np.zeros(np.shape(union)), where=union != 0)
    return result


def chance(unit_area: Int64Array, concept_area: Int64Array, pixels: Int64Array) -> Float64Array:
    """Return the expected IoU of a random mask with a concept, float64: d·g/(d + g − d·g) for densities d and g.

    Areas of the mask and of the concept among ``pixels``, with shapes that broadcast; 0 where there are no pixels.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        d, g = unit_area / pixels.astype(np.float64), concept_area / pixels.astype(np.float64)
        expected = d * g / (d + g - d * g)
    return np.asarray(np.where(np.isnan(expected), 0.0, expected), np.float64)
