"""Several processes, one run: agreement on settings, exact thresholds over all their peaks, sums of their counts.

Every process ("rank") processes its own images. What ranks exchange is on the host: a few numbers per unit and, at the
end, each rank's peaks, which go to rank 0.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from ..errors import ArgumentError, NetDissectError, RankError
from ..scoring.crops import Crops
from ..scoring.peaks import Peaks
from ..scoring.thresholds import kth_largest_over_ranks
from ..types import Array, Float32Array, Int64Array
from .records import require_same

T = TypeVar("T")

_MESSAGE = 1 << 28  # bytes sent at once


class Ranks(Protocol):
    """The processes that share a run; all call the same methods in the same order."""

    rank: int
    size: int

    def agree(self, record: Mapping[str, Any]) -> None:
        """Raise ResumeMismatch on every rank unless all have the same model, data and settings."""
        ...

    def once(self, work: Callable[[], T]) -> T:
        """Run ``work`` on rank 0 alone; return its result, or raise what it raised, on every rank."""
        ...

    def sum(self, array: Int64Array) -> Int64Array:
        """Return the sum over ranks, on every rank."""
        ...

    def finish(self, peaks: Peaks) -> Float32Array:
        """Return the thresholds over the peaks of all ranks, float32 [U]; drop the peaks they make superfluous."""
        ...

    def gather(self, peaks: Peaks) -> Peaks | None:
        """Return the peaks of all ranks on rank 0, None on the others."""
        ...


class SingleRank:
    """A run in one process."""

    rank, size = 0, 1

    def agree(self, record: Mapping[str, Any]) -> None:
        """Do nothing: there are no other ranks."""

    def once(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``."""
        return work()

    def sum(self, array: Int64Array) -> Int64Array:
        """Return the array."""
        return array

    def finish(self, peaks: Peaks) -> Float32Array:
        """Return the thresholds of the peaks."""
        return peaks.finish()

    def gather(self, peaks: Peaks) -> Peaks | None:
        """Return the peaks."""
        return peaks


class GroupRanks:
    """The processes of a torch process group."""

    def __init__(self, group: Any) -> None:
        import torch
        from torch import distributed

        self._group, self._dist = group, distributed
        self.rank, self.size = distributed.get_rank(group), distributed.get_world_size(group)
        on_gpu = "gloo" not in str(distributed.get_backend_config(group))
        self._device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")

    def agree(self, record: Mapping[str, Any]) -> None:
        """See Ranks."""
        records: list[Any] = [None] * self.size
        with _contact(self.rank):
            self._dist.all_gather_object(records, dict(record), group=self._group)
        for rank, other in enumerate(records):
            remedy = "Give all ranks the same model, data and settings; seed random weights"
            require_same(other, records[0], f"rank {rank}", remedy)

    def once(self, work: Callable[[], T]) -> T:
        """See Ranks."""
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = work()
            except NetDissectError as error:
                outcome[1] = error
        with _contact(self.rank):
            self._dist.broadcast_object_list(outcome, group=self._group, group_src=0)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def sum(self, array: Int64Array) -> Int64Array:
        """See Ranks."""
        total: Int64Array = self._reduced(array, self._dist.ReduceOp.SUM)
        return total

    def _reduced(self, array: Array, how: Any) -> Any:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(array)).clone().to(self._device)
        with _contact(self.rank):
            self._dist.all_reduce(tensor, how, group=self._group)
        return tensor.cpu().numpy()

    def finish(self, peaks: Peaks) -> Float32Array:
        """See Ranks."""
        if (seen := int(self.sum(np.array([peaks.images_seen]))[0])) != peaks.images:
            raise ArgumentError(f"thresholds need all {peaks.images} images, but the ranks together hold {seen}")
        peaks.raise_bounds(self._reduced(peaks.bounds, self._dist.ReduceOp.MAX))  # each is at most T
        unit, values = peaks.crops.above(peaks.bounds)
        thresholds = kth_largest_over_ranks(unit, values, peaks.bounds, peaks.threshold_rank, self.sum)
        peaks.raise_bounds(thresholds)
        return thresholds

    def gather(self, peaks: Peaks) -> Peaks | None:
        """See Ranks."""
        seen: list[Any] = [None] * self.size
        sizes = [array.shape for array in peaks.crops.arrays]
        with _contact(self.rank):
            self._dist.all_gather_object(seen, (peaks.seen, sizes), group=self._group)
            if self.rank:
                for array in peaks.crops.arrays:
                    self._send(array)
                return None
            parts = [peaks]
            for rank in range(1, self.size):
                part = Peaks(peaks.units, peaks.map_size, peaks.images, peaks.quantile)
                part.threads, part.bounds, part.seen = peaks.threads, peaks.bounds, seen[rank][0]
                like: Any = zip(seen[rank][1], peaks.crops.arrays, strict=True)
                part.crops = Crops(*(self._receive(np.empty(shape, array.dtype), rank) for shape, array in like))
                parts.append(part)
        return Peaks.merge([part for part in parts if part.seen] or parts[:1])

    def _send(self, array: Array) -> None:
        import torch

        for piece in _messages(array):
            self._dist.send(torch.from_numpy(piece).to(self._device), group=self._group, group_dst=0)

    def _receive(self, array: Any, rank: int) -> Any:
        import torch

        for piece in _messages(array):
            tensor = torch.from_numpy(piece).to(self._device)
            self._dist.recv(tensor, group=self._group, group_src=rank)
            piece[:] = tensor.cpu().numpy()
        return array


def _messages(array: Array) -> Iterator[Array]:
    """Yield an array's bytes, as views of bounded size."""
    data = array.reshape(-1).view(np.uint8)
    for start in range(0, len(data), _MESSAGE):
        yield data[start : start + _MESSAGE]


@contextmanager
def _contact(rank: int) -> Iterator[None]:
    """Turn errors of the connection into RankError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, NetDissectError):
            raise
        raise RankError(
            f"rank {rank} lost its connection; another rank probably failed (see its output): {error}"
        ) from error


@contextmanager
def joined(device: str) -> Iterator[tuple[int, str]]:
    """Join the processes started by torchrun, or by anything that sets its variables; yield the rank and its device.

    If there are none, or the process group already exists, yield rank 0 and ``device`` unchanged.
    """
    from torch import cuda, distributed

    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(name in os.environ for name in needed) or distributed.is_initialized():
        yield 0, device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield distributed.get_rank(), device
    finally:
        distributed.destroy_process_group()


def find_ranks(group: Any = "auto") -> Ranks:
    """Return the processes that work together: those of ``group``, a torch ProcessGroup; "auto": the default, if any.

    None: this process alone. Raises ArgumentError for anything else.
    """
    if group is None:
        return SingleRank()
    from torch import distributed

    there = distributed.is_available() and distributed.is_initialized()
    if isinstance(group, str) and group == "auto":
        return GroupRanks(distributed.group.WORLD) if there and distributed.get_world_size() > 1 else SingleRank()
    if not there or not isinstance(group, distributed.ProcessGroup):
        raise ArgumentError(f"group must be 'auto', None or a torch.distributed process group, got {group!r}")
    return GroupRanks(group)
