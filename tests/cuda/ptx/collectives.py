"""Votes, shuffles and barriers: threads wait until all are there that must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .text import B32, PRED, U32, Immediate, Instruction, Operand, Pair, PtxError, Type

if TYPE_CHECKING:
    from .machine import Machine

RUNNING, IN_WARP, AT_BARRIER = 0, 1, 2


def _broadcast(m: Machine, operand: Operand, type_: Type) -> np.ndarray:
    return np.broadcast_to(m.read(operand, type_), (len(m.ids),))


def arrive(m: Machine, ins: Instruction, place: int) -> None:
    """The selected threads reach a collective instruction."""
    ids = m.ids
    m.pc[ids] = place
    if ins.opcode in ("bar", "barrier") and "warp" not in ins.modifiers:
        reduces = "red" in ins.modifiers
        barrier = ins.operands[1 if reduces else 0]
        if barrier != Immediate("0") or len(ins.operands) != (3 if reduces else 1):
            raise ins.unknown()
        if reduces:
            m.brought[ids] = _broadcast(m, ins.operands[2], PRED)
        m.wait[ids] = AT_BARRIER
        release_barriers(m)
        return
    if "sync" not in ins.modifiers:
        raise ins.unknown()
    mask = ins.operands[-1]
    if ins.opcode == "vote":
        m.brought[ids] = _broadcast(m, ins.operands[1], PRED)
    elif ins.opcode == "shfl":
        m.brought[ids] = _broadcast(m, ins.operands[1], B32)
        m.shuffle_by[ids] = _broadcast(m, ins.operands[2], U32)
        m.shuffle_in[ids] = _broadcast(m, ins.operands[3], U32)
    elif ins.opcode != "bar":
        raise ins.unknown()
    m.mask[ids] = _broadcast(m, mask, U32)
    if (m.mask[ids] >> m.lane[ids].astype(np.uint32) & np.uint32(1) == 0).any():
        raise PtxError(f"lane not in its own mask: {ins.text}")
    m.wait[ids] = IN_WARP
    complete(m, place)


def warp_bits(m: Machine, chosen: np.ndarray) -> np.ndarray:
    """bool of every thread → uint32 [warps]."""
    bits: np.ndarray = (chosen * (np.uint32(1) << m.lane.astype(np.uint32))).reshape(-1, 32).sum(1, dtype=np.uint32)
    return bits


def complete(m: Machine, place: int) -> None:
    """Let go on who waits at ``place`` and whose mask is all there (lanes that have exited are not waited for)."""
    ins = m.kernel.code[place]
    here = m.live & (m.wait == IN_WARP) & (m.pc == place)
    arrived, alive = warp_bits(m, here), warp_bits(m, m.live)
    waiting = np.flatnonzero(here)
    needed = m.mask[waiting] & alive[waiting // 32]
    go = waiting[(needed & ~arrived[waiting // 32]) == 0]
    if not len(go):
        return
    mask, warp = m.mask[go], go // 32
    members = mask & alive[warp]
    for lane in range(32):
        member = (members >> np.uint32(lane) & np.uint32(1)).astype(bool)
        if (member & (m.mask[warp * 32 + lane] != mask)).any():
            raise PtxError(f"lanes of one mask name different masks: {ins.text}")
    m.select(go)
    if ins.opcode == "vote":
        ballot = warp_bits(m, here & (m.brought != 0))[warp] & mask
        if "ballot" in ins.modifiers:
            m.write(ins.operands[0], ballot, B32)
        else:
            mode = ins.one_of("any", "all", "uni")
            result = {"any": ballot != 0, "all": ballot == members, "uni": (ballot == 0) | (ballot == members)}[mode]
            m.write(ins.operands[0], result, PRED)
    elif ins.opcode == "shfl":
        _shuffle(m, ins, go, members)
    elif ins.opcode == "bar":
        m.warp_syncs[np.unique(warp)] += 1
    m.wait[go], m.pc[go] = RUNNING, place + 1


def _shuffle(m: Machine, ins: Instruction, go: np.ndarray, members: np.ndarray) -> None:
    lane = m.lane[go]
    by, inside = m.shuffle_by[go].astype(np.int64) & 31, m.shuffle_in[go].astype(np.int64)
    segment, clamp = inside >> 8 & 31, inside & 31
    low = lane & segment
    last = low | (clamp & ~segment & 31)
    mode = ins.one_of("up", "down", "bfly", "idx")
    source = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": low | (by & ~segment & 31)}[mode]
    within = source >= last if mode == "up" else source <= last
    source = np.where(within, source, lane)
    named = (members >> source.astype(np.uint32) & np.uint32(1)).astype(bool)
    if not named.all():
        bad = int(np.flatnonzero(~named)[0])
        raise PtxError(
            f"shuffle from lane {source[bad]}, which is not in the mask or has exited: {ins.text}, {m.name(go[bad])}"
        )
    target = ins.operands[0]
    m.write(target.first if isinstance(target, Pair) else target, m.brought[go // 32 * 32 + source], B32)
    if isinstance(target, Pair):
        m.write(target.second, within, PRED)


def release_barriers(m: Machine) -> None:
    """Let those blocks go on whose living threads are all at the barrier."""
    at = ((m.wait == AT_BARRIER) & m.live).reshape(-1, m.width)
    complete_blocks = at.any(1) & (at.sum(1) == m.live.reshape(at.shape).sum(1))
    for block in np.flatnonzero(complete_blocks):
        ids = np.flatnonzero(at[block]) + block * m.width
        places = np.unique(m.pc[ids])
        if len(places) > 1:
            raise PtxError("threads wait at different barriers: " + "; ".join(m.kernel.code[p].text for p in places))
        place = int(places[0])
        ins = m.kernel.code[place]
        m.barriers[block] += 1
        if "red" in ins.modifiers:
            brought = m.brought[ids] != 0
            m.select(ids)
            if "popc" in ins.modifiers:
                m.write(ins.operands[0], np.uint32(brought.sum()), B32)
            else:
                m.write(ins.operands[0], brought.all() if "and" in ins.modifiers else brought.any(), PRED)
        m.wait[ids], m.pc[ids] = RUNNING, place + 1


def after_exit(m: Machine) -> None:
    """Threads are gone: some need not wait for them any more."""
    for place in np.unique(m.pc[m.live & (m.wait == IN_WARP)]):
        complete(m, int(place))
    release_barriers(m)


OPCODES = ("bar", "barrier", "shfl", "vote")
