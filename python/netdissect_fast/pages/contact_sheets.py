"""Contact sheets: the images that have a concept, on one picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ..concepts import PackedLabels
from ..data.dataset import ConceptDataset
from ..data.files.pictures import possible_size
from ..data.inspection.find import Matches, category_of, column_of, full_name, images_with
from ..data.label_cache import packed_labels
from ..errors import ArgumentError
from .pictures import Photo, Photos, dimmed

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

_MARGIN, _GAP = 24, 16  # pixels around the sheet, between pictures
_TITLE, _TEXT = 24, 13  # sizes of fonts
_LINE = 18  # height of a line of text
_HEAD, _CAPTION = 78, 2 * _LINE + 6  # heights of the heading, and of the caption under a picture
_NARROWEST = 120  # minimum width of a cell, so that its caption can be read
_BACKGROUND, _BEHIND, _BRIGHT, _FAINT = "#1c1d20", "#131416", "#f2f2f2", "#9ea2a8"


class Cell(NamedTuple):
    """A picture with its caption: name and share."""

    picture: Image
    name: str
    what: str


def contact_sheet(
    data: ConceptDataset,
    concept: str | int,
    images: int = 20,
    columns: int = 5,
    size: int = 224,
    cache: str | os.PathLike[str] | None = None,
    dim: bool = True,
    outline: bool = False,
    threads: int | None = None,
    progress: bool = False,
) -> Image:
    """Draw the images that have a concept, largest share first, each with its name and share.

    concept   as for ``find``
    images    how many, at most
    columns   pictures side by side
    size      pixels on the longer side of each; smaller images are not enlarged
    cache     as for ``packed_labels``, like ``threads``
    dim       darken the rest of each image
    outline   draw a yellow line along the concept's edge
    Returns an RGB picture. Raises ArgumentError for an unknown concept, one that no image has, or too large a sheet.
    """
    if images < 1 or columns < 1 or not 16 <= size <= 2048:
        raise ArgumentError(
            f"expected at least 1 image and 1 column, and pictures of 16 to 2048 pixels; got {images} images, "
            f"{columns} columns, {size} pixels"
        )
    column = column_of(data.vocabulary, concept)
    labels = packed_labels(data, cache, threads, progress)
    found = images_with(labels, column)
    title = data.vocabulary.names[column]
    if not len(found.image):
        raise ArgumentError(f"no image has the concept {full_name(data.vocabulary, column)}")
    shown = min(images, len(found.image))
    _require_possible(shown, min(columns, shown), size)
    cells = _cells(data, labels, column, found, shown, size, dim, outline)
    some = f", {shown:,} shown" if shown < len(found.image) else ""
    counted = f"{len(found.image):,} image{'s'[: len(found.image) != 1]}{some}"
    subtitle = " · ".join(filter(None, (category_of(data.vocabulary, column), counted)))
    return _sheet(cells, min(columns, shown), title, subtitle)


def _cells(
    data: ConceptDataset,
    labels: PackedLabels,
    column: int,
    found: Matches,
    shown: int,
    size: int,
    dim: bool,
    outline: bool,
) -> list[Cell]:
    photos, cells = Photos(data, size), []
    for image, pixels, share in zip(*(array[:shown].tolist() for array in found), strict=True):
        photo = photos.get(image)
        if not dim:
            photo = Photo(photo.bright, photo.bright)
        picture = dimmed(photo, labels.mask(image, column), outline)
        percent = "<0.1" if 0 < share < 0.0005 else f"{100 * share:.1f}".removesuffix(".0")
        cells.append(Cell(picture, data.name(image), f"{percent} % · {pixels:,} pixels"))
    return cells


def _extent(cells: int, columns: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Return the (width, height) of a sheet of cells whose pictures have (width, height)."""
    rows = -(-cells // columns)
    width = 2 * _MARGIN + columns * (cell[0] + _GAP) - _GAP
    return width, _HEAD + rows * (cell[1] + _CAPTION + _GAP) - _GAP + _MARGIN


def _require_possible(images: int, columns: int, size: int) -> None:
    side = max(size, _NARROWEST)
    width, height = _extent(images, columns, (side, side))
    if not possible_size(height, width):
        raise ArgumentError(f"the sheet would be {width} × {height} pixels: ask for fewer or smaller images")


def _sheet(cells: list[Cell], columns: int, title: str, subtitle: str) -> Image:
    from PIL import Image, ImageDraw

    width = max(_NARROWEST, *(cell.picture.width for cell in cells))
    height = max(cell.picture.height for cell in cells)
    sheet = Image.new("RGB", _extent(len(cells), columns, (width, height)), _BACKGROUND)
    draw, text = ImageDraw.Draw(sheet), _font(_TEXT)
    across = sheet.width - 2 * _MARGIN
    _write(draw, (_MARGIN, 16), title, _font(_TITLE), across, _BRIGHT)
    _write(draw, (_MARGIN, 46), subtitle, text, across, _FAINT)
    for place, cell in enumerate(cells):
        left = _MARGIN + place % columns * (width + _GAP)
        top = _HEAD + place // columns * (height + _CAPTION + _GAP)
        draw.rectangle((left, top, left + width - 1, top + height - 1), _BEHIND)
        picture = cell.picture
        sheet.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
        _write(draw, (left, top + height + 5), cell.name, text, width, _BRIGHT, end=True)
        _write(draw, (left, top + height + 5 + _LINE), cell.what, text, width, _FAINT)
    return sheet


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw,
    place: tuple[int, int],
    text: str,
    font: FreeTypeFont | ImageFont,
    width: int,
    colour: str,
    end: bool = False,
) -> None:
    """Write one line, shortened to ``width`` pixels: to its beginning, or to its ``end``, which tells files apart."""
    draw.text(place, shortened_to(text, font, width, end), colour, font)


def shortened_to(text: str, font: FreeTypeFont | ImageFont, width: int, end: bool = False) -> str:
    """Return as much of a text as fits, with dots where it is cut; unprintable characters become question marks."""
    text = "".join(c if c.isprintable() else "?" for c in (text[-300:] if end else text[:300]))
    if font.getlength(text) <= width:
        return text
    fits = 0
    for length in range(1, len(text)):
        if font.getlength(_cut(text, length, end)) > width:
            break
        fits = length
    return _cut(text, fits, end)


def _cut(text: str, length: int, end: bool) -> str:
    return f"...{text[len(text) - length :]}" if end else f"{text[:length]}..."
