"""Batches of preprocessed images, in order, through torch's DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError, NetDissectError, ShapeError
from .whole_image import as_input

if TYPE_CHECKING:
    from torch import Tensor

    from .dataset import ConceptDataset

Preprocessing = Callable[[Any], "Tensor"]


class _Images:
    """What a loader worker runs: image number → (number, tensor [c, H, W]), or the error as a value.

    Errors come back as values since DataLoader would rebuild them from their text alone.
    """

    def __init__(self, data: ConceptDataset, preprocess: Preprocessing) -> None:
        self.data, self.preprocess = data, preprocess

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor | NetDissectError:
        try:
            image = self.data.image(index)
            try:
                return as_input(self.preprocess(image))
            except Exception as error:
                raise ArgumentError(
                    f"preprocess failed on image {self.data.name(index)}: {type(error).__name__}: {error}"
                ) from error
        except NetDissectError as error:
            return error


def _collate(samples: list[Tensor | NetDissectError]) -> Tensor | NetDissectError:
    import torch

    for sample in samples:
        if isinstance(sample, NetDissectError):
            return sample
    shapes = sorted({tuple(sample.shape) for sample in samples})  # type: ignore[union-attr]
    if len(shapes) > 1:
        return ShapeError(
            f"preprocess gave images of different shapes, {list(shapes[0])} and {list(shapes[1])}: resize to one size"
        )
    return torch.stack(samples)  # type: ignore[arg-type]


def image_batches(
    data: ConceptDataset, preprocess: Preprocessing, batch_size: int, workers: int = 0
) -> Iterator[tuple[int, Tensor]]:
    """Yield (number of the first image, float tensor [B, c, H, W]); batch b is always images [b·B, (b+1)·B).

    ``workers`` loader processes decode and preprocess; 0: this process. Raises what an image or ``preprocess`` raised.
    """
    import torch
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        _Images(data, preprocess),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # the user's random state stays as it is
    )
    for number, batch in enumerate(_one_ahead(iter(loader))):
        if isinstance(batch, NetDissectError):
            raise batch
        yield number * batch_size, batch


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same, each fetched by a thread while the one before is worked on."""
    with ThreadPoolExecutor(1, "netdissect_fast loader") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch
