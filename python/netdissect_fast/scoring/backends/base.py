"""The interface of a backend (the kernels keep, count and masks), and what several backends share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...concepts import PackedLabels, unpack
from ...errors import ActivationError
from ...types import Array, BoolArray, Float32Array, Int64Array, Uint64Array
from ..crops import Crops

if TYPE_CHECKING:
    from ...geometry.grids import AxisTable


class NonFiniteError(Exception):
    """A map holds NaN or infinity. Carries image and unit; the caller adds the layer's name."""

    def __init__(self, image: int, unit: int) -> None:
        self.image, self.unit = image, unit
        super().__init__(f"unit {unit}, image {image}")


def nonfinite(layer: str, error: NonFiniteError, image: str) -> ActivationError:
    """Return the error for a NaN or infinite activation, with all names."""
    return ActivationError(
        f"layer {layer!r}, unit {error.unit}, image {image}: an activation is NaN or infinite; "
        "check the preprocessing and the precision (float16 overflows at 65504)"
    )


@dataclass(frozen=True)
class CountJob:
    """The arguments of one call of ``Backend.count``, for N consecutive images.

    crops        of images first_image ≤ i < first_image + N only
    thresholds   float32 [U]
    axes         tables of y and x: label pixel → activations
    map_size     (H, W)
    labels       of those N images, all on one Y×X grid
    present      bool [N, categories]: P
    intersection accumulator [U, C] of I, added to
    unit_area    accumulator [U, categories] of A, added to
    """

    crops: Crops
    first_image: int
    thresholds: Float32Array
    axes: tuple[AxisTable, AxisTable]
    map_size: tuple[int, int]
    labels: PackedLabels
    present: BoolArray
    intersection: Any
    unit_area: Any


class Stage(Protocol):
    """``keep`` for one layer, batch after batch; a device may hold crops back to return many at once."""

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """Do as Backend.keep, but return what is ready: crops of this batch or earlier ones, or none."""
        ...

    def drain(self) -> Crops:
        """Return all crops held back. Raises NonFiniteError for a map that ``keep`` has not reported yet."""
        ...


class Immediate:
    """The Stage of a backend that holds nothing back."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """See Stage."""
        return self._backend.keep(maps, bounds, first_image)

    def drain(self) -> Crops:
        """Return no crops."""
        return Crops.empty()


class OnHost:
    """The shared part of backends whose accumulators are NumPy arrays."""

    def stage(self: Backend) -> Stage:
        """See Backend."""
        return Immediate(self)

    def zeros(self, shape: tuple[int, ...]) -> Int64Array:
        """See Backend."""
        return np.zeros(shape, np.int64)

    def totals(self, accumulator: Int64Array) -> Int64Array:
        """See Backend."""
        return accumulator


class Backend(Protocol):
    """A place to run the kernels keep, count and masks; all backends return the same bits.

    Bounds and thresholds must be flushed (spec 1.3). Accumulators belong to the backend that made them.

    name     as given to ``choose``
    threads  of the kernels on the host
    """

    name: str
    threads: int

    def stage(self) -> Stage:
        """Return a new stage for one layer: ``keep`` with memory, for batch after batch."""
        ...

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """Return an int64 accumulator of zeros for ``count``, where the backend wants it: host or device."""
        ...

    def totals(self, accumulator: Any) -> Int64Array:
        """Return the sums in an accumulator, int64 on the host."""
        ...

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """Return the crops of every map that exceeds its unit's bound somewhere, flushed.

        maps    [B, U, H, W] float32, float16 or bfloat16: a NumPy array or a torch tensor, any strides
        bounds  float32 [U]
        first_image  number of the batch's first image
        Raises NonFiniteError for the first map, in (image, unit) order, with NaN or infinity.
        """
        ...

    def count(self, job: CountJob) -> None:
        """Add the intersections and areas of the masks of the job's crops to its accumulators (spec 1.3 to 1.6)."""
        ...

    def masks(
        self, crops: Crops, thresholds: Float32Array, axes: tuple[AxisTable, AxisTable], map_size: tuple[int, int]
    ) -> Uint64Array:
        """Return M of each crop (spec 1.3), uint64 [P, tiles]: the masks that ``count`` counts, packed as labels are.

        thresholds float32 [U]; axes of any Y×X grid; map_size (H, W). ``unpack_masks`` converts them to bool [P, Y, X].
        """
        ...


def unpack_masks(words: Uint64Array, size: tuple[int, int]) -> BoolArray:
    """Unpack the masks of P crops, uint64 [P, tiles], on a grid of ``size`` (Y, X) to bool [P, Y, X]."""
    return unpack(words.T, size)


def to_numpy(maps: Any) -> tuple[Array, bool]:
    """Return maps as NumPy, without a copy if possible: (array, whether it is bfloat16 held as uint16).

    float32, float16 and bfloat16 stay; other dtypes become float32.
    """
    if hasattr(maps, "detach"):  # a torch tensor
        import torch

        maps = maps.detach()
        if maps.dtype == torch.bfloat16:
            return maps.cpu().view(torch.uint16).numpy(), True
        if maps.dtype not in (torch.float32, torch.float16):
            maps = maps.float()
        return maps.cpu().numpy(), False
    maps = np.asarray(maps)
    if maps.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
        maps = maps.astype(np.float32)
    return maps, False
