"""What a run settles before its first batch, and what its arguments mean; shared by dissect() and estimate()."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..data.dataset import ConceptDataset, own_inputs
from ..data.input.batches import Preprocessing, image_batches
from ..data.input.preprocess import from_model
from ..data.input.whole_image import check_sees_whole_image
from ..errors import ArgumentError
from ..geometry.grids import Alignment
from .plans import LayerPlan, WatchOptions, plan_layers

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..network.layers import Layers


class Placement(NamedTuple):
    """Where, and in which precision, a model takes images."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Prepared:
    """How a run will go.

    preprocess   PIL.Image → tensor; None: the data set gives the network's inputs itself
    input_size   (height, width) of the network's input, in pixels; of the picture where the input is not one
    plans        of the layers, by name
    """

    preprocess: Preprocessing | None
    input_size: tuple[int, int]
    plans: dict[str, LayerPlan]


def prepare(
    model: nn.Module,
    data: ConceptDataset,
    layers: Layers,
    *,
    where: Placement,
    options: WatchOptions,
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
        raise ArgumentError("the data set has no images")
    own = own_inputs(data) is not None
    if own:
        _check_own_inputs(alignment, preprocess)
    elif preprocess is None:
        preprocess = from_model(model)
    if preprocess is not None:
        check_sees_whole_image(preprocess, crop)
    first = next(image_batches(data, preprocess, 1))[1].to(*where)
    height, width = data.image(0).size[::-1] if own else first.shape[2:]
    size = int(height), int(width)
    plans = plan_layers(model, layers, options, first, size, alignment, units)
    return Prepared(preprocess, size, plans)


def _check_own_inputs(alignment: Alignment, preprocess: Preprocessing | None) -> None:
    """What holds for data whose network gets no picture but, say, a latent that it makes the picture of."""
    if preprocess is not None:
        raise ArgumentError("the data set provides the network's inputs itself: omit preprocess")
    if isinstance(alignment, str) and alignment == "receptive_field":
        raise ArgumentError(
            "alignment='receptive_field' has no meaning if the network makes the picture, because it does not look "
            "at it: give alignment='half_pixel' (--alignment half_pixel), which lays maps over the whole picture"
        )


def device_and_dtype(model: nn.Module, device: str) -> Placement:
    """Where and in which precision the model takes images: those of its own parameters.

    The model is not moved, so another device than its own is an error.
    """
    import torch

    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
    own = tensors[0].device if tensors else torch.device("cpu")
    dtype = tensors[0].dtype if tensors else torch.float32
    if device == "auto":
        return Placement(own, dtype)
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ArgumentError(f"torch does not know device {device!r}: {error}") from error
    if wanted.type != own.type:
        raise ArgumentError(f"device={device!r}, but the model is on {own}: move it there first (model.to({device!r}))")
    return Placement(own, dtype)
