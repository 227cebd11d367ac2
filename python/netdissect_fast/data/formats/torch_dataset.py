"""Any torch Dataset that yields (image, labels)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...concepts import ImageLabels, Vocabulary
from ...errors import ArgumentError, DataError, shortened
from ...types import Array
from ..files.fingerprints import Fingerprint
from ..files.label_maps import LabelSize, checked_label_size, resized
from ..files.locks import Lock
from ..files.values import UnknownValue, ValueNames, Values
from .torch_images import (
    as_array,
    as_picture,
    checked_drawn,
    checked_range,
    kind,
    require_channels_first,
)
from .torch_images import (
    drawn as picture_to_look_at,
)

if TYPE_CHECKING:
    from PIL.Image import Image


class FromTorch:
    """A torch Dataset, or any sequence, of (image, labels) as a ConceptDataset.

    dataset     ``dataset[i]`` is (image, labels) and always the same: no random transforms.
                image: a PIL image, or a tensor or array [C, Y, X]: uint8, floats in 0..1, or any numbers within
                ``image_range``; not normalised. C is 3, 1, or any number of bands
                labels: integers [Y, X] or [L, Y, X], a tensor, array or PIL image: the value of each pixel; one
                integer: the value of the whole image; or a dict with "maps" (as above), "whole" (values), or both
    names       of the values: see ``Values``. Value 0 is unlabelled unless it is named
    category    of concepts whose name does not state one
    label_size  pixels on a side of the label maps, or (Y, X); None: their own size
    image_range (black, white), such as (0, 4095) for scans of 12 bits: these become 0 and 1
    drawn       numbers of the bands that pictures show as red, green and blue, or of one; needed if C is not 3 or 1 and
                pictures are drawn, as by a report. Results do not depend on it
    version     stands for the contents in the fingerprint, such as "camvid-1". None: everything is read once and
                hashed, which takes as long as reading the data set

    Images of three colours with 8 bits reach ``preprocess`` as PIL images (also as floats that are multiples of 1/255),
    all others as float32 tensors [C, Y, X] with 0 for black and 1 for white, unrounded; all do if the first does.

    No two threads read at once. Raises ArgumentError if an item is none of these, DataError if ``dataset[i]`` raises.

    >>> import numpy as np, netdissect_fast as nd
    >>> image, labels = np.zeros((3, 8, 8), np.uint8), np.array([[0, 1], [1, 2]])
    >>> data = nd.FromTorch([(image, labels)], names=["-", "cat", ("part", "ear")], label_size=None)
    >>> data
    FromTorch(list: 1 images, 2 concepts)
    >>> data.labels(0).maps.tolist()
    [[[0, 1], [1, 2]]]
    """

    def __init__(
        self,
        dataset: Any,
        names: ValueNames,
        *,
        category: str = "object",
        label_size: LabelSize = 112,
        version: str | None = None,
        image_range: tuple[float, float] | None = None,
        drawn: Sequence[int] | None = None,
    ) -> None:
        self.dataset = dataset
        self._range, self._drawn, self._deep = checked_range(image_range), checked_drawn(drawn), False
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise ArgumentError(f"expected a data set with a length and indexable items, got {kind(dataset)}")
        self._values = Values(names, category)
        self.vocabulary: Vocabulary = self._values.vocabulary
        self._label_size = checked_label_size(label_size)
        self._version, self._fingerprint = version, ""
        self._reading = Lock()
        self._last: tuple[int, Array, ImageLabels] | None = None
        if not len(dataset):
            raise ArgumentError("the data set has no images")
        self._deep = self._read(0)[0].dtype != np.uint8
        (image, labels), (image_again, again) = self._read(0), self._read(0)
        same = np.array_equal(image, image_again) and np.array_equal(labels.maps, again.maps)
        if not same or labels.whole != again.whole:
            raise ArgumentError("the data set returns a different image or labels each time; remove random transforms")

    def __len__(self) -> int:
        return len(self.dataset)

    def __repr__(self) -> str:
        return f"FromTorch({type(self.dataset).__name__}: {len(self)} images, {len(self.vocabulary)} concepts)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def image(self, index: int) -> Image:
        """Return the image as RGB with 8 bits. Raises ArgumentError if it has bands and ``drawn`` was not given."""
        from PIL import Image

        return Image.fromarray(picture_to_look_at(self._get(index)[0], self._drawn, f"image {index}"))

    def bands(self, index: int) -> Array | None:
        """Return the image as float32 [C, Y, X], unrounded; None if ``image`` is all of it."""
        picture = self._get(index)[0]
        return None if picture.dtype == np.uint8 else picture

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        return self._get(index)[1]

    def name(self, index: int) -> str:
        """Return the image's number, six digits."""
        return f"{index:06d}"

    def fingerprint(self) -> str:
        """Return a hash of ``version``, or of all images and labels; of names; of label size and image_range."""
        if not self._fingerprint:
            found = Fingerprint("FromTorch 1")
            words = self.vocabulary
            found.add(len(self), self._label_size, words.numbers.tobytes(), words.category.tobytes())
            found.add(*words.names, *words.categories, self._values.table.tobytes())
            if self._deep:
                found.add("bands", self._range)
            if self._version is not None:
                found.add("version", self._version)
            else:
                for index in range(len(self)):
                    pixels, labels = self._get(index)
                    found.add(pixels.shape, pixels.tobytes(), labels.maps.shape, labels.maps.tobytes(), labels.whole)
            self._fingerprint = found.hex()
        return self._fingerprint

    def _get(self, index: int) -> tuple[Array, ImageLabels]:
        """Return image and labels; the last are kept, since labels are often requested after the image."""
        with self._reading:
            if self._last is None or self._last[0] != index:
                self._last = index, *self._read(index)
            return self._last[1], self._last[2]

    def _read(self, index: int) -> tuple[Array, ImageLabels]:
        try:
            item = self.dataset[index]
        except MemoryError:
            raise
        except Exception as error:  # the user's own code
            reason = f"{type(error).__name__}: {shortened(error)}"
            raise DataError(type(self.dataset).__name__, f"item {index} cannot be read: {reason}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ArgumentError(f"item {index}: expected (image, labels), got {kind(item)}")
        picture = as_picture(item[0], f"image {index}", self._range, self._deep)
        return picture, self._labels(item[1], index, picture)

    def _labels(self, labels: Any, index: int, picture: Array) -> ImageLabels:
        whole: Any = ()
        deep = picture.dtype != np.uint8
        shape = picture.shape[1:] if deep else picture.shape[:2]
        if isinstance(labels, Mapping):
            unknown = set(labels) - {"maps", "whole"}
            if unknown or not labels:
                raise ArgumentError(
                    f"labels {index}: expected a dict of maps and whole, got {sorted(map(str, labels))}"
                )
            labels, whole = labels.get("maps"), labels.get("whole", ())
        maps = np.zeros((0, *shape), np.int64) if labels is None else _integers(labels, f"labels {index}")
        if maps.ndim == 0:
            maps, whole = np.zeros((0, *shape), np.int64), maps.reshape(1)
        if maps.ndim not in (2, 3):
            raise ArgumentError(f"labels {index}: expected [Y, X] or [L, Y, X], got {list(maps.shape)}")
        if not maps.shape[-1] * maps.shape[-2]:
            raise ArgumentError(f"labels {index}: expected at least one pixel, got {list(maps.shape)}")
        if deep and len(maps):
            require_channels_first(picture.shape, maps.shape[-2:], f"image {index}")
        numbers = _integers(whole, f"labels {index}").reshape(-1)
        try:
            maps = self._values.numbers(resized(maps.reshape(-1, *maps.shape[-2:]), self._label_size))
            return ImageLabels(maps, tuple(int(n) for n in self._values.numbers(numbers) if n))
        except UnknownValue as error:
            raise ArgumentError(f"labels {index}: {error}; name it in names=, as '-' if it is not a concept") from None


def as_pixels(image: Any, what: str) -> Array:
    """Return an image as uint8 RGB [Y, X, 3]; floats are rounded. Raises ArgumentError that begins with ``what``."""
    picture = as_picture(image, what, advice="scale them")
    if picture.dtype != np.uint8 and picture.shape[0] not in (1, 3):
        raise ArgumentError(f"{what}: expected a PIL image or [3, Y, X], channels first, got {kind(image)}")
    return picture_to_look_at(picture, None, what)


def _integers(labels: Any, what: str) -> Array:
    try:
        values = as_array(labels)
    except ValueError as error:  # lists of different lengths
        raise ArgumentError(f"{what}: expected integers, the value of each pixel: {error}") from error
    if hasattr(labels, "getbands") and values.ndim != 2:
        raise ArgumentError(f"{what}: expected a picture with one value per pixel, got Pillow's mode {labels.mode}")
    if values.size == 0 and values.dtype.kind == "f":  # an empty list
        return values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise ArgumentError(f"{what}: expected integers, the value of each pixel, got {kind(labels)}")
    return values.astype(np.int64)
