"""Images that are no 8-bit pictures: any number of bands, unrounded, as a network of scans or satellite data needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ArgumentError
from .dataset import ConceptDataset, bands_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Picture: TypeAlias = "Image | Tensor"  # float32 [C, Y, X] if a tensor


def picture_of(data: ConceptDataset, index: int) -> Picture:
    """Return what ``preprocess`` gets: a float32 tensor [C, Y, X] if the data set has that, else its PIL image.

    Raises what the data set raises; ArgumentError if ``bands`` returns something else.
    """
    found = bands_of(data, index)
    if found is None:
        return data.image(index)
    import torch

    tensor = torch.as_tensor(found)
    if tensor.ndim != 3 or not tensor.is_floating_point() or not tensor.numel() or not tensor.isfinite().all():
        raise ArgumentError(
            f"bands({index}) of {data!r} must be finite floats [C, Y, X], or None if image({index}) is meant; got "
            f"{tensor.dtype} {list(tensor.shape)}"
        )
    return tensor.detach().to(torch.float32)


def channels_of(picture: Any) -> int | None:
    """Return C of a tensor [C, Y, X]; None for a PIL image."""
    return int(picture.shape[0]) if hasattr(picture, "detach") else None


def size_of(picture: Any) -> tuple[int, int]:
    """Return (height, width)."""
    if hasattr(picture, "detach"):
        return int(picture.shape[1]), int(picture.shape[2])
    return picture.height, picture.width
