"""Networks that cannot run: the errors that say why, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ModelError
from .layers import unwrap
from .maps import dtype_name

if TYPE_CHECKING:
    from torch import Tensor, nn

# parts of networks that read images and text, as transformers, OpenAI's CLIP, open_clip and others call them
_SEES = re.compile(r"(model\.)?(vision_?(model|tower|encoder|transformer)?|visual(_encoder|_model)?|ima?ge?_encoder)")
_READS = re.compile(r"(model\.)?(text_?(model|tower|encoder|decoder)?|token_embedding|language_model)")


def require_loaded(model: nn.Module) -> None:
    """Raise ModelError if tensors of the model are on the meta device: they have shapes, but no values."""
    network = unwrap(model)
    empty = [name for name, tensor in (*network.named_parameters(), *network.named_buffers()) if tensor.is_meta]
    if empty:
        names = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
        raise ModelError(
            f"the model's weights are not loaded: {names} are on the meta device; make the model on the CPU and load "
            "its weights (--weights FILE; in Python, model.load_state_dict)"
        )


def model_error(error: Exception, model: nn.Module, batch: Tensor, images: Sequence[str]) -> ModelError:
    """Return the error for what ``model`` raised on ``batch``; ``images`` are the names of its images, if known."""
    import torch

    named = f" ({images[0]} ... {images[-1]})" if len(images) > 1 else f" ({images[0]})" if images else ""
    given = f"a batch {list(batch.shape)} {dtype_name(batch.dtype)}{named}"
    what = f"the model raised {type(error).__name__} on {given}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return ModelError(f"{what}; use a smaller batch size")
    part = _image_part(unwrap(model))
    if part:
        return ModelError(
            f"{what}. The model reads text besides images: dissect the part that sees them, model.{part}, alone (on "
            "the command line: --model FILE.py:FUNCTION, where the function returns this part)"
        )
    return ModelError(what)


def _image_part(network: nn.Module) -> str:
    """Return the name of the part that sees images if a different one reads text; else nothing."""
    names = [name for name, _ in network.named_modules()]
    sees = [name for name in names if _SEES.fullmatch(name)]
    return sees[0] if sees and any(map(_READS.fullmatch, names)) else ""
