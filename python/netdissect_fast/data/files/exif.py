"""Photographs with an EXIF tag that viewers turn them by: whether they are turned, by one rule for every data set."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from ...errors import ArgumentError, DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Exif: TypeAlias = Literal["apply", "ignore"] | None  # None: the shape of the labels decides
Fits: TypeAlias = Callable[[tuple[int, int]], bool]  # whether labels of pixels fit a photograph of (height, width)

TAG = "netdissect_fast exif"  # in Image.info of a photograph that has the tag: "applied" or "ignored"
UPRIGHT = 1  # the orientation of a photograph that is shown as it is stored
MAX_PARTS = 1 << 18  # of a file, looked through for the tag: 0.1 s
_TURNS = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored and turned by 90°",
    6: "turned by 90° clockwise",
    7: "mirrored and turned by 90°",
    8: "turned by 90° counterclockwise",
}
_ORIENTATION = 0x112
_FORMATS = {3: "H", 4: "I"}  # of its value: SHORT, as the standard says, or LONG
_HINT = (
    "pass --exif apply if the labels were drawn on the photograph as viewers show it, or --exif ignore if on the "
    'pixels as they are stored (in Python exif="apply" or "ignore")'
)


def checked_exif(exif: str | None) -> Exif:
    """Return ``exif=`` of a data set. ArgumentError if it is something else."""
    if exif is None or exif == "apply" or exif == "ignore":
        return exif  # type: ignore[return-value]
    raise ArgumentError(f'exif must be "apply", "ignore" or None, got {exif!r}')


def recorded(exif: Exif) -> dict[str, str]:
    """Return what ``source`` records of ``exif=``, and, as text, fingerprints: nothing unless it was given."""
    return {"exif": exif} if exif else {}


def orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8, from the bytes of a JPEG or PNG file; 1 if there is none that can be read.

    Only this tag is looked for: reading all, as Pillow does, can take far more memory than the file has bytes.
    """
    try:
        return _value(_jpeg_block(data) if data.startswith(b"\xff\xd8") else _png_block(data))
    except struct.error:  # truncated, or an offset that leads out
        return UPRIGHT


def shown_size(size: tuple[int, int], tag: int) -> tuple[int, int]:
    """Return (height, width) as viewers show a photograph that is stored with ``size``."""
    return size[::-1] if tag >= 5 else size


def is_applied(path: str, tag: int, size: tuple[int, int], exif: Exif, fits: Fits | None) -> bool:
    """Return whether a photograph is turned by its tag.

    size   (height, width) as stored
    exif   what the user said
    fits   asked only if the user said nothing; None: there are no labels of pixels, so that nothing can be misplaced
    Raises DataError if the labels do not tell.
    """
    if tag == UPRIGHT or exif is not None:
        return tag != UPRIGHT and exif == "apply"
    if fits is None:
        return True
    shown = shown_size(size, tag)
    as_stored, as_shown = fits(size), fits(shown)
    if as_stored != as_shown:
        return as_shown
    what = f"has an EXIF tag (orientation {tag}: {_TURNS[tag]})"
    if not as_stored:
        neither = f"its labels fit it neither as stored, {by(size)}, nor turned, {by(shown)}"
        raise DataError(path, f"{what}, and {neither}: resize one of them")
    raise DataError(path, f"{what}, and its labels fit it turned and unturned alike: {_HINT}")


def turned(image: Image, tag: int) -> Image:
    """Return a photograph as viewers show it."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image if tag == UPRIGHT else image.transpose(methods[tag])


def note(tag: int, applied: bool, exif: Exif) -> str:
    """Return what an error of shape adds about the tag; nothing if there is none."""
    if tag == UPRIGHT:
        return ""
    advice = "; without --exif (exif=) the labels' shape decides" if exif else ""
    return f", with its EXIF tag (orientation {tag}) {'applied' if applied else 'ignored'}{advice}"


def by(size: tuple[int, int]) -> str:
    """Return a size as messages show it."""
    return f"{size[0]} x {size[1]} pixels (height x width)"


def _jpeg_block(data: bytes) -> bytes:
    """Return the first EXIF segment of a JPEG file, from its byte order on; empty if there is none."""
    place = 2
    for _ in range(MAX_PARTS):
        fill, marker, length = struct.unpack_from(">BBH", data, place)
        if fill != 0xFF or marker == 0xDA:
            break
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xE1 and data.startswith(b"Exif\0\0", place + 4):
            return data[place + 10 : place + 2 + length]
        place += 2 + length
    return b""


def _png_block(data: bytes) -> bytes:
    """Return the chunk eXIf of a PNG file, before its pixels or after; empty if there is none."""
    place = 8
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"eXIf":
            return data[place + 8 : place + 8 + length].removeprefix(b"Exif\0\0")
        place += 12 + length
    return b""


def _value(block: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return UPRIGHT
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (entries,) = struct.unpack_from(f"{order}H", block, start)
    for place in range(start + 2, start + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", block, place)
        if tag == _ORIENTATION:
            value = struct.unpack_from(order + _FORMATS.get(kind, "H"), block, place + 8)[0]
            return int(value) if kind in _FORMATS and count == 1 and value in _TURNS else UPRIGHT
    return UPRIGHT
