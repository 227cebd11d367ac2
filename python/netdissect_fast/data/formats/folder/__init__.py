"""A folder of images and masks, as labelling tools produce."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....concepts import ImageLabels, Vocabulary
from ....errors import DataError
from ....types import Array
from ...files.exif import Exif, Fits, checked_exif, recorded
from ...files.fingerprints import Fingerprint
from ...files.label_maps import LabelSize, checked_label_size, resized
from ...files.pictures import exif_note, image_size, locate, mask_size, read_image, read_mask, same_shape
from .names import NAMES, WHOLE, read_names, read_whole

if TYPE_CHECKING:
    from PIL.Image import Image

_PHOTOS = (".jpg", ".jpeg", ".png")
_LEFT_BY_WINDOWS = ("Thumbs.db", "desktop.ini")


class Folder:
    r"""Images with masks: ``images/``, ``masks/`` and ``names.csv`` in one folder; a ConceptDataset.

    images/     photographs, JPEG or PNG of any size, in subfolders or not
    masks/      a mask for each, a PNG with the same name: greyscale or palette, whose pixels are values, or RGB.
                More folders ``masks_parts/``, ``masks_materials/``, … hold more layers of labels; every image needs
                at least one layer or a row in labels.csv. A mask has its image's size, or that size scaled
    names.csv   ``value,name,category``, or ``color,name,category`` with colours as #ff8000 or 255 128 0. Without a
                column category, all are objects. A value that is not a concept has the name "-". Value 0 and black are
                unlabelled unless they are named
    labels.csv  optional, concepts that hold for a whole image: ``image,concepts``, an image's path under images/ and
                names (or category:name) separated by semicolons. In names.csv these need no value

    label_size  pixels on a side of the label maps that masks are resized to, or (Y, X); None: the masks' own size
    exif        whether a photograph's EXIF orientation is applied: "apply", "ignore", or None: if the masks fit the
                turned photograph, or there are none. If they fit both, reading it raises DataError

    Opening reads the csv files and the names of all files. Raises DataError (file, line, reason) if they are
    malformed, an image has no label, a mask has no image, or a link leads out of the folder.

    >>> import pathlib, tempfile, netdissect_fast as nd
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as temporary:
    ...     folder = pathlib.Path(temporary)
    ...     (folder / "images").mkdir()
    ...     (folder / "masks").mkdir()
    ...     Image.new("RGB", (8, 8)).save(folder / "images/one.jpg")
    ...     Image.new("L", (8, 8), 1).save(folder / "masks/one.png")
    ...     _ = (folder / "names.csv").write_text("value,name\n1,door\n")
    ...     data = nd.Folder(folder, label_size=4)
    ...     print(data.name(0), data.vocabulary.names, data.labels(0).maps.shape)
    one.jpg ('door',) (1, 4, 4)
    """

    def __init__(self, path: str | os.PathLike[str], label_size: LabelSize = 112, exif: Exif = None) -> None:
        self.path = Path(path)
        self._exif = checked_exif(exif)
        self._label_size = checked_label_size(label_size)
        if not self.path.is_dir():
            raise DataError(self.path, f"is not a folder; expected a folder with images/, masks/ and {NAMES}")
        self._names = read_names(self.path / NAMES)
        self.vocabulary: Vocabulary = self._names.values.vocabulary
        self._photos = _files(self.path / "images", _PHOTOS)
        if not self._photos:
            raise DataError(self.path / "images", "has no images (JPEG or PNG)")
        self._whole = read_whole(self.path / WHOLE, self.vocabulary, set(self._photos))
        self._masks = self._read_masks()
        self._fingerprint = ""

    def __len__(self) -> int:
        return len(self._photos)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r}: {len(self)} images, {len(self.vocabulary)} concepts)"

    def source(self) -> dict[str, Any]:
        """Return how to reopen it, as plain values."""
        size = None if self._label_size is None else list(self._label_size)
        return {"kind": "folder", "path": str(self.path.resolve()), "label_size": size, **recorded(self._exif)}

    def name(self, index: int) -> str:
        """Return the path of the image under images/."""
        return self._photos[index]

    def image(self, index: int) -> Image:
        """Return the image as RGB. Raises DataError naming the file."""
        photo = self._photos[index]
        return read_image(self._located("images", photo), None, self._exif, self._fits(photo))

    def labels(self, index: int) -> ImageLabels:
        """Return the labels. Raises DataError naming the mask."""
        photo = self._photos[index]
        image = self._located("images", photo)
        shape = image_size(image, self._exif, self._fits(photo))
        size, maps = self._label_size, []
        for mask in self._masks[photo]:
            file = self._file(mask)
            values = read_mask(file)
            if not same_shape(values.shape[:2], shape):
                found, wanted = ("{} x {}".format(*size) for size in (values.shape, shape))
                differ = f"the shapes differ{exif_note(image, self._exif)}"
                raise DataError(file, f"has {found} pixels (height x width), its image {wanted}: {differ}")
            size = size or (values.shape[0], values.shape[1])
            maps.append(self._names.numbers(_sampled(values, size), file))
        stack = np.stack(maps) if maps else np.zeros((0, *(size or shape)), np.int32)
        return ImageLabels(stack, self._whole.get(photo, ()))

    def fingerprint(self) -> str:
        """Return a sha256 of the csv files' bytes, each file's path and size, and the label size."""
        if not self._fingerprint:
            found = Fingerprint("Folder 1")
            found.add_table(self.path / NAMES)
            found.add_table(self.path / WHOLE)
            found.add(self._label_size, *recorded(self._exif).items())
            for photo in self._photos:
                for file in (f"images/{photo}", *self._masks[photo]):
                    found.add(file, os.stat(self._file(file)).st_size)  # noqa: PTH116
            self._fingerprint = found.hex()
        return self._fingerprint

    def _fits(self, photo: str) -> Fits | None:
        """Return whether all masks of a photograph fit it if it has a certain size; None if it has no mask."""
        masks = self._masks[photo]
        return (lambda size: all(same_shape(mask_size(self._file(mask)), size) for mask in masks)) if masks else None

    def _file(self, path: str) -> str:
        return self._located(*path.split("/", 1))

    def _located(self, folder: str, path: str) -> str:
        real = os.path.realpath(self.path / folder)
        try:
            return locate(real, path)
        except DataError as error:
            raise DataError(self.path / folder / path, error.reason) from error

    def _read_masks(self) -> dict[str, list[str]]:
        """Return the masks of each image, as paths in the folder, by layer."""
        masks: dict[str, list[str]] = {photo: [] for photo in self._photos}
        stems: dict[str, str] = {}
        for photo in self._photos:
            stem = photo.rpartition(".")[0]
            if stem in stems:
                raise DataError(self.path / "images" / photo, f"and {stems[stem]} would share one mask: rename one")
            stems[stem] = photo
        layers = sorted(entry.name for entry in self.path.iterdir() if re.fullmatch(r"masks(_.+)?", entry.name))
        if not layers and self._names.of_pixels:
            raise DataError(self.path / "masks", f"is missing; {NAMES} names what its masks show")
        for layer in layers:
            for mask in _files(self.path / layer, (".png",)):
                photo = stems.get(mask.rpartition(".")[0], "")
                if not photo:
                    raise DataError(self.path / layer / mask, "has no image under images/ with its name")
                masks[photo].append(f"{layer}/{mask}")
        for photo, found in masks.items():
            if not found and photo not in self._whole:
                wanted = f"{layers[0] if layers else 'masks'}/{photo.rpartition('.')[0]}.png"
                raise DataError(self.path / "images" / photo, f"has no mask {wanted} and no row in {WHOLE}: add one")
        return masks


def _files(folder: Path, endings: tuple[str, ...]) -> list[str]:
    """Return the paths of all files below a folder, with / between folders, sorted; skip hidden ones."""
    found: list[str] = []
    if not folder.is_dir():
        raise DataError(folder, "is not a folder")
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):  # noqa: PTH114, PTH118
                raise DataError(Path(parent, name), "is a link to a folder; copy the folder into the data set")
        for name in files:
            if name.startswith(".") or name in _LEFT_BY_WINDOWS:
                continue
            if not name.lower().endswith(endings):
                raise DataError(Path(parent, name), f"is not a {' or '.join(endings)} file: convert or remove it")
            found.append(Path(parent, name).relative_to(folder).as_posix())
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise DataError(error.filename, f"cannot be read: {error.strerror}") from error


def _sampled(values: Array, size: tuple[int, int]) -> Array:
    return np.moveaxis(resized(np.moveaxis(values, -1, 0), size), 0, -1) if values.ndim == 3 else resized(values, size)
