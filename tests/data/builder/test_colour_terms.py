"""The category color: from pixels, by our table or the original's; tables that are none."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from netdissect_fast.data.builder.annotation import Names
from netdissect_fast.data.builder.build import build
from netdissect_fast.data.builder.colour_terms import COLOURS, NAMES, ColourNames, own_colours, read_colours
from netdissect_fast.data.drawing.colours import PAINTS
from netdissect_fast.errors import ArgumentError, DataError

from .made import EASY, Made, Photo, contents, label_map, rows


def saved(array: object, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)  # type: ignore[arg-type]
    return file.getvalue()


def cube() -> np.ndarray:
    """Another table: the name follows from red alone."""
    red = np.arange(32)[:, None, None] % 11
    return np.ascontiguousarray(np.broadcast_to(red, (32, 32, 32)).astype(np.uint8))


def test_our_table_names_basic_colours() -> None:
    table = own_colours()
    assert (table.shape, table.dtype) == ((32, 32, 32), np.uint8)
    assert set(table.flat) == set(range(11))
    for name, (red, green, blue) in PAINTS.items():
        assert COLOURS[table[red // 8, green // 8, blue // 8]] == name


def test_numbers_and_counts_of_pixels() -> None:
    colours = ColourNames(cube())
    rgb = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    expected = rgb[..., 0] // 8 % 11 + 1
    assert np.array_equal(colours.numbers(rgb), expected)
    assert colours.counts(rgb).tolist() == np.bincount(expected.flat, minlength=12).tolist()
    assert NAMES[expected[0, 0]] == (f"{COLOURS[expected[0, 0] - 1]}-c",)


class Noise(Made):
    """Photographs of random pixels."""

    def pixels(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (*self.photos[index].size, 3), np.uint8)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels(index))


@pytest.mark.parametrize("given", [False, True])
def test_from_pixels_at_their_own_size(given: bool, tmp_path: Path) -> None:
    """Counted on all pixels; the map has the pixels at the centres, not of the smaller photograph."""
    table = own_colours()
    if given:
        (tmp_path / "w2color.npy").write_bytes(saved(cube()))
        table = read_colours(tmp_path / "w2color.npy")
    source = Noise("x", [Photo("a", (30, 50)), Photo("b", (20, 20))], {})
    build([source], tmp_path / "out", size=16, colours=table if given else None, **EASY)
    names = [table[tuple(np.moveaxis(source.pixels(i) // 8, -1, 0))] for i in range(2)]
    found = {row["name"]: row for row in rows(tmp_path / "out" / "label.csv")}
    for number, name in enumerate(COLOURS):
        parts = [float(np.mean(image == number)) for image in names]
        if any(parts):
            assert found[f"{name}-c"]["category"] == f"color({np.count_nonzero(parts)})"
            assert found[f"{name}-c"]["coverage"] == f"{sum(parts):.6f}"
    called = {int(row["number"]): name for name, row in found.items()}
    for name, image in zip("ab", names, strict=True):
        y, x = (((np.arange(8) + 0.5) * old / 8).astype(int) for old in image.shape)
        numbers = label_map(tmp_path / "out" / "images" / "x" / f"{name}_color.png")
        assert [called[n] for n in numbers.flat] == [f"{COLOURS[n]}-c" for n in image[y[:, None], x].flat]


def test_a_source_with_colours_of_its_own(tmp_path: Path) -> None:
    """Its numbers are others than ours, so none of ours are mixed in, though an image has no colour."""
    names: dict[str, Names] = {"color": {1: ("lilac-c",)}, "object": {1: ("wall",)}}
    ones = np.ones((4, 4), int)
    photos = [Photo("a", (4, 4), {"object": ones}), Photo("b", (4, 4), {"object": ones, "color": ones})]
    build([Made("x", photos, names)], tmp_path / "out", size=4, **EASY)
    assert {row["name"]: row["frequency"] for row in rows(tmp_path / "out" / "label.csv")} == {
        "wall": "2",
        "lilac-c": "1",
    }
    assert "images/x/a_color.png" not in contents(tmp_path / "out")


@pytest.mark.parametrize("order", ["C", "F"])
def test_tables_in_either_order(order: Literal["C", "F"], tmp_path: Path) -> None:
    (tmp_path / "table.npy").write_bytes(saved(np.array(cube(), order=order)))
    assert np.array_equal(read_colours(tmp_path / "table.npy"), cube())


@pytest.mark.data
def test_the_originals_table(shared_data: Path) -> None:
    table = read_colours(shared_data / "reference" / "w2color.npy")
    expected = {(0, 0, 0): "black", (255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue",
                (128, 128, 128): "grey", (139, 69, 19): "orange", (255, 192, 203): "pink"}  # fmt: skip
    numbers = ColourNames(table).numbers(np.array([*expected], np.uint8))
    assert [COLOURS[n - 1] for n in numbers] == [*expected.values()]


class Trap:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


ZEROS = np.zeros((32, 32, 32), np.uint8)
TABLES = [
    (b"", "is empty"),
    (b"w2color", "is not a .npy file"),
    (b"PK\x03\x04" + bytes(100), "is not a .npy file"),
    (b"\x93NUMPY\x03\x00" + saved(ZEROS)[8:], "is not a .npy file of version 1.0"),
    (b"\x93NUMPY\x01\x00", "got  and 0"),
    (saved(ZEROS)[:-1], "and 32768 bytes, got .* and 32767"),
    (saved(ZEROS)[:60], "and 32768 bytes, got .* and 0"),
    (saved(ZEROS) + b"0", "and 32768 bytes, got .* and 32769"),
    (saved(ZEROS) * 2, "more than the 65536 expected"),
    (saved(ZEROS[:-1]), r"'shape': \(32, 32, 32\), } and 32768 bytes, got .*'shape': \(31, 32, 32\)"),
    (saved(ZEROS.reshape(-1)), r"got .*'shape': \(32768,\)"),
    (saved(ZEROS.astype(np.int8)), r"got .*'\|i1'"),
    (saved(np.zeros((32, 32, 8), np.float32)), "got .*'<f4'"),
    (saved(ZEROS + 11), "expected colours 0 to 10, got 11"),
    (saved(np.uint8(3)), r"got .*'shape': \(\)"),
    (header("(1000000000000000,)"), r"got .*'shape': \(1000000000000000,\)"),
    (header("(32, 32, 32)", "'|O'"), "got .*'|O'"),
    (header("__import__('os')"), "got .*__import__"),
    (header("(" * 5000), r"got .*\.\.\. and 0"),
]


@pytest.mark.parametrize(("content", "reason"), TABLES)
def test_tables_that_are_none(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "table.npy").write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_colours(tmp_path / "table.npy")
    assert caught.value.path == str(tmp_path / "table.npy")


def test_nothing_in_a_table_is_run(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(tmp_path / "table.npz", table=np.zeros((32, 32, 32), np.uint8))
    for content in (saved(trap, allow_pickle=True), pickle.dumps(Trap(tmp_path / "sprung"))):
        (tmp_path / "table.npy").write_bytes(content)
        with pytest.raises(DataError, match=r"expected|is not a"):
            read_colours(tmp_path / "table.npy")
    for path in (tmp_path / "table.npz", tmp_path, tmp_path / "missing.npy"):
        with pytest.raises(DataError):
            read_colours(path)
    assert not (tmp_path / "sprung").exists()


def test_a_table_given_to_the_builder_is_checked() -> None:
    with pytest.raises(ArgumentError, match=r"colours: expected uint8 \[32, 32, 32\], got int64"):
        ColourNames(cube().astype(np.int64))


def test_which_table_was_used_is_noted(tmp_path: Path) -> None:
    source = Made("x", [Photo("a", (4, 4))], {})
    for name, table in (("ours", None), ("other", cube())):
        build([source], tmp_path / name, size=4, colours=table, **EASY)
    ours, other = (json.loads((tmp_path / name / "build.json").read_text()) for name in ("ours", "other"))
    assert {name for name in ours if ours[name] != other[name]} == {"colours"}
