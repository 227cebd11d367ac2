"""Instructions that only touch registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .text import B32, FLOAT, PRED, SIGNED, U32, U64, UNSIGNED, Instruction, Pair, PtxError, Type, Vector

if TYPE_CHECKING:
    from .machine import Machine

Values = np.ndarray


def flushed(values: Values) -> Values:
    """float32 with subnormals as zeros of their sign."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    tiny = bits & np.uint32(0x7F800000) == 0
    return np.where(tiny, bits & np.uint32(0x80000000), bits).astype(np.uint32).view(np.float32)


def fused(a: Values, b: Values, c: Values) -> Values:
    """float32 a·b + c rounded once: the product is exact in float64, the sum is rounded to odd there, then rounded."""
    a, b, c = (np.asarray(v, np.float32).astype(np.float64) for v in (a, b, c))
    product = a * b
    total = product + c
    part = total - product
    rest = (product - (total - part)) + (c - part)
    bits = np.ascontiguousarray(total).view(np.int64)
    inexact = (rest != 0) & (bits & 1 == 0) & np.isfinite(total)
    odd = np.where(inexact, np.where((rest > 0) == (total > 0), bits + 1, bits - 1), bits)
    return odd.view(np.float64).astype(np.float32)


class _Reader:
    """Operands of an instruction in its type, flushed where .ftz asks for it."""

    def __init__(self, m: Machine, ins: Instruction) -> None:
        self.m, self.ins = m, ins
        self.flush = "ftz" in ins.modifiers

    def __call__(self, position: int, type_: Type | None = None) -> Values:
        type_ = type_ or self.ins.type
        values = np.asarray(self.m.read(self.ins.operands[position], type_))
        return flushed(values) if self.flush and type_.dtype is np.float32 else values

    def result(self, values: Values, type_: Type | None = None) -> None:
        type_ = type_ or self.ins.type
        if self.flush and type_.dtype is np.float32:
            values = flushed(values)
        self.m.write(self.ins.operands[0], values, type_)


def _two(function: Callable[[Values, Values], Values], floats: Callable | None = None) -> Callable:
    """An instruction with two operands; another function for floats where given."""

    def run(m: Machine, ins: Instruction) -> None:
        read = _Reader(m, ins)
        if "sat" in ins.modifiers or "cc" in ins.modifiers:
            raise ins.unknown()
        chosen = floats if floats is not None and ins.type.kind == "f" else function
        read.result(chosen(read(1), read(2)))

    return run


def _one(function: Callable[[Values], Values]) -> Callable:
    def run(m: Machine, ins: Instruction) -> None:
        read = _Reader(m, ins)
        read.result(function(read(1)))

    return run


def _integer_product(ins: Instruction, a: Values, b: Values) -> tuple[Values, Type]:
    """The product that .lo, .hi or .wide asks for, and its type."""
    kind, bits = ins.type.kind, ins.type.bits
    wide = SIGNED if kind == "s" else UNSIGNED
    if "wide" in ins.modifiers:
        double = Type(kind, 2 * bits)
        return a.astype(wide[2 * bits]) * b.astype(wide[2 * bits]), double
    if "hi" in ins.modifiers:
        if bits == 64:
            exact = [(int(x) * int(y) >> 64) & (2**64 - 1) for x, y in np.broadcast(a, b)]
            return np.array(exact, np.uint64).view(wide[64]), ins.type
        return (a.astype(wide[64]) * b.astype(wide[64]) >> bits).astype(wide[bits]), ins.type
    return (a * b).astype(wide[bits]), ins.type


def mul(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    if ins.type.kind == "f":
        read.result(read(1) * read(2))
    else:
        read.result(*_integer_product(ins, read(1), read(2)))


def mad(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    if ins.type.kind == "f":
        return fma(m, ins)
    product, type_ = _integer_product(ins, read(1), read(2))
    return read.result((product + read(3, type_)).astype(type_.dtype), type_)


def fma(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    if ins.type.dtype is not np.float32 or "rn" not in ins.modifiers:
        raise ins.unknown()
    read.result(fused(read(1), read(2), read(3)))


def _divided(m: Machine, ins: Instruction, remainder: bool) -> None:
    read = _Reader(m, ins)
    a, b = read(1), read(2)
    if ins.type.kind == "f":
        if remainder or "rn" not in ins.modifiers:
            raise ins.unknown()
        return read.result(a / b)
    if (b == 0).any():
        raise PtxError(f"division by zero: {ins.text}")
    rest = np.fmod(a, b)
    return read.result(rest if remainder else (a - rest) // b)


def _shift(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    bits, a, by = ins.type.bits, read(1), read(2, U32).astype(np.int64)
    right = ins.opcode == "shr"
    within = np.minimum(by, bits - 1).astype(ins.type.dtype)
    result = np.right_shift(a, within) if right else np.left_shift(a, within)
    if not (right and ins.type.kind == "s"):
        result = np.where(by >= bits, ins.type.dtype(0), result)
    read.result(result)


def shf(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    low, high, by = read(1, U32), read(2, U32), read(3, U32).astype(np.uint64)
    by = by & np.uint64(31) if "wrap" in ins.modifiers else np.minimum(by, np.uint64(32))
    both = high.astype(np.uint64) << np.uint64(32) | low
    read.result((both << by >> np.uint64(32) if "l" in ins.modifiers else both >> by).astype(np.uint32), U32)


def lop3(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    a, b, c, table = read(1, B32), read(2, B32), read(3, B32), int(read(4, B32))
    result = np.zeros(np.broadcast(a, b, c).shape, np.uint32)
    for row in range(8):
        if table >> row & 1:
            result = result | ((a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c))
    read.result(result, B32)


def _field(read: _Reader, value: int) -> tuple[Values, Values, Values]:
    """Position and mask (in place) of a bit field, and the operand at ``value`` as uint64."""
    position, length = (np.minimum(read(value + i, U32) & np.uint32(255), 63).astype(np.uint64) for i in (1, 2))
    return read(value, Type("u", read.ins.type.bits)).astype(np.uint64), position, (np.uint64(1) << length) - 1


def bfe(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    if ins.type.kind == "s":
        raise ins.unknown()
    value, position, mask = _field(read, 1)
    read.result((value >> position & mask).astype(ins.type.dtype))


def bfi(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    into, position, mask = _field(read, 2)
    field = read(1, Type("u", ins.type.bits)).astype(np.uint64)
    read.result((into & ~(mask << position) | (field & mask) << position).astype(ins.type.dtype))


def prmt(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    if len(ins.modifiers) > 1:
        raise ins.unknown()
    both = read(2, B32).astype(np.uint64) << np.uint64(32) | read(1, B32)
    selector = read(3, B32)
    result = np.zeros(np.broadcast(both, selector).shape, np.uint64)
    for i in range(4):
        choice = selector >> np.uint32(4 * i) & np.uint32(15)
        byte = both >> ((choice & np.uint32(7)).astype(np.uint64) * np.uint64(8)) & np.uint64(255)
        sign = np.where(byte & np.uint64(128), np.uint64(255), np.uint64(0))
        result |= np.where(choice & np.uint32(8), sign, byte) << np.uint64(8 * i)
    read.result(result.astype(np.uint32), B32)


def _leading_zeros(values: Values, bits: int) -> Values:
    wide, result = values.astype(np.uint64), np.full(values.shape, bits, np.uint32)
    for bit in range(bits):
        result = np.where(wide >> np.uint64(bit) != 0, np.uint32(bits - 1 - bit), result)
    return result


def _bits(m: Machine, ins: Instruction) -> None:
    """popc, clz, bfind, brev."""
    read, bits = _Reader(m, ins), ins.type.bits
    values = read(1)
    if ins.opcode == "bfind" and ins.type.kind == "s":
        values = np.where(values < 0, ~values, values)
    values = values.view(UNSIGNED[bits])
    if ins.opcode == "popc":
        return read.result(np.bitwise_count(values).astype(np.uint32), U32)
    if ins.opcode == "brev":
        planes = np.unpackbits(values.reshape(-1, 1).byteswap().view(np.uint8), axis=1)
        return read.result(np.packbits(planes[:, ::-1], axis=1).view(UNSIGNED[bits]).byteswap().reshape(values.shape))
    zeros = _leading_zeros(values, bits)
    if ins.opcode == "clz":
        return read.result(zeros, U32)
    found = zeros if "shiftamt" in ins.modifiers else np.uint32(bits - 1) - zeros
    return read.result(np.where(zeros == bits, np.uint32(0xFFFFFFFF), found), U32)


def selp(m: Machine, ins: Instruction) -> None:
    m.write(ins.operands[0], np.where(m.read(ins.operands[3], PRED), m.read(ins.operands[1], ins.type),
                                      m.read(ins.operands[2], ins.type)), ins.type)  # fmt: skip


def mov(m: Machine, ins: Instruction) -> None:
    target, source = ins.operands
    if isinstance(source, Vector):
        part = Type("b", ins.type.bits // len(source.elements))
        packed = np.zeros(len(m.ids), np.uint64)
        for i, element in enumerate(source.elements):
            packed |= np.asarray(m.read(element, part)).astype(np.uint64) << np.uint64(part.bits * i)
        m.write(target, packed.astype(UNSIGNED[ins.type.bits]), ins.type)
    elif isinstance(target, Vector):
        part = Type("b", ins.type.bits // len(target.elements))
        value = np.asarray(m.read(source, U64 if ins.type.bits == 64 else B32)).astype(np.uint64)
        for i, element in enumerate(target.elements):
            m.write(element, (value >> np.uint64(part.bits * i)).astype(UNSIGNED[part.bits]), part)
    else:
        m.write(target, m.read(source, ins.type), ins.type)


def cvta(m: Machine, ins: Instruction) -> None:
    from .memory import OFFSET_MASK, SHARED, WINDOW_BITS

    address = np.asarray(m.read(ins.operands[1], U64))
    space = ins.one_of("shared", "global", "param")
    if not space:
        raise ins.unknown()
    if space == "shared":
        address = address & OFFSET_MASK if "to" in ins.modifiers else address | np.uint64(SHARED << WINDOW_BITS)
    m.write(ins.operands[0], address, U64)


COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
               "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater,
               "hs": np.greater_equal}  # fmt: skip


def setp(m: Machine, ins: Instruction) -> None:
    read = _Reader(m, ins)
    a, b = read(1), read(2)
    name = ins.modifiers[0]
    unordered = (np.isnan(a) | np.isnan(b)) if ins.type.kind == "f" else np.zeros((), bool)
    if name in ("num", "nan"):
        holds = unordered if name == "nan" else ~unordered
    elif name in COMPARISONS:
        holds = COMPARISONS[name](a, b) & ~unordered
    else:
        holds = COMPARISONS[name[:2]](a, b) | unordered  # ltu, geu, …
    other = ~holds
    if len(ins.operands) > 3:
        combine = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[ins.modifiers[1]]
        with_it = m.read(ins.operands[3], PRED)
        holds, other = combine(holds, with_it), combine(other, with_it)
    target = ins.operands[0]
    m.write(target.first if isinstance(target, Pair) else target, holds, PRED)
    if isinstance(target, Pair):
        m.write(target.second, other, PRED)


ROUND = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


def cvt(m: Machine, ins: Instruction) -> None:
    to, of = ins.types[:2]
    read = _Reader(m, ins)
    values = read(1, of)
    rounding = ins.one_of(*ROUND)
    if "sat" in ins.modifiers:
        raise ins.unknown()
    if to.kind == "f":
        if rounding:
            values = ROUND[rounding](values)
        elif (of.kind != "f" or to.bits < of.bits) and "rn" not in ins.modifiers:
            raise ins.unknown()
        values = values.astype(FLOAT[to.bits])
    elif of.kind == "f":
        whole = ROUND[rounding](values.astype(np.float64))
        limits = np.iinfo(to.dtype)
        if to.bits == 64:
            raise ins.unknown()
        values = np.clip(np.where(np.isnan(whole), 0, whole), limits.min, limits.max).astype(to.dtype)
    else:
        values = values.astype(to.dtype)
    read.result(values, to)


OPCODES: dict[str, Callable[[Machine, Instruction], None]] = {
    "add": _two(np.add), "sub": _two(np.subtract), "min": _two(np.minimum, np.fmin), "max": _two(np.maximum, np.fmax),
    "and": _two(np.bitwise_and), "or": _two(np.bitwise_or), "xor": _two(np.bitwise_xor),
    "mul": mul, "mad": mad, "fma": fma, "neg": _one(np.negative), "abs": _one(np.abs), "not": _one(np.invert),
    "div": lambda m, ins: _divided(m, ins, False), "rem": lambda m, ins: _divided(m, ins, True),
    "shl": _shift, "shr": _shift, "shf": shf, "lop3": lop3, "bfe": bfe, "bfi": bfi, "prmt": prmt,
    "popc": _bits, "clz": _bits, "bfind": _bits, "brev": _bits,
    "selp": selp, "mov": mov, "cvta": cvta, "setp": setp, "cvt": cvt,
    "membar": lambda m, ins: None, "fence": lambda m, ins: None,
}  # fmt: skip
