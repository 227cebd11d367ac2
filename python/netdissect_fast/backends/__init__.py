"""Where keep and count run: ``reference`` (NumPy, the definition), ``cpu`` (compiled). All agree to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ArgumentError, BackendUnavailable
from ..types import Array, BoolArray, Float32Array, Int64Array

if TYPE_CHECKING:
    from ..concepts import PackedLabels
    from ..crops import Crops
    from ..grids import AxisTable

NAMES = ("cpu", "reference")


class NonFiniteError(Exception):
    """A map holds NaN or infinity; the caller knows the layer's name."""

    def __init__(self, image: int, unit: int) -> None:
        self.image, self.unit = image, unit
        super().__init__(f"unit {unit}, image {image}")


class Backend(Protocol):
    """The two kernels. Bounds and thresholds are flushed (SPEC 3)."""

    name: str
    threads: int

    def keep(self, maps: Any, bounds: Float32Array, first_image: int) -> Crops:
        """Crops of every map that exceeds its unit's bound somewhere.

        maps    [B, U, H, W] float32, float16 or bfloat16: a NumPy array or a torch tensor, any strides
        bounds  float32 [U]
        first_image  number of the batch's first image
        Raises NonFiniteError for the first map, in (image, unit) order, with NaN or infinity.
        """
        ...

    def count(
        self,
        crops: Crops,
        first_image: int,
        thresholds: Float32Array,
        axes: tuple[AxisTable, AxisTable],
        map_size: tuple[int, int],
        labels: PackedLabels,
        present: BoolArray,
        intersection: Int64Array,
        unit_area: Int64Array,
    ) -> None:
        """Add what the masks of ``crops`` cover, SPEC 3 to 6.

        crops        of images first_image ≤ i < first_image + N only
        thresholds   float32 [U]
        axes         tables of y and x: label pixel → activations
        labels       of those N images, all on one Y×X grid
        present      bool [N, categories]: P
        intersection int64 [U, C], added to: I
        unit_area    int64 [U, categories], added to: A
        """
        ...


def choose(name: str = "auto", threads: int | None = None) -> Backend:
    """The backend by name; ``auto`` is ``cpu``. ``threads``: None = all cores of this process."""
    if name == "reference":
        from .reference import ReferenceBackend

        return ReferenceBackend()
    if name in ("auto", "cpu"):
        from .cpu import CpuBackend

        return CpuBackend(threads)
    if name == "cuda":
        raise BackendUnavailable("backend 'cuda' is not part of this version; use backend='cpu'")
    raise ArgumentError(f"backend {name!r} is unknown; choose one of: auto, {', '.join(NAMES)}")


def to_numpy(maps: Any) -> tuple[Array, bool]:
    """View maps as NumPy: (array, whether it is bfloat16 held as uint16). Other dtypes become float32."""
    import numpy as np

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
