"""The place of a network in a checkpoint: the prefix under which all of its tensors are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")

# inserted into names by torch.compile, activation checkpointing and FSDP
_INSERTED = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"}
_DEEPEST = 32  # parts of a name that may be a prefix


@dataclass(frozen=True)
class Fit:
    """The fit of a checkpoint to a model, if the checkpoint's names begin with ``prefix`` (with its dot, or empty).

    missing    names that the model needs and the checkpoint lacks
    reshaped   names that have another shape in the checkpoint
    """

    prefix: str
    missing: Sequence[str]
    reshaped: Sequence[str]

    @classmethod
    def of(cls, prefix: str, held: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> Fit:
        """Compare the checkpoint's tensors with those that the model needs."""
        missing = [name for name in needed if prefix + name not in held]
        both = {name: held[prefix + name] for name in needed if prefix + name in held}
        reshaped = [n for n, value in both.items() if getattr(needed[n], "shape", value.shape) != value.shape]
        return cls(prefix, missing, reshaped)

    @property
    def complete(self) -> bool:
        """Whether all that the model needs is there."""
        return not self.missing and not self.reshaped

    def __str__(self) -> str:
        """Return the prefix for a message."""
        return repr(self.prefix.removesuffix("."))


def fits(held: Mapping[str, Tensor], needed: Mapping[str, Tensor], asked: str | None) -> list[Fit]:
    """Return the fit under every prefix that holds all names and shapes, else the best one.

    ``asked`` limits them to this prefix, or to those that it is a part of (None: any); the list is empty if there is
    none.
    """
    found = prefixes(held, needed)
    if asked is not None:
        exact = f"{asked.removesuffix('.')}." if asked else ""
        chosen = [exact] if exact in found else [p for p in found if asked and f".{exact}" in f".{p}"]
        if not chosen:
            return []
        found = {prefix: found[prefix] for prefix in chosen}
    named = [Fit.of(prefix, held, needed) for prefix, count in found.items() if count == len(needed)]
    best = next(iter(found), "")
    return [fit for fit in named if fit.complete] or named[:1] or [Fit.of(best, held, needed)]


def prefixes(held: Iterable[str], needed: Collection[str]) -> dict[str, int]:
    """Return every prefix under which the checkpoint has names of the model, with their number, the most first."""
    found: Counter[str] = Counter()
    for name in held:
        rest = name
        for _ in range(_DEEPEST):
            if rest in needed:
                found[name.removesuffix(rest)] += 1
            _, dot, rest = rest.partition(".")
            if not dot:
                break
    return dict(found.most_common())


def plain(values: Mapping[str, T], parallel: bool = False) -> dict[str, T]:
    """Return the same by plain names; unchanged if two names would become one.

    ``parallel``: also without the "module" of DataParallel, which may be around a part, as in ``features.module.0``.
    """
    names = {plain_name(name, {"module"} if parallel else ()): name for name in values}
    return {name: values[old] for name, old in names.items()} if len(names) == len(values) else dict(values)


def plain_name(name: str, more: Collection[str] = ()) -> str:
    """Return a name without the parts that wrappers insert, and without those in ``more``."""
    return ".".join(part for part in name.split(".") if part not in _INSERTED and part not in more)


def shared_part(names: Iterable[str]) -> str:
    """Return the innermost module that all of these tensors are in; empty if that is the model itself."""
    paths = [name.split(".")[:-1] for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def belongs_inside(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Return whether a tensor that the model does not have belongs to one of its ``modules``, by dotted names.

    If so, the checkpoint is of another network: a deeper one, or one that computes more in these modules. Otherwise
    the tensor belongs to something beside them (a loss, a head), or to a module replaced by one without tensors.
    """
    *path, _ = name.split(".")
    there = next(n for n in range(len(path), -1, -1) if ".".join(path[:n]) in modules)
    module = modules[".".join(path[:there])]
    if there or not path:
        deep = there > 0
        return any(True for _ in (*module.parameters(deep), *module.buffers(deep)))
    return path[0].isdecimal() and any(child.isdecimal() for child, _ in module.named_children())
