"""ADE20K as of July 2016, which Broden was made from: one table for all images, classes as colours of the masks."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np

from ....errors import DataError
from ....types import Array, Uint16Array
from ...files.exif import Exif, Fits
from ...files.pictures import is_below, locate, mask_size, read_mask
from ..annotation import Annotation
from .matlab import read_matlab
from .photographs import Photographs, check_named, concept_names, find_folder

RELEASE = "ADE20K_2016_07_26"
PLACES = (RELEASE, f"*/{RELEASE}")  # where it may be below the user's folder
INDEX = "index_ade20k.mat"
MAX_INFLATED = 1 << 31  # bytes of the table; it counts 3148 classes in 22210 images, twice
MAX_LEVELS = 16  # of parts of parts; usually 3
_TENS = (np.arange(256) // 10 * 256).astype(np.uint16)


class AdePhotographs(Photographs):
    """What the layouts of 2016 and 2021 share: scenes, and masks beside each photograph.

    scenes  of each image, as the data set calls it
    """

    name = "ade20k"

    def __init__(
        self, tables: Sequence[Path], photos: Path, images: list[str], scenes: Sequence[str], exif: Exif
    ) -> None:
        super().__init__(tables, photos, images, exif)
        self._scenes = [scene_name(scene) for scene in scenes]
        names = sorted(set(self._scenes) - {""})
        self._scene_names = {number: (name,) for number, name in enumerate(names, 1)}
        self._scene_numbers = {name: number for number, name in enumerate(names, 1)}

    def _annotation(self, index: int, names: Mapping[int, tuple[str, ...]], where: str) -> Annotation:
        """Return the labels, given the names of all classes and the file that has them."""
        size = self._size(index)
        seg, *levels = (locate(folder, path) for folder, path in self._mask_files(index))
        maps: dict[str, Array] = {"object": _classes(seg, size, names, where)}
        if levels:
            maps["part"] = np.stack([_classes(level, size, names, where) for level in levels])
        scene = self._scene_numbers.get(self._scenes[index])
        return Annotation(
            maps,
            {"scene": () if scene is None else (scene,)},
            {"object": names, "part": names, "scene": self._scene_names},
        )

    def _fits(self, index: int) -> Fits:
        masks = self._mask_files(index)
        return lambda size: all(mask_size(locate(folder, path)) == size for folder, path in masks)

    def _label_files(self, index: int) -> list[tuple[str, str]]:
        return self._mask_files(index)

    def _mask_files(self, index: int) -> list[tuple[str, str]]:
        """Return the objects' mask, then the parts', if any."""
        stem = os.path.splitext(self._images[index])[0]  # noqa: PTH122 — the folders must stay
        files = [(self._photos, f"{stem}_seg.png")]
        for level in count(1):
            path = f"{stem}_parts_{level}.png"
            if not os.path.lexists(f"{self._photos}/{path}"):
                return files
            if level > MAX_LEVELS:
                raise DataError(f"{self._photos}/{path}", f"expected at most {MAX_LEVELS} levels of parts")
            files.append((self._photos, path))
        raise AssertionError


class Ade20k2016(AdePhotographs):
    """ADE20K_2016_07_26: the folder with index_ade20k.mat, or one of the two above it.

    Provides scene (whole image), object [H, W] and part [L, H, W]. Raises DataError for a broken or hostile table;
    needs scipy.
    """

    def __init__(self, path: str | os.PathLike[str], exif: Exif = None) -> None:
        folder = find_folder(path, INDEX, PLACES, "ADE20K of 2016")
        table = folder / INDEX
        root = folder / RELEASE if (folder / RELEASE).is_dir() else folder
        index = read_matlab(table, "index", MAX_INFLATED)
        files, folders, scenes = (index[field].texts() for field in ("filename", "folder", "scene"))
        if not len(files) == len(folders) == len(scenes):
            raise DataError(table, f"has {len(files)} file names, {len(folders)} folders and {len(scenes)} scenes")
        images = [f"{_below_images(folder)}{file}" for folder, file in zip(folders, files, strict=True)]
        for number, image in enumerate(images, 1):
            if not is_below(image):
                reason = f"image {number}: {image[:80]!r} leads out of images/; paths must stay inside it"
                raise DataError(table, reason)
        super().__init__([table], root / "images", images, scenes, exif)
        self._names = {
            number: concept_names(names, ",") for number, names in enumerate(index["objectnames"].texts(), 1)
        }

    def annotation(self, index: int) -> Annotation:
        """See Source."""
        return self._annotation(index, self._names, INDEX)


def _below_images(folder: str) -> str:
    """Return ``ADE20K_2016_07_26/images/training/a/abbey`` relative to images/, with / at its end."""
    return f"{folder.removeprefix(f'{RELEASE}/').removeprefix('images/').rstrip('/')}/"


def scene_name(scene: str) -> str:
    """Return ``airport/entrance`` as Broden calls it: ``airport-entrance-s``. Empty for none and ``~not labeled``."""
    name = scene.replace(" - ", "-").strip(" /").replace("/", "-").replace(" ", "_")
    return "" if name in ("", "-") or name.startswith("~") else f"{name}-s"


def _classes(path: str, size: tuple[int, int], names: Container[int], where: str) -> Uint16Array:
    """Return the classes in a mask [H, W]: tens of red, then green. Blue distinguishes instances."""
    pixels = read_mask(path, size)
    if pixels.ndim != 3:
        raise DataError(path, "expected an RGB PNG (class = red // 10 * 256 + green), got greyscale or a palette")
    numbers: Uint16Array = _TENS[pixels[..., 0]]
    numbers += pixels[..., 1]
    check_named(path, numbers, names, where)
    return numbers
