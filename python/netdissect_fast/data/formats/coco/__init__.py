"""COCO's data sets, unconverted: panoptic (a .json file and PNG masks) and instances (polygons and run lengths)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....concepts import ImageLabels
from ....csv_tables import read_bytes
from ....errors import ArgumentError, DataError, require
from ....types import BoolArray
from ...files.exif import Exif
from ...files.label_maps import LabelSize, layered, resized
from ...files.pictures import locate, read_mask
from ..broden import MAX_LABELS
from .images import CocoImages
from .json_file import MAX_COCO, Entry, Picture
from .masks import Segmentation, drawn, packed


class CocoPanoptic(CocoImages):
    """Images with one label per pixel, things and stuff, in COCO's panoptic format.

    path        the .json file, such as annotations/panoptic_val2017.json
    images      folder of the photographs; None: searched for around the .json file: ../val2017,
                ../images/val2017, ../images, val2017, images and beside it. No link may lead out of it
    masks       folder of the PNG masks; None: beside the .json file, with its name without .json
    label_size  pixels on a side of the label maps, (Y, X), or None for each image's own size
    exif        whether a photograph's EXIF orientation is applied: "apply", "ignore", or None: if the turned photograph
                has the width and height of the .json file, or the image has no labels. If it has these turned and
                unturned, reading it raises DataError

    Concept numbers are the category ids (plus 1 if there is an id 0); things belong to category ``object``, stuff to
    ``stuff``. Crowds are labelled as what they are crowds of; an image without annotation has no labels.
    Opening reads the .json file only. Raises DataError (file, entry, reason) if it is malformed or contradicts
    itself, ArgumentError for an impossible label_size.
    """

    kind = "coco panoptic"

    def __init__(
        self,
        path: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        masks: str | os.PathLike[str] | None = None,
        label_size: LabelSize = 112,
        exif: Exif = None,
    ) -> None:
        super().__init__(path, images, label_size, exif)
        folder = self.path.with_suffix("") if masks is None else Path(masks)
        if not folder.is_dir():
            raise DataError(folder, "is not a folder; the PNG masks belong there: pass masks=")
        self._masks = os.path.realpath(folder)
        self._masks_given = None if masks is None else self._masks

    def source(self) -> dict[str, Any]:
        """Return how to reopen it, as plain values."""
        return {**super().source(), "masks": self._masks_given}

    def labels(self, index: int) -> ImageLabels:
        """Return the labels, one label map. Raises DataError naming the image's id and the mask's file."""
        picture, annotation = self._pictures[index], self._annotations.get(index)
        if annotation is None:
            return ImageLabels(np.zeros((0, *(self.label_size or picture.size)), np.int32))
        file, segments = annotation
        try:
            colours = read_mask(locate(self._masks, file), picture.size)
        except DataError as error:
            raise self._error(picture, f"{file} {error.reason}") from error
        if colours.ndim != 3:
            raise self._error(picture, f"{file} must be 8-bit RGB (id = R + 256·G + 65536·B), but has no colours")
        red, green, blue = resized(np.moveaxis(colours, -1, 0), self.label_size).astype(np.int32)
        found, places = np.unique(red + 256 * green + 65536 * blue, return_inverse=True)
        try:
            numbers = np.array([segments[int(segment)] for segment in found], np.int32)
        except KeyError as error:
            raise self._error(picture, f"{file} has pixels of segment {error}, which is not in segments_info") from None
        return ImageLabels(numbers[places].reshape(1, *red.shape))

    def _category(self, entry: Entry) -> str:
        return "object" if entry.integer("isthing", 0, 1) else "stuff"

    def _read_annotations(self, root: Entry, positions: dict[int, int]) -> None:
        self._annotations: dict[int, tuple[str, dict[int, int]]] = {}  # file; segment → concept number, of one image
        for entry in root.entries("annotations"):
            position = self._position(entry, positions)
            if position in self._annotations:
                raise entry.error("its image already has an annotation; panoptic data sets have one per image")
            segments = {0: 0}  # void
            for segment in entry.entries("segments_info"):
                identity = segment.integer("id", 1, (1 << 24) - 1)
                if identity in segments:
                    raise segment.error(f"id {identity} is already used by another segment of the image")
                segments[identity] = self._number(segment)
            self._annotations[position] = entry.file("file_name"), segments

    def _has_masks(self, index: int) -> bool:
        return index in self._annotations

    def _files(self, index: int) -> list[tuple[str, str]]:
        annotation = self._annotations.get(index)
        return super()._files(index) + ([(self._masks, annotation[0])] if annotation else [])


class _Instance(NamedTuple):
    where: str  # the annotation, for messages
    number: int
    segmentation: Segmentation


class CocoInstances(CocoImages):
    """Images with masks of objects, polygons or run lengths, in COCO's instance format.

    path        the .json file, such as annotations/instances_val2017.json
    images      folder of the photographs; None: searched for as by ``CocoPanoptic``
    label_size, exif  as for ``CocoPanoptic``

    Concept numbers are the category ids (plus 1 if there is an id 0), all in category ``object``. The masks of one
    category in an image, crowds too, are merged; where categories overlap, the image has several label maps.
    Opening reads the .json file only; masks are drawn, and their numbers checked, when an image's labels are read.
    Raises as ``CocoPanoptic`` does; MissingExtra if there are polygons and pycocotools is not installed.
    """

    kind = "coco instances"

    def __init__(
        self,
        path: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        label_size: LabelSize = 112,
        exif: Exif = None,
    ) -> None:
        super().__init__(path, images, label_size, exif)

    def labels(self, index: int) -> ImageLabels:
        """Return the labels. Raises DataError naming the annotation."""
        picture = self._pictures[index]
        size = self.label_size or picture.size
        concepts: dict[int, list[_Instance]] = {}
        for instance in self._instances[index]:
            concepts.setdefault(instance.number, []).append(instance)
        if len(concepts) * size[0] * size[1] > MAX_LABELS:
            reason = f"the masks of its {len(concepts)} categories together have more than {MAX_LABELS} pixels"
            raise self._error(picture, f"{reason}; choose a smaller label_size")
        masks = ((number, self._mask(picture, concepts[number])) for number in sorted(concepts))
        return ImageLabels(layered(masks, size))

    def _mask(self, picture: Picture, instances: list[_Instance]) -> BoolArray:
        mask = np.zeros(self.label_size or picture.size, bool)
        for instance in instances:
            try:
                for part in drawn(instance.segmentation, picture.size):
                    mask |= resized(part, self.label_size)
            except ValueError as error:
                raise self._error(picture, f"{instance.where}: {error}") from error
        return mask

    def _category(self, entry: Entry) -> str:
        return "object"

    def _read_annotations(self, root: Entry, positions: dict[int, int]) -> None:
        found: list[list[_Instance]] = [[] for _ in self._pictures]
        for entry in root.entries("annotations"):
            position = self._position(entry, positions)
            segmentation = packed(entry, self._pictures[position].size)
            found[position].append(_Instance(entry.where, self._number(entry), segmentation))
        self._instances = tuple(map(tuple, found))
        if any(isinstance(instance.segmentation, tuple) for instances in found for instance in instances):
            require("pycocotools.mask", "coco")

    def _has_masks(self, index: int) -> bool:
        return bool(self._instances[index])


def open_coco(
    path: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    label_size: LabelSize = 112,
    exif: Exif = None,
) -> CocoPanoptic | CocoInstances:
    """Open a COCO .json file as what it is: panoptic if annotations have ``segments_info``, else instances.

    Raises as these do; ArgumentError if ``masks`` is given for instances, which have no mask files.
    """
    if b'"segments_info"' in read_bytes(path, MAX_COCO):
        return CocoPanoptic(path, images, masks, label_size, exif)
    if masks is not None:
        raise ArgumentError(f"{os.fspath(path)} has no panoptic annotations, so masks= does not apply; omit it")
    return CocoInstances(path, images, label_size, exif)
