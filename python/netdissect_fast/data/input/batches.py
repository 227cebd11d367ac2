"""Batches of a network's inputs, in order, through torch's DataLoader; labels are packed at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ...concepts import ImageLabels, PackedLabels
from ...errors import ArgumentError, NetDissectError, ShapeError
from ..bands import channels_of, picture_of
from ..dataset import ConceptDataset, own_inputs
from ..label_cache import packed_labels
from .whole_image import as_input

if TYPE_CHECKING:
    from torch import Tensor

Preprocessing = Callable[[Any], "Tensor"]


class _Inputs:
    """What a loader worker runs: image number → the network's input, or the error as a value.

    Errors are returned as values because DataLoader would rebuild them from their text only.
    """

    def __init__(self, data: ConceptDataset, preprocess: Preprocessing | None) -> None:
        self.data, self.preprocess = data, preprocess

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor | NetDissectError:
        try:
            if self.preprocess is None:
                return self._own(index)
            image = picture_of(self.data, index)
            try:
                return as_input(self.preprocess(image), channels_of(image))
            except Exception as error:
                raise ArgumentError(
                    f"preprocess failed on image {self.data.name(index)}: {type(error).__name__}: {error}"
                ) from error
        except NetDissectError as error:
            return error

    def _own(self, index: int) -> Tensor:
        import torch

        own = own_inputs(self.data)
        given = None if own is None else own(index)
        if not isinstance(given, torch.Tensor) or not given.is_floating_point():
            raise ArgumentError(f"input({index}) of {self.data!r} must be a float tensor, got {type(given).__name__}")
        return given.detach()


def _collate(samples: list[Tensor | NetDissectError]) -> Tensor | NetDissectError:
    import torch

    for sample in samples:
        if isinstance(sample, NetDissectError):
            return sample
    shapes = sorted({tuple(sample.shape) for sample in samples})  # type: ignore[union-attr]
    if len(shapes) > 1:
        return ShapeError(
            f"the network's inputs have different shapes, {list(shapes[0])} and {list(shapes[1])}: "
            "preprocess must resize to one size"
        )
    return torch.stack(samples)  # type: ignore[arg-type]


def image_batches(
    data: ConceptDataset,
    preprocess: Preprocessing | None,
    batch_size: int,
    workers: int = 0,
    span: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield (number of the first image, float tensor [B, c, H, W]); batch b is always images [b·B, (b+1)·B).

    preprocess  None: the data set's own inputs, tensors [B, ...]
    workers  loader processes that decode and preprocess; 0: this process
    span     first ≤ image < last; the first begins a batch. None: all images
    Raises what reading an image or ``preprocess`` raised.
    """
    import torch
    from torch.utils.data import DataLoader

    first, last = (0, len(data)) if span is None else span
    loader: DataLoader[Any] = DataLoader(
        _Inputs(data, preprocess),  # type: ignore[arg-type]
        sampler=range(first, last),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # the user's random state stays as it is
    )
    for number, batch in enumerate(_one_ahead(iter(loader))):
        if isinstance(batch, NetDissectError):
            raise batch
        yield first + number * batch_size, batch


def _one_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the same batches, each fetched by a thread while the previous one is processed."""
    with ThreadPoolExecutor(1, "netdissect_fast loader") as thread:
        coming = thread.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, batches, None)
            yield batch


class LabelsAhead:
    """Packed labels of a data set, read or packed by a thread of its own while the network runs.

    Use it as a context manager: on exit packing stops, with nothing half written.

    cache, threads, progress   see ``packed_labels``
    wanted                     False: they are not packed, and ``get`` must not be called
    """

    def __init__(
        self,
        data: ConceptDataset,
        cache: str | os.PathLike[str] | None,
        threads: int | None,
        progress: bool,
        wanted: bool = True,
    ) -> None:
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1, "netdissect_fast labels")
        self._labels: Future[PackedLabels] = Future()
        if wanted:
            stoppable = _Stoppable(data, self._stop)
            self._labels = self._thread.submit(packed_labels, stoppable, cache, threads, progress, stoppable.wait)
        self._thread.shutdown(wait=False)  # it ends with its only task

    def __enter__(self) -> LabelsAhead:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.shutdown()

    def check(self) -> None:
        """Raise what packing has raised, if it has; does not wait."""
        if self._labels.done():
            self._labels.result()

    def get(self) -> PackedLabels:
        """Wait for the labels of all images and return them. Raises what ``packed_labels`` raises."""
        return self._labels.result()


class _Stoppable:
    """A data set whose labels raise KeyboardInterrupt once ``stop`` is set; otherwise the same data set."""

    def __init__(self, data: ConceptDataset, stop: threading.Event) -> None:
        self._data, self._stop = data, stop

    def __len__(self) -> int:
        return len(self._data)

    def wait(self, seconds: float) -> None:
        """Sleep, or raise KeyboardInterrupt once ``stop`` is set."""
        if self._stop.wait(seconds):
            raise KeyboardInterrupt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        if self._stop.is_set():
            raise KeyboardInterrupt
        return self._data.labels(index)
