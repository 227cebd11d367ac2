"""The tracer: follows one forward pass, operation by operation, to find where a layer's features are centred."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from ..errors import ShapeError
from .operations import layouts, products, windows
from .operations.branches import meet
from .operations.calls import RULES, Call
from .traced import Traced, describe
from .tracks import NotUnderstood, Track, Unknown, length, source

if TYPE_CHECKING:
    import torch

_RULE_MODULES = (layouts, products, windows)  # imported for the rules they register
_FRESH = ("empty", "zeros", "ones", "full", "rand", "randn", "randint", "bernoulli")


class GridTracer:
    """A context that records where the features of every tensor computed from ``images`` are centred.

    ::

        with GridTracer(images) as tracer:      # images [1, c, h, w]; turns gradients off
            model(images)                       # a forward hook may call tracer.lookup(output)

    The model runs as it is (put it in eval mode first) and is not changed. ``lookup`` may be called inside and
    after the ``with`` block, for any tensor still alive.
    """

    def __init__(self, images: torch.Tensor | None = None) -> None:
        from torch.utils.weak import WeakTensorKeyDictionary

        self._known: MutableMapping[torch.Tensor, Track | Unknown] = WeakTensorKeyDictionary()
        self._mode = _mode_class()(self._follow)
        self._stack = ExitStack()
        self._input = (0, 0)
        if images is not None:
            self.start(images)

    def start(self, images: torch.Tensor) -> None:
        """Use ``images`` [B, c, h, w] as the input: its pixels are the unit of every grid."""
        if images.ndim != 4:
            raise ShapeError(f"expected network input [B, c, h, w], got shape {tuple(images.shape)}")
        self._input = (images.shape[2], images.shape[3])
        self._known[images] = source(images.shape)

    def __enter__(self) -> Self:
        import torch

        self._stack.enter_context(torch.no_grad())
        self._stack.enter_context(self._mode)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def lookup(self, tensor: torch.Tensor) -> Traced | Unknown:
        """Return where the features of ``tensor`` [B, U, H, W], [B, H, W, U], [B, T, D] or [B, U] are centred."""
        known = self._known.get(tensor)
        if known is None:
            return Unknown("", "it is not computed from the input by operations that can be followed")
        return known if isinstance(known, Unknown) else describe(known, self._input)

    def _follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and record what is known of its results."""
        import torch

        if not hasattr(func, "_schema"):  # a higher-order operator
            result = func(*args, **kwargs)
            if any(t in self._known for t in _tensors(args)):
                self._known.update(dict.fromkeys(_tensors(result), Unknown(str(func))))
            return result
        full = func._schema.name
        name = full.removeprefix("aten::")
        name = name if name in RULES else name.removesuffix("_")
        elementwise = torch.Tag.pointwise in func.tags
        if name not in RULES and not elementwise:
            with self._mode:  # composite operations, which inference mode does not split: follow their parts
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        schema = func._schema.arguments
        bound = {a.name: a.default_value for a in schema if a.has_default_value()}
        bound |= {a.name: value for a, value in zip(schema, args, strict=False)} | kwargs
        operands = [t for value in bound.values() for t in _tensors(value)]
        results = list(_tensors(result))
        if not results or not any(t in self._known for t in operands):
            return result
        call = Call(name, bound, results, self._known.get)
        if schema and schema[0].alias_info is not None and schema[0].alias_info.is_write:
            self._write(call, operands, full, elementwise)
        elif not name.startswith("new_") and not (name.endswith("_like") and name.startswith(_FRESH)):
            for tensor, known in zip(results, self._infer(call, operands, full, elementwise), strict=True):
                self._known[tensor] = known
        return result

    def _infer(self, call: Call, operands: list[torch.Tensor], op: str, elementwise: bool) -> list[Track | Unknown]:
        """Return what is known of each result."""
        try:
            if call.name in RULES:
                found = RULES[call.name](call)
            elif elementwise:
                found = products.elementwise(call, operands)
            else:
                found = products.anything(call, operands)
        except NotUnderstood as outcome:
            unknown = Unknown(op, kind="order" if outcome.reordered else "")
            return [outcome.cause or unknown] * len(call.results)
        except (LookupError, TypeError, ValueError, ArithmeticError, StopIteration):
            # An operation whose arguments differ from the versions known here.
            return [Unknown(op)] * len(call.results)
        each = [found] * len(call.results) if isinstance(found, Track) else list(found)
        return [
            known if tuple(map(length, known.dims)) == tuple(tensor.shape) else Unknown(op)
            for known, tensor in zip(each, call.results, strict=True)
        ]

    def _write(self, call: Call, operands: list[torch.Tensor], op: str, elementwise: bool) -> None:
        """Update what is known of the tensor that an in-place operation wrote to and, if it is a view, of its base."""
        target = call.results[0]
        before = self._known.get(target)
        filled = elementwise or call.name in ("copy_", "fill", "zero") or call.name not in RULES
        if filled and isinstance(before, Track) and not any(t in self._known for t in operands if t is not target):
            return  # filled, scaled or overwritten by constants: everything stays where it was
        (known, *_) = self._infer(call, operands, op, elementwise)
        self._known[target] = known
        base = target._base
        if base is None or known == before:
            return
        held, share = self._known.get(base), target.numel() / base.numel()
        whole = known if isinstance(known, Unknown) else _around(known, target, base) or Unknown(op)
        if isinstance(held, Unknown):
            whole = held
        elif isinstance(held, Track) and isinstance(whole, Track):
            if _aligned(held, whole):
                whole = meet([held, whole], base.shape)
            elif share < 0.5:  # a border that wraps around, say: the bulk stays where it is
                whole = held
            else:  # two places at once: halves exchanged, say
                whole = Unknown(op, kind="order")
        self._known[base] = whole


def _around(known: Track, view: torch.Tensor, base: torch.Tensor) -> Track | None:
    """Return the track of ``base`` after ``known`` was written to its block ``view``; None if not a plain block."""
    if view.ndim != base.ndim or view.stride() != base.stride():
        return None
    strides = [int(stride) for stride in base.stride()]
    rest = int(view.storage_offset()) - int(base.storage_offset())
    try:
        for d in sorted(range(base.ndim), key=lambda d: -strides[d]):
            start, rest = divmod(rest, strides[d]) if base.shape[d] > 1 else (0, rest)
            known = known.resample(d, base.shape[d], 1, -start, 0)
    except (NotUnderstood, ZeroDivisionError):
        return None
    return known


def _aligned(a: Track, b: Track) -> bool:
    return a.dims == b.dims and all(
        (p.stride, p.offset) == (q.stride, q.offset) for p, q in zip(a.axes, b.axes, strict=True)
    )


def trace_grids(
    model: torch.nn.Module,
    layers: Mapping[str, torch.nn.Module],
    example: torch.Tensor,  # [1, c, h, w]
    run: Callable[[torch.Tensor], object] | None = None,
) -> dict[str, Traced | Unknown]:
    """Trace the grids of several layers in one forward pass of ``run`` (default: the model) on ``example``.

    ``layers``: name → module. A name "layer:key" means entry ``key`` of a dict, list or tuple output. A layer
    that did not run, or ran twice on different grids, is Unknown. Hooks are removed in any case.
    """
    tracer, found = GridTracer(example), dict[str, Traced | Unknown]()

    def hook(name: str) -> Callable[..., None]:
        def record(module: object, args: object, output: object) -> None:
            grid = _entry(tracer, name, output)
            first = found.setdefault(name, grid)
            if isinstance(first, Traced) and isinstance(grid, Traced) and replace(first, field=grid.field) == grid:
                found[name] = first if first.field > grid.field else grid
            elif first != grid:
                found[name] = Unknown("", "the layer runs more than once, on different grids")

        return record

    with ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        with tracer:
            (run or model)(example)
    return {name: found.get(name, Unknown("", "the layer did not run")) for name in layers}


def _entry(tracer: GridTracer, name: str, output: Any) -> Traced | Unknown:
    import torch

    _, colon, key = name.partition(":")
    if colon:
        output = output[key] if isinstance(output, Mapping) else output[int(key)]
    if not isinstance(output, torch.Tensor):
        return Unknown("", f"its output is a {type(output).__name__}, not a tensor")
    return tracer.lookup(output)


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """Yield the tensors in an argument or result."""
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


@functools.cache
def _mode_class() -> Any:
    """Return the class of the dispatch mode, defined when torch is first needed."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        supports_higher_order_operators = True

        def __init__(self, follow: Callable[..., Any]) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.follow = follow

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            return self.follow(func, args, kwargs or {})

    # torch keeps its compiler away from dispatch modes, and imports all of it (a second or more) to do so. Nothing is
    # compiled here, so the plain function is put where torch looks for the guarded one.
    plain = getattr(Mode.__torch_dispatch__, "__wrapped__", None)
    if plain is not None:
        plain.__dynamo_disable = plain
    return Mode
