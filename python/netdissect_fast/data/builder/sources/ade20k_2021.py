"""ADE20K as of January 2021: a JSON file beside each photograph. Its index, a pickle, is never opened."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ....csv_tables import read_bytes
from ....errors import DataError, shortened
from ...files.exif import Exif
from ...files.pictures import locate
from ...files.vocabulary import MAX_NUMBER
from ..annotation import Annotation
from .ade20k import AdePhotographs
from .photographs import concept_names, find_folder

RELEASE = "ADE20K_2021_17_01"
PLACES = (RELEASE, f"*/{RELEASE}")
PHOTOS = "images/ADE"
MAX_JSON = 1 << 25  # bytes of one file; usually 50 thousand


class Ade20k2021(AdePhotographs):
    """ADE20K_2021_17_01: the folder with images/ADE, or one of the two above it.

    Provides scene (whole image), object [H, W] and part [L, H, W]. An image's scene is its folder, such as
    cultural/apse__indoor; the names of its classes are read from its JSON file with the annotation, so that
    constructing only lists folders. Raises DataError if there are no images.
    """

    def __init__(self, path: str | os.PathLike[str], exif: Exif = None) -> None:
        photos = find_folder(path, PHOTOS, PLACES, "ADE20K of 2021") / PHOTOS
        images = _images_below(photos)
        scenes = ["-".join(image.split("/")[2:-1]).replace("__", "-") for image in images]
        super().__init__([], photos, images, scenes, exif)

    def annotation(self, index: int) -> Annotation:
        """See Source."""
        path = locate(*self._json_file(index))
        return self._annotation(index, _names(path), path)

    def _label_files(self, index: int) -> list[tuple[str, str]]:
        return [*self._mask_files(index), self._json_file(index)]

    def _json_file(self, index: int) -> tuple[str, str]:
        return self._photos, f"{self._images[index].removesuffix('.jpg')}.json"


def _images_below(photos: Path) -> list[str]:
    images = []
    for folder, folders, files in os.walk(photos):
        stems = {file.removesuffix(".jpg") for file in files if file.endswith(".jpg")}
        below = Path(folder).relative_to(photos).as_posix()
        images += [f"{below}/{stem}.jpg" for stem in stems]
        folders[:] = [name for name in folders if name not in stems]  # these hold one mask per instance
    return sorted(images)


def _names(path: str) -> dict[int, tuple[str, ...]]:
    """Return the names of each class, of the objects and parts of one image."""
    record = _read(path)
    annotation = record.get("annotation") if isinstance(record, dict) else None
    objects = annotation.get("object") if isinstance(annotation, dict) else None
    if isinstance(objects, dict):  # how MATLAB writes an array of one
        objects = [objects]
    if not isinstance(objects, list):
        raise DataError(path, "annotation.object: expected a list of objects")
    names: dict[int, tuple[str, ...]] = {}
    for place, item in enumerate(objects):
        number, name = (item.get("name_ndx"), item.get("name")) if isinstance(item, dict) else (None, None)
        if number == []:  # how MATLAB writes an empty value
            continue
        if type(number) is not int or not 0 <= number <= MAX_NUMBER or not isinstance(name, str):
            raise DataError(
                path, f"annotation.object[{place}]: expected name, a string, and name_ndx, an integer 0..{MAX_NUMBER}"
            )
        names.setdefault(number, concept_names(name, ","))
    return names


def _read(path: str) -> Any:
    data = read_bytes(path, MAX_JSON)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # as a few of the files are
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(path, f"is not JSON: {shortened(error.msg)}", error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"is not readable JSON: {shortened(error)}") from error
