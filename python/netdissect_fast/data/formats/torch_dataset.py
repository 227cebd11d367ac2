"""Any torch Dataset that yields (image, labels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...concepts import ImageLabels, Vocabulary
from ...errors import ArgumentError, DataError, shortened
from ...types import Array
from ..files.fingerprints import Fingerprint
from ..files.label_maps import LabelSize, checked_label_size, resized
from ..files.locks import Lock
from ..files.pictures import PHOTO_MODES
from ..files.values import UnknownValue, ValueNames, Values

if TYPE_CHECKING:
    from PIL.Image import Image


class FromTorch:
    """A torch Dataset, or any sequence, of (image, labels) as a ConceptDataset.

    dataset     ``dataset[i]`` is (image, labels) and always the same: no random transforms.
                image: a PIL image; a tensor or array uint8 [3, Y, X] (or [1, Y, X]), or float in 0..1; not normalised
                labels: integers [Y, X] or [L, Y, X], a tensor, array or PIL image: the value of each pixel; one
                integer: the value of the whole image; or a dict with "maps" (as above), "whole" (values), or both
    names       of the values: see ``Values``. Value 0 is unlabelled unless it is named
    category    of concepts whose name does not state one
    label_size  pixels on a side of the label maps, or (Y, X); None: their own size
    version     stands for the contents in the fingerprint, such as "camvid-1". None: everything is read once and
                hashed, which takes as long as reading the data set

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
    ) -> None:
        self.dataset = dataset
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise ArgumentError(f"expected a data set with a length and indexable items, got {_kind(dataset)}")
        self._values = Values(names, category)
        self.vocabulary: Vocabulary = self._values.vocabulary
        self._label_size = checked_label_size(label_size)
        self._version, self._fingerprint = version, ""
        self._reading = Lock()
        self._last: tuple[int, Array, ImageLabels] | None = None
        if not len(dataset):
            raise ArgumentError("the data set has no images")
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
        """See ConceptDataset."""
        from PIL import Image

        return Image.fromarray(self._get(index)[0])

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        return self._get(index)[1]

    def name(self, index: int) -> str:
        """Return the image's number, six digits."""
        return f"{index:06d}"

    def fingerprint(self) -> str:
        """Return a hash of ``version``, or of all images and labels; of names; of the label size."""
        if not self._fingerprint:
            found = Fingerprint("FromTorch 1")
            words = self.vocabulary
            found.add(len(self), self._label_size, words.numbers.tobytes(), words.category.tobytes())
            found.add(*words.names, *words.categories, self._values.table.tobytes())
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
            raise ArgumentError(f"item {index}: expected (image, labels), got {_kind(item)}")
        pixels = as_pixels(item[0], f"image {index}")
        return pixels, self._labels(item[1], index, pixels.shape)

    def _labels(self, labels: Any, index: int, shape: tuple[int, ...]) -> ImageLabels:
        whole: Any = ()
        if isinstance(labels, Mapping):
            unknown = set(labels) - {"maps", "whole"}
            if unknown or not labels:
                raise ArgumentError(
                    f"labels {index}: expected a dict of maps and whole, got {sorted(map(str, labels))}"
                )
            labels, whole = labels.get("maps"), labels.get("whole", ())
        maps = np.zeros((0, *shape[:2]), np.int64) if labels is None else _integers(labels, f"labels {index}")
        if maps.ndim == 0:
            maps, whole = np.zeros((0, *shape[:2]), np.int64), maps.reshape(1)
        if maps.ndim not in (2, 3):
            raise ArgumentError(f"labels {index}: expected [Y, X] or [L, Y, X], got {list(maps.shape)}")
        if not maps.shape[-1] * maps.shape[-2]:
            raise ArgumentError(f"labels {index}: expected at least one pixel, got {list(maps.shape)}")
        numbers = _integers(whole, f"labels {index}").reshape(-1)
        try:
            maps = self._values.numbers(resized(maps.reshape(-1, *maps.shape[-2:]), self._label_size))
            return ImageLabels(maps, tuple(int(n) for n in self._values.numbers(numbers) if n))
        except UnknownValue as error:
            raise ArgumentError(f"labels {index}: {error}; name it in names=, as '-' if it is not a concept") from None


def as_pixels(image: Any, what: str) -> Array:
    """Return an image as uint8 RGB [Y, X, 3]; it is a PIL image, or a tensor or array [3, Y, X] or [1, Y, X].

    Tensors and arrays are uint8, or floats in 0..1. Raises ArgumentError that begins with ``what``.
    """
    if hasattr(image, "convert"):
        if image.mode not in PHOTO_MODES:
            raise ArgumentError(f"{what}: expected an 8-bit photograph, got Pillow's mode {image.mode}")
        return np.asarray(image.convert("RGB"))
    pixels = _array(image)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or not pixels.size:
        raise ArgumentError(f"{what}: expected a PIL image or [3, Y, X], channels first, got {_kind(image)}")
    if pixels.dtype != np.uint8:
        if pixels.dtype.kind != "f" or not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ArgumentError(
                f"{what}: expected uint8 or floats in 0..1, not normalised, got {pixels.dtype} in "
                f"{pixels.min():.4g}..{pixels.max():.4g}; normalise in preprocess="
            )
        pixels = np.rint(pixels.astype(np.float64) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels.transpose(1, 2, 0), (*pixels.shape[1:], 3)))


def _integers(labels: Any, what: str) -> Array:
    try:
        values = _array(labels)
    except ValueError as error:  # lists of different lengths
        raise ArgumentError(f"{what}: expected integers, the value of each pixel: {error}") from error
    if hasattr(labels, "getbands") and values.ndim != 2:
        raise ArgumentError(f"{what}: expected a picture with one value per pixel, got Pillow's mode {labels.mode}")
    if values.size == 0 and values.dtype.kind == "f":  # an empty list
        return values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise ArgumentError(f"{what}: expected integers, the value of each pixel, got {_kind(labels)}")
    return values.astype(np.int64)


def _array(value: Any) -> Array:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {list(shape)} {getattr(value, 'dtype', '')}" if shape is not None else "")
