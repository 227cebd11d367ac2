"""What all commands that run a network have in common: its options, and from them model, data and settings."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from .options import alignment_of, names_of, numbers_of, size_of, slice_of

if TYPE_CHECKING:
    from torch import nn

    from ..data.dataset import ConceptDataset
    from ..results.layer_result import LayerResult
    from ..results.run_result import Dissection


@dataclass(frozen=True)
class Opened:
    """What the options ask for: a network on its device, images, layers, what ``dissect`` takes; the rank."""

    model: nn.Module
    data: ConceptDataset
    layers: list[str]
    options: dict[str, Any]
    rank: int


def add_network(command: argparse.ArgumentParser) -> None:
    """Add the options that give a network, and say what it sees."""
    add = command.add_argument
    add(
        "--model",
        required=True,
        help="file.py:function, file.pt2, torchvision:name or timm:name; random weights unless --weights",
    )
    add("--weights", type=Path, help=".safetensors, .pth/.th (tensors only) or .npz")
    add("--seed", type=int, default=0, help="of random weights")
    add("--device", default="auto", help="torch device; auto: a GPU where there is one")
    see = command.add_argument_group("what the network sees (default: the model's own configuration)").add_argument
    see("--input-size", type=size_of, help="pixels: 224, or HEIGHTxWIDTH")
    see("--mean", type=numbers_of, help="one number, or one a channel in the network's order, separated by commas")
    see("--std", type=numbers_of, help="likewise")
    see("--channels", choices=["RGB", "BGR", "L"], help="the network's channel order (L: grayscale)")
    see("--value-range", type=int, choices=[1, 255], help="largest pixel value before mean and std")


def network(arguments: argparse.Namespace, device: str) -> tuple[nn.Module, Any]:
    """The network on its device, and preprocessing from the options: None where none was given."""
    import torch

    from ..network.models import load_model

    torch.manual_seed(arguments.seed)  # the same random weights in all shards, ranks and resumed runs
    model = _moved(load_model(arguments.model, arguments.weights), device)
    return model, _preprocess(arguments, model)


def add_dissected(command: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs a network again of which a layer was dissected."""
    command.add_argument("run", type=Path, help="result folder of dissect --out, of the same network")
    command.add_argument("--layer", help="default: the run's last")
    add_network(command)


def dissected(arguments: argparse.Namespace) -> tuple[Dissection, LayerResult, nn.Module, Any]:
    """The run, its layer, and ``network``."""
    from ..results.run_result import load

    run = load(arguments.run)
    return run, run[arguments.layer or list(run)[-1]], *network(arguments, device_of(arguments))


def device_of(arguments: argparse.Namespace) -> str:
    """The device asked for; "auto": a GPU where there is one."""
    import torch

    if arguments.device != "auto":
        return str(arguments.device)
    return "cuda" if torch.cuda.is_available() else "cpu"


def add_running(command: argparse.ArgumentParser, transform: bool = True) -> None:
    """Add the options of a command that dissects; ``transform``: in a basis that the user may choose."""
    add_network(command)
    add = command.add_argument
    add("--layers", required=True, type=names_of, help="dotted names, separated by commas")
    add("--data", required=True, action="append", metavar="DATA",
        help="folder (Broden's format; images and masks), COCO .json or file.py:function; more: joined")  # fmt: skip
    add("--out", type=Path, help="folder for the result")
    run = command.add_argument_group("what is measured").add_argument
    run("--quantile", default="0.005", help="a unit is active on this top fraction of its activations")
    run("--alignment", default="receptive_field", type=alignment_of,
        help="receptive_field, half_pixel, align_corners, or STRIDE,OFFSET in input pixels")  # fmt: skip
    if transform:
        run("--transform", metavar="FILE.py:FUNCTION", help="of the maps [B, K, H, W] of every layer: another basis")
    run("--units", type=slice_of, help="only these units, such as 0:512")
    run("--category-rule", default="image", choices=["image", "none"], help="images in which a unit's area counts")
    run("--split", help="only this part of the data, such as val; of Broden's format")
    run("--categories", type=names_of, help="only these categories, separated by commas; of Broden's format")
    run(
        "--label-size",
        type=size_of,
        help="pixels that masks are brought to: 112, or HEIGHTxWIDTH (Broden's have theirs)",
    )
    run("--limit", type=int, metavar="N", help="only the first N images")
    run("--skip-broken", action="store_true", help="leave out images whose files are missing or broken")
    how = command.add_argument_group("how it runs").add_argument
    how("--batch-size", type=int, default=32, help="images at a time")
    how("--backend", default="auto", help="cpu, reference or auto")
    how("--threads", type=int, help="for the network and for scoring; default: all cores")
    how("--workers", type=int, default=0, help="processes that load images; 0: the main one")
    how("--checkpoint-every", type=float, default=300, metavar="SECONDS", help="0: after every batch")
    how("--restart", action="store_true", help="start over instead of going on from a checkpoint in --out")
    how("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    how("--quiet", action="store_true", help="no progress bars")


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Opened]:
    """Open what the options ask for; inside, the processes that torchrun started are joined."""
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


def data_set(arguments: argparse.Namespace) -> ConceptDataset:
    """The data set that --data names, or several joined."""
    from ..data.opening import open_all

    sized = {} if arguments.label_size is None else {"label_size": arguments.label_size}
    return open_all(arguments.data, arguments.split, arguments.categories, not arguments.skip_broken, **sized)


def saving(arguments: argparse.Namespace) -> dict[str, Any]:
    """What ``dissect`` takes beside ``Opened.options``: where the result goes, and how a run goes on."""
    return {
        "out": arguments.out,
        "resume": not arguments.restart,
        "checkpoint_every": arguments.checkpoint_every,
        "progress": not arguments.quiet,
    }


def _transform(spec: str) -> Any:
    from ..python_files import function_of

    return function_of(spec, "a transform is given as path/to/file.py:function", "transforms maps")[2]


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"cannot use --device {device}: {error}") from error


def _preprocess(arguments: argparse.Namespace, model: Any) -> Any:
    """Preprocessing from the options, completed from the model's configuration; None where no option was given."""
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
        size = getattr(model, "input_size", None)  # an exported network knows this, if nothing else
        if size is None:
            raise ArgumentError("the model does not say how large its input is: give --input-size")
        given["size"] = tuple(size[-2:])
    return Preprocess(**given)
