"""The layers of a network that can be dissected: what each returns for a blank image, and where that lies on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..geometry.grids import make_grid
from ..geometry.traced import Traced
from ..geometry.tracer import GridTracer
from ..network.failures import require_loaded
from ..network.hooks import evaluating, module_names, outputs, pad_batch, unwrap
from ..network.layers import output_tensors
from .preparation import device_and_dtype

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class LayerInfo:
    """One output of one call of a module.

    name        as ``layers`` takes it: with "@1" if the module runs several times, ":0" if it returns several tensors
    kind        class of the module
    output      shape, without the axis of images
    grid        rows and columns of its map, and where they lie; "" if that could not be traced
    parameters  in the module, with all modules inside it
    """

    name: str
    kind: str
    output: tuple[int, ...]
    grid: str
    parameters: int


def list_layers(model: nn.Module, input_size: tuple[int, int]) -> list[LayerInfo]:
    """Return the layers of a network that run, from one forward pass of a blank image of ``input_size`` pixels.

    Raises ModelError if the network raises.
    """
    import torch

    require_loaded(model)
    where = device_and_dtype(model, "auto")
    image = torch.zeros(1, _channels(unwrap(model)), *input_size, device=where.device, dtype=where.dtype)
    image = pad_batch(model, image)
    calls: dict[str, list[list[tuple[str, tuple[int, ...], str]]]] = {}
    tracer = GridTracer(image)
    modules = {name: module for name, module in module_names(model).items() if name}

    def remember(name: str, output: Any) -> None:
        found = [(key, tuple(t.shape[1:]), _grid(tracer, t, input_size)) for key, t in _outputs(output)]
        calls.setdefault(name, []).append(found)

    with ExitStack() as undo:
        undo.enter_context(evaluating(unwrap(model)))
        for name, module in modules.items():
            hook = module.register_forward_hook(lambda _, __, output, name=name: remember(name, output))
            undo.callback(hook.remove)
        undo.enter_context(tracer)
        outputs(model, image)
    rows = []
    for name, module in modules.items():
        count = sum(parameter.numel() for parameter in module.parameters())
        for number, found in enumerate(calls.get(name, [])):
            call = f"{name}@{number}" if len(calls[name]) > 1 else name
            for key, shape, grid in found:
                rows.append(LayerInfo(f"{call}:{key}" if key else call, type(module).__name__, shape, grid, count))
    return rows


def _outputs(output: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield (key, tensor) for every tensor that a module returned; the key of a single one is empty."""
    import torch

    if isinstance(output, torch.Tensor):
        yield "", output
    else:
        yield from output_tensors(output)


def _grid(tracer: GridTracer, tensor: Tensor, input_size: tuple[int, int]) -> str:
    traced = tracer.lookup(tensor)
    if not isinstance(traced, Traced):
        return ""
    grid = make_grid("receptive_field", traced, traced.size, input_size)
    where = str(grid).removesuffix(f" ({grid.alignment})")
    return f"{'×'.join(map(str, grid.size))}, {where}"


def _channels(network: nn.Module) -> int:
    """Return how many channels the first convolution takes; 3 without one."""
    import torch

    first = next((m for m in network.modules() if isinstance(m, torch.nn.Conv2d)), None)
    return first.in_channels if first is not None else 3
