"""Reader of networks saved by ``torch.export.save`` (.pt2) that lets no code in the file run.

torch's own reader unpickles what the archive holds and evaluates its size expressions as Python: a planted payload runs
(torch 2.13). So the archive is inspected first, and refused unless it holds only tensors, size expressions and
registered operators.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, shortened

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

# names, numbers, arithmetic; calls only of sympy's own classes (Max, FloorDiv, ...); no attributes, and no strings but
# the names of symbols
_SIZE = re.compile(r"(?:Symbol\('\w++'|Float\('[\d.e+-]++'|[A-Z]\w*+\(|\d++\.\d++|\w++(?!\()|[\s()+\-*/%,<>=&|~])*+")
_ARITHMETIC = re.compile(
    r"math\.[a-z]\w*|torch\.sym_[a-z]\w*"
    r"|_operator\.(?:i?(?:add|sub|mul|truediv|floordiv|mod|pow)|getitem|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)


def load_exported(path: Path) -> nn.Module:
    """Load a .pt2 as a module whose submodules have the same names as in the exported network.

    The module's ``static_batch_size`` is the batch size if the export fixed one, else None; its ``input_size`` is
    (channels, height, width). Raises ModelError if the file cannot be read, is not an exported network in
    evaluation mode with one batch of images as its input, or could run code.
    """
    import torch

    _require_harmless(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's reader uses what torch itself deprecates
            program = torch.export.load(path)
            _require_evaluation_mode(path, program)
            module: nn.Module = torch.export.unflatten(program)
    except ModelError:
        raise
    except Exception as error:
        reason = shortened(f"{type(error).__name__}: {error}")
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot load this exported network ({reason}); "
            "export it again with this version of torch"
        ) from error
    shape = _input_shape(path, program)
    module.static_batch_size = shape[0] if isinstance(shape[0], int) else None  # type: ignore[assignment]
    module.input_size = shape[1:] if all(isinstance(n, int) for n in shape[1:]) else None  # type: ignore[assignment]
    return module


def _input_shape(path: Path, program: ExportedProgram) -> tuple[Any, ...]:
    """Return the shape [B, C, Y, X] of the only input; a size that is not an int may vary."""
    names = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    shapes = [tuple(value.shape) if hasattr(value, "shape") else () for value in values]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        found = [[n if isinstance(n, int) else "any" for n in shape] for shape in shapes]
        raise ModelError(
            f"{path}: expected a network with one input [B, C, Y, X], this one has inputs of shapes {found}"
        )
    return shapes[0]


def _require_evaluation_mode(path: Path, program: ExportedProgram) -> None:
    """Refuse dropout and batch statistics that the export froze in training mode."""
    training = {"aten::dropout": 2, "aten::alpha_dropout": 2, "aten::feature_dropout": 2, "aten::batch_norm": 5}
    for node in program.graph.nodes:
        name = getattr(getattr(node.target, "_schema", None), "name", None)
        if name in training and node.args[training[name]] is True:
            raise ModelError(
                f"{path}: exported in training mode ({name}); call model.eval() before torch.export.export"
            )


def _require_harmless(path: Path) -> None:
    """Inspect the archive. Raises ModelError if anything in it is, or could be, code."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > 20 * path.stat().st_size:  # torch does not compress
                raise ModelError(f"{path}: would unpack to {size} bytes, far more than torch.export.save writes")
            names = [name.partition("/")[2] or name for name in archive.namelist()]
            if len(set(names)) != len(names) or not any(name.endswith(".json") for name in names):
                raise ModelError(f"{path}: not a network saved by torch.export.save")
            if any(name.startswith(("data/aotinductor", "data/executorch", "code/")) for name in names):
                raise ModelError(f"{path}: holds compiled or scripted code; save the network with torch.export.save")
            for name in archive.namelist():
                _require_harmless_member(path, archive, name)
    except ModelError:
        raise
    except Exception as error:  # hostile bytes may raise anything
        raise ModelError(f"{path}: not a network saved by torch.export.save: {shortened(error)}") from error


def _require_harmless_member(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    base = name.rpartition("/")[2]
    if base.startswith(("custom_obj", "opaque_obj")):
        raise ModelError(f"{path}: holds a Python object ({name}), which could run code")
    if name.endswith(".pt"):
        _require_tensors(path, archive, name)
    if not name.endswith(".json"):
        return
    for key, value in _items(json.loads(archive.read(name))):
        if key == "use_pickle" and value["use_pickle"]:
            _require_tensors(path, archive, f"{name.rpartition('/')[0]}/{value['path_name']}")
        elif key == "expr_str" and not _SIZE.fullmatch(str(value["expr_str"])):
            raise ModelError(f"{path}: {name} has a size that is not arithmetic: {shortened(repr(value['expr_str']))}")
        elif key in ("target", "as_operator") and not _is_operator(str(value[key])):
            raise ModelError(
                f"{path}: {name} calls {shortened(repr(value[key]))}, which is not a registered operator; "
                "import the library that defines it first, if it is one"
            )


def _require_tensors(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    import torch

    data = archive.read(name)
    try:
        if data:
            torch.load(io.BytesIO(data), map_location="meta", weights_only=True)
    except Exception as error:
        raise ModelError(f"{path}: {name} holds more than tensors, which could run code") from error


def _is_operator(name: str) -> bool:
    import torch

    if not name.startswith("torch.ops."):
        return _ARITHMETIC.fullmatch(name) is not None
    value: Any = torch.ops
    for part in name.split(".")[2:]:
        value = getattr(value, part, None)
    return isinstance(value, torch._ops.OperatorBase)


def _items(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (key, the dict that has it) for every key at any depth."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield from ((key, value) for key in value)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
