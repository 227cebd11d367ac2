"""nd.score against the definition written once more as plain loops, that share no code with the package."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary

from ..support import oracle
from ..support.strategies import (
    labels_N,
    maps_BUHW,
    vocabularies,
)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, list[ImageLabels], Vocabulary]:
    maps = draw(maps_BUHW(st.integers(1, 3), st.integers(1, 3), side=5))
    vocabulary = draw(vocabularies(most=5))
    labels = draw(labels_N(vocabulary, len(maps), (draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    return maps, labels, vocabulary


EXPLICIT = ((1.75, 3.0), (-2.5, 4.0))


@given(
    scenes(),
    st.sampled_from(["half_pixel", "align_corners", "explicit"]),
    st.sampled_from(["0.005", "0.05", "0.25", "0.5", "0.9"]),
    st.sampled_from(["image", "none"]),
    st.sampled_from([None, 0.0, -0.5, 0.3]),
)
def test_score_against_oracle(
    scene: tuple[np.ndarray, list[ImageLabels], Vocabulary],
    alignment: str,
    quantile: str,
    rule: str,
    fixed: float | None,
) -> None:
    """spec 1, all steps, through nd.score on every backend."""
    maps, labels, vocabulary = scene
    (height, width), (rows, columns) = maps.shape[2:], labels[0].shape
    if alignment == "explicit":
        (sy, sx), (oy, ox) = EXPLICIT
        tables = oracle.axis_table(rows, height, 11, sy, oy), oracle.axis_table(columns, width, 13, sx, ox)
    elif alignment == "half_pixel":
        strides = 11 / height, 13 / width
        tables = (
            oracle.axis_table(rows, height, 11, strides[0], (strides[0] - 1) / 2),
            oracle.axis_table(columns, width, 13, strides[1], (strides[1] - 1) / 2),
        )
    else:
        tables = oracle.corner_table(rows, height), oracle.corner_table(columns, width)
    found = oracle.dissect(
        maps,
        [(image.maps.tolist(), set(image.whole) - {0}) for image in labels],
        dict(zip(vocabulary.numbers.tolist(), vocabulary.category.tolist(), strict=True)),
        len(vocabulary.categories),
        tables,
        Fraction(quantile),
        None if fixed is None else [fixed] * maps.shape[1],
        rule == "image",
    )
    for backend in ("reference", "cpu"):
        result = nd.score(
            maps,
            labels,
            vocabulary,
            quantile=quantile,
            thresholds=None if fixed is None else [fixed] * maps.shape[1],
            alignment=EXPLICIT if alignment == "explicit" else alignment,
            input_size=(11, 13),
            layout="BCHW",
            category_rule=rule,
            backend=backend,
        )
        assert_equals_oracle(result, found)


def assert_equals_oracle(result: nd.LayerResult, found: oracle.Found) -> None:
    numbers = result.vocabulary.numbers.tolist()
    assert result.thresholds.tolist() == [float(t) for t in found.thresholds]
    for unit in range(len(result.thresholds)):
        for column, number in enumerate(numbers):
            assert result.counts.intersection[unit, column] == found.intersection[unit, number]
            assert result.counts.concept_area[column] == found.concept_area[number]
            assert result.iou[unit, column] == found.iou[unit, number]
        for category, (number, score) in enumerate(found.best[unit]):
            assert result.counts.unit_area[unit, category] == found.unit_area[unit, category]
            column = result.labels.concept[unit, category]
            assert (numbers[column] if column >= 0 else None) == number
            assert result.labels.score[unit, category] == score
        row = result.units()[unit]
        category, number, score = found.top[unit]
        assert row.category == ("" if category is None else result.vocabulary.categories[category])
        assert row.label == ("" if number is None else f"concept{number}")
        assert row.iou == score
