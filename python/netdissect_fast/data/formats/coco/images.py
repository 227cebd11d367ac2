"""The photographs and concepts of a COCO data set, of either kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....concepts import Vocabulary
from ....errors import DataError
from ...files.exif import Exif, checked_exif, recorded
from ...files.fingerprints import Fingerprint
from ...files.label_maps import LabelSize, checked_label_size
from ...files.pictures import locate, read_image
from .json_file import Entry, Picture, folder_of_images, read_categories, read_coco, read_pictures

if TYPE_CHECKING:
    from PIL.Image import Image


class CocoImages:
    """What ``CocoPanoptic`` and ``CocoInstances`` share; they read the annotations."""

    kind: str

    def __init__(
        self, path: str | os.PathLike[str], images: str | os.PathLike[str] | None, label_size: LabelSize, exif: Exif
    ) -> None:
        self.path = Path(path)
        self._exif = checked_exif(exif)
        self.label_size = checked_label_size(label_size)
        root, self._digest = read_coco(self.path)
        self._pictures = read_pictures(root)
        self.vocabulary: Vocabulary
        self.vocabulary, self._numbers = read_categories(root, self._category)
        self._images = folder_of_images(self.path, images, self._pictures[0])
        self._given = None if images is None else self._images
        self._fingerprint = ""
        self._read_annotations(root, {picture.id: i for i, picture in enumerate(self._pictures)})

    def __len__(self) -> int:
        return len(self._pictures)

    def __repr__(self) -> str:
        concepts, categories = len(self.vocabulary), ", ".join(self.vocabulary.categories)
        return f"{type(self).__name__}({str(self.path)!r}: {len(self)} images, {concepts} concepts; {categories})"

    def source(self) -> dict[str, Any]:
        """Return how to reopen it, as plain values."""
        size = None if self.label_size is None else list(self.label_size)
        given = {"images": self._given, "label_size": size, **recorded(self._exif)}
        return {"kind": self.kind, "path": str(self.path.resolve()), **given}

    def name(self, index: int) -> str:
        """Return the path of the image under the folder of images."""
        return self._pictures[index].file

    def image(self, index: int) -> Image:
        """Return the image as RGB. Raises DataError naming the image's id and file."""
        picture = self._pictures[index]
        fits = picture.size.__eq__ if self._has_masks(index) else None
        try:
            return read_image(locate(self._images, picture.file), picture.size, self._exif, fits)
        except DataError as error:
            raise self._error(picture, f"{picture.file} {error.reason}") from error

    def fingerprint(self) -> str:
        """Return a sha256 of the .json file's bytes, label_size, and each image's and mask's path and size."""
        if not self._fingerprint:
            fingerprint = Fingerprint(f"{self.kind} 1")
            fingerprint.add(self._digest, self.label_size, *recorded(self._exif).items())
            for index, picture in enumerate(self._pictures):
                for folder, file in self._files(index):
                    fingerprint.add(file, self._file_size(picture, folder, file))
            self._fingerprint = fingerprint.hex()
        return self._fingerprint

    def _category(self, entry: Entry) -> str:
        raise NotImplementedError

    def _read_annotations(self, root: Entry, positions: dict[int, int]) -> None:
        """Keep what ``labels`` needs of the annotations; ``positions``: image id → index."""
        raise NotImplementedError

    def _has_masks(self, index: int) -> bool:
        """Return whether pixels of an image are labelled."""
        raise NotImplementedError

    def _files(self, index: int) -> list[tuple[str, str]]:
        """Return folder and file of the image, and of its mask if it has one."""
        return [(self._images, self._pictures[index].file)]

    def _position(self, entry: Entry, positions: dict[int, int]) -> int:
        image = entry.number("image_id")
        if image not in positions:
            raise entry.error(f"image_id {image} is not among the images")
        return positions[image]

    def _number(self, entry: Entry) -> int:
        category = entry.number("category_id")
        if category not in self._numbers:
            raise entry.error(f"category_id {category} is not among the categories")
        return self._numbers[category]

    def _error(self, picture: Picture, reason: str) -> DataError:
        return DataError(self.path, f"image {picture.id}: {reason}")

    def _file_size(self, picture: Picture, folder: str, file: str) -> int:
        try:
            return os.stat(os.path.join(folder, file)).st_size  # noqa: PTH116, PTH118 — 118,287 in COCO
        except (OSError, ValueError) as error:
            raise self._error(picture, f"{file} does not exist or cannot be read") from error
