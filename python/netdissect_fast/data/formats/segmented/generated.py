"""Networks that make and label pictures, and the pictures themselves: existing ones, and those made from latents."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ....errors import ArgumentError, ModelError, NetDissectError
from ....network.hashes import describe, tensor_bytes
from ....network.maps import dtype_name
from ....types import Array
from ...files.fingerprints import Fingerprint
from ..torch_dataset import as_pixels

if TYPE_CHECKING:
    from torch import Tensor


class Network:
    """A segmenter or generator (``role``): a module, which stays where it is, or a function.

    device   where batches are moved to; "auto": where the module is, else the CPU
    Raises ArgumentError if it is neither, or in training mode.
    """

    def __init__(self, role: str, network: Any, device: str) -> None:
        import torch

        if not callable(network):
            raise ArgumentError(f"{role} must be a module or a function, got {type(network).__name__}")
        self.role, self.network, self.is_module = role, network, isinstance(network, torch.nn.Module)
        tensors = (*network.parameters(), *network.buffers()) if self.is_module else ()
        own = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(0))
        try:
            self.device, self.dtype = own.device if device == "auto" else torch.device(device), own.dtype
        except RuntimeError as error:
            raise ArgumentError(f"device {device!r} is unknown to torch: {error}") from error
        self._require_evaluating()

    def __repr__(self) -> str:
        return str(getattr(self.network, "__qualname__", type(self.network).__name__))

    def __call__(self, batch: Tensor, images: str) -> Tensor:
        """Return its output for a batch, one tensor with as many rows. Messages name the ``images``."""
        import torch

        self._require_evaluating()
        try:
            with torch.inference_mode():
                output = self.network(batch.to(self.device, self.dtype))
        except NetDissectError:
            raise
        except Exception as error:
            raise ModelError(f"the {self.role} raised {type(error).__name__} for {images}: {error}") from error
        if not isinstance(output, torch.Tensor) or output.ndim < 1 or len(output) != len(batch) or not output.numel():
            raise ArgumentError(
                f"the {self.role} must return one tensor whose first axis is the {len(batch)} images; "
                f"got {kind(output)} for {images}: pass a function that selects and reshapes it"
            )
        return output

    def identity(self) -> list[str]:
        """Return its weights, code and settings as texts, also those of submodules that are not torch's own."""
        if not self.is_module:
            method = isinstance(self.network, types.MethodType)
            code = self.network.__func__ if method else type(self.network).__call__
            of = self.network.__self__ if method else self.network
            return [describe(self.network), describe(code), describe(_settings(of))]
        own = [module for module in self.network.modules() if not type(module).__module__.startswith("torch.")]
        parts = {f"{type(one).__qualname__} {describe(type(one).forward)} {describe(_settings(one))}" for one in own}
        return [describe(self.network), *sorted(parts)]

    def _require_evaluating(self) -> None:
        if self.is_module and any(module.training for module in self.network.modules()):
            raise ArgumentError(f"the {self.role} is in training mode, so results are random: call its eval() first")


def _settings(of: Any) -> dict[str, Any]:
    """Return the attributes; of a module only plain values, since weights and submodules are identified elsewhere."""
    import torch

    found = getattr(of, "__dict__", {})
    if not isinstance(of, torch.nn.Module):
        return dict(found)
    usual = vars(torch.nn.Module())
    return {n: v for n, v in found.items() if n not in usual and isinstance(v, bool | int | float | str | None)}


class Given:
    """Existing pictures, of a data set or a sequence; ``version`` stands for them in the fingerprint."""

    def __init__(self, images: Any, version: str | None) -> None:
        self.is_data = hasattr(images, "image") and hasattr(images, "fingerprint")
        if not hasattr(images, "__len__") or not (self.is_data or hasattr(images, "__getitem__")):
            raise ArgumentError(f"expected a data set or a sequence of images, got {type(images).__name__}")
        self.images, self.version = images, version

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return repr(self.images) if self.is_data else f"{len(self)} images"

    def name(self, index: int) -> str:
        """See ConceptDataset."""
        return str(self.images.name(index)) if self.is_data else f"image {index}"

    def pixels(self, indices: Sequence[int]) -> list[Array]:
        """Return uint8 [Y, X, 3] of each. Raises ArgumentError, and what the data set raises."""
        return [as_pixels(self._image(index), self.name(index)) for index in indices]

    def _image(self, index: int) -> Any:
        image = self.images.image(index) if self.is_data else self.images[index]
        return image[0] if isinstance(image, tuple) and image else image

    def add_to(self, found: Fingerprint) -> None:
        """Add all pictures to a fingerprint."""
        if self.version is not None:
            found.add("version", self.version)
        elif self.is_data:
            found.add("data", self.images.fingerprint())
        else:
            for index in range(len(self)):
                (pixels,) = self.pixels([index])
                found.add(pixels.shape, pixels.tobytes())


class Generated:
    """Pictures that a generator makes from latents, float [N, ...]; ``output_range`` is their black and white."""

    def __init__(self, latents: Any, generator: Network, output_range: tuple[float, float]) -> None:
        import torch

        if not isinstance(latents, torch.Tensor) or not latents.is_floating_point() or latents.ndim < 2:
            raise ArgumentError(f"latents must be a float tensor [N, ...], got {kind(latents)}")
        if len(output_range) != 2 or not output_range[0] < output_range[1]:
            raise ArgumentError(f"output_range must be (black, white), such as (-1, 1), got {output_range!r}")
        self.latents, self.generator = latents.detach().cpu().clone(), generator
        self.black, self.white = map(float, output_range)

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        return f"{len(self)} pictures by {self.generator!r}"

    def name(self, index: int) -> str:
        """See ConceptDataset."""
        return f"latent {index}"

    def input(self, index: int) -> Tensor:
        """Return what the generator gets, float [...]."""
        return self.latents[index]

    def pixels(self, indices: Sequence[int]) -> list[Array]:
        """Return uint8 [Y, X, 3] of each, made together. Raises ArgumentError if they are not pictures."""
        named = span(self, indices)
        output = self.generator(self.latents[list(indices)], named)
        if output.ndim != 4 or output.shape[1] != 3 or not output.is_floating_point() or not output.isfinite().all():
            raise ArgumentError(
                f"the generator must return finite floats [{len(indices)}, 3, Y, X], got {kind(output)} for {named}"
            )
        white = (output.float() - self.black) / (self.white - self.black)
        pixels: Array = (white.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return list(pixels)

    def add_to(self, found: Fingerprint) -> None:
        """Add latents and generator to a fingerprint."""
        found.add(*self.generator.identity(), self.black, self.white)
        found.add(self.latents.dtype, list(self.latents.shape), bytes(tensor_bytes(self.latents)))


def span(pictures: Given | Generated, indices: Sequence[int]) -> str:
    """Return which pictures those are, for messages."""
    return " … ".join(dict.fromkeys((pictures.name(indices[0]), pictures.name(indices[-1]))))


def kind(value: Any) -> str:
    """Return what a value is, for messages."""
    shape = getattr(value, "shape", None)
    return type(value).__name__ + (f" {list(shape)} of {dtype_name(value.dtype)}" if shape is not None else "")
