"""PTX text → kernels: lists of decoded instructions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
FLOAT = {16: np.float16, 32: np.float32, 64: np.float64}


class PtxError(Exception):
    """The program does what is undefined on a GPU, or something that this interpreter does not know."""


@dataclass(frozen=True)
class Type:
    """A type of PTX: kind b, u, s, f or p (predicate) and size."""

    kind: str
    bits: int

    @cached_property
    def dtype(self) -> type:
        if self.kind == "p":
            return np.bool_
        return {"f": FLOAT, "s": SIGNED}.get(self.kind, UNSIGNED)[self.bits]


def type_of(text: str) -> Type:
    """``f32`` → Type."""
    return Type("p", 1) if text == "pred" else Type(text[0], int(text[1:]))


B32, U32, U64, PRED = Type("b", 32), Type("u", 32), Type("u", 64), Type("p", 1)


@dataclass(frozen=True)
class Register:
    """%r1, a special register such as %tid.x, or !%p1."""

    name: str
    negated: bool = False


@dataclass(frozen=True)
class Immediate:
    """A number: its text and, for floats, its type's size."""

    text: str

    def value(self, type_: Type) -> np.generic:
        if type_.kind == "p":
            return np.bool_(int(self.text) != 0)
        if self.text[:2] in ("0f", "0F"):
            bits, size = int(self.text[2:], 16), 32
        elif self.text[:2] in ("0d", "0D"):
            bits, size = int(self.text[2:], 16), 64
        else:
            size = type_.bits
            bits = int(self.text.rstrip("U"), 0) & (2**size - 1)
        return np.array(bits, UNSIGNED[size]).view(type_.dtype)[()]


@dataclass(frozen=True)
class Symbol:
    """A variable, a parameter or a label."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    """[base + offset]."""

    base: Register | Symbol | Immediate
    offset: int


@dataclass(frozen=True)
class Vector:
    """{a, b, …}."""

    elements: tuple[Operand, ...]


@dataclass(frozen=True)
class Pair:
    """a|b: two results."""

    first: Register
    second: Register


Operand = Register | Immediate | Symbol | Address | Vector | Pair


@dataclass
class Instruction:
    """One decoded instruction; ``types`` are the types among its modifiers."""

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Register | None
    text: str
    types: tuple[Type, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.types = tuple(type_of(m) for m in self.modifiers if re.fullmatch(r"pred|[busf](8|16|32|64)", m))

    @property
    def type(self) -> Type:
        """The first type: of the operation, or of what is written."""
        return self.types[0]

    def one_of(self, *modifiers: str) -> str:
        """The first of these modifiers that it has, or ""."""
        return next((m for m in modifiers if m in self.modifiers), "")

    def unknown(self) -> PtxError:
        return PtxError(f"not implemented: {self.text}")


@dataclass
class Kernel:
    """An entry: its parameters (name, type), registers, code, labels, and where its shared variables lie."""

    name: str
    params: list[tuple[str, Type]] = field(default_factory=list)
    most_threads: int = 1024
    registers: dict[str, Type] = field(default_factory=dict)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    shared: dict[str, int] = field(default_factory=dict)  # variable → offset
    shared_bytes: int = 0
    dynamic: set[str] = field(default_factory=set)  # names of the dynamic shared memory


def parse(ptx: str) -> dict[str, Kernel]:
    """Every kernel of a module."""
    ptx = re.sub(r"/\*.*?\*/", "", ptx, flags=re.S)
    ptx = re.sub(r"//[^\n]*", "", ptx)
    dynamic = set(re.findall(r"\.extern\s+\.shared\s+(?:\.align\s+\d+\s+)?\.b8\s+([\w$]+)\[\]\s*;", ptx))
    kernels = {}
    for head in re.finditer(r"\.entry\s+([\w$]+)\s*\(([^)]*)\)([^{]*)\{", ptx):
        depth, end = 1, head.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(ptx[end], 0)
            end += 1
        kernel = Kernel(head[1], dynamic=dynamic)
        for param in filter(None, (p.strip() for p in head[2].split(","))):
            found = re.match(r"\.param\s+\.(\w+)\s+(?:\.ptr\s+(?:\.\w+\s+)*?(?:\.align\s+\d+\s+)?)?([\w$]+)$", param)
            if not found:
                raise PtxError(f"parameter of {head[1]}: {param}")
            kernel.params.append((found[2], type_of(found[1])))
        if limit := re.search(r"\.maxntid\s+(\d+)", head[3]):
            kernel.most_threads = int(limit[1])
        # Shared variables of the module, then those of the body
        for variable in re.finditer(r"^\.shared[^;]*;", ptx[: head.start()], re.M):
            _shared(kernel, variable[0][:-1])
        _body(kernel, ptx[head.end() : end - 1])
        kernels[kernel.name] = kernel
    return kernels


def _shared(kernel: Kernel, statement: str) -> None:
    found = re.match(r"\.shared\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?", statement)
    if not found:
        raise PtxError(statement)
    size = type_of(found[2]).bits // 8
    align = int(found[1] or size)
    start = -(-kernel.shared_bytes // align) * align
    kernel.shared[found[3]] = start
    kernel.shared_bytes = start + int(found[4] or 1) * size


def _statements(body: str) -> list[str]:
    """Statements without their semicolon; ``{`` and ``}`` of scopes; labels with their colon."""
    found, text, depth = [], "", 0
    for character in body:
        if character == "{" and not text.strip():
            found.append("{")
            text = ""
        elif character == "}" and depth == 0:
            found.append("}")
            text = ""
        elif character == ":" and re.fullmatch(r"\s*[\w$]+", text):
            found.append(text.strip() + ":")
            text = ""
        elif character == ";":
            found.append(" ".join(text.split()))
            text = ""
        else:
            depth += {"{": 1, "}": -1}.get(character, 0)
            text += character
    return [statement for statement in found if statement]


def _body(kernel: Kernel, body: str) -> None:
    scopes: list[dict[str, str]] = [{}]  # names in an inner scope → unique names
    for statement in _statements(body):
        if statement == "{":
            scopes.append({})
        elif statement == "}":
            scopes.pop()
        elif statement.endswith(":"):
            kernel.labels[statement[:-1]] = len(kernel.code)
        elif statement.startswith(".reg"):
            _declare(kernel, scopes, statement)
        elif statement.startswith(".shared"):
            _shared(kernel, statement)
        elif not statement.startswith("."):

            def unique(found: re.Match[str]) -> str:
                return next((scope[found[0]] for scope in reversed(scopes) if found[0] in scope), found[0])

            kernel.code.append(decode(re.sub(r"%[\w$]+", unique, statement)))
        elif statement.split()[0] not in (".loc", ".pragma", ".file", ".branchtargets"):
            raise PtxError(f"not implemented: {statement}")


def _declare(kernel: Kernel, scopes: list[dict[str, str]], statement: str) -> None:
    _, kind, names = statement.split(maxsplit=2)
    for name in names.split(","):
        many = re.fullmatch(r"\s*(.+)<(\d+)>\s*", name)
        for one in [f"{many[1]}{i}" for i in range(int(many[2]))] if many else [name.strip()]:
            unique = one if len(scopes) == 1 else f"{one}@{len(kernel.registers)}"
            scopes[-1][one] = unique
            kernel.registers[unique] = type_of(kind[1:])


def decode(text: str) -> Instruction:
    """One instruction."""
    rest, guard = text, None
    if found := re.match(r"@(!?)(%[\w$@]+) (.*)", text):
        guard, rest = Register(found[2], bool(found[1])), found[3]
    head, _, operands = rest.partition(" ")
    opcode, *modifiers = head.split(".")
    pieces = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", operands)
    decoded = tuple(_operand(piece.strip()) for piece in pieces)
    return Instruction(opcode, tuple(modifiers), decoded, guard, text)


def _operand(text: str) -> Operand:
    if text[0] == "{":
        return Vector(tuple(_operand(element.strip()) for element in text[1:-1].split(",")))
    if text[0] == "[":
        found = re.fullmatch(r"\[\s*([%\w$@.]+)\s*(?:\+\s*(-?\d+))?\s*\]", text)
        if not found:
            raise PtxError(f"address {text}")
        base = _operand(found[1])
        assert isinstance(base, (Register, Symbol, Immediate))
        return Address(base, int(found[2] or 0))
    if "|" in text:
        first, second = (Register(part.strip()) for part in text.split("|"))
        return Pair(first, second)
    if text.lstrip("!")[0] == "%" or text == "_":
        return Register(text.lstrip("!"), text[0] == "!")
    if re.fullmatch(r"-?(0x)?[0-9a-fA-F]+U?|0[fFdD][0-9a-fA-F]+", text) and not text[0].isalpha():
        return Immediate(text)
    found = re.fullmatch(r"([\w$]+)(?:\+(\d+))?", text)
    if not found:
        raise PtxError(f"operand {text}")
    return Symbol(found[1], int(found[2] or 0))
