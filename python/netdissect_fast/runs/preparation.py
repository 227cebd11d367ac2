"""What a run settles before its first batch, and checks of its arguments; shared by dissect() and estimate()."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..data.bands import channels_of, picture_of
from ..data.dataset import ConceptDataset, own_inputs
from ..data.input.batches import Preprocessing, image_batches
from ..data.input.preprocess import from_model
from ..data.input.whole_image import check_sees_whole_image
from ..errors import ArgumentError, check_option
from ..geometry.grids import Alignment
from ..scoring.backends.base import Backend
from ..scoring.backends.choice import choose
from ..scoring.counts import CategoryRule
from ..scoring.thresholds import Quantile, exact_quantile
from .plans import LayerPlan, WatchOptions, plan_layers, with_thresholds

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ..network.hooks import Tokens
    from ..network.layers import Layers
    from ..network.views import Transforms


class Placement(NamedTuple):
    """The device and precision in which a model takes images."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How layers are to be dissected: the arguments of ``dissect`` of these names."""

    quantile: Quantile
    thresholds: Any = None
    alignment: Alignment
    transform: Transforms
    tokens: Tokens | Mapping[str, Tokens] | None
    units: slice | Any | None
    category_rule: CategoryRule
    preprocess: Preprocessing | None
    crop: Literal["error", "allow"]
    batch_size: int
    device: str
    backend: str
    threads: int | None
    workers: int

    @property
    def watching(self) -> WatchOptions:
        """What ``watch`` is given besides model, layers and consumer."""
        return {"transform": self.transform, "tokens": self.tokens}

    def resolve(self, model: nn.Module) -> tuple[Placement, Backend]:
        """Return where the model runs and what counts. Raises what is wrong with these settings by themselves."""
        exact_quantile(self.quantile)
        check_option("category_rule", self.category_rule, CategoryRule)
        where = device_and_dtype(model, self.device)
        return where, choose(self.backend, self.threads, where.device.type)


@dataclass(frozen=True)
class Prepared:
    """What a first image settles.

    preprocess   PIL.Image → tensor; None: the data set provides the network's inputs itself
    input_size   (height, width) of the network's input, in pixels; of the picture if the input is not one
    plans        of the layers, by name
    """

    preprocess: Preprocessing | None
    input_size: tuple[int, int]
    plans: dict[str, LayerPlan]


def prepare(model: nn.Module, data: ConceptDataset, layers: Layers, settings: Settings, where: Placement) -> Prepared:
    """Run the first image through the network, and settle what depends on it.

    Raises what is wrong with the settings or the image.
    """
    if settings.batch_size < 1:
        raise ArgumentError(f"batch_size must be at least 1, got {settings.batch_size}")
    if len(data) < 1:
        raise ArgumentError("the data set has no images")
    preprocess, own = settings.preprocess, own_inputs(data) is not None
    if own:
        _check_own_inputs(settings.alignment, preprocess)
    elif preprocess is None:
        preprocess = from_model(model)
    if preprocess is not None:
        check_sees_whole_image(preprocess, settings.crop, channels=channels_of(picture_of(data, 0)))
    first = next(image_batches(data, preprocess, 1))[1].to(*where)
    height, width = data.image(0).size[::-1] if own else first.shape[2:]
    size = int(height), int(width)
    plans = plan_layers(model, layers, settings.watching, first, size, settings.alignment, settings.units)
    return Prepared(preprocess, size, with_thresholds(plans, settings.thresholds))


def _check_own_inputs(alignment: Alignment, preprocess: Preprocessing | None) -> None:
    """Check arguments for data whose network gets no picture but, say, a latent from which it makes the picture."""
    if preprocess is not None:
        raise ArgumentError("the data set provides the network's inputs itself: omit preprocess")
    if isinstance(alignment, str) and alignment == "receptive_field":
        raise ArgumentError(
            "alignment='receptive_field' has no meaning if the network makes the picture, because it does not look "
            "at it: give alignment='half_pixel' (--alignment half_pixel), which lays maps over the whole picture"
        )


def device_and_dtype(model: nn.Module, device: str) -> Placement:
    """Return the device and precision in which the model takes images: those of its own parameters.

    The model is not moved, so a device other than its own is an ArgumentError.
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
