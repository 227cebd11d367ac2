"""One operation as a rule sees it, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..tracks import NotUnderstood, Track, Unknown

if TYPE_CHECKING:
    import torch

Known: TypeAlias = Track | Unknown | None  # None: independent of the image (parameters, constants)


@dataclass(frozen=True)
class Call:
    """Operation ``name``: its arguments by schema name, its results, and what is known of tensors."""

    name: str
    args: dict[str, Any]
    results: list[torch.Tensor]
    find: Callable[[torch.Tensor], Known]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the (first) result."""
        return tuple(self.results[0].shape)

    def track(self, *names: str) -> Track:
        """Return the track of the first of these arguments that the operation has; raise NotUnderstood if unknown."""
        known = self.find(next(self.args[name] for name in names if name in self.args))
        if not isinstance(known, Track):
            raise NotUnderstood(known)
        return known

    def dim(self, name: str, ndim: int) -> int:
        """Return argument ``name`` as a dimension number ≥ 0."""
        return int(self.args[name]) % max(ndim, 1)

    def per_axis(self, name: str, count: int) -> list[int]:
        """Return argument ``name`` (a number, or a list of one or ``count``) as ``count`` numbers."""
        value = self.args[name]
        values = [value] if isinstance(value, int) else list(value)
        return values * count if len(values) == 1 else values


Rule: TypeAlias = Callable[[Call], Track | Sequence[Track]]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for aten operations of these names (overloads and in-place twins included)."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register
