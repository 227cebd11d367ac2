"""What is reported of each layer: its own maps, or transforms of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import LayerError, NetDissectError

if TYPE_CHECKING:
    from torch import Tensor

    Transform: TypeAlias = Callable[[Tensor], Tensor]
    Transforms: TypeAlias = Transform | Mapping[str, Transform | Mapping[str, Transform | None]] | None


def views_of(transform: Any, layers: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what is reported of each layer: name → transform, None for the layer itself. LayerError if unknown."""
    given = by_layer(transform, layers)
    return {
        layer: {f"{layer} {name}": view for name, view in given[layer].items()}
        if isinstance(given.get(layer), Mapping)
        else {layer: given.get(layer)}
        for layer in layers
    }


def by_layer(option: Any, layers: Iterable[str]) -> dict[str, Any]:
    """Return one option for all layers, or a dict of options, as a dict by layer."""
    if option is None:
        return {}
    if not isinstance(option, Mapping):
        return dict.fromkeys(layers, option)
    known = list(layers)
    for name in option:
        if name not in known:
            there = ", ".join(map(repr, known))
            raise LayerError(f"an option was given for layer {name!r}, but the layers are {there}")
    return dict(option)


def transformed(name: str, maps: Tensor, transform: Transform) -> Tensor:
    """Return a transform's result, checked: [B, U, H, W] for maps [B, K, H, W], which it must leave as they are."""
    import torch

    before = None if maps.is_inference() else maps._version
    try:
        result = transform(maps)
    except NetDissectError:
        raise
    except Exception as error:
        raise LayerError(
            f"the transform of layer {name!r} raised {type(error).__name__} on maps {list(maps.shape)}: {error}"
        ) from error
    if before is not None and maps._version != before:
        raise LayerError(f"the transform of layer {name!r} changed its input in place; give it a copy (maps.clone())")
    expected = f"a tensor [{maps.shape[0]}, units, {maps.shape[2]}, {maps.shape[3]}]"
    if not isinstance(result, torch.Tensor):
        raise LayerError(f"the transform of layer {name!r} must return {expected}, got {type(result).__name__}")
    if result.ndim != 4 or (result.shape[0], *result.shape[2:]) != (maps.shape[0], *maps.shape[2:]):
        raise LayerError(f"the transform of layer {name!r} must return {expected}, got {list(result.shape)}")
    return result
