"""Checkpoints of a run: which images are done, which are left for this process, and when to save."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, OutputError
from ..results.run_result import Dissection
from ..scoring.thresholds import tail_rank
from ..storage import only_writer, remove_tree, remove_unfinished, require_unheld, require_writable
from .collectors import Collected
from .parts import PARTS, Part, find_parts, remove_parts, save_part
from .plans import LayerPlan
from .ranks import Ranks
from .records import ResumeWarning
from .spans import Span, missing, portion, shard_of

Shard = tuple[int, int]  # (index from 0, number of shards)

_SHARE = 20  # the next checkpoint is due after at least this many times what the last one took


@dataclass
class Checkpoints:
    """The images of a run: those done and those to do.

    todo    spans left for this process, in whole batches
    parts   existing parts, on rank 0; empty on the others
    """

    out: Path | None
    record: Mapping[str, Any]
    plans: Mapping[str, LayerPlan]
    shard: Shard | None
    every: float  # seconds between checkpoints
    todo: list[Span]
    parts: list[Part]
    _written: Path | None = None
    _due: float = field(init=False)

    def __post_init__(self) -> None:
        self._due = time.monotonic() + self.every

    def load(self) -> list[dict[str, Collected]]:
        """Return the contents of each part, by layer. Raises DataError if one is broken."""
        return [part.collected() for part in self.parts]

    def reached(self, span: Span, last: int, collected: Callable[[], Mapping[str, Collected]]) -> None:
        """Note that the images of ``span`` up to ``last`` are done; write them to disk if due or at the end of a shard.

        If a checkpoint cannot be written, that is a ResumeWarning; at the end of a shard it is an OutputError.
        """
        ended = self.shard is not None and last == span.last
        if self.out is None or not (ended or time.monotonic() >= self._due):
            return
        begun = time.monotonic()
        try:
            done = Span(span.first, last)
            self._written = save_part(self.out, done, self.record, self.plans, collected(), self.shard)
        except OutputError as error:
            if ended:
                raise
            warnings.warn(f"no checkpoint at image {last}; the run continues: {error}", ResumeWarning, stacklevel=2)
        took = time.monotonic() - begun
        self._due = time.monotonic() + (max(self.every, _SHARE * took) if self.every else 0)

    def save(self, result: Dissection, ranks: Ranks) -> None:
        """Write the result on rank 0, then remove all parts. Raises OutputError on every rank if that fails."""
        out = self.out
        if out is not None:
            ranks.once(lambda: result.save(out))
            ranks.once(lambda: remove_parts(out))
            if self._written is not None:  # this rank's machine may have its own disk
                remove_tree(self._written)


@contextmanager
def begin(
    out: Path | None,
    shard: Shard | None,
    record: Mapping[str, Any],
    plans: Mapping[str, LayerPlan],
    *,
    ranks: Ranks,
    resume: bool,
    every: float,
) -> Iterator[Checkpoints]:
    """Hold the run's folder, and find what is done and what is left.

    Raises InUse, OutputError, DataError for a broken part, ResumeMismatch if one belongs to a different run; on every
    rank.
    """
    images, batch_size = record["data"]["images"], record["settings"]["batch_size"]
    whole = Span(0, images) if shard is None else shard_of(images, batch_size, *shard)
    with ExitStack() as held:

        def look() -> list[Part]:
            if out is None:
                return []
            _require_space(out, plans.values(), images, record["settings"]["quantile"])
            held.enter_context(_writer(out, shard))
            if shard is None:
                remove_unfinished(out)
            require_writable(out)
            if not resume:
                remove_parts(out, None if shard is None else whole)
            return find_parts(out, record, whole)

        parts = ranks.once(look)
        left = missing(whole, [part.span for part in parts])
        todo = portion(left, batch_size, ranks.rank, ranks.size)
        yield Checkpoints(out, record, plans, shard, every, todo, parts if ranks.rank == 0 else [])


@contextmanager
def _writer(out: Path, shard: Shard | None) -> Iterator[None]:
    """Be the only writer of a run's folder, or of a shard in it if nobody is writing the whole run."""
    if shard is None:
        with only_writer(out):
            require_no_shards(out)
            yield
        return
    with only_writer(out / PARTS, ".shard-{}-of-{}.lock".format(*shard)):
        require_unheld(out)
        yield


def require_no_shards(out: Path) -> None:
    """Raise InUse if a shard of the run is being written."""
    for lock in (out / PARTS).glob(".shard-*.lock"):
        require_unheld(lock.parent, lock.name)


def _require_space(out: Path, plans: Iterable[LayerPlan], images: int, quantile: str | None) -> None:
    """Raise OutputError if not even the values above the thresholds would fit: the least that a result holds."""
    if quantile is None:
        return
    ranks = ((plan.units, tail_rank(quantile, images * plan.grid.size[0] * plan.grid.size[1])) for plan in plans)
    least = sum(4 * units * (rank - 1) for units, rank in ranks)
    free = shutil.disk_usage(out).free
    if free < least:
        raise OutputError(
            f"cannot write {out}: the result will need at least {least / 1e6:.0f} MB, but {free / 1e6:.0f} MB are "
            "free; free some space, choose a different --out, or dissect fewer layers or units"
        )


def checked_shard(shard: Any, out: Path | None) -> Shard | None:
    """Return the requested shard. Raises ArgumentError if it is not valid, or the run has no folder."""
    if shard is None:
        return None
    try:
        index, count = (int(part) for part in shard)
    except (TypeError, ValueError):
        raise ArgumentError(f"shard must be (index from 0, number of shards), such as (3, 16); got {shard!r}") from None
    shard_of(1, 1, index, count)
    if out is None:
        raise ArgumentError("a shard is written to the run's folder: give out=")
    return index, count
