"""``netdissect-fast dissect``: dissect layers of a network."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .options import alignment_of, names_of, numbers_of, shard_of, size_of, slice_of


def add(commands: Any) -> None:
    """Add the command and its options."""
    dissect = commands.add_parser(
        "dissect", help="dissect layers of a network", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = dissect.add_argument
    dissect.set_defaults(command=_dissect)
    add(
        "--model",
        required=True,
        help="file.py:function, file.pt2, torchvision:name or timm:name; random weights unless --weights",
    )
    add("--weights", type=Path, help=".safetensors, .pth/.th (tensors only) or .npz")
    add("--seed", type=int, default=0, help="of random weights")
    add("--layers", required=True, type=names_of, help="dotted names, separated by commas")
    add("--data", required=True, type=Path, help="folder in Broden's format")
    add("--out", type=Path, help="folder for the result")
    add("--dry-run", action="store_true", help="estimate memory and time from a few batches; write nothing")
    run = dissect.add_argument_group("what is measured").add_argument
    run("--quantile", default="0.005", help="a unit is active on this top fraction of its activations")
    run("--alignment", default="receptive_field", type=alignment_of,
        help="receptive_field, half_pixel, align_corners, or STRIDE,OFFSET in input pixels")  # fmt: skip
    run("--units", type=slice_of, help="only these units, such as 0:512")
    run("--category-rule", default="image", choices=["image", "none"], help="images in which a unit's area counts")
    run("--split", help="only this part of the data, such as val")
    run("--categories", type=names_of, help="only these categories, separated by commas")
    run("--limit", type=int, metavar="N", help="only the first N images")
    run("--skip-broken", action="store_true", help="leave out images whose files are missing or broken")
    see = dissect.add_argument_group("what the network sees (default: the model's own configuration)").add_argument
    see("--input-size", type=size_of, help="pixels: 224, or HEIGHTxWIDTH")
    see("--mean", type=numbers_of, help="one number, or one a channel in the network's order, separated by commas")
    see("--std", type=numbers_of, help="likewise")
    see("--channels", choices=["RGB", "BGR", "L"], help="the network's channel order (L: grayscale)")
    see("--value-range", type=int, choices=[1, 255], help="largest pixel value before mean and std")
    how = dissect.add_argument_group("how it runs").add_argument
    how("--batch-size", type=int, default=32, help="images at a time")
    how("--device", default="auto", help="torch device; auto: a GPU where there is one")
    how("--backend", default="auto", help="cpu, reference or auto")
    how("--threads", type=int, help="for the network and for scoring; default: all cores")
    how("--workers", type=int, default=0, help="processes that load images; 0: the main one")
    how("--checkpoint-every", type=float, default=300, metavar="SECONDS", help="0: after every batch")
    how("--restart", action="store_true", help="start over instead of going on from a checkpoint in --out")
    how("--shard", type=shard_of, metavar="I/N", help="only the I-th of N parts of the images, from 0; see merge")
    how("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    how("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector, in the table")
    how("--quiet", action="store_true", help="no progress bars")
    how("--json", action="store_true", help="print JSON instead of tables")


def _dissect(arguments: argparse.Namespace) -> None:
    import torch

    from ..distributed import joined

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with joined(device) as (rank, device):
        _dissect_here(arguments, device, rank)


def _dissect_here(arguments: argparse.Namespace, device: str, rank: int) -> None:
    import torch

    from ..data.broden import Broden
    from ..data.dataset import ConceptDataset, Subset
    from ..dissection import dissect
    from ..estimating import estimate
    from ..models import load_model
    from ..summary import result_json, result_text

    if arguments.threads is not None:
        torch.set_num_threads(max(1, arguments.threads))
    data: ConceptDataset = Broden(
        arguments.data, split=arguments.split, categories=arguments.categories, strict=not arguments.skip_broken
    )
    if arguments.limit is not None and arguments.limit < len(data):
        data = Subset.first(data, arguments.limit)
    torch.manual_seed(arguments.seed)  # the same random weights in all shards, ranks and resumed runs
    model = _moved(load_model(arguments.model, arguments.weights), device)
    options: dict[str, Any] = {
        "quantile": arguments.quantile,
        "alignment": arguments.alignment,
        "units": arguments.units,
        "category_rule": arguments.category_rule,
        "preprocess": _preprocess(arguments, model),
        "batch_size": arguments.batch_size,
        "device": device,
        "backend": arguments.backend,
        "threads": arguments.threads,
        "workers": arguments.workers,
        "cache": arguments.cache,
    }
    if arguments.dry_run:
        expected = estimate(model, data, arguments.layers, **options)
        print(json.dumps(expected.to_json(), indent=2) if arguments.json else expected)
        return
    result = dissect(
        model,
        data,
        arguments.layers,
        **options,
        out=arguments.out,
        resume=not arguments.restart,
        checkpoint_every=arguments.checkpoint_every,
        shard=arguments.shard,
        progress=not arguments.quiet,
    )
    if rank:
        return
    if arguments.shard is not None:
        print("shard {}/{} is in".format(*arguments.shard), f"{arguments.out}; when all are: netdissect-fast merge")
        return
    if arguments.json:
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2, ensure_ascii=False))
        return
    print(result_text(result, arguments.out, arguments.iou_threshold))


def _moved(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"cannot use --device {device}: {error}") from error


def _preprocess(arguments: argparse.Namespace, model: Any) -> Any:
    """Preprocessing from the options, completed from the model's configuration; None where no option was given."""
    from ..data.preprocess import Preprocess, from_model

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
