"""From a picture to the network's input: resized whole, scaled, normalised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import ArgumentError
from ...types import Array

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn

_EXAMPLE = (
    "preprocess=nd.Preprocess(224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)) "
    "(on the command line --input-size 224 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225)"
)


@dataclass(frozen=True)
class Preprocess:
    """Resize the whole picture to the network's input size and normalise it; nothing is cropped.

    Parameters
    ----------
    size :
        input of the network in pixels, (height, width) or one number for both. The picture is stretched to it
        (bilinear, with antialiasing); one that already has this size is not resampled.
    mean, std :
        (x - mean) / std for each channel, in the order of ``channels`` and in units of ``value_range``; one
        number for all channels, None for 0 and 1.
    channels :
        what the network expects: ``"RGB"``, ``"BGR"``, ``"L"`` for one grey channel, or a number of bands, which the
        data set then has, in its order.
    value_range :
        1 or 255: the value of white before mean and std.

    Calling it with a PIL image of any mode returns a float32 tensor [3, height, width], or [1, height, width]
    for ``"L"``. It also takes a float tensor [C, Y, X] of a data set with more depth or other bands, black as 0 and
    white as 1, and does not round it. Raises ArgumentError for implausible values.

    >>> import netdissect_fast as nd
    >>> from PIL import Image
    >>> preprocess = nd.Preprocess((224, 192), mean=0.5, std=0.25)
    >>> preprocess(Image.new("RGB", (640, 480))).shape
    torch.Size([3, 224, 192])
    """

    size: int | tuple[int, int]
    mean: float | Sequence[float] | None = None
    std: float | Sequence[float] | None = None
    channels: Literal["RGB", "BGR", "L"] | int = "RGB"
    value_range: Literal[1, 255] = 1

    def __post_init__(self) -> None:
        if self.channels not in ("RGB", "BGR", "L") and not (isinstance(self.channels, int) and self.channels >= 1):
            raise ArgumentError(
                f"preprocess: channels must be 'RGB', 'BGR', 'L' or a number of bands, got {self.channels!r}"
            )
        if self.value_range not in (1, 255):
            raise ArgumentError(f"preprocess: value_range must be 1 or 255, got {self.value_range!r}")
        count = self._count
        mean = _numbers("mean", 0.0 if self.mean is None else self.mean, count)
        std = _numbers("std", 1.0 if self.std is None else self.std, count)
        if min(std) <= 0:
            raise ArgumentError(f"preprocess: std must be above 0, got {std}")
        largest = max(map(abs, mean))
        if largest > self.value_range or (self.value_range == 255 and 0 < largest < 1):
            other = 255 if self.value_range == 1 else 1
            raise ArgumentError(
                f"preprocess: mean {mean} does not fit value_range={self.value_range}; "
                f"pass value_range={other}, or the mean in units of {self.value_range}"
            )
        for name, value in (("size", _pair(self.size)), ("mean", mean), ("std", std)):
            object.__setattr__(self, name, value)

    @property
    def height(self) -> int:
        """Rows of the network's input."""
        return _pair(self.size)[0]

    @property
    def width(self) -> int:
        """Columns of the network's input."""
        return _pair(self.size)[1]

    @property
    def _count(self) -> int:
        """Channels of the network's input."""
        return self.channels if isinstance(self.channels, int) else len(self.channels)

    def __call__(self, image: Image | Tensor) -> Tensor:
        """Return the network's input [C, height, width], float32, for one PIL image or tensor [C, Y, X]."""
        import torch

        values = self._of_bands(image) if isinstance(image, torch.Tensor) else self._of_picture(image)
        values -= np.asarray(self.mean, np.float32)[:, None, None]
        values /= np.asarray(self.std, np.float32)[:, None, None]
        return torch.from_numpy(values)

    def _of_picture(self, image: Image) -> Array:
        """Return 8-bit colours, resized with 8 bits, in units of value_range."""
        from PIL.Image import Resampling

        if isinstance(self.channels, int) and self.channels not in (1, 3):
            raise ArgumentError(f"preprocess: channels={self.channels}, but the data set's images are 8-bit pictures")
        image = image.convert("L" if self.channels in ("L", 1) else "RGB")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Resampling.BILINEAR)
        pixels = np.asarray(image).reshape(self.height, self.width, -1)
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        values = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
        if self.value_range == 1:
            values /= np.float32(255)
        return values

    def _of_bands(self, bands: Tensor) -> Array:
        """Return bands [C, Y, X] resized by the same filter, unrounded, in units of value_range."""
        from PIL import Image

        values: Array = np.asarray(bands.detach().cpu(), np.float32)
        count, wanted = len(values), self._count
        if self.channels == "L" and count == 3:
            values = np.tensordot(_LUMA, values, 1)[None].astype(np.float32)
        elif count == 1 and wanted == 3:
            values = np.repeat(values, 3, 0)
        elif count != wanted:
            raise ArgumentError(f"preprocess: channels={self.channels!r}, but the data set's images have {count} bands")
        if self.channels == "BGR":
            values = values[::-1]
        if values.shape[1:] != (self.height, self.width):
            size = self.width, self.height
            resized = (Image.fromarray(band).resize(size, Image.Resampling.BILINEAR) for band in values)
            values = np.stack([np.asarray(band) for band in resized])
        return np.multiply(values, np.float32(self.value_range), order="C")


def from_model(model: nn.Module) -> Preprocess:
    """Read how a network wants its images from the network itself.

    Tried in this order: an attribute ``preprocess`` (a Preprocess, a dict, or the transforms of torchvision
    weights), timm's ``pretrained_cfg`` or ``default_cfg``, and plain attributes ``input_size``, ``mean`` and
    ``std`` (with ``channels`` and ``value_range``, or ``input_space`` and ``input_range``). Raises
    ArgumentError, with the line to write, if the network has none of these.
    """
    for holder in (model, getattr(model, "module", None), getattr(model, "_orig_mod", None)):
        for name in ("preprocess", "pretrained_cfg", "default_cfg"):
            config = getattr(holder, name, None)
            if isinstance(config, Preprocess):
                return config
            if _field(config, *_SIZES) is not None:
                return from_config(config)
        # a network that normalises its input itself holds mean and std as tensors: those are not meant
        if all(isinstance(getattr(holder, name, None), Sequence | int) for name in ("input_size", "mean", "std")):
            return from_config(holder)
    raise ArgumentError(f"the model does not say how its images are preprocessed; pass {_EXAMPLE}")


def from_config(config: Any) -> Preprocess:
    """Read a Preprocess from a dict or an object's attributes, as found in timm, torchvision and others.

    Only size, mean, std, channels and range are used: the size of a centre crop is the input size, and the
    whole picture is resized to it. Raises ArgumentError if the size is missing or a value cannot be used.
    """
    size = _field(config, *_SIZES)
    if isinstance(size, Mapping):
        size = [size[key] for key in ("height", "width", "shortest_edge") if key in size]
    size = [size] if isinstance(size, int) else list(size or ())
    if len(size) not in (1, 2, 3) or not all(isinstance(n, int) for n in size):
        raise ArgumentError(f"the model's configuration has no usable input size: {size}; pass {_EXAMPLE}")
    count = size[0] if len(size) == 3 else 3
    order: Any = {1: "L", 3: "RGB"}.get(count, count)
    limits = _field(config, "value_range", "input_range")
    white = max(limits) if isinstance(limits, Sequence) else limits
    return Preprocess(
        (size[-2:][0], size[-1]),
        _field(config, "mean", "image_mean"),
        _field(config, "std", "image_std"),
        _field(config, "channels", "input_space") or order,
        1 if white is None else white,
    )


_LUMA = np.array([299, 587, 114]) / 1000  # of red, green and blue, as in Pillow's mode L
_SIZES = ("input_size", "crop_size", "size", "resize_size")


def _field(config: Any, *names: str) -> Any:
    """Return the first of ``names`` that a dict or an object has a value for."""
    for name in names:
        value = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        if value is not None and not callable(value):
            return value
    return None


def _pair(size: Any) -> tuple[int, int]:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and 1 <= n <= 1 << 14 for n in pair):
        raise ArgumentError(f"preprocess: size must be (height, width) in pixels, 1 to 16384, got {size!r}")
    return int(pair[0]), int(pair[1])


def _numbers(name: str, value: Any, count: int) -> tuple[float, ...]:
    try:
        numbers = [float(value)] * count if np.ndim(value) == 0 else [float(number) for number in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ArgumentError(f"preprocess: {name} must be one number or {count} of them, got {value!r}")
    return tuple(numbers)
