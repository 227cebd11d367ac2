"""Layouts: which axes of a layer's output are units, rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from .tracks import TOKENS, Part, Track, Y, length, places

if TYPE_CHECKING:
    from torch import Tensor

Piece: TypeAlias = tuple[str, int, int]  # "C" (units), "H" (rows) or "W" (columns); step along it; size


@dataclass(frozen=True)
class Layout:
    """How the output of a layer is cut into maps [B, U, H, W]; factors of size 1 are left out.

    size     (U, H, W) of the maps
    shape    of the output, without the batch
    cuts     (dimension, first, count): what is kept of a dimension with class or register tokens
    factors  sizes of the pieces into which the dimensions are split, in their order
    order    of the factors in the maps: units, rows, columns
    batch    the dimension of the output that is the batch; the others follow it in the maps' numbering
    letters  of the output's dimensions, as in Tokens: T tokens, H rows, W columns, C or D units

    >>> from netdissect_fast.geometry.layout import Layout
    >>> Layout.of("BHWC", (56, 56, 96)).size
    (96, 56, 56)
    >>> Layout.of("BTD", (197, 768), (14, 14), before=1).cuts
    ((1, 1, 196),)
    """

    size: tuple[int, int, int]
    shape: tuple[int, ...]
    cuts: tuple[tuple[int, int, int], ...]
    factors: tuple[int, ...]
    order: tuple[int, ...]
    batch: int = 0
    letters: str = field(default="", compare=False)

    @classmethod
    def of(cls, letters: str, shape: Sequence[int], grid: tuple[int, int] = (1, 1), before: int = 0) -> Layout:
        """Return the layout that ``letters`` state for an output of ``shape``, which does not count the batch.

        ``grid``: rows and columns of the tokens T, laid out row by row after ``before`` others.
        """
        pieces: list[list[Piece]] = []
        cuts = []
        for d, (letter, size) in enumerate(zip(letters.replace("B", ""), shape, strict=True), 1):
            if letter == "T":
                pieces.append([("H", 1, grid[0]), ("W", 1, grid[1])])
                cuts += [(d, before, prod(grid))] if prod(grid) < size else []
            else:
                pieces.append([(letter if letter in "HW" else "C", 1, size)])
        return cls._of_pieces(shape, pieces, cuts, letters)

    @classmethod
    def traced(cls, known: Track, pure: Sequence[int]) -> Layout | None:
        """Return the layout of a tensor [B, ..] whose dimensions ``pure`` run along the image; None if unclear."""
        dims, batch = known.dims, 0
        if len(dims) < 2:
            return None
        if places(dims[0]):  # tokens first: the batch, of one image, is the next dimension
            if len(dims) != 3 or length(dims[1]) > 1:
                return None
            batch = 1
        pieces: list[list[Piece]] = []
        cuts, letters = [], ""
        rest = [d for d in range(len(dims)) if d != batch]
        for number, d in enumerate(rest, 1):
            dim = dims[d] if d in pure else ()
            if dim and dim[0].axis == TOKENS:
                if len(dim) > 1:
                    return None
                cuts.append((number, dim[0].before, length(dim[0].inner)))
                dim = dim[0].inner
                letters += "T"
            else:
                letters += "C" if not dim else "T" if len(dim) > 1 else "HW"[dim[0].axis != Y]
            pieces.append([_piece(part) for part in dim] or [("C", 1, length(dims[d]))])
        letters = letters.replace("C", "D") if "T" in letters else letters
        shape = [length(dims[d]) for d in rest]
        return cls._of_pieces(shape, pieces, cuts, letters[:batch] + "B" + letters[batch:], batch)

    @classmethod
    def _of_pieces(
        cls,
        shape: Sequence[int],
        pieces: Sequence[Sequence[Piece]],
        cuts: Sequence[tuple[int, int, int]],
        letters: str,
        batch: int | None = None,
    ) -> Layout:
        flat = [piece for dim in pieces for piece in dim if piece[2] != 1]
        # Rows that are split (windows, then rows within them) come back in order: the largest step is outermost.
        outer = [("CHW".index(letter), -step if letter != "C" else 0) for letter, step, _ in flat]
        units, rows, columns = (prod(size for letter, _, size in flat if letter == group) for group in "CHW")
        return cls(
            (units, rows, columns),
            tuple(shape),
            tuple(cuts),
            tuple(size for _, _, size in flat),
            tuple(sorted(range(len(flat)), key=outer.__getitem__)),
            letters.index("B") if batch is None else batch,
            letters,
        )

    @property
    def before(self) -> int:
        """How many tokens come before those on the image."""
        return sum(first for _, first, _ in self.cuts)

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether an output of ``shape``, batch included, has the shape that this layout cuts."""
        return (*shape[: self.batch], *shape[self.batch + 1 :]) == self.shape and len(shape) > self.batch

    def maps(self, output: Tensor) -> Tensor:
        """View ``output`` as maps [B, U, H, W]; tokens in windows are copied."""
        output = output.movedim(self.batch, 0) if self.batch else output
        for d, first, count in self.cuts:
            output = output.narrow(d, first, count)
        if self.order == tuple(range(len(self.order))) and tuple(output.shape[1:]) == self.size:
            return output
        split = output.reshape(len(output), *self.factors)
        return split.permute(0, *(1 + factor for factor in self.order)).reshape(len(output), *self.size)


def _piece(part: Part) -> Piece:
    return "HW"[part.axis != Y], part.step, part.size
