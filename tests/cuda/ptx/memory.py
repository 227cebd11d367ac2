"""Loads, stores and atomics. An address is a window (1, 2, …: the launch's buffers; SHARED) and an offset in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .races import Watch
from .text import UNSIGNED, Address, Instruction, PtxError, Register, Symbol, Type, Vector

if TYPE_CHECKING:
    from .machine import Machine

WINDOW_BITS = 40
SHARED = 0x7F
OFFSET_MASK = np.uint64(2**WINDOW_BITS - 1)


@dataclass
class Region:
    """Memory that threads share: a buffer, or the shared memory of all blocks side by side.

    ``written`` says which bytes hold something. ``each``: bytes of one block, 0 for a buffer.
    """

    name: str
    bytes: np.ndarray
    written: np.ndarray | None
    watch: Watch | None
    each: int = 0

    def words(self, bits: int) -> np.ndarray:
        size = bits // 8
        return self.bytes[: len(self.bytes) // size * size].view(UNSIGNED[bits])


def addresses(m: Machine, operand: Address) -> np.ndarray:
    """uint64, one for each selected thread."""
    if isinstance(operand.base, Register):
        base = m.registers[operand.base.name][m.pick].astype(np.uint64)
    else:
        value = m.symbol(operand.base) if isinstance(operand.base, Symbol) else int(operand.base.text, 0)
        base = np.full(len(m.ids), value, np.uint64)
    return base + np.uint64(operand.offset & (2**64 - 1))


def access(m: Machine, ins: Instruction, at: np.ndarray, bits: int, kind: str) -> Iterator[tuple]:
    """The words at these addresses, checked: (all words of a region, indices, which of the selected threads)."""
    size = bits // 8
    if (at & np.uint64(size - 1)).any():
        raise PtxError(f"misaligned: {ins.text}, address {int(at[(at & np.uint64(size - 1)) != 0][0]):#x}")
    space = ins.one_of("global", "shared", "local", "const")
    if space in ("local", "const"):
        raise ins.unknown()
    window = np.full(len(at), SHARED) if space == "shared" else (at >> np.uint64(WINDOW_BITS)).astype(np.int64)
    for number in np.unique(window):
        which = np.flatnonzero(window == number)
        region = m.shared_region if number == SHARED else m.regions.get(int(number))
        if region is None or (number == SHARED and space == "global"):
            raise PtxError(f"wild pointer {int(at[which[0]]):#x}: {ins.text}, {m.name(m.ids[which[0]])}")
        threads = m.ids[which]
        offset = (at[which] & OFFSET_MASK).astype(np.int64)
        limit = region.each or len(region.bytes)
        if (offset + size > limit).any():
            bad = int(np.flatnonzero(offset + size > limit)[0])
            raise PtxError(
                f"out of bounds: byte {offset[bad]} of {limit} of {region.name}: {ins.text}, {m.name(threads[bad])}"
            )
        offset = offset + m.block_of[threads] * region.each
        _check(m, ins, region, threads, offset, size, kind)
        yield region.words(bits), offset // size, which


def _check(
    m: Machine, ins: Instruction, region: Region, threads: np.ndarray, offset: np.ndarray, size: int, kind: str
) -> None:
    """Never written? A race?"""
    m.moved[f"{'shared' if region.each else 'global'} {kind}"] += size * len(threads)
    if region.watch is None and region.written is None:
        return
    each = (offset[:, None] + np.arange(size)).reshape(-1)
    if region.written is not None:
        if kind != "write" and not region.written[each].all():
            bad = int(np.flatnonzero(~region.written[each])[0])
            where = each[bad] % region.each if region.each else each[bad]
            raise PtxError(
                f"uninitialised: byte {where} of {region.name} was never written: "
                f"{ins.text}, {m.name(threads[bad // size])}"
            )
        if kind != "read":
            region.written[each] = True
    if region.watch is not None and (race := region.watch.check(each, m.when(threads).each(size), kind)):
        position, other = race
        where = each[position] % region.each if region.each else each[position]
        raise PtxError(
            f"race: byte {where} of {region.name}: {ins.text}, {m.name(threads[position // size])} "
            f"against {'several threads' if other < 0 else m.name_of_number(other)}"
        )


def _lanes(m: Machine, ins: Instruction, operand: object, at: np.ndarray, type_: Type) -> list:
    """The elements of a vector operand, or the one operand."""
    elements = list(operand.elements) if isinstance(operand, Vector) else [operand]
    if (at & np.uint64(type_.bits // 8 * len(elements) - 1)).any():
        raise PtxError(f"misaligned vector: {ins.text}")
    return elements


def ld(m: Machine, ins: Instruction) -> None:
    target, source = ins.operands
    assert isinstance(source, Address)
    if "param" in ins.modifiers:
        assert isinstance(source.base, Symbol)
        if isinstance(target, Vector) or source.offset:
            raise ins.unknown()
        m.write(target, np.asarray(m.params[source.base.name]), Type("b", ins.type.bits))
        return
    at = addresses(m, source)
    for i, element in enumerate(_lanes(m, ins, target, at, ins.type)):
        got = np.empty(len(at), UNSIGNED[ins.type.bits])
        for words, index, which in access(m, ins, at + np.uint64(i * ins.type.bits // 8), ins.type.bits, "read"):
            got[which] = words[index]
        m.write(element, got.view(ins.type.dtype), ins.type)


def st(m: Machine, ins: Instruction) -> None:
    target, source = ins.operands
    assert isinstance(target, Address)
    at = addresses(m, target)
    as_bits = Type("b", ins.type.bits)
    for i, element in enumerate(_lanes(m, ins, source, at, ins.type)):
        values = np.broadcast_to(m.read(element, as_bits), at.shape)
        for words, index, which in access(m, ins, at + np.uint64(i * as_bits.bits // 8), as_bits.bits, "write"):
            words[index] = values[which]
            if (words[index] != values[which]).any():
                raise PtxError(f"race: threads write different values to one place: {ins.text}")


UPDATES: dict[str, Callable] = {
    "add": lambda old, x, _: old + x,
    "min": lambda old, x, _: min(old, x),
    "max": lambda old, x, _: max(old, x),
    "and": lambda old, x, _: old & x,
    "or": lambda old, x, _: old | x,
    "xor": lambda old, x, _: old ^ x,
    "exch": lambda old, x, _: x,
    "cas": lambda old, expected, x: x if old == expected else old,
}


def atom(m: Machine, ins: Instruction) -> None:
    """Atomics and reductions on integers, thread after thread."""
    target, place, *given = ins.operands if ins.opcode == "atom" else (None, *ins.operands)
    assert isinstance(place, Address)
    if ins.type.kind == "f":
        raise ins.unknown()
    update = UPDATES[ins.one_of(*UPDATES)]
    at = addresses(m, place)
    values = [np.broadcast_to(m.read(operand, ins.type), at.shape) for operand in given]
    before = np.empty(len(at), ins.type.dtype)
    for words, index, which in access(m, ins, at, ins.type.bits, "atomic"):
        typed = words.view(ins.type.dtype)
        for word, thread in zip(index, which, strict=True):
            before[thread] = old = typed[word]
            typed[word] = update(old, values[0][thread], values[-1][thread])
    if target is not None:
        m.write(target, before, ins.type)


OPCODES = {"ld": ld, "ldu": ld, "st": st, "atom": atom, "red": atom}
