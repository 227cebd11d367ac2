"""Where the outputs of layers lie on the image: one traced forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from ..errors import LayerError
from ..geometry.tracer import GridTracer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..geometry.traced import Traced
    from ..geometry.tracks import Unknown
    from .layers import LayerRef


def trace_layers(model: nn.Module, refs: Mapping[str, LayerRef], first: Tensor) -> dict[str, Traced | Unknown]:
    """Run the network, which is in evaluation mode, on a first image, and return where each layer's output lies.

    Layers that are not in the result could not be traced: the input is no picture [1, C, Y, X], or the network cannot
    run while it is followed. Errors of the network itself are left to its next pass.
    """
    import torch

    found: dict[str, Traced | Unknown] = {}
    if first.ndim != 4:
        return found
    tracer, thread = GridTracer(first), threading.get_ident()
    calls = dict.fromkeys(refs, 0)

    def hook(ref: LayerRef) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() != thread:
                return
            call = calls[ref.name]
            calls[ref.name] = call + 1
            if ref.occurrence in (call, None) and ref.name not in found:
                with suppress(LayerError):
                    found[ref.name] = tracer.lookup(ref.pick(output))

        return look

    with ExitStack() as undo:
        for ref in refs.values():
            undo.callback(ref.module.register_forward_hook(hook(ref)).remove)
        undo.enter_context(torch.random.fork_rng(devices=[first.device] if first.is_cuda else []))
        with suppress(Exception), tracer:
            model(first)
    return found
