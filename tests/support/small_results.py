"""A result of three small layers, and what it means for two layers to be the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels, Vocabulary
from netdissect_fast.results.layer_result import LayerResult
from netdissect_fast.results.run_result import Dissection

VOCABULARY = Vocabulary(
    np.array([1, 2, 5, 9]),
    ("sky", 'tree, "old"', "tür\nknauf", "<b>wheel</b>"),
    np.array([0, 0, 1, -1], np.int32),
    ("object", "part"),
)


def labels() -> list[ImageLabels]:
    rng = np.random.default_rng(1)
    planes = rng.choice(np.array([0, 1, 2, 5, 9], np.int32), (8, 2, 10, 12))
    return [ImageLabels(maps, (2,) if i % 3 == 0 else ()) for i, maps in enumerate(planes)]


def layer(units: int, size: tuple[int, int], name: str, **options: Any) -> LayerResult:
    maps = np.random.default_rng(units).standard_normal((8, units, *size)).astype(np.float32)
    return nd.score(maps, labels(), VOCABULARY, quantile="0.1", name=name, **options)


def dissection() -> Dissection:
    layers = [
        layer(5, (4, 3), "features.3"),
        layer(3, (7, 7), "features.12", alignment=((30.5, 16.0), (1 / 3, -2.0)), input_size=(224, 227)),
        layer(2, (1, 1), "fc:logits@0", thresholds=[0.1, np.inf]),
    ]
    return Dissection({one.name: one for one in layers}, {"quantile": "0.1", "versions": {"numpy": np.__version__}})


def without_checksum(out: Path) -> dict[str, Any]:
    """Rewrite a run.json as format 1, which has no checksum: an edited one is then not refused for that alone."""
    run: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    del run["checksum"]
    run["format"] = 1
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return run


def assert_same_layer(got: LayerResult, expected: LayerResult) -> None:
    assert got.name == expected.name
    for counts, wanted in zip(vars(got.counts).values(), vars(expected.counts).values(), strict=True):
        assert (counts.dtype, counts.shape, counts.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
    for name in ("thresholds", "unit_numbers"):
        array, wanted = getattr(got, name), getattr(expected, name)
        assert (array.dtype, array.tobytes()) == (wanted.dtype, wanted.tobytes())
    assert got.grid == expected.grid
    assert got.units() == expected.units()
    assert (got.peaks is None) == (expected.peaks is None)
    if got.peaks is not None and expected.peaks is not None:
        for array, wanted in zip(got.peaks.crops.arrays, expected.peaks.crops.arrays, strict=True):
            assert (array.dtype, array.tobytes()) == (wanted.dtype, wanted.tobytes())
