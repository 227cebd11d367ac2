"""Hypothesis strategies, named by the axes of what they draw.

B images of a batch, N images, U units, C concepts, H×W activation grid, Y×X label grid, L label maps of one image.
Shapes and kinds are drawn (and shrunk) by Hypothesis; the numbers come from a drawn seed: large arrays are cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from netdissect_fast.concepts import ImageLabels, PackedLabels, Vocabulary
from netdissect_fast.geometry.grids import AxisTable, Grid, make_grid
from netdissect_fast.scoring.crops import flush

TINY = np.float32(2.0**-72)  # smaller values count as +0
EDGE = np.array([TINY, np.nextafter(TINY, np.float32(0)), np.nextafter(TINY, np.float32(1)), 2.0**-73, 2.0**-100,
                 2.0**-126, 1e-45, 2.0**-60, 0.0, -0.0, 1.0], np.float32)  # fmt: skip
LARGEST = np.finfo(np.float32).max

Kind = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

KINDS: dict[str, Kind] = {
    "relu": lambda rng, shape: np.maximum(rng.standard_normal(shape) - 0.5, 0),
    "signed": lambda rng, shape: rng.standard_normal(shape),
    "negative": lambda rng, shape: -1 - rng.random(shape),
    "silent": lambda rng, shape: np.zeros(shape),
    "constant": lambda rng, shape: np.full(shape, 1.5),
    "ties": lambda rng, shape: rng.integers(-1, 3, shape),
    "thirds": lambda rng, shape: rng.integers(0, 4, shape) / 3,
    "edge": lambda rng, shape: rng.choice(np.concatenate([EDGE, -EDGE]), shape),
    "huge": lambda rng, shape: rng.choice(np.array([LARGEST, -LARGEST, LARGEST / 2, -1, 0, 1], np.float32), shape),
    "spike": lambda rng, shape: (rng.random(shape) < 0.03) * 7.0,
}


def rngs() -> st.SearchStrategy[np.random.Generator]:
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def sides(largest: int, smallest: int = 1) -> st.SearchStrategy[int]:
    """Lengths of an axis: mostly small, sometimes around the widths that SIMD and tiles care about."""
    special = [n for n in (1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 130) if n <= largest]
    return st.one_of(st.integers(smallest, min(largest, 12)), st.sampled_from(special), st.integers(smallest, largest))


@st.composite
def maps_BUHW(
    draw: st.DrawFn,
    images: st.SearchStrategy[int] | None = None,
    units: st.SearchStrategy[int] | None = None,
    side: int = 40,
    kinds: tuple[str, ...] = tuple(KINDS),
) -> np.ndarray:
    """float32 [B, U, H, W], every unit of its own kind; B and U may be 0."""
    shape = (
        draw(st.integers(0, 3) if images is None else images),
        draw(st.one_of(st.integers(0, 5), st.sampled_from([15, 16, 17, 33])) if units is None else units),
        draw(sides(side)),
        draw(sides(side)),
    )
    rng = draw(rngs())
    maps = np.empty(shape, np.float32)
    for unit in range(shape[1]):
        kind = KINDS[draw(st.sampled_from(kinds))] if unit < 5 else KINDS[kinds[int(rng.integers(len(kinds)))]]
        maps[:, unit] = kind(rng, (shape[0], *shape[2:]))
    return maps


def _embedded(maps: np.ndarray) -> np.ndarray:
    big = np.empty([2 * side + 3 for side in maps.shape], maps.dtype)
    big.view(np.uint8)[...] = 0xFF  # NaN in every dtype: reading beside the view would be noticed
    view = big[tuple(slice(1, 1 + 2 * side, 2) for side in maps.shape)]
    view[...] = maps
    return view


def _frozen(maps: np.ndarray) -> np.ndarray:
    copy = maps.copy()
    copy.flags.writeable = False
    return copy


_FLIP = (slice(None, None, -1),) * 4

ARRANGEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.ascontiguousarray,
    "channels_last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "columns_first": lambda a: np.ascontiguousarray(a.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2),
    "units_first": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3),
    "fortran": np.asfortranarray,
    "every_other": _embedded,
    "reversed": lambda a: np.ascontiguousarray(a[_FLIP])[_FLIP],
    "read_only": _frozen,
}


def arrangements() -> st.SearchStrategy[Callable[[np.ndarray], np.ndarray]]:
    """Functions that give the same array in another memory layout."""
    return st.sampled_from(sorted(ARRANGEMENTS)).map(ARRANGEMENTS.__getitem__)


def thresholds_U(rng: np.random.Generator, maps: np.ndarray, lowest: np.ndarray | None = None) -> np.ndarray:
    """float32 [U], flushed: often exactly a value of the unit (ties), else 0, −∞, the maximum or something between."""
    chosen = np.zeros(maps.shape[1], np.float32)
    for unit in range(len(chosen)):
        values = np.unique(flush(maps[:, unit]))
        options = [0.0, -np.inf, 0.3, float(TINY), -float(TINY)]
        if len(values):
            options += [values[-1], values[0], values[len(values) // 2], *rng.choice(values, 4)]
        chosen[unit] = rng.choice(np.array(options, np.float32))
    return chosen if lowest is None else np.maximum(chosen, lowest)


@st.composite
def vocabularies(draw: st.DrawFn, most: int = 20) -> Vocabulary:
    """C concepts with gaps in their numbers, in up to 3 categories; some concepts have none."""
    numbers = np.array(sorted(draw(st.sets(st.integers(1, 60), max_size=most))), np.int64)
    categories = tuple(f"category{i}" for i in range(draw(st.integers(1, 3))))
    rng = draw(rngs())
    category = rng.integers(-1, len(categories), len(numbers)).astype(np.int32)
    return Vocabulary(numbers, tuple(f"concept{n}" for n in numbers), category, categories)


@st.composite
def labels_N(draw: st.DrawFn, vocabulary: Vocabulary, images: int, size: tuple[int, int]) -> list[ImageLabels]:
    """Labels of N images on one Y×X grid: overlapping maps, gaps, whole-image concepts, nothing at all."""
    rng = draw(rngs())
    numbers = np.concatenate([[0], vocabulary.numbers]).astype(np.int32)
    result = []
    for _ in range(images):
        maps = np.zeros((draw(st.integers(0, 3)), *size), np.int32)
        for plane in maps:
            block = int(rng.integers(1, 9))
            coarse = rng.choice(numbers, [-(-side // block) for side in size])
            plane[...] = np.kron(coarse, np.ones((block, block), np.int32))[: size[0], : size[1]]
        whole = tuple(int(n) for n in rng.choice(numbers, int(rng.integers(0, 3))))
        result.append(ImageLabels(maps, whole))
    return result


@st.composite
def grids_HW(draw: st.DrawFn, size: tuple[int, int]) -> Grid:
    """Every alignment; explicit grids may lie partly or wholly outside the image."""
    inputs = (draw(st.integers(1, 300)), draw(st.integers(1, 300)))
    alignment = draw(st.sampled_from(["half_pixel", "align_corners", "explicit"]))
    if alignment != "explicit":
        return make_grid(alignment, None, size, inputs)
    numbers = st.tuples(st.floats(0.25, 64, width=32), st.floats(-400, 400, width=32))
    (sy, oy), (sx, ox) = draw(numbers), draw(numbers)
    return make_grid(((sy, sx), (oy, ox)), None, size, inputs)


@st.composite
def tables_X(draw: st.DrawFn, features: int, pixels: int) -> AxisTable:
    """Any table that the kernels accept, also ones that no grid gives (repeats, leaps, weights where i0 = i1)."""
    rng = draw(rngs())
    i0 = np.sort(rng.integers(0, features, pixels)).astype(np.int32)
    i1 = np.minimum(i0 + 1, features - 1).astype(np.int32)
    f = rng.choice(np.array([0, 0.5, 1 / 3, 2.0**-24, 1 - 2.0**-24], np.float32), pixels)
    return AxisTable(i0, i1, f)


@dataclass(frozen=True)
class CountCase:
    """One call of count: maps [N, U, H, W], bounds that the crops were kept with, thresholds, tables, labels."""

    maps: np.ndarray
    bounds: np.ndarray
    thresholds: np.ndarray
    axes: tuple[AxisTable, AxisTable]
    packed: PackedLabels
    labels: list[ImageLabels]
    vocabulary: Vocabulary
    present: np.ndarray
    first_image: int

    @property
    def silent(self) -> CountCase:
        """The same without any value above a threshold."""
        return replace(self, maps=np.zeros_like(self.maps), thresholds=np.ones_like(self.thresholds))


@st.composite
def count_cases(draw: st.DrawFn) -> CountCase:
    maps = draw(maps_BUHW(images=st.integers(0, 3), side=140))
    size = maps.shape[2], maps.shape[3]
    pixels = draw(sides(130)), draw(sides(130))
    if draw(st.booleans()):
        grid = draw(grids_HW(size))
        axes = grid.axis(0, pixels[0]), grid.axis(1, pixels[1])
    else:
        axes = draw(tables_X(size[0], pixels[0])), draw(tables_X(size[1], pixels[1]))
    vocabulary = draw(vocabularies())
    labels = draw(labels_N(vocabulary, len(maps), pixels))
    packed = PackedLabels.pack(labels, vocabulary)
    rng = draw(rngs())
    bounds = thresholds_U(rng, maps)
    present = rng.random((len(maps), len(vocabulary.categories))) < 0.6
    if draw(st.booleans()):
        present = packed.category_present(vocabulary)
    return CountCase(maps, bounds, thresholds_U(rng, maps, bounds), axes, packed, labels, vocabulary, present,
                     draw(st.integers(0, 1000)))  # fmt: skip
