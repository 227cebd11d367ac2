"""What the builder asks of a source: its images, and what it says of each in its own numbers and at its own size."""

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

    maps   category → numbers, integers [H, W], or [L, H, W] where the category may have several layers; 0: unlabelled
    whole  category → numbers that hold for the whole image, dominant first; 0 is none
    names  category → names of its numbers; one that is missing, "" or "-" is no concept. May hold more numbers than
           the image has: sources with one list for all images give that
    """

    maps: Mapping[str, Array] = field(default_factory=dict)
    whole: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    names: Mapping[str, Names] = field(default_factory=dict)


class Source(Protocol):
    """N images with labels, such as ADE20K. Objects must pickle: images are read by several processes.

    A category ``color`` is made by the builder from the pixels of images whose ``annotation`` has and names none.
    """

    name: str  # of the folder that its images get under images/

    def __len__(self) -> int:
        """N."""

    def file_name(self, index: int) -> str:
        """What the image is called, without folders or ending: ``ADE_train_00003891``. Two may share one."""

    def image(self, index: int) -> Image:
        """The photograph, RGB. Raises DataError naming the file."""

    def annotation(self, index: int) -> Annotation:
        """The labels. Raises DataError naming the file (and line or key).

        Maps have the image's size, but for OpenSurfaces', which show all of it with another number of pixels.
        """

    def fingerprint(self) -> str:
        """Hexadecimal sha256 that changes where what is read would: of tables' bytes, and files' paths and sizes."""
