"""Opens image and label files: nothing outside the data set's folder, nothing of unexpected size or kind."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...csv_tables import read_bytes
from ...errors import DataError
from ...types import Array, Int32Array
from .exif import TAG, UPRIGHT, Exif, Fits, by, is_applied, note, orientation, shown_size, turned

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 26  # of one image: 8192 × 8192, far below what Pillow itself calls a bomb
MAX_SIDE = 65535  # of an image or label map, as in JPEG
MAX_BYTES = 1 << 28  # of one file
MAX_SCANS = 100  # of a progressive JPEG; usually 10. Each is decoded in full, however few bytes it has
SIZES = f"1 to {MAX_PIXELS} pixels, sides of at most {MAX_SIDE}"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGB with alpha"}
_MASKS = {  # not 2 and 4 bits of grey, which Pillow stretches to 8
    (1, 0): ("1",),
    (8, 0): ("L",),
    (16, 0): ("I;16", "I"),
    (1, 3): ("P",),
    (2, 3): ("P",),
    (4, 3): ("P",),
    (8, 3): ("P",),
    (8, 2): ("RGB",),
}
_MASK = "PNG, greyscale or palette or 8-bit RGB, without transparency"
_ORIENTED = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # keys of Image.info that state it
PHOTO_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"}


def is_below(path: str) -> bool:
    """Return whether a path read from a file stays below its folder, by its text; ``locate`` checks links."""
    if path[:1] in ("", "/") or ":" in path[:2] or "\\" in path or "\0" in path:
        return False
    return ".." not in path or ".." not in path.split("/")


def locate(folder: str, path: str) -> str:
    """Return the real path of ``folder/path``; DataError if a link leads out of ``folder``, a real path."""
    try:
        real = os.path.realpath(os.path.join(folder, path))  # noqa: PTH118 — three times as fast as pathlib
    except (OSError, ValueError) as error:
        raise DataError(path, f"is not a usable path: {error}") from error
    if not real.startswith(os.path.join(folder, "")):  # noqa: PTH118
        raise DataError(path, "is a link that leads out of the data set; copy the file into it")
    return real


def read_image(path: str, size: tuple[int, int] | None, exif: Exif = None, fits: Fits | None = None) -> Image:
    """Decode a photograph, JPEG or PNG, to RGB, turned by its EXIF tag as ``is_applied`` says.

    ``size``: (height, width) it must have, None for any; stored or turned if there are no labels of pixels (``fits``).
    Raises DataError; the size is compared before anything is decoded.
    """
    from PIL import Image

    try:
        data = read_bytes(path, MAX_BYTES)
        if data.startswith(b"\xff\xd8") and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
            raise DataError(path, f"is a JPEG with {scans} scans; expected at most {MAX_SCANS}")
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            stored, tag = (image.height, image.width), orientation(data)
            applied = is_applied(path, tag, stored, exif, fits)
            found = shown_size(stored, tag) if applied else stored
            if size is not None and found != size and (fits is not None or stored != size):
                got = f"{by(found)}{note(tag, applied, exif)}"
                raise DataError(path, f"expected {by(size)} as the data set says, got {got}")
            _check_size(path, found)
            if image.mode not in PHOTO_MODES:
                deep = "; read it in a torch Dataset and pass nd.FromTorch(…, image_range=(black, white))"
                raise DataError(path, f"expected an 8-bit photograph, got Pillow's mode {image.mode}{deep}")
            # a palette may carry transparency, which only RGBA takes without complaint
            pixels = (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
        pixels = turned(pixels, tag) if applied else pixels
        for key in _ORIENTED:  # or a user's exif_transpose would turn it
            pixels.info.pop(key, None)
        if tag != UPRIGHT:
            pixels.info[TAG] = "applied" if applied else "ignored"
        return pixels
    except (DataError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder makes of hostile bytes
        raise DataError(path, f"is not a readable JPEG or PNG image: {error or type(error).__name__}") from error


def image_size(path: str, exif: Exif = None, fits: Fits | None = None) -> tuple[int, int]:
    """Return (height, width) of a photograph as ``read_image`` returns it, from its header: it is not decoded."""
    stored, tag = _header(path)
    return shown_size(stored, tag) if is_applied(path, tag, stored, exif, fits) else stored


def exif_note(path: str, exif: Exif) -> str:
    """Return what an error of shape adds if the photograph has an EXIF tag and the user said what to do with it."""
    return note(_header(path)[1], exif == "apply", exif) if exif else ""


def _header(path: str) -> tuple[tuple[int, int], int]:
    """Return (height, width) of a photograph as it is stored, and its EXIF orientation."""
    from PIL import Image

    try:
        data = read_bytes(path, MAX_BYTES)
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            found = image.height, image.width
        _check_size(path, found)
        return found, orientation(data)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(path, f"is not a readable JPEG or PNG image: {error or type(error).__name__}") from error


def mask_size(path: str) -> tuple[int, int]:
    """Return (Y, X) from the header of a PNG of labels. Raises DataError."""
    return _check_header(path, read_bytes(path, MAX_BYTES), None, _MASKS, _MASK)[0]


def read_label_map(path: str, size: tuple[int, int] | None) -> Int32Array:
    """Decode a label PNG, 8-bit RGB, to concept numbers R + 256·G, int32 [Y, X]; blue is not used.

    ``size``: (Y, X) it must have, None for any. Raises DataError; header and size are checked first.
    """
    pixels = _decode(path, size, {(8, 2): ("RGB",)}, "8-bit RGB PNG (number = R + 256·G)")
    numbers = pixels[..., 1].astype(np.int32)  # cast first: uint8 · 256 overflows
    numbers *= 256
    numbers += pixels[..., 0]
    return numbers


def read_mask(path: str, size: tuple[int, int] | None = None) -> Array:
    """Decode a PNG of labels to the values of its pixels.

    Greyscale values or palette indices, uint8 [Y, X] (uint16 if it has 16 bits), or colours, uint8 [Y, X, 3].
    ``size``: (Y, X) it must have, None for any. Raises DataError; header and size are checked first.
    """
    pixels = _decode(path, size, _MASKS, _MASK)
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _decode(
    path: str, size: tuple[int, int] | None, kinds: Mapping[tuple[int, int], tuple[str, ...]], what: str
) -> Array:
    """Return the pixels of a PNG of certain ``kinds``, (depth, colour type) → Pillow's modes."""
    from PIL import Image

    data = read_bytes(path, MAX_BYTES)
    found, kind = _check_header(path, data, size, kinds, what)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in kinds[kind] or (image.height, image.width) != found:
                raise DataError(path, "has a header that contradicts itself")
            return np.asarray(image)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(path, f"is truncated or broken: {error or type(error).__name__}") from error


def _check_header(
    path: str, data: bytes, size: tuple[int, int] | None, kinds: Container[tuple[int, int]], what: str
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Check signature and IHDR. Pillow cannot: it opens 16-bit RGB as RGB and quietly drops the low bytes."""
    if not data.startswith(_SIGNATURE):
        raise DataError(path, "is not a PNG file")
    if data[12:16] != b"IHDR" or data.rfind(b"IEND") < 33:
        raise DataError(path, "is truncated or broken: a PNG file has IHDR first and IEND last")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (depth, colour) not in kinds:
        kind = _COLOUR_TYPES.get(colour, f"colour type {colour}")
        raise DataError(path, f"label maps must be {what}, got {depth}-bit {kind}")
    found = (height, width)
    if size is not None and found != size:
        raise DataError(path, f"expected {by(size)} as the data set says, got {by(found)}")
    _check_size(path, found)
    return found, (depth, colour)


def _check_size(path: str, size: tuple[int, int]) -> None:
    if not possible_size(*size):
        raise DataError(path, f"has {by(size)}; expected {SIZES}")


def possible_size(height: int, width: int) -> bool:
    """Return whether an image or label map may have this size."""
    return min(height, width) > 0 and height * width <= MAX_PIXELS and max(height, width) <= MAX_SIDE


def same_shape(labels: tuple[int, int], image: tuple[int, int]) -> bool:
    """Return whether labels are their image scaled, to the pixel."""
    scale = max(labels[0] / image[0], labels[1] / image[1])
    return all(abs(m - scale * i) < max(1.0, scale) for m, i in zip(labels, image, strict=True))
