"""The compiled kernels of netdissect_fast. Arguments are checked; a ValueError or TypeError says what is wrong."""

from .types import Array, BoolArray, Float32Array, Int32Array, Int64Array, Uint16Array, Uint64Array

__version__: str

def available_isas() -> list[str]:
    """Return the instruction-set variants that this CPU can run, best first."""

def isa() -> str:
    """Return the variant in use: the best, or NETDISSECT_FAST_ISA. ValueError if that does not name one."""

def keep(
    maps: Array,  # [B, U, H, W] float32, float16, or bfloat16 as uint16; any strides
    bounds: Float32Array,  # [U]
    *,
    first_image: int = ...,
    bfloat16: bool = ...,
    threads: int = ...,
    isa: str = ...,
) -> tuple[Int32Array, Int32Array, Uint16Array, Float32Array, tuple[int, int] | None]:
    """Return the crops above the bounds: image, unit, box, values; and the first (image, unit) with NaN or infinity."""

def count(
    crops: tuple[Int32Array, Int32Array, Uint16Array, Float32Array],
    *,
    first_image: int,
    thresholds: Float32Array,  # [U]
    y: tuple[Int32Array, Int32Array, Float32Array],  # i0, i1, f of each label row
    x: tuple[Int32Array, Int32Array, Float32Array],
    map_size: tuple[int, int],  # H, W
    labels: tuple[Int64Array, Int32Array, Int64Array, Uint64Array, Int64Array, Int32Array, BoolArray],
    intersection: Int64Array,  # [U, C], added to
    unit_area: Int64Array,  # [U, categories], added to
    threads: int = ...,
    isa: str = ...,
) -> None:
    """Add the intersections and areas of the crops' masks."""

def masks(
    crops: tuple[Int32Array, Int32Array, Uint16Array, Float32Array],
    *,
    thresholds: Float32Array,  # [U]
    y: tuple[Int32Array, Int32Array, Float32Array],
    x: tuple[Int32Array, Int32Array, Float32Array],
    map_size: tuple[int, int],  # H, W
    threads: int = ...,
    isa: str = ...,
) -> Uint64Array:
    """Return the mask of each crop, words [P, tiles] as in PackedLabels."""

def prune(
    image: Int32Array,
    unit: Int32Array,
    box: Uint16Array,
    values: Float32Array,
    bounds: Float32Array,
    *,
    threads: int = ...,
) -> tuple[int, int]:
    """Shrink crops to what exceeds the bounds, in place; return how many crops and values are left."""

def kth_largest(
    image: Int32Array,
    unit: Int32Array,
    box: Uint16Array,
    values: Float32Array,
    bounds: Float32Array,
    rank: int,
    *,
    threads: int = ...,
) -> Float32Array:
    """Return each unit's rank-th largest value, or its bound if fewer values exceed it."""

def pack(
    maps: Int32Array,  # [L, Y, X]
    columns: Int32Array,
    whole: Int32Array,
) -> tuple[Int32Array, Int32Array, Uint64Array]:
    """Return columns and areas of the image's slots, words [tiles, slots]. ValueError for a number without a column."""
