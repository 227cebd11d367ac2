"""Names of layers: from what the user writes to a module of the network and one of its outputs.

A layer is written ``path``, ``path@occurrence``, ``path:key`` or ``path@occurrence:key``:

* ``path``: dotted name of a submodule as in ``model.named_modules()``; the empty name is the whole network. A
  leading ``module.`` (``DataParallel``) or ``_orig_mod.`` (``torch.compile``) is optional.
* ``occurrence``: which call, from 0, of a module that runs several times in one forward pass.
* ``key``: which output of a module that returns several: index of a tuple, key of a dict, attribute of a
  dataclass; nested with dots, as in ``encoder:hidden_states.-1``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import LayerError

if TYPE_CHECKING:
    from torch import Tensor, nn

    Layers: TypeAlias = str | nn.Module | Sequence[str | nn.Module] | Mapping[str | nn.Module, str]

_WRAPPERS = (
    "_orig_mod",
    "module",
)  # names that torch.compile, DataParallel and DistributedDataParallel insert


@dataclass(frozen=True)
class LayerRef:
    """One output of one call of one module.

    ``name`` is the name in results; ``path`` the module's dotted name; ``occurrence`` and ``key`` as
    written by the user, None if not given.
    """

    name: str
    path: str
    module: nn.Module
    occurrence: int | None = None
    key: str | None = None

    def pick(self, output: Any) -> Tensor:
        """Return this layer's tensor from its module's output. Raises LayerError if it is not a single tensor."""
        import torch

        chosen = output if self.key is None else _select(output, self.key, self)
        if isinstance(chosen, torch.Tensor):
            return chosen
        raise LayerError(f"layer {self.name!r} returns a {_kind(chosen)}, not a single tensor; {self._choices(output)}")

    def _choices(self, output: Any) -> str:
        """Say what can be written instead, given what the module actually returned."""
        import torch

        base = self.path if self.occurrence is None else f"{self.path}@{self.occurrence}"
        if isinstance(output, torch.Tensor):
            return f"it returns a single tensor: write {base!r}"
        found = [f"'{base}:{key}' {list(tensor.shape)}" for key, tensor in output_tensors(output)]
        more = f" and {len(found) - 12} more" if len(found) > 12 else ""
        return f"choose one of {', '.join(found[:12])}{more}" if found else "there is no tensor in it"


def resolve_layers(model: nn.Module, layers: Layers) -> dict[str, LayerRef]:
    """Find each of ``layers`` in ``model``.

    Parameters
    ----------
    model :
        the network.
    layers :
        a name as in the module docstring, a module of the model, a list of these, or a dict from these
        to the names to report them by. The model itself (or the empty name) is reported as ``model`` unless
        renamed.

    Returns
    -------
    dict from the reported names to LayerRefs, in the order given.

    Raises
    ------
    LayerError
        No layer requested, an unknown name (the message lists up to five that are close), a module of a different
        model, a container that never runs, two layers with the same name.
    """
    import torch

    if isinstance(layers, str | torch.nn.Module):
        layers = [layers]
    if not isinstance(layers, Iterable):
        raise LayerError(f"layers must be names or modules, not {_kind(layers)}")
    aliases = layers if isinstance(layers, Mapping) else {}
    modules = module_names(model)
    found: dict[str, LayerRef] = {}
    for wanted in layers:
        if isinstance(wanted, str):
            ref = _by_name(modules, wanted)
        elif isinstance(wanted, torch.nn.Module):
            ref = _by_module(modules, model, wanted)
        else:
            raise LayerError(f"a layer must be a name or a module of the model, not {_kind(wanted)}")
        name = str(aliases.get(wanted, ref.name))
        if not name or name in found:
            raise LayerError(f"two layers would be reported as {name!r}; rename them with a dict {{layer: name}}")
        found[name] = LayerRef(name, ref.path, ref.module, ref.occurrence, ref.key)
        _require_runnable(found[name], modules)
    if not found:
        raise LayerError("no layer was requested; give at least one name, such as 'layer4'")
    return found


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside DataParallel, DistributedDataParallel and torch.compile's wrapper."""
    import torch

    while True:
        if isinstance(model, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            inner = model.module
        else:
            inner = dict(model.named_children()).get("_orig_mod")
        if not isinstance(inner, torch.nn.Module):
            return model
        model = inner


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """Return every dotted name of every submodule, shared ones under each of their names, wrappers omitted."""
    names: dict[str, nn.Module] = {}
    for name, module in unwrap(model).named_modules(remove_duplicate=False):
        # of a compiled module and the module inside it, only the outer one is called
        names.setdefault(_without_compile(name), module)
    return names


def _without_compile(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _by_name(modules: Mapping[str, nn.Module], wanted: str) -> LayerRef:
    plain = _without_compile(wanted)
    for name in dict.fromkeys((wanted, plain, plain.removeprefix("module."))):
        if (ref := _parse(modules, name)) is not None:
            return ref
    close = difflib.get_close_matches(wanted.partition(":")[0], [m for m in modules if m], n=5)
    listed = "list all with netdissect-fast layers --model MODEL (in Python, dict(model.named_modules()))"
    hint = f"closest names: {', '.join(close)}" if close else listed
    raise LayerError(f"the model has no layer {wanted!r}; {hint}")


def _parse(modules: Mapping[str, nn.Module], name: str) -> LayerRef | None:
    if name in modules:  # first, as names may contain ":" and "@": torch.export names a second call "conv@1"
        return LayerRef(name or "model", name, modules[name])
    base, colon, key = name.partition(":")
    if colon and not key:
        return None
    path, occurrence = base, None
    if base not in modules:
        path, at, digits = base.rpartition("@")
        if not at or path not in modules or not digits.isdecimal():
            return None
        occurrence = int(digits)
    return LayerRef(name if path else f"model{name}", path, modules[path], occurrence, key or None)


def _by_module(modules: Mapping[str, nn.Module], model: nn.Module, wanted: nn.Module) -> LayerRef:
    for path, module in modules.items():
        if module is wanted:
            return LayerRef(path or "model", path, module)
    if wanted is model:  # a wrapper around the network
        return LayerRef("model", "", modules[""])
    raise LayerError(f"the module {type(wanted).__name__} given as a layer is not part of the model")


def _require_runnable(ref: LayerRef, modules: Mapping[str, nn.Module]) -> None:
    import torch

    if isinstance(ref.module, torch.jit.ScriptModule):
        raise LayerError(f"layer {ref.name!r} is TorchScript, which cannot be watched; use the Python network instead")
    if type(ref.module).forward is torch.nn.Module.forward and "forward" not in vars(ref.module):
        inside = [name for name in modules if name.startswith(f"{ref.path}.")][:3]
        raise LayerError(
            f"layer {ref.name!r} is a {type(ref.module).__name__}, a container that never runs itself; "
            f"choose a layer inside it, such as {', '.join(inside) or 'none'}"
        )


def _select(output: Any, key: str, ref: LayerRef) -> Any:
    """Follow a dotted key into nested tuples, dicts and dataclasses."""
    value, rest = output, key
    while rest:
        if isinstance(value, Mapping) and rest in value:  # a key may itself contain dots
            return value[rest]
        part, _, rest = rest.partition(".")
        try:
            value = _child(value, part)
        except (KeyError, IndexError, AttributeError):
            raise LayerError(f"layer {ref.name!r} has no output {key!r}; {ref._choices(output)}") from None
    return value


def _child(value: Any, part: str) -> Any:
    import torch

    number = int(part) if part.lstrip("-").isdecimal() else None
    if isinstance(value, Mapping):
        return value[part] if part in value or number is None else value[number]
    if isinstance(value, list | tuple) and number is not None:
        return value[number]
    if isinstance(value, torch.Tensor) or part.startswith("_"):
        raise AttributeError(part)
    return getattr(value, part)


def output_tensors(output: Any, prefix: str = "", depth: int = 4) -> Iterator[tuple[str, Tensor]]:
    """Yield (dotted key, tensor) for every tensor in a nested output."""
    import torch

    children: Iterable[tuple[Any, Any]] = ()
    if isinstance(output, Mapping):
        children = output.items()
    elif isinstance(output, list | tuple):
        children = enumerate(output)
    elif is_dataclass(output):
        children = ((field.name, getattr(output, field.name, None)) for field in fields(output))
    elif not isinstance(output, torch.Tensor) and hasattr(output, "__dict__"):
        children = vars(output).items()
    for key, value in children:
        path = f"{prefix}{key}"
        if isinstance(value, torch.Tensor):
            yield path, value
        elif depth:
            yield from output_tensors(value, f"{path}.", depth - 1)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
