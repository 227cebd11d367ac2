"""Options shared by the commands that run a network, and the model, data and settings they name."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from .options import (
    alignment_of,
    cache_option,
    channels_of,
    exif_option,
    names_of,
    numbers_of,
    quantile_of,
    required_options,
    size_of,
    slice_of,
    tokens_option,
)
from .run_options import BACKENDS

if TYPE_CHECKING:
    from torch import nn

    from ..data.dataset import ConceptDataset
    from ..network.maps import Tokens
    from ..results.layer_result import LayerResult
    from ..results.run_result import Dissection


@dataclass(frozen=True)
class Opened:
    """What the options name: a network on its device, images, layers, arguments of ``dissect``; and the rank."""

    model: nn.Module
    data: ConceptDataset
    layers: list[str]
    options: dict[str, Any]
    rank: int


def add_network(command: argparse.ArgumentParser, required: Callable[..., Any]) -> None:
    """Add the options that name a network and say what it sees; ``required`` adds to the group of required options."""
    required("--model", required=True, help="network: FILE.py:FUNCTION, FILE.pt2, torchvision:NAME or timm:NAME")
    option = command.add_argument_group("network").add_argument
    option("--weights", type=Path, metavar="FILE",
           help="weights: .safetensors, .pth or .th (tensors only), or .npz (default: random weights)")  # fmt: skip
    option("--weights-prefix", metavar="PREFIX",
           help="what the network's names begin with in the file, if it is there more than once")  # fmt: skip
    option("--without-head", type=names_of, metavar="NAMES",
           help="modules that keep random weights because the file lacks them, separated by commas")  # fmt: skip
    option("--seed", type=int, default=0, metavar="N", help="seed of random weights")
    option("--device", default="auto", help="torch device, such as cpu or cuda:0; auto: a GPU if there is one")
    see = command.add_argument_group("preprocessing (default: the model's own configuration)").add_argument
    see("--input-size", type=size_of, metavar="PIXELS", help="size of the input: 224, or HEIGHTxWIDTH")
    see("--mean", type=numbers_of, metavar="NUMBERS",
        help="mean to subtract: one number, or comma-separated numbers in the network's channel order")  # fmt: skip
    see("--std", type=numbers_of, metavar="NUMBERS", help="standard deviation to divide by, in the form of --mean")
    see("--channels", type=channels_of, metavar="RGB|BGR|L|N",
        help="the network's channel order (L: grayscale), or its number of bands")  # fmt: skip
    see("--value-range", type=int, choices=[1, 255], help="largest pixel value before --mean and --std are applied")


def network(arguments: argparse.Namespace, device: str) -> tuple[nn.Module, Any]:
    """Return the network on its device, and preprocessing from the options; None if none was given."""
    import torch

    from ..network.models import load_model

    how = loading(arguments)
    if (
        arguments.weights is None
        and getattr(arguments, "checkpoints", None) is None
        and any(v is not None for v in how.values())
    ):
        arguments.usage_error("--weights-prefix and --without-head say how a file is read: add --weights")
    torch.manual_seed(arguments.seed)  # the same random weights in all shards, ranks and resumed runs
    model = _moved(load_model(arguments.model, arguments.weights, **how), device)
    return model, _preprocess(arguments, model)


def loading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``load_weights`` besides model and path."""
    return {"prefix": arguments.weights_prefix, "without_head": arguments.without_head}


def add_dissected(command: argparse.ArgumentParser, required: Callable[..., Any]) -> None:
    """Add the options of a command that runs a network again after one of its layers was dissected."""
    required("run", type=Path, metavar="RUN", help="result folder of a run of this network (dissect --out)")
    add_network(command, required)


def add_layer(option: Callable[..., Any]) -> None:
    """Add --layer."""
    option("--layer", metavar="NAME", help="layer of the run (default: its last)")


def dissected(arguments: argparse.Namespace) -> tuple[Dissection, LayerResult, nn.Module, Any]:
    """Return the run, its layer, and what ``network`` returns."""
    from ..results.run_result import load

    run = load(arguments.run)
    return run, run[arguments.layer or list(run)[-1]], *network(arguments, device_of(arguments))


def device_of(arguments: argparse.Namespace) -> str:
    """Return the requested device; for "auto" a GPU if there is one."""
    import torch

    if arguments.device != "auto":
        return str(arguments.device)
    return "cuda" if torch.cuda.is_available() else "cpu"


def add_running(command: argparse.ArgumentParser, transform: bool = True) -> Callable[..., Any]:
    """Add the options of a command that dissects; return the ``add_argument`` of the group "results".

    transform   whether the user may choose a basis
    """
    required = required_options(command)
    results = command.add_argument_group("results").add_argument
    add_network(command, required)
    required("--layers", required=True, type=names_of, metavar="NAMES",
             help="layers to dissect: dotted names, separated by commas")  # fmt: skip
    required("--data", required=True, action="append", metavar="DATA",
             help="labelled images: folder in Broden's format, folder of images and masks, COCO .json or "
                  "FILE.py:FUNCTION; repeat to combine data sets")  # fmt: skip
    results("--out", type=Path, metavar="DIR", help="folder for the result and for checkpoints of the run")
    results("--restart", action="store_true", help="start over instead of resuming from a checkpoint in --out")
    results("--checkpoint-every", type=float, default=300, metavar="SECONDS",
            help="time between checkpoints; 0: one after every batch")  # fmt: skip
    data = command.add_argument_group("data").add_argument
    data("--split", metavar="NAME", help="only images of this split, such as val (Broden's format)")
    data("--categories", type=names_of, metavar="NAMES",
         help="only concepts of these categories, separated by commas (Broden's format)")  # fmt: skip
    data("--label-size", type=size_of, metavar="PIXELS",
         help="size to which masks are resampled, or HEIGHTxWIDTH (default: 112; not for Broden's format)")  # fmt: skip
    exif_option(data)
    data("--limit", type=int, metavar="N", help="only the first N images")
    data("--skip-broken", action="store_true", help="skip images whose files are missing or broken")
    cache_option(data)
    measure = command.add_argument_group("measurement").add_argument
    measure("--quantile", default="0.005", type=quantile_of, metavar="Q",
            help="top fraction of a unit's activations that counts as active")  # fmt: skip
    measure("--alignment", default="receptive_field", type=alignment_of,
            help="where a layer's positions lie on the image: receptive_field, half_pixel, align_corners, or "
                 "STRIDE,OFFSET in input pixels")  # fmt: skip
    tokens_option(measure)
    measure("--units", type=slice_of, metavar="SLICE", help="only these units, such as 0:512 or 17")
    measure("--category-rule", default="image", choices=["image", "none"],
            help="image: a unit's area counts only in images that carry the concept's category; "
                 "none: in all images")  # fmt: skip
    if transform:
        measure("--transform", metavar="FILE.py:FUNCTION",
                help="apply a function to the maps [B, K, H, W] of every layer, such as a change of basis")  # fmt: skip
    how = command.add_argument_group("execution").add_argument
    how("--batch-size", type=int, default=32, metavar="N", help="images per forward pass")
    how("--backend", default="auto", choices=BACKENDS, help="where units are scored; auto: where the network runs")
    how("--threads", type=int, metavar="N", help="CPU threads of the network and of scoring (default: all cores)")
    how("--workers", type=int, default=0, metavar="N", help="processes that load images; 0: the main process")
    return results


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Opened]:
    """Open what the options name; inside, the processes that torchrun started work together."""
    import torch

    from ..data.dataset import Subset
    from ..runs.ranks import joined

    if arguments.threads is not None:
        torch.set_num_threads(max(1, arguments.threads))
    with joined(device_of(arguments)) as (rank, device):
        data = data_set(arguments)
        if arguments.limit is not None and arguments.limit < len(data):
            data = Subset.first(data, arguments.limit)
        model, preprocess = network(arguments, device)
        options: dict[str, Any] = {
            "quantile": arguments.quantile,
            "alignment": arguments.alignment,
            "tokens": _tokens(arguments.tokens, model, arguments.layers),
            "units": arguments.units,
            "category_rule": arguments.category_rule,
            "preprocess": preprocess,
            "batch_size": arguments.batch_size,
            "device": device,
            "backend": arguments.backend,
            "threads": arguments.threads,
            "workers": arguments.workers,
            "cache": arguments.cache,
        }
        if getattr(arguments, "transform", None) is not None:
            options["transform"] = _transform(arguments.transform)
        yield Opened(model, data, arguments.layers, options, rank)


def _tokens(given: Sequence[tuple[str | None, Tokens]], model: nn.Module, layers: Sequence[str]) -> Any:
    """Return the ``tokens`` of ``dissect`` from --tokens: for all layers, by layer, or None."""
    from ..network.layers import resolve_layers

    by_layer = _once(given)
    rest = by_layer.pop(None, None)
    if not by_layer or rest is None:
        return by_layer or rest
    return {**dict.fromkeys(resolve_layers(model, layers), rest), **by_layer}


def tokens_of_layer(given: Sequence[tuple[str | None, Tokens]], layer: str) -> Tokens | None:
    """Return what --tokens says of the only layer."""
    by_layer = _once(given)
    other = next((name for name in by_layer if name not in (None, layer)), None)
    if other is not None:
        raise ArgumentError(f"--tokens names layer {other!r}, but the layer is {layer!r}")
    return by_layer.get(layer, by_layer.get(None))


def _once(given: Sequence[tuple[str | None, Tokens]]) -> dict[str | None, Tokens]:
    by_layer = dict(given)
    if len(by_layer) < len(given):
        raise ArgumentError("--tokens is given twice for the same layer, or twice for all")
    return by_layer


def data_set(arguments: argparse.Namespace) -> ConceptDataset:
    """Open the data set that --data names, or several of them combined."""
    from ..data.opening import open_all

    given = {name: getattr(arguments, name) for name in ("split", "categories", "label_size", "exif")}
    given = {name: value for name, value in given.items() if value is not None}
    return open_all(arguments.data, strict=not arguments.skip_broken, **given)


def saving(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``dissect`` besides ``Opened.options``: where the result goes, and how a run resumes."""
    return {
        "out": arguments.out,
        "resume": not arguments.restart,
        "checkpoint_every": arguments.checkpoint_every,
        "progress": not arguments.quiet,
    }


def _transform(spec: str) -> Any:
    from ..python_files import function_of

    return function_of(spec, "a transform is given as path/to/file.py:function", "transforms the maps")[2]


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"cannot use --device {device}: {error}") from error


def _preprocess(arguments: argparse.Namespace, model: Any) -> Any:
    """Return preprocessing from the options, completed from the model's configuration; None if no option was given."""
    from ..data.input.preprocess import Preprocess, from_model

    names = {"size": "input_size", "mean": "mean", "std": "std", "channels": "channels", "value_range": "value_range"}
    given = {name: getattr(arguments, option) for name, option in names.items()}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if "size" not in given:
        try:
            own = from_model(model)
        except ArgumentError:
            own = None
        if own is not None:
            return dataclasses.replace(own, **given)
        size = getattr(model, "input_size", None)  # an exported network has at least this
        if size is None:
            raise ArgumentError("the model does not say how large its input is; give --input-size")
        given["size"] = tuple(size[-2:])
    return Preprocess(**given)
