"""The category color: which of the eleven basic colour terms each pixel has."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import numpy as np

from ...csv_tables import read_bytes
from ...errors import ArgumentError, DataError, shortened
from ...types import Array, Int64Array
from ..drawing.colours import name_colours
from ..drawing.drawn_concepts import NUMBER

COLOURS = ("black", "blue", "brown", "grey", "green", "orange", "pink", "purple", "red", "white", "yellow")
NAMES = {number: (f"{name}-c",) for number, name in enumerate(COLOURS, start=1)}
_LEVELS = 32  # of red, green and blue in the table
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = "{{'descr': '|u1', 'fortran_order': {}, 'shape': (32, 32, 32), }}"
_ORDERS: Mapping[str, Literal["C", "F"]] = {_HEADER.format(False): "C", _HEADER.format(True): "F"}  # w2color.npy: F


def own_colours() -> Array:
    """Return our own table: the name that ``name_colours`` gives each cell's middle, uint8 [32, 32, 32] of 0..10."""
    middle = ((np.arange(_LEVELS) * 256 + 128) // _LEVELS).astype(np.uint8)
    cells = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), axis=-1)
    place = np.zeros(max(NUMBER.values()) + 1, np.uint8)
    for number, name in enumerate(COLOURS):
        place[NUMBER[f"{name}-c"]] = number
    table: Array = place[name_colours(cells.reshape(_LEVELS, -1, 3))].reshape((_LEVELS,) * 3)
    return table


def read_colours(path: str | os.PathLike[str]) -> Array:
    """Read a table such as w2color.npy, uint8 [32, 32, 32] at [R // 8, G // 8, B // 8], of 0..10 as in COLOURS.

    Raises DataError if it is something else. NumPy's reader evaluates the header; this one compares it.
    """
    content = read_bytes(path, 1 << 16)
    begin = len(_MAGIC) + 2
    end = begin + int.from_bytes(content[len(_MAGIC) : begin], "little")
    header, cells = content[begin:end].decode("latin-1").strip(), content[end:]
    if not content.startswith(_MAGIC):
        raise DataError(path, "is not a .npy file of version 1.0")
    if header not in _ORDERS or len(cells) != _LEVELS**3:
        expected = f"uint8 [32, 32, 32], that is the header {next(iter(_ORDERS))} and {_LEVELS**3} bytes"
        raise DataError(path, f"expected {expected}, got {shortened(header)} and {len(cells)}")
    table: Array = np.frombuffer(cells, np.uint8).reshape((_LEVELS,) * 3, order=_ORDERS[header])
    if fault := _fault(table):
        raise DataError(path, fault)
    return table


def _fault(table: Array) -> str:
    if table.shape != (_LEVELS,) * 3 or table.dtype != np.uint8:
        return f"expected uint8 [32, 32, 32], got {table.dtype} {list(table.shape)}"
    if table.max() >= len(COLOURS):
        return f"expected colours 0 to {len(COLOURS) - 1}, got {table.max()}"
    return ""


class ColourNames:
    """Names pixels by a ``table`` as above, with the numbers of NAMES. ArgumentError for any other table."""

    def __init__(self, table: Array) -> None:
        if fault := _fault(table):
            raise ArgumentError(f"colours: {fault}")
        self._numbers = table.reshape(-1) + 1

    def numbers(self, rgb: Array) -> Array:
        """Return the numbers, uint8 [...], of RGB pixels uint8 [..., 3]."""
        return self._numbers[_cells(rgb)]

    def counts(self, rgb: Array) -> Int64Array:
        """Count the pixels of each number, int64 [12], in uint8 [Y, X, 3]."""
        cells = np.bincount(_cells(rgb).reshape(-1), minlength=len(self._numbers))
        return np.bincount(self._numbers, weights=cells, minlength=len(COLOURS) + 1).astype(np.int64)


def _cells(rgb: Array) -> Array:
    """Return the position of each pixel's cell in the flattened table, uint16."""
    levels = rgb >> 3
    cells = levels[..., 0].astype(np.uint16)
    for channel in (1, 2):
        cells <<= 5
        cells |= levels[..., channel]
    return cells
