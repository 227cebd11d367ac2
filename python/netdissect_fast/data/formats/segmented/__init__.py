"""Labels from a network at run time: a segmenter labels images, or pictures that a generator makes from latents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....concepts import ImageLabels, Vocabulary
from ....errors import ArgumentError
from ....types import Array, Int32Array
from ...dataset import bands_of
from ...files.fingerprints import Fingerprint
from ...files.label_maps import LabelSize, checked_label_size, resized
from ...files.locks import Lock
from ...files.values import UnknownValue, ValueNames, Values
from .generated import Generated, Given, Network, kind, span

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_KEPT = 4  # blocks of labels: several threads request images that are near each other


class Segmented:
    """Images that a segmenter labels when labels are requested; a ConceptDataset.

    images_or_latents  a ConceptDataset, whose images are used; or a sequence or torch Dataset of PIL images, of
                       tensors uint8 [3, Y, X] or float in 0..1, or of tuples that begin with one. With ``generator``:
                       latents, a float tensor [N, ...]
    segmenter          module or function from pictures, float [B, 3, Y, X] in 0..1, to scores, float [B, C, y, x], of
                       which the highest counts, channel c standing for value c; or to values, integers [B, y, x] or
                       [B, L, y, x], 0 for unlabelled
    names              of the values 0, 1, 2, …; or a dict by value, or a Vocabulary: see ``Values``. Each channel or
                       value needs one: "-" if it is not a concept
    generator          module or function from latents [B, ...] to pictures, float [B, 3, Y, X]. Image i is made from
                       latents[i:i+1], and ``input(i)`` is latents[i]: the input of the dissected network, which is
                       the generator
    output_range       the values of black and of white in the generator's pictures
    label_size         pixels on a side of the label maps, or (Y, X); None: the size that the segmenter returns
    batch_size         images at a time; image i is always labelled with the others of block i // batch_size
    device             where pictures and latents are moved to; "auto": that of the module that gets them, else the CPU
    version            stands for the images in the fingerprint; None: all are read once and hashed

    Modules stay on their device and must be in evaluation mode. Raises ArgumentError if something is none of these,
    now or when an image or its labels are requested; ModelError if segmenter or generator raise.
    """

    def __init__(
        self,
        images_or_latents: Any,
        segmenter: Any,
        names: ValueNames,
        *,
        generator: Any = None,
        output_range: tuple[float, float] = (-1.0, 1.0),
        label_size: LabelSize = 112,
        batch_size: int = 16,
        device: str = "auto",
        version: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, got {batch_size}")
        self._values = Values(names)
        self.vocabulary: Vocabulary = self._values.vocabulary
        self._segmenter = Network("segmenter", segmenter, device)
        self._pictures: Given | Generated = (
            Given(images_or_latents, version)
            if generator is None
            else Generated(images_or_latents, Network("generator", generator, device), output_range)
        )
        self._label_size, self._batch_size = checked_label_size(label_size), batch_size
        self._fingerprint = ""
        self._reading, self._labelling = Lock(), Lock()
        self._blocks: OrderedDict[int, list[Int32Array]] = OrderedDict()
        if not len(self):
            raise ArgumentError("there are no images to label")
        if not np.array_equal(self._pixels([0])[0], self._pixels([0])[0]):
            raise ArgumentError(f"{self.name(0)} is a different picture each time; remove random transforms and noise")

    def __len__(self) -> int:
        return len(self._pictures)

    def __repr__(self) -> str:
        return f"Segmented({self._pictures!r}, labelled by {self._segmenter!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_blocks": OrderedDict()}

    @property
    def input(self) -> Callable[[int], Tensor] | None:
        """What the generator is given for an image; None if there is no generator."""
        return self._pictures.input if isinstance(self._pictures, Generated) else None

    def name(self, index: int) -> str:
        """Return the image's name in its data set, or its number."""
        return self._pictures.name(index)

    def image(self, index: int) -> Image:
        """Return the image as the segmenter sees it, with 8 bits."""
        from PIL import Image

        return Image.fromarray(self._pixels([index])[0])

    def bands(self, index: int) -> Any:
        """Return the image as the data set of images has it, unrounded; None if ``image`` is all of it."""
        return bands_of(self._pictures.images, index) if isinstance(self._pictures, Given) else None

    def labels(self, index: int) -> ImageLabels:
        """Return the segmenter's labels of the image."""
        block, place = divmod(range(len(self))[index], self._batch_size)
        with self._labelling:
            if block not in self._blocks:
                images = range(len(self))[block * self._batch_size :][: self._batch_size]
                self._blocks[block] = self._labelled(images)
                if len(self._blocks) > _KEPT:
                    self._blocks.popitem(last=False)
            return ImageLabels(self._blocks[block][place])

    def fingerprint(self) -> str:
        """Return a hash of images (or ``version``), or latents and generator; of segmenter, names and sizes."""
        if not self._fingerprint:
            found, words = Fingerprint("Segmented 1"), self.vocabulary
            found.add(len(self), self._label_size, self._batch_size, *self._segmenter.identity())
            found.add(*words.names, *words.categories, words.numbers.tobytes(), words.category.tobytes())
            found.add(self._values.table.tobytes())
            self._pictures.add_to(found)
            self._fingerprint = found.hex()
        return self._fingerprint

    def _pixels(self, indices: Sequence[int]) -> list[Array]:
        with self._reading:
            return self._pictures.pixels(indices)

    def _labelled(self, images: Sequence[int]) -> list[Int32Array]:
        """Return the label maps [L, Y, X] of a block; label images of different sizes one by one."""
        pixels = self._pixels(images)
        step = len(images) if len({image.shape for image in pixels}) == 1 else 1
        parts = [slice(start, start + step) for start in range(0, len(images), step)]
        return [maps for part in parts for maps in self._maps(images[part], np.stack(pixels[part]))]

    def _maps(self, images: Sequence[int], pixels: Array) -> list[Int32Array]:
        import torch

        named, count, channels = span(self._pictures, images), len(images), self._values.count
        output = self._segmenter(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous() / 255, named)
        if output.is_floating_point() and output.ndim == 4 and output.shape[1] == channels:
            if output.isnan().any():
                raise ArgumentError(f"the segmenter returned NaN for {named}")
            output = output.argmax(1)
        elif output.is_floating_point() or output.dtype == torch.bool or output.ndim not in (3, 4):
            raise ArgumentError(
                f"the segmenter must return scores, floats [{count}, {channels}, y, x], one for each of names; "
                f"or values, integers [{count}, y, x] or [{count}, L, y, x]; got {kind(output)} for {named}"
            )
        values = output.reshape(count, -1, *output.shape[-2:]).long().cpu().numpy()
        return [self._numbers(image, maps) for image, maps in zip(images, values, strict=True)]

    def _numbers(self, image: int, values: Array) -> Int32Array:
        try:
            return np.asarray(resized(self._values.numbers(values), self._label_size), np.int32)
        except UnknownValue as error:
            raise ArgumentError(
                f"the segmenter gave {self.name(image)} the value {error.value}, which has no name: name it in names, "
                "as '-' if it is not a concept"
            ) from None
