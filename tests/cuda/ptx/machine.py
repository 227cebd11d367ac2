"""The machine: threads, registers, and which instruction runs next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from . import collectives
from .arithmetic import OPCODES as ARITHMETIC
from .collectives import RUNNING
from .memory import OPCODES as MEMORY
from .memory import WINDOW_BITS, Region
from .races import Watch, When
from .text import UNSIGNED, Immediate, Kernel, Operand, PtxError, Register, Symbol, Type

EXITS = ("ret", "exit")
THREADS_AT_ONCE = 1 << 14
GARBAGE = 0xCBCBCBCBCBCBCBCB


class Machine:
    """One launch. ``arguments``: NumPy scalars, and regions for pointers.

    After run(): ``executed`` counts thread-instructions by opcode, ``moved`` bytes by space and kind of access.
    """

    def __init__(
        self, kernel: Kernel, grid: int, block: int, shared: int, arguments: list[Region | np.generic], watch: bool
    ) -> None:
        if block > kernel.most_threads:
            raise PtxError(f"{kernel.name}: {block} threads a block, its launch bound is {kernel.most_threads}")
        self.kernel, self.grid, self.block, self.watch = kernel, grid, block, watch
        self.width = -(-block // 32) * 32  # threads of a block, dead ones included
        self.static = -(-kernel.shared_bytes // 16) * 16  # where dynamic shared memory starts
        self.shared_size = self.static + shared
        self.regions: dict[int, Region] = {}
        self.params: dict[str, np.generic] = {}
        for (name, type_), argument in zip(kernel.params, arguments, strict=True):
            if isinstance(argument, Region):
                number = len(self.regions) + 1
                self.regions[number] = argument
                self.params[name] = np.uint64(number << WINDOW_BITS)
            else:
                self.params[name] = argument.view(UNSIGNED[type_.bits])
        self.executed: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.leaders = {0, *kernel.labels.values()}
        for place, ins in enumerate(kernel.code):
            if ins.opcode in ("bra", *EXITS, *collectives.OPCODES):
                self.leaders.add(place + 1)
            elif ins.opcode not in ARITHMETIC and ins.opcode not in MEMORY:
                raise ins.unknown()

    # -------------------------------------------------------------------------------- names, for messages

    def name(self, thread: int) -> str:
        """Of a thread among those that run now."""
        return self.name_of_number(int(self.number[thread]))

    def name_of_number(self, number: int) -> str:
        return f"block {number // self.width} thread {number % self.width}"

    # ------------------------------------------------------------------------------------------- running

    def run(self) -> Machine:
        """Run every block."""
        at_once = max(1, THREADS_AT_ONCE // self.width)
        with np.errstate(all="ignore"):
            for first in range(0, self.grid, at_once):
                self._start(np.arange(first, min(first + at_once, self.grid)))
                self._run_blocks()
        return self

    def _start(self, blocks: np.ndarray) -> None:
        count = len(blocks) * self.width
        self.thread = np.tile(np.arange(self.width), len(blocks))
        self.block_of = np.repeat(np.arange(len(blocks)), self.width)
        self.number = blocks[self.block_of] * self.width + self.thread
        self.lane = self.thread % 32
        self.live = self.thread < self.block
        self.pc = np.zeros(count, np.int64)
        self.wait = np.zeros(count, np.int8)
        self.mask = np.zeros(count, np.uint32)
        self.brought = np.zeros(count, np.uint32)
        self.shuffle_by, self.shuffle_in = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
        self.barriers, self.warp_syncs = np.zeros(len(blocks), np.int32), np.zeros(count // 32, np.int32)
        self.registers = {
            name: np.zeros(count, bool) if type_.kind == "p" else np.full(count, GARBAGE & (2**type_.bits - 1),
                                                                          UNSIGNED[type_.bits])
            for name, type_ in self.kernel.registers.items()
        }  # fmt: skip
        size = len(blocks) * self.shared_size
        self.shared_region = Region("shared memory", np.full(size, 0xCB, np.uint8),
                                    np.zeros(size, bool) if self.watch else None,
                                    Watch(size) if self.watch else None, self.shared_size)  # fmt: skip
        bit = np.uint64(1) << self.lane.astype(np.uint64)
        special = {
            "%tid.x": self.thread, "%ctaid.x": blocks[self.block_of], "%ntid.x": self.block, "%nctaid.x": self.grid,
            "%laneid": self.lane, "%warpid": self.thread // 32,
            "%lanemask_eq": bit, "%lanemask_lt": bit - np.uint64(1), "%lanemask_le": 2 * bit - np.uint64(1),
            "%lanemask_gt": ~(2 * bit - np.uint64(1)), "%lanemask_ge": ~(bit - np.uint64(1)),
            "%tid.y": 0, "%tid.z": 0, "%ctaid.y": 0, "%ctaid.z": 0,
            "%ntid.y": 1, "%ntid.z": 1, "%nctaid.y": 1, "%nctaid.z": 1,
        }  # fmt: skip
        for name, values in special.items():
            self.registers[name] = np.broadcast_to(np.asarray(values).astype(np.uint32), (count,))

    def _run_blocks(self) -> None:
        end = len(self.kernel.code)
        while True:
            runnable = self.live & (self.wait == RUNNING)
            if not runnable.any():
                if not self.live.any():
                    return
                first = int(np.flatnonzero(self.live)[0])
                at = self.kernel.code[self.pc[first]].text
                raise PtxError(f"deadlock: {self.name(first)} waits at {at}; {self.live.sum()} threads live")
            place = int(np.where(runnable, self.pc, end).min())
            self._run_straight(place, np.flatnonzero(runnable & (self.pc == place)))

    def select(self, ids: np.ndarray) -> None:
        """What comes next concerns these threads."""
        self.ids = ids
        self.pick: slice | np.ndarray = slice(None) if len(ids) == len(self.pc) else ids

    def _exit(self, ids: np.ndarray) -> None:
        self.live[ids] = False
        collectives.after_exit(self)

    def _run_straight(self, place: int, ids: np.ndarray) -> None:
        """Run these threads from ``place`` to where they may part or meet others."""
        code = self.kernel.code
        while place < len(code):
            ins = code[place]
            self.executed[ins.opcode] += len(ids)
            self.select(ids)
            chosen = ids
            if ins.guard is not None:
                guard = np.broadcast_to(self.read(ins.guard, Type("p", 1)), (len(ids),))
                chosen = ids[guard]
                self.select(chosen)
            if ins.opcode in EXITS or ins.opcode == "bra" or ins.opcode in collectives.OPCODES:
                self.pc[ids] = place + 1
                if ins.opcode in EXITS:
                    self._exit(chosen)
                elif ins.opcode == "bra":
                    label = ins.operands[0]
                    assert isinstance(label, Symbol)
                    self.pc[chosen] = self.kernel.labels[label.name]
                elif len(chosen):
                    collectives.arrive(self, ins, place)
                return
            if len(chosen):
                (ARITHMETIC.get(ins.opcode) or MEMORY[ins.opcode])(self, ins)
            place += 1
            if place in self.leaders:
                self.pc[ids] = place
                return
        self._exit(ids)

    # ------------------------------------------------------------------------------------------ operands

    def symbol(self, symbol: Symbol) -> int:
        """The address of a shared variable."""
        if symbol.name in self.kernel.dynamic:
            return self.static + symbol.offset
        if symbol.name in self.kernel.shared:
            return self.kernel.shared[symbol.name] + symbol.offset
        raise PtxError(f"not implemented: variable {symbol.name} (constant and global arrays)")

    def read(self, operand: Operand, type_: Type) -> np.ndarray | np.generic:
        """An operand of the selected threads as ``type_``."""
        if isinstance(operand, Immediate):
            return operand.value(type_)
        if isinstance(operand, Symbol):
            return np.array(self.symbol(operand), UNSIGNED[type_.bits]).view(type_.dtype)[()]
        if not isinstance(operand, Register) or operand.name not in self.registers:
            raise PtxError(f"not implemented: operand {operand}")
        values = self.registers[operand.name][self.pick]
        if values.dtype == np.bool_:
            return ~values if operand.negated else values
        if values.itemsize * 8 != type_.bits:
            values = values.astype(UNSIGNED[type_.bits])
        return values.view(type_.dtype)

    def write(self, operand: Operand, values: np.ndarray | np.generic, type_: Type) -> None:
        """Into a register of the selected threads; a wider one gets zeros, or the sign of a signed type."""
        if not isinstance(operand, Register):
            raise PtxError(f"not implemented: result {operand}")
        if operand.name == "_":
            return
        values = np.asarray(values)
        register = self.registers[operand.name]
        if register.dtype == np.bool_:
            register[self.pick] = values
            return
        values = np.asarray(values, type_.dtype if type_.kind != "b" else UNSIGNED[type_.bits])
        if values.dtype.kind == "f":
            values = values.view(UNSIGNED[type_.bits])
        register[self.pick] = values.astype(register.dtype)  # a signed array extends its sign

    def when(self, threads: np.ndarray) -> When:
        """What races are judged by."""
        warp, block = self.number[threads] // 32, self.block_of[threads]
        return When(
            self.number[threads],
            warp,
            self.number[threads] // self.width,
            self.barriers[block],
            self.warp_syncs[threads // 32],
        )


def profile(machine: Machine) -> Mapping[str, int]:
    """Thread-instructions and bytes of a finished launch."""
    return {"instructions": sum(machine.executed.values()), **machine.moved}
