"""Broken, foreign and hostile peaks files: DataError, never a crash, never a silent wrong answer."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.errors import DataError
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.peaks import Peaks, peaks_of
from netdissect_fast.storage import read_arrays, write_arrays

Arrays = dict[str, np.ndarray]


def small_peaks() -> Peaks:
    return peaks_of(np.random.default_rng(0).standard_normal((6, 3, 5, 5)).astype(np.float32), "0.1", choose("cpu", 1))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "peaks.safetensors"
    small_peaks().save(path)
    return path


def put(name: str, value: object) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.__setitem__(name, np.asarray(value))


def entry(name: str, index: object, value: object) -> Callable[[Arrays], None]:
    return lambda arrays: arrays[name].__setitem__(index, value)


BROKEN: dict[str, tuple[Callable[[Arrays], None], str]] = {
    **{f"no {name}": (lambda a, name=name: a.__delitem__(name), name)
       for name in ("image", "unit", "box", "bounds", "seen", "sizes")},
    "no values": (lambda a: a.update(values=a["values"][:0]), "values does not hold what the boxes say"),
    "values short": (lambda a: a.update(values=a["values"][:-1]), "values does not hold what the boxes say"),
    "values long": (lambda a: a.update(values=np.append(a["values"], np.float32(1))), "values does not hold"),
    "values float64": (lambda a: a.update(values=a["values"].astype(np.float64)), "values must be float32"),
    "values float16": (lambda a: a.update(values=a["values"].astype(np.float16)), "values must be float32"),
    "image int64": (lambda a: a.update(image=a["image"].astype(np.int64)), "image must be int32"),
    "unit uint32": (lambda a: a.update(unit=a["unit"].astype(np.uint32)), "unit must be int32"),
    "box int16": (lambda a: a.update(box=a["box"].astype(np.int16)), "box must be uint16"),
    "box flat": (lambda a: a.update(box=a["box"].reshape(-1)), "box must have shape"),
    "unit short": (lambda a: a.update(unit=a["unit"][:-1]), "unit must have shape"),
    "unit too large": (entry("unit", 2, 3), "unit out of range"),
    "unit far too large": (entry("unit", 2, 2**31 - 1), "unit out of range"),
    "unit negative": (entry("unit", 0, -1), "unit out of range"),
    "unit twice": (entry("unit", 1, 0), "crops are not in ascending order"),
    "image too large": (entry("image", -1, 6), "a crop belongs to an image that was not seen"),
    "image negative": (entry("image", 0, -1), "a crop belongs to an image that was not seen"),
    "image not seen": (put("seen", [[1, 6]]), "a crop belongs to an image that was not seen"),
    "box empty": (entry("box", (0, 2), 0), "empty crop 0"),
    "box leaves the map": (entry("box", (0, 0), 5), "a crop leaves the activation grid"),
    "box far away": (entry("box", (0, 1), 65535), "a crop leaves the activation grid"),
    "bounds short": (lambda a: a.update(bounds=a["bounds"][:-1]), "one bound per unit is needed"),
    "bounds float64": (lambda a: a.update(bounds=a["bounds"].astype(np.float64)), "bounds must be float32"),
    "bound NaN": (entry("bounds", 0, np.nan), "NaN"),
    "value NaN": (entry("values", 7, np.nan), "NaN or infinite"),
    "value infinite": (entry("values", 7, -np.inf), "NaN or infinite"),
    "seen twice": (put("seen", [[0, 4], [2, 6]]), "not ascending ranges"),
    "seen backwards": (put("seen", [[0, 9], [9, 6]]), "not ascending ranges"),
    "seen beyond": (put("seen", [[0, 7]]), "images seen do not exist"),
    "seen before": (put("seen", [[-1, 6]]), "images seen do not exist"),
    "seen flat": (put("seen", [0, 6]), "not ascending ranges"),
    "seen unsigned": (put("seen", np.array([[0, 6]], np.uint64)), "not ascending ranges"),
    "sizes short": (put("sizes", [3, 5, 5]), "not enough values"),
    "sizes single": (put("sizes", [7]), "not enough values"),
    "sizes infinite": (put("sizes", [3, 5, 5, np.inf]), "infinity"),
    "units negative": (entry("sizes", 0, -1), "one bound per unit is needed"),
    "units huge": (entry("sizes", 0, 2**40), "one bound per unit is needed"),
    "side negative": (entry("sizes", 1, -5), "are impossible"),
    "side huge": (entry("sizes", 1, 2**40), "are impossible"),
    "images huge": (entry("sizes", 3, 2**62), "are impossible"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_arrays(what: str, good: Path) -> None:
    change, reason = BROKEN[what]
    arrays, metadata = read_arrays(good)
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    write_arrays(good, arrays, metadata)
    with pytest.raises(DataError, match=reason) as caught:
        Peaks.load(good)
    assert caught.value.path == str(good)
    assert str(caught.value).startswith(f"{good}: does not hold the peaks of a layer: ")


@pytest.mark.parametrize(
    "quantile", ["2/1", "0/1", "-1/2", "1/0", "nan", "x/y", "", "1/2/3", "1e-999999999", "9" * 5000]
)
def test_broken_quantile(quantile: str, good: Path) -> None:
    arrays, _ = read_arrays(good)
    write_arrays(good, arrays, {"quantile": quantile})
    with pytest.raises(DataError, match="does not hold the peaks of a layer"):
        Peaks.load(good)
    write_arrays(good, arrays)
    with pytest.raises(DataError, match="'quantile'"):
        Peaks.load(good)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F4", "NONE"])
def test_dtypes_numpy_does_not_know(dtype: str, good: Path) -> None:
    """The same bytes under a header that calls the values something else."""
    data = good.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    values = header["values"]
    values["dtype"] = dtype
    values["shape"] = [values["shape"][0] * {"BF16": 2, "F8_E4M3": 4, "F8_E5M2": 4, "F4": 8, "NONE": 1}[dtype]]
    text = json.dumps(header).encode()
    good.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(DataError, match="is not a readable safetensors file"):
        Peaks.load(good)


def test_every_truncation(good: Path) -> None:
    data = good.read_bytes()
    for length in [*range(0, 700, 13), *range(700, len(data), 61), len(data) - 1]:
        good.write_bytes(data[:length])
        with pytest.raises(DataError, match="is not a readable safetensors file"):
            Peaks.load(good)


FOREIGN = {
    "empty": b"",
    "text": b"unit,category,label,score\n1,object,car,0.2\n",
    "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94.",
    "zip": b"PK\x03\x04" + bytes(60),
    "header too long": struct.pack("<Q", 2**62) + b"{}",
    "zeros": bytes(4096),
    "json": struct.pack("<Q", 2) + b"[]",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_files(what: str, tmp_path: Path) -> None:
    path = tmp_path / "peaks.safetensors"
    path.write_bytes(FOREIGN[what])
    with pytest.raises(DataError, match="is not a readable safetensors file"):
        Peaks.load(path)


def test_other_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_arrays(path, {"conv.weight": np.zeros((2, 3), np.float32)})
    with pytest.raises(DataError, match=r"does not hold the peaks of a layer: 'sizes'"):
        Peaks.load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError):
            Peaks.load(path)


@given(st.data())
def test_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any few bytes changed: DataError, or peaks that every method can work with."""
    path = tmp_path_factory.mktemp("peaks") / "peaks.safetensors"
    small_peaks().save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        peaks = Peaks.load(path)
    except DataError:
        return
    if peaks.images_seen == peaks.images:
        peaks.finish()
    for unit in range(peaks.units):
        peaks.top(unit)
