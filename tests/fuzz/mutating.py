"""Changes to a file that get past its checksum or parser: a csv cell, a JSON value, an array's entry, a PNG chunk."""

from __future__ import annotations

import io
import json
import math
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from safetensors.numpy import load, save

NUMBERS: list[float] = [0, 1, -1, 3, 8, 255, 65536, 2**31 - 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**64, 10**400]
NUMBERS += [0.5, -0.0, 1e-300, 1e308, math.nan, math.inf]
TEXTS = ["", "..", "/", "a/b", "\\", "\0", "\ud800", "\ufeff", "<script>", '"', ";", "-0", "nan", "1e999", "3.0"]
TEXTS += ["9" * 400, "x" * 5000, "é", "run.json", "__class__", "eval", "1/0"]
DTYPES = [np.int64, np.int32, np.uint16, np.uint64, np.float32, np.float64, np.float16, np.bool_]
PNG = b"\x89PNG\r\n\x1a\n"

Change = Callable[[bytes], bytes]  # of a part that needs no care


def mutate(data: bytes, rng: random.Random, change: Change | None = None) -> bytes:
    """One to four changes, mostly such that the file can still be parsed; ``change`` is for parts of it."""
    change = change or (lambda part: _bytes(part, rng))
    for _ in range(rng.choice((1, 1, 2, 4))):
        try:
            data = _structured(data, rng, change) if rng.random() < 0.8 else change(data)
        except Exception:  # not that kind of file any more
            data = change(data)
    return data


def _structured(data: bytes, rng: random.Random, change: Change) -> bytes:
    if data.startswith(PNG):
        return _png(data, rng, change)
    if data.startswith(b"PK\x03\x04"):
        return _zip(data, rng, change)
    if data[8:9] == b"{":
        return _safetensors(data, rng) if rng.random() < 0.7 else _header(data, rng)
    if data[:1] in (b"{", b"["):
        return _json(data, rng)
    return _csv(data, rng)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    at, to = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    to = min(to, at + 64)
    new = rng.choice((b"", data[at:to] * 2, rng.randbytes(rng.randint(1, 8)), b"\xff" * 4, bytes(4)))
    return data[:at] + new if rng.random() < 0.1 else data[:at] + new + data[rng.choice((at + len(new), to)) :]


def _value(rng: random.Random) -> Any:
    return rng.choice((rng.choice(NUMBERS), rng.choice(TEXTS), None, True, [], {}, [[]], [1, 2]))


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _spots(value[key])


def _json(data: bytes, rng: random.Random) -> bytes:
    value = json.loads(data)
    spots = list(_spots(value))
    container, key = rng.choice(spots)
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, place = rng.choice(spots)
        container[key] = json.loads(json.dumps(other[place]))
    elif kind == 2 and isinstance(container, dict):
        container[rng.choice(TEXTS)] = container.pop(key)
    elif kind == 3 and isinstance(container[key], (int, float)):
        container[key] = rng.choice(NUMBERS)
    else:
        container[key] = _value(rng)
    return json.dumps(value).encode()


def _header(data: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = _json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    arrays = {name: array.copy() for name, array in load(data).items()}
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__")
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    kind = rng.randrange(8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == 0:
            arrays[name] = array.astype(rng.choice(DTYPES))
        elif kind == 1:
            arrays[name] = rng.choice((array[:-1], array[None], array.reshape(-1), np.concatenate([array, array])))
        elif kind == 2:
            arrays[rng.choice((*sorted(arrays), "other"))] = arrays.pop(name)
        else:
            number, at = rng.choice(NUMBERS), rng.randrange(array.size)
            whole = array.dtype.kind in "iu" and isinstance(number, int)
            array.reshape(-1)[at] = (
                np.array(number % 2**64, np.uint64).astype(array.dtype)
                if whole
                else np.float64(min(number, 1e308)).astype(array.dtype)
            )
    return save(arrays, metadata)


def _png(data: bytes, rng: random.Random, change: Change) -> bytes:
    """A chunk changed, with the checksum that then belongs to it."""
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    if kind == b"IDAT" and rng.random() < 0.5:
        content = zlib.compress(change(zlib.decompress(content)))
    elif rng.random() < 0.2:
        kind = rng.choice((b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"IDAT", b"IHDR"))
        chunks.insert(place, (kind, content))
    else:
        content = change(content)
    chunks[place] = kind, content
    parts = [PNG]
    for kind, content in chunks:
        parts.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    return b"".join(parts)


def _zip(data: bytes, rng: random.Random, change: Change) -> bytes:
    """A member changed, stored or packed, under its own name or another."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        warnings.simplefilter("ignore")  # about a name that comes twice
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                if rng.random() < 0.1:
                    name = rng.choice(names)
                content = _json(content, rng) if content[:1] == b"{" else change(content)
            new.writestr(name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return out.getvalue()


def _csv(data: bytes, rng: random.Random) -> bytes:
    table = [line.split(b",") for line in data.split(b"\n")]
    row = rng.choice(table)
    at = rng.randrange(len(row))
    kind = rng.randrange(6)
    if kind == 0:
        del row[at]
    elif kind == 1:
        table.insert(rng.randrange(len(table)), list(row))
    elif kind == 2:
        other = rng.choice(table)
        row[at] = other[min(at, len(other) - 1)]
    elif kind == 3:
        row[at] += rng.choice((b";", b".0", b" ", b"\r", b"(1)")) + rng.choice(rng.choice(table))
    else:
        row[at] = str(rng.choice((rng.choice(NUMBERS), rng.choice(TEXTS)))).encode("utf-8", "surrogatepass")
    return b"\n".join(map(b",".join, table))
