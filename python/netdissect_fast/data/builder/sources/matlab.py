"""Reads .mat files of MATLAB 5 to 7.2 through scipy, trusting nothing in them."""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ....csv_tables import read_bytes
from ....errors import DataError, require, shortened
from ....types import Array, BoolArray, Uint16Array
from ...files.vocabulary import MAX_NUMBER

MAX_BYTES = 1 << 28  # of one file
MAX_DEPTH = 16  # of nested cells and structs: scipy reads them by unlimited recursion
_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14  # kinds of elements
_CELL, _STRUCT = 1, 2  # classes of matrices
_PLAIN = range(4, 16)  # text, sparse and numbers
_MAX_LENGTHS = 32 * 4  # bytes of a matrix's lengths, one for each dimension


class Matlab:
    """A value in a .mat file, and ``key``, its place there: ``anno.objects(2).mask``, counted from 1."""

    def __init__(self, path: str, key: str, value: Any) -> None:
        self.path, self.key, self.value = path, key, value

    def error(self, reason: str) -> DataError:
        """Return a DataError about this value."""
        return DataError(self.path, f"{self.key}: {reason}")

    def __getitem__(self, field: str) -> Matlab:
        """Return a field of a struct."""
        value = self.value.ravel()[0] if isinstance(self.value, np.ndarray) and self.value.size == 1 else self.value
        names = getattr(getattr(value, "dtype", None), "names", None)
        if not isinstance(value, np.void) or not names or field not in names:
            raise self.error(f"expected a struct with the field {field}")
        return Matlab(self.path, f"{self.key}.{field}", value[field])

    def __iter__(self) -> Iterator[Matlab]:
        """Yield the structs of an array of structs; none if it is empty, whatever its kind."""
        value = self.value
        if not isinstance(value, np.ndarray) or (value.size and value.dtype.names is None):
            raise self.error("expected an array of structs")
        return (Matlab(self.path, f"{self.key}({i})", item) for i, item in enumerate(value.ravel(), 1))

    def text(self) -> str:
        """Return a line of characters."""
        value = self.value
        if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size > 1:
            raise self.error("expected text")
        return str(value.ravel()[0]) if value.size else ""

    def texts(self) -> list[str]:
        """Return the lines in an array of cells."""
        value = self.value
        if not isinstance(value, np.ndarray) or value.dtype != object:
            raise self.error("expected cells of text")
        return [Matlab(self.path, f"{self.key}{{{i}}}", item).text() for i, item in enumerate(value.ravel(), 1)]

    def whole_number(self) -> int:
        """Return one number, 0 to 65535."""
        if not isinstance(self.value, np.ndarray) or self.value.size != 1:
            raise self.error("expected one number")
        return int(self._numbers(self.value).ravel()[0])

    def matrix(self, size: tuple[int, int]) -> Uint16Array:
        """Return numbers, uint16 of ``size`` [H, W]."""
        return self._numbers(self._sized(size))

    def mask(self, size: tuple[int, int]) -> BoolArray:
        """Return where numbers of ``size`` [H, W] are not 0."""
        value = self._sized(size)
        if value.dtype.kind not in "biuf":
            raise self.error("expected a mask of numbers")
        mask: BoolArray = value if value.dtype == bool else value != 0
        return mask

    def _sized(self, size: tuple[int, int]) -> Array:
        if not isinstance(self.value, np.ndarray) or self.value.shape != size:
            got = " x ".join(map(str, getattr(self.value, "shape", ())))
            raise self.error(f"expected {size[0]} x {size[1]} (height x width), like the photograph, got {got}")
        return self.value

    def _numbers(self, value: Array) -> Uint16Array:
        if value.dtype.kind not in "biuf" or not (
            value.dtype in (np.bool_, np.uint8, np.uint16)
            or (np.all((value >= 0) & (value <= MAX_NUMBER)) and np.all(value == np.floor(value)))
        ):
            raise self.error(f"expected whole numbers from 0 to {MAX_NUMBER}")
        return value.astype(np.uint16, order="C")


def read_matlab(path: str | os.PathLike[str], variable: str, limit: int) -> Matlab:
    """Read one variable of a .mat file that inflates to at most ``limit`` bytes.

    Raises DataError, before scipy sees the file, if it is not one, is larger, holds objects, is nested deeply or
    claims more cells than it has; also if scipy cannot read it.
    """
    path = os.fspath(path)
    loadmat = require("scipy.io", "build").loadmat
    try:
        data, order = _inflated(path, limit)
        _check(data, struct.Struct(f"{order}II"), _HEADER, len(data), 0)
        found = loadmat(io.BytesIO(data), variable_names=[variable])
    except DataError:
        raise
    except Exception as error:  # whatever a reader makes of hostile bytes; MemoryError too
        raise DataError(path, f"is not a readable MATLAB file: {shortened(error) or type(error).__name__}") from error
    if variable not in found:
        raise DataError(path, f"has no variable {variable}")
    return Matlab(path, variable, found[variable])


def _inflated(path: str, limit: int) -> tuple[bytes, str]:
    """Return a file with its compressed elements inflated, and its byte order, < or >."""
    data = read_bytes(path, MAX_BYTES)
    order = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}.get(data[_HEADER - 4 : _HEADER])
    if order is None:
        raise DataError(path, "is not a MATLAB file of version 5 to 7.2; newer ones are HDF5: save it with -v7")
    view, pieces, start = memoryview(data), [data[:_HEADER]], _HEADER
    while start < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        body, end = start + 8, start + 8 + size
        if end > len(data):
            raise ValueError("it is truncated")
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            piece = inflater.decompress(view[body:end], limit + 1)
            if len(piece) <= limit and not inflater.eof:
                raise ValueError("it is truncated")
        else:
            piece = data[start:end]
        limit -= len(piece)
        if limit < 0:
            raise DataError(path, "inflates to more bytes than expected at most")
        pieces.append(piece)
        start = end
    return b"".join(pieces), order


def _check(data: bytes, tag: struct.Struct, start: int, end: int, depth: int) -> int:
    """Check the elements between two offsets, and count the matrices among them. ValueError says what is wrong."""
    count = 0
    while start < end:
        kind, size = tag.unpack_from(data, start)
        body = start + 8
        start = body if kind >> 16 else body + size + -size % 8  # up to 4 bytes are kept in the tag itself
        if start > end:
            raise ValueError("it is truncated")
        if kind == _COMPRESSED:
            raise ValueError("it is compressed twice")
        if kind == _MATRIX:
            count += 1
            if size:
                _check_matrix(data, tag, body, start, depth)
    return count


def _check_matrix(data: bytes, tag: struct.Struct, body: int, end: int, depth: int) -> None:
    kind = tag.unpack_from(data, body + 8)[0] & 0xFF
    if kind in _PLAIN:
        return
    if kind not in (_CELL, _STRUCT):
        raise ValueError("it holds an object or a function; only numbers, text, cells and structs are read")
    if depth == MAX_DEPTH:
        raise ValueError(f"cells and structs are nested more than {MAX_DEPTH} deep")
    kind, size = tag.unpack_from(data, body + 16)
    if kind >> 16 or size > _MAX_LENGTHS:  # one number kept in the tag itself cannot state the lengths of cells
        raise ValueError("it has cells in one dimension, or in too many dimensions")
    lengths = struct.unpack_from(f"{tag.format[0]}{size // 4}I", data, body + 24)
    if math.prod(lengths) > max(_check(data, tag, body, end, depth + 1), 1):
        raise ValueError(f"it claims {' x '.join(map(str, lengths))} cells but has fewer")
