"""What a run settles before its first batch, and what its arguments mean; shared by dissect() and estimate()."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .data.dataset import ConceptDataset
from .data.loading import Preprocessing, image_batches
from .data.preprocess import from_model
from .data.whole_image import check_sees_whole_image
from .errors import ArgumentError
from .grids import Alignment
from .plans import LayerPlan, plan_layers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .layers import Layers


@dataclass(frozen=True)
class Prepared:
    """How a run will go.

    preprocess   PIL.Image → tensor
    input_size   (height, width) of the network's input, in pixels
    plans        of the layers, by name
    """

    preprocess: Preprocessing
    input_size: tuple[int, int]
    plans: dict[str, LayerPlan]


def prepare(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    where: tuple[torch.device, torch.dtype],
    options: dict[str, Any],
    alignment: Alignment,
    units: Any,
    preprocess: Preprocessing | None,
    crop: Literal["error", "allow"],
    batch_size: int,
) -> Prepared:
    """Check arguments, which mean what they mean to ``dissect``, and run the first image through the network.

    where    the device and dtype that the model takes images in
    options  transform and tokens, as ``watch`` takes them

    Raises what is wrong with the arguments or the image.
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, got {batch_size}")
    if len(data) < 1:
        raise ArgumentError("the data set holds no image")
    if preprocess is None:
        preprocess = from_model(model)
    check_sees_whole_image(preprocess, crop)
    first = next(image_batches(data, preprocess, 1))[1].to(*where)
    plans = plan_layers(model, layers, options, first, alignment, units)
    return Prepared(preprocess, (int(first.shape[2]), int(first.shape[3])), plans)


def device_and_dtype(model: nn.Module, device: str) -> tuple[torch.device, torch.dtype]:
    """Where and in which precision the model takes images: those of its own parameters.

    The model is not moved, so another device than its own is an error.
    """
    import torch

    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    own = tensors[0].device if tensors else torch.device("cpu")
    dtype = tensors[0].dtype if tensors else torch.float32
    if device == "auto":
        return own, dtype
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ArgumentError(f"device {device!r} is not one that torch knows: {error}") from error
    if wanted.type != own.type:
        raise ArgumentError(f"device={device!r}, but the model is on {own}: move it there first (model.to({device!r}))")
    return own, dtype
