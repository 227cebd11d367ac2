"""What a torch Dataset may return as an image: 8-bit pictures, and bands of any number and depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ArgumentError
from ...types import Array
from ..files.pictures import PHOTO_MODES, same_shape

_DEEP = ("I;16", "I;16L", "I;16B", "I", "F")  # Pillow's modes of one band with more than 8 bits
_ADVICE = "pass image_range=(black, white), such as (0, 65535) for 16 bits or (0, 4095) for 12"


def checked_range(image_range: Any) -> tuple[float, float] | None:
    """Return ``image_range=`` as (black, white). ArgumentError if it is something else."""
    if image_range is None:
        return None
    try:
        black, white = map(float, image_range)
    except (TypeError, ValueError):
        black = white = 0.0
    if not -np.inf < black < white < np.inf:
        raise ArgumentError(f"image_range must be (black, white), such as (0, 4095), got {image_range!r}")
    return black, white


def as_picture(
    image: Any, what: str, image_range: tuple[float, float] | None = None, deep: bool = False, advice: str = _ADVICE
) -> Array:
    """Return an image as uint8 RGB [Y, X, 3] if 8 bits and three colours hold all of it, else as float32 [C, Y, X].

    image        a PIL image, or a tensor or array [C, Y, X]: uint8, floats in 0..1, or anything within ``image_range``
    image_range  (black, white), which become 0 and 1
    deep         always return float32
    advice       what to do with other numbers, for messages
    Raises ArgumentError that begins with ``what``.
    """
    if hasattr(image, "convert"):
        if image.mode in PHOTO_MODES:
            pixels: Array = np.asarray(image.convert("RGB"))
            if image_range is None and not deep:
                return pixels
            return _in_range(pixels.transpose(2, 0, 1), what, image_range or (0, 255))
        if image.mode not in _DEEP or image_range is None:
            convert = advice if image.mode in _DEEP else "convert it to RGB"
            raise ArgumentError(f"{what}: expected an 8-bit photograph, got Pillow's mode {image.mode}; {convert}")
        return _in_range(np.asarray(image)[None], what, image_range)
    values = as_array(image)
    if values.ndim != 3 or not values.size or values.shape[2] <= 4 < values.shape[0]:
        raise ArgumentError(f"{what}: expected a PIL image or [C, Y, X], channels first, got {kind(image)}")
    if image_range is not None:
        return _in_range(values, what, image_range)
    if values.dtype == np.uint8:
        return _scaled(values, 0, 255) if deep or values.shape[0] not in (1, 3) else _colours(values)
    if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
        raise ArgumentError(
            f"{what}: expected uint8 or floats in 0..1, not normalised, got {values.dtype} in "
            f"{values.min():.4g}..{values.max():.4g}; {advice}"
        )
    if values.shape[0] in (1, 3) and not deep:
        eight = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
        if np.abs((eight / 255).astype(values.dtype) - values).max() <= 2e-7:  # a photograph as ToTensor() returns it
            return _colours(eight)
    return values.astype(np.float32)


def require_channels_first(shape: Sequence[int], labels: tuple[int, int], what: str) -> None:
    """Raise ArgumentError if label maps fit the first two axes of an image [C, Y, X] and not the last two."""
    if same_shape(labels, (shape[0], shape[1])) and not same_shape(labels, (shape[1], shape[2])):
        raise ArgumentError(f"{what}: expected [C, Y, X], channels first, got {list(shape)}; its labels {list(labels)}")


def drawn(picture: Array, chosen: Sequence[int] | None, what: str) -> Array:
    """Return uint8 [Y, X, 3] to look at. Raises ArgumentError if the bands to draw are neither plain nor chosen."""
    if picture.dtype == np.uint8:
        return picture
    count = picture.shape[0]
    bands = range(count) if chosen is None and count in (1, 3) else chosen
    if bands is None or not all(0 <= band < count for band in bands):
        raise ArgumentError(
            f"{what} has {count} bands: say which are drawn as red, green and blue, drawn=(2, 1, 0), or as grey, "
            f"drawn=(0,); numbers from 0 to {count - 1}"
        )
    return _colours(np.rint(picture[list(bands)].clip(0, 1) * 255).astype(np.uint8))


def checked_drawn(chosen: Any) -> tuple[int, ...] | None:
    """Return ``drawn=``. ArgumentError if it is not one number or three."""
    if chosen is None:
        return None
    bands = tuple(chosen) if isinstance(chosen, Sequence) else (chosen,)
    if len(bands) not in (1, 3) or not all(isinstance(band, int) and band >= 0 for band in bands):
        raise ArgumentError(f"drawn must be the numbers of three bands, or of one, from 0, got {chosen!r}")
    return bands


def as_array(value: Any) -> Array:
    """Return a tensor, array, PIL image or number as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)  # NumPy has no such type
    return np.asarray(value)


def kind(value: Any) -> str:
    """Return what a value is, for messages."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {list(shape)} {getattr(value, 'dtype', '')}" if shape is not None else "")


def _in_range(values: Array, what: str, image_range: tuple[float, float]) -> Array:
    black, white = image_range
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise ArgumentError(f"{what}: expected finite numbers, got {values.dtype}")
    low, high = float(values.min()), float(values.max())
    if low < black or high > white:
        raise ArgumentError(f"{what}: has values in {low:.4g}..{high:.4g}, outside image_range=({black:g}, {white:g})")
    return _scaled(values, black, white)


def _scaled(values: Array, black: float, white: float) -> Array:
    return ((values.astype(np.float64) - black) / (white - black)).astype(np.float32)


def _colours(values: Array) -> Array:
    return np.ascontiguousarray(np.broadcast_to(values.transpose(1, 2, 0), (*values.shape[1:], 3)))
