"""Masks of COCO's instances: polygons and run lengths, checked before they are drawn."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from ....errors import require
from ....types import BoolArray, Int64Array
from .json_file import Entry, shown

Segmentation: TypeAlias = "str | array[int] | tuple[array[float], ...]"  # compressed runs, runs, polygons

MAX_COORDINATE = 1 << 17  # of a polygon's corner, in pixels: twice the largest image
MAX_OUTLINE = 1 << 20  # pixels and corners of one polygon's outline, which is drawn at 5 times that
_CHARACTERS = 6  # of one compressed run: 30 bits, more than an image has pixels


def packed(entry: Entry, size: tuple[int, int]) -> Segmentation:
    """Return an annotation's segmentation, in little memory. DataError if its types or its size are wrong.

    ``size``: (height, width) of its image. The numbers themselves are checked when they are drawn.
    """
    value = entry.values.get("segmentation")
    try:
        if isinstance(value, list):
            return tuple(array("d", polygon) for polygon in value)
        if isinstance(value, dict):
            if value.get("size") != [*size]:
                raise entry.error(f"segmentation: size must be its image's, {[*size]}, got {value.get('size')!r:.60}")
            counts = value.get("counts")
            if isinstance(counts, str):
                return counts
            if isinstance(counts, list):
                return array("q", counts)
            raise entry.error(f"segmentation: counts must be text or a list, got {shown(counts)}")
    except (TypeError, OverflowError) as error:
        raise entry.error(f"segmentation must be lists of numbers: {error}") from error
    raise entry.error(f"segmentation must be a list of polygons or an object with run lengths, got {shown(value)}")


def drawn(segmentation: Segmentation, size: tuple[int, int]) -> Iterator[BoolArray]:
    """Yield the masks, bool [H, W], whose union is the segmentation: one per polygon, or that of the run lengths.

    Polygons are drawn by pycocotools, so that every pixel is as in COCO's own tools. Its C code trusts its input, and
    its decoder and its union of run lengths write out of bounds if the runs are wrong: these two are therefore done
    here. Raises ValueError that says what is wrong, MissingExtra for polygons without pycocotools.
    """
    if isinstance(segmentation, tuple):
        if not segmentation:
            raise ValueError("segmentation is empty: a box alone is not a mask")
        for polygon in segmentation:
            yield _filled(polygon, size)
    else:
        pixels = size[0] * size[1]
        runs = decompressed(segmentation, pixels) if isinstance(segmentation, str) else np.array(segmentation, np.int64)
        yield _of_runs(runs, size)


def _filled(polygon: array[float], size: tuple[int, int]) -> BoolArray:
    if len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(f"segmentation: a polygon must list x, y of at least 3 corners, got {len(polygon)} numbers")
    corners = np.array(polygon).reshape(-1, 2)
    if not np.abs(corners).max() <= MAX_COORDINATE:  # or NaN
        raise ValueError(f"segmentation: a polygon's corners must be finite and at most {MAX_COORDINATE} pixels away")
    sides = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
    if len(corners) + sides.sum() > MAX_OUTLINE:
        raise ValueError(f"segmentation: a polygon's outline is longer than {MAX_OUTLINE} pixels, the most expected")
    (runs,) = require("pycocotools.mask", "coco").frPyObjects([polygon], *size)
    return _of_runs(decompressed(runs["counts"].decode("ascii"), size[0] * size[1]), size)


def decompressed(counts: str, pixels: int) -> Int64Array:
    """Return run lengths, int64, from COCO's compressed text. ValueError if it is not such text.

    A run is a signed number in characters of 5 bits, least significant first, bit 6 set in all but the last; from the
    fourth run on, it is the difference from the run two places before.
    """
    if len(counts) > 2 * pixels + 16:  # a run of one character has at least a pixel, one of two at least 16 or so
        raise ValueError(f"segmentation: {len(counts)} characters of run lengths are too many for {pixels} pixels")
    code = np.frombuffer(counts.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - ord("0")
    if not len(code) or code.min() < 0 or code.max() > 63 or code[-1] & 32:
        raise ValueError("segmentation: counts is not a text of compressed run lengths")
    last = np.flatnonzero(code & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    length = last - first + 1
    if length.max() > _CHARACTERS:
        raise ValueError(f"segmentation: a run length of more than {_CHARACTERS} characters")
    shift = 5 * (np.arange(len(code)) - np.repeat(first, length))
    runs = np.add.reduceat((code & 31) << shift, first)
    runs -= (code[last] >> 4 & 1) << 5 * length  # the sign
    for start in (1, 2):
        runs[start::2] = np.cumsum(runs[start::2])
    return runs


def _of_runs(runs: Int64Array, size: tuple[int, int]) -> BoolArray:
    """Return the mask of run lengths, off and on in turn, down the columns."""
    height, width = size
    pixels = height * width
    if not len(runs) or runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:
        raise ValueError(f"segmentation: run lengths must be ≥ 0 and add up to the image's {pixels} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
