"""Watching the layers of a running network: activations are consumed inside the forward hook, nothing is kept.

Consuming them inside the hook is what makes them correct: an in-place ReLU right after the layer would overwrite them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import LayerError, ModelError, NetDissectError
from ..geometry.tracer import GridTracer
from .failures import model_error, require_loaded
from .layers import LayerRef, module_names, resolve_layers, unwrap
from .maps import Tokens, as_maps, checked_maps, find_layout
from .places import trace_layers
from .views import by_layer, transformed, views_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..geometry.layout import Layout
    from ..geometry.traced import Traced
    from ..geometry.tracks import Unknown
    from .layers import Layers
    from .views import Transform, Transforms

    Consume: TypeAlias = Callable[[str, Tensor], None]

__all__ = [
    "LayerRef",
    "Tokens",
    "Watch",
    "evaluating",
    "module_names",
    "outputs",
    "pad_batch",
    "resolve_layers",
    "static_batch_size",
    "unwrap",
    "views_of",
    "watch",
]


@contextmanager
def watch(
    model: nn.Module,
    layers: Layers,
    consume: Consume,
    *,
    transform: Transforms = None,
    tokens: Tokens | Mapping[str, Tokens] | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> Iterator[Watch]:
    """Watch layers of a network.

    Use ``with watch(model, layers, consume) as run:`` and then ``run(batch)`` for each batch. Each
    ``run(batch)`` is one forward pass in evaluation mode without gradients; the first follows one that traces the
    first image, to find which axes of each output lie on it. On exit the model is left as it was
    found, also after an exception: hooks, the training flag of every submodule, grad mode, torch's random
    state. Networks inside DataParallel or torch.compile are run as the plain network inside, on one device.

    Parameters
    ----------
    model :
        the network.
    layers :
        see ``resolve_layers``.
    consume :
        called as ``consume(name, maps)`` once per layer and forward pass, in the order in which the
        layers run, inside the forward hook. ``maps`` is [B, U, H, W], float32, float16 or bfloat16,
        contiguous or channels_last, without gradient, and shares memory with the network: read it, but do not
        keep or change it. ``run`` raises what it raises, unchanged.
    transform :
        function or nn.Module from [B, K, H, W] to [B, U, H, W], such as a rotation or a sparse
        autoencoder's encoder; or a dict of them by reported layer name. A dict of several for one layer, as in
        ``{"layer4": {"plain": None, "rotated": turn}}``, reports each: "layer4 plain" and "layer4 rotated".
    tokens :
        how [B, T, D] outputs (and [B, H, W, C] ones) become maps, if the trace does not tell; or a dict
        by reported layer name.
    layouts :
        ``run.layouts`` of an earlier watch of these layers: they are cut in the same way, and not traced again.

    Raises
    ------
    LayerError
        On entry: a layer that cannot be found. In ``run``: a layer that did not run, ran twice, or returned something
        that is not [B, U, H, W], [B, U] or [B, T, D] of floats, or a different shape than in the batch before.
    ModelError
        On entry: the model's weights are not loaded. In ``run``: the model itself raised, or takes a different batch
        size.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    >>> with nd.watch(model, {"0": "conv1", "2": "pool1"}, lambda name, maps: print(name, list(maps.shape))) as run:
    ...     _ = run(torch.zeros(2, 3, 8, 8))
    conv1 [2, 8, 6, 6]
    pool1 [2, 8, 3, 3]
    """
    import torch

    require_loaded(model)
    refs = resolve_layers(model, layers)
    run = Watch(unwrap(model), refs, consume, views_of(transform, refs), by_layer(tokens, refs), layouts)
    tensors = [tensor for root in run.modules() for tensor in (*root.parameters(), *root.buffers())]
    with ExitStack() as undo:
        cuda = {tensor.device for tensor in tensors if tensor.is_cuda}
        undo.enter_context(torch.random.fork_rng(devices=list(cuda)))
        undo.enter_context(evaluating(*run.modules()))
        for ref in refs.values():
            undo.callback(ref.module.register_forward_hook(run.hook(ref)).remove)
        yield run


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Run networks uncompiled and in evaluation mode within the context; restore all training flags afterwards."""
    import torch

    flags = [(module, module.training) for network in networks for module in network.modules()]
    with ExitStack() as undo:
        if "torch._dynamo" in sys.modules:  # compiled parts skip hooks registered after their compilation
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            for network in networks:
                network.eval()
            yield
        finally:
            for module, flag in flags:
                module.training = flag


def outputs(model: nn.Module, batch: Tensor) -> Any:
    """Return the plain network's output for a batch [B, C, Y, X], padded if needed. Raises ModelError if it raises."""
    require_loaded(model)
    try:
        return unwrap(model)(pad_batch(model, batch))
    except NetDissectError:
        raise
    except Exception as error:
        raise model_error(error, model, batch, ()) from error


class Watch:
    """One set of watched layers; made by ``watch``. Calling it runs the network on one batch.

    layers   the reported names
    traced   what the trace of the first image found, by layer; empty if layouts were given
    layouts  how the output of each layer is cut into maps, once it has run
    trace_within  set it to trace the first batch itself, in its own pass; ``consume`` may then see it twice
    """

    def __init__(
        self,
        model: nn.Module,
        refs: Mapping[str, LayerRef],
        consume: Consume,
        views: Mapping[str, Mapping[str, Transform | None]],
        tokens: Mapping[str, Tokens],
        layouts: Mapping[str, Layout] | None,
    ) -> None:
        self.layers = tuple(name for names in views.values() for name in names)
        self.layouts = dict(layouts or {})
        self.traced: dict[str, Traced | Unknown] | None = None if layouts is None else {}
        self.trace_within = False
        self._tracer: GridTracer | None = None
        self._model, self._refs, self._consume = model, refs, consume
        self._views, self._tokens = views, tokens
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._calls: dict[str, int] = {}
        self._batch: Tensor | None = None  # the one running now; hooks do nothing outside a run
        self._images = 0  # in it, without padding
        self._thread = 0  # that runs it
        self._failure: Exception | None = None

    def __call__(self, batch: Tensor, images: Sequence[str] = ()) -> Any:
        """Run the network on ``batch`` [B, C, Y, X] and return its output.

        ``images`` are the names of the B images, for messages. A network with a static batch size gets a
        padded batch; ``consume`` still sees B maps, but the output has the padded size.
        """
        import torch

        if self.traced is None and not self.trace_within:
            self.traced = trace_layers(self._model, self._refs, pad_batch(self._model, batch[:1]))
        self._calls, self._thread = dict.fromkeys(self._refs, 0), threading.get_ident()
        self._images, self._failure = len(batch), None
        self._batch, output = pad_batch(self._model, batch), None
        self._tracer = GridTracer(self._batch) if self.traced is None and batch.ndim == 4 else None
        self.traced = self.traced or {}
        try:
            with torch.no_grad(), self._tracer or nullcontext():
                output = self._model(self._batch)
        except Exception as error:
            if self._failure is None and self._tracer is not None:  # it may not bear to be followed
                self.layouts.clear()
                return self(batch, images)
            if self._failure is None:
                raise model_error(error, self._model, batch, images) from error
        finally:
            self._batch = None
        if self._failure is not None:  # from a hook: unchanged, even if the model's own code wrapped or swallowed it
            raise self._failure
        self._require_all_ran()
        return output

    def modules(self) -> list[nn.Module]:
        """Return the network and those transforms that are modules."""
        import torch

        transforms = (transform for views in self._views.values() for transform in views.values())
        return [self._model, *(module for module in transforms if isinstance(module, torch.nn.Module))]

    def hook(self, ref: LayerRef) -> Callable[[nn.Module, Any, Any], None]:
        """Return the forward hook of one layer."""

        def forward_hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if self._batch is None or self._failure is not None or threading.get_ident() != self._thread:
                return  # another thread may label images with the same network
            call = self._calls[ref.name]
            self._calls[ref.name] = call + 1
            try:
                if ref.occurrence in (call, None):
                    self._take(ref, call, output)
            except Exception as error:
                self._failure = error
                raise

        return forward_hook

    def _take(self, ref: LayerRef, call: int, output: Any) -> None:
        assert self._batch is not None
        if call > 0 and ref.occurrence is None:
            raise LayerError(
                f"layer {ref.name!r} runs more than once in one forward pass; choose one of its calls, "
                f"counted from 0: '{ref.path}@0', '{ref.path}@1', ..."
            )
        picked, traced = ref.pick(output), (self.traced or {}).get(ref.name)
        if self._tracer is not None and self.traced is not None:
            traced = self.traced[ref.name] = self._tracer.lookup(picked)
        layout = self.layouts.get(ref.name)
        if layout is None:
            layout = find_layout(ref.name, picked, self._tokens.get(ref.name), self._batch, traced)
        maps = as_maps(ref.name, picked, layout, len(self._batch))[: self._images]
        self.layouts[ref.name] = layout
        for name, transform in self._views[ref.name].items():
            seen = checked_maps(name, maps if transform is None else transformed(name, maps, transform))
            shape = tuple(seen.shape[1:])
            if self._shapes.setdefault(name, shape) != shape:
                raise LayerError(
                    f"layer {name!r} returned maps of shape {list(shape)} (units, height, width) after "
                    f"{list(self._shapes[name])} in earlier batches; all images must have the same size"
                )
            self._consume(name, seen)

    def _require_all_ran(self) -> None:
        for ref in self._refs.values():
            calls = self._calls[ref.name]
            if calls == 0:
                raise LayerError(
                    f"layer {ref.name!r} ({type(ref.module).__name__}) did not run in this forward pass: the "
                    "network skips it in evaluation mode, or uses its weights without calling it; "
                    "choose a different layer"
                )
            if ref.occurrence is not None and calls <= ref.occurrence:
                raise LayerError(
                    f"layer {ref.name!r}: {ref.path!r} ran {calls} times, so its last call is @{calls - 1}"
                )


def static_batch_size(model: nn.Module) -> int | None:
    """Return ``model.static_batch_size``, the only batch size the model takes; None if any will do."""
    size = getattr(unwrap(model), "static_batch_size", None)
    return size if isinstance(size, int) else None


def pad_batch(model: nn.Module, batch: Tensor) -> Tensor:
    """Repeat the last image of ``batch`` [B, C, Y, X] up to the model's static batch size, if it has one."""
    size = static_batch_size(model)
    missing = 0 if size is None else size - len(batch)
    if missing < 0:
        raise ModelError(
            f"the model takes batches of exactly {size} images, got {len(batch)}; set the batch size to "
            f"{size}, or export the model again with a dynamic batch dimension"
        )
    if missing == 0:
        return batch
    import torch

    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])])
