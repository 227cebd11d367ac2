"""Races: two threads touch a byte, at least one writes it, not both by atomics, and nothing orders them.

Threads of a block are ordered by its barriers, lanes of a warp by bar.warp.sync also; blocks by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NOBODY, MANY = -1, -2


@dataclass
class When:
    """Who acts now, one entry a thread: its number, warp, block, and how many barriers those have passed."""

    thread: np.ndarray
    warp: np.ndarray
    block: np.ndarray
    barriers: np.ndarray
    warp_syncs: np.ndarray

    def each(self, times: int) -> When:
        """Every entry several times."""
        fields = (self.thread, self.warp, self.block, self.barriers, self.warp_syncs)
        return When(*(np.repeat(values, times) for values in fields))


class Log:
    """Who touched each byte last; MANY where several threads (warps, blocks) did that nothing orders."""

    def __init__(self, size: int) -> None:
        self.thread = np.full(size, NOBODY, np.int32)
        self.warp = np.full(size, NOBODY, np.int32)
        self.block = np.full(size, NOBODY, np.int32)
        self.barriers = np.zeros(size, np.int32)
        self.warp_syncs = np.zeros(size, np.int32)
        self.atomic = np.zeros(size, bool)

    def concurrent(self, at: np.ndarray, when: When) -> np.ndarray:
        """Where the last to touch a byte is not ordered before ``when`` (it may be the same thread)."""
        same_warp = (self.warp[at] == when.warp) & (self.warp_syncs[at] != when.warp_syncs)
        same_block = (self.block[at] == when.block) & ((self.barriers[at] != when.barriers) | same_warp)
        return (self.thread[at] != NOBODY) & ~same_block

    def conflicts(self, at: np.ndarray, when: When, atomic: bool) -> np.ndarray:
        """Where another thread touched a byte and nothing orders it before ``when``."""
        other = self.thread[at] != when.thread
        return other & self.concurrent(at, when) & ~(self.atomic[at] & atomic)

    def record(self, at: np.ndarray, when: When, atomic: bool) -> None:
        """These threads touch these bytes; what was touched before and is not ordered is remembered as MANY."""
        before = self.concurrent(at, when)
        for name in ("thread", "warp", "block"):
            log, now = getattr(self, name), getattr(when, name)
            differs = before & (log[at] != now)
            log[at] = now
            differs |= log[at] != now  # another of these threads touches the same byte
            log[at[differs]] = MANY
        self.barriers[at], self.warp_syncs[at], self.atomic[at] = when.barriers, when.warp_syncs, atomic


class Watch:
    """The reads and the writes of one piece of memory."""

    def __init__(self, size: int) -> None:
        self.reads, self.writes = Log(size), Log(size)

    def check(self, at: np.ndarray, when: When, kind: str) -> tuple[int, int] | None:
        """A race with what happened before, as (position in ``at``, the other thread), else None; then record.

        kind: "read", "write" or "atomic".
        """
        atomic = kind == "atomic"
        logs = (self.writes,) if kind == "read" else (self.writes, self.reads)
        for log in logs:
            bad = log.conflicts(at, when, atomic)
            if bad.any():
                position = int(np.flatnonzero(bad)[0])
                return position, int(log.thread[at[position]])
        (self.reads if kind == "read" else self.writes).record(at, when, atomic)
        return None
