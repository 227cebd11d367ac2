"""The builder's interface to a source: its images, and the labels of each in the source's own numbers and size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ...types import Array

if TYPE_CHECKING:
    from PIL.Image import Image

Names: TypeAlias = Mapping[int, tuple[str, ...]]  # number → all names of the concept, the preferred first


@dataclass(frozen=True)
class Annotation:
    """The labels of one image, as its source has them.

    maps   category → numbers, integers [H, W], or [L, H, W] if the category may have several layers; 0: unlabelled
    whole  category → numbers that hold for the whole image, dominant first; 0: none
    names  category → names of its numbers; a name that is missing, "" or "-" means no concept. May hold more numbers
           than the image has: sources with one list for all images return that list
    """

    maps: Mapping[str, Array] = field(default_factory=dict)
    whole: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    names: Mapping[str, Names] = field(default_factory=dict)


class Source(Protocol):
    """N images with labels, such as ADE20K. Objects must pickle: several processes read images.

    The builder derives a category ``color`` from the pixels of images whose ``annotation`` neither has nor names one.
    """

    name: str  # of the folder that its images get under images/

    def __len__(self) -> int:
        """Return N."""

    def file_name(self, index: int) -> str:
        """Return the image's name without folders or ending: ``ADE_train_00003891``. Names may repeat."""

    def image(self, index: int) -> Image:
        """Return the photograph, RGB. Raises DataError naming the file."""

    def annotation(self, index: int) -> Annotation:
        """Return the labels. Raises DataError naming the file (and line or key).

        Maps have the image's size, except OpenSurfaces', which show all of it with a different number of pixels.
        """

    def fingerprint(self) -> str:
        """Return a hexadecimal sha256 that changes if what is read does: of tables' bytes, files' paths and sizes."""
