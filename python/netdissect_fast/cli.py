"""The command ``netdissect-fast``: arguments in, one call, a table out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .errors import NetDissectError

_EPILOG = """examples:
  netdissect-fast demo
  netdissect-fast dissect --model net.py:make --weights net.pth --layers layer3,layer4 \\
      --data broden1_224 --out results/net
  netdissect-fast report results/net
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status: 0 done, 1 an error that was explained, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except NetDissectError as error:
        print(f"netdissect-fast: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("netdissect-fast: interrupted; nothing was left half written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        sys.stderr.close()
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "netdissect-fast",
        description="Network Dissection: which concept does each unit of a vision network detect?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dissect(commands)
    _add_report(commands)

    demo = commands.add_parser("demo", help="dissect a small network on drawn scenes: no download, under a minute")
    demo.add_argument("--out", type=Path, default=Path("netdissect_demo"), help="result folder (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="of the drawn scenes (default: %(default)s)")
    demo.add_argument("--images", type=int, default=600, help="how many scenes (default: %(default)s)")
    demo.set_defaults(command=_demo)

    data = commands.add_parser("data", help="make concept data").add_subparsers(required=True, metavar="COMMAND")
    synth = data.add_parser("synth", help="draw a densely labelled data set in Broden's format")
    synth.add_argument("out", type=Path, help="folder to write")
    synth.add_argument("--images", type=int, default=1000, help="how many (default: %(default)s)")
    synth.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    synth.add_argument("--size", type=int, default=128, help="pixels on a side (default: %(default)s)")
    synth.set_defaults(command=_synth)

    info = commands.add_parser("info", help="versions, instruction sets, threads, GPU")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=_info)
    return parser


def _add_dissect(commands: Any) -> None:
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
    add("--layers", required=True, type=_names, help="dotted names, separated by commas")
    add("--data", required=True, type=Path, help="folder in Broden's format")
    add("--out", type=Path, help="folder for the result")
    add("--dry-run", action="store_true", help="estimate memory and time from a few batches; write nothing")
    run = dissect.add_argument_group("what is measured").add_argument
    run("--quantile", default="0.005", help="a unit is active on this top fraction of its activations")
    run("--alignment", default="receptive_field", type=_alignment,
        help="receptive_field, half_pixel, align_corners, or STRIDE,OFFSET in input pixels")  # fmt: skip
    run("--units", type=_slice, help="only these units, such as 0:512")
    run("--category-rule", default="image", choices=["image", "none"], help="images in which a unit's area counts")
    run("--split", help="only this part of the data, such as val")
    run("--categories", type=_names, help="only these categories, separated by commas")
    run("--limit", type=int, metavar="N", help="only the first N images")
    run("--skip-broken", action="store_true", help="leave out images whose files are missing or broken")
    see = dissect.add_argument_group("what the network sees (default: the model's own configuration)").add_argument
    see("--input-size", type=_size, help="pixels: 224, or HEIGHTxWIDTH")
    see("--mean", type=_numbers, help="one number, or one a channel in the network's order, separated by commas")
    see("--std", type=_numbers, help="likewise")
    see("--channels", choices=["RGB", "BGR", "L"], help="the network's channel order (L: grayscale)")
    see("--value-range", type=int, choices=[1, 255], help="largest pixel value before mean and std")
    how = dissect.add_argument_group("how it runs").add_argument
    how("--batch-size", type=int, default=32, help="images at a time")
    how("--device", default="auto", help="torch device; auto: a GPU where there is one")
    how("--backend", default="auto", help="cpu, reference or auto")
    how("--threads", type=int, help="for the network and for scoring; default: all cores")
    how("--workers", type=int, default=0, help="processes that load images; 0: the main one")
    how("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    how("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector, in the table")
    how("--quiet", action="store_true", help="no progress bars")
    how("--json", action="store_true", help="print JSON instead of tables")


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="write a static site of a result: layers, units with pictures, concepts",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = report.add_argument
    report.set_defaults(command=_report)
    add("run", type=Path, help="result folder of dissect --out, or anybody's result.csv")
    add("--out", type=Path, help="folder for the site; default: report in the result folder, or beside the file")
    add("--data", type=Path, help="the data set, where it is no longer where it was when it was dissected")
    add("--compare", type=Path, action="append", default=[], metavar="RUN",
        help="another result folder or result.csv to show beside; may be given again")  # fmt: skip
    add("--no-pictures", action="store_true", help="tables only; needs no data set")
    add("--top-images", type=int, default=10, help="pictures of a unit, at most")
    add("--picture-size", type=int, default=224, help="pixels on their longer side")
    add("--outline", action="store_true", help="draw a line along the mask's edge")
    add("--heat-map", action="store_true", help="add a heat map of each picture")
    add("--iou-threshold", type=float, default=0.04, help="IoU above which a unit is a detector")
    add("--workers", type=int, help="processes that draw pictures, 0: this one; default: one a core")
    add("--threads", type=int, help="of the kernels; default: all cores")
    add("--cache", type=Path, help="folder for packed labels; default: NETDISSECT_FAST_CACHE or the user's cache")
    add("--quiet", action="store_true", help="no progress bars")


def _report(arguments: argparse.Namespace) -> None:
    from .backends.cpu import available_threads
    from .data.sources import data_of_run
    from .pages import report
    from .tables import UnitTable

    result = _result(arguments.run)
    compare = _compared(arguments.compare)
    folder = arguments.run.parent if isinstance(result, UnitTable) else arguments.run
    data = None
    if arguments.data is not None and not arguments.no_pictures and not isinstance(result, UnitTable):
        data = data_of_run(result.run, arguments.data)
    written = report(
        result,
        arguments.out or folder / "report",
        data=data,
        compare=compare,
        pictures=not arguments.no_pictures,
        top_images=arguments.top_images,
        picture_size=arguments.picture_size,
        outline=arguments.outline,
        heat_map=arguments.heat_map,
        iou_threshold=arguments.iou_threshold,
        workers=available_threads() if arguments.workers is None else arguments.workers,
        threads=arguments.threads,
        cache=arguments.cache,
        progress=not arguments.quiet,
    )
    print(f"{written}\n{written.index}")


def _result(path: Path) -> Any:
    """What a result folder or a result.csv holds."""
    from .results import load
    from .tables import compare_csv

    return compare_csv(path) if path.suffix.lower() == ".csv" else load(path)


def _compared(paths: Sequence[Path]) -> dict[str, Any]:
    """The tables to show beside a report's, named as their files or folders; alike names with the folder above."""
    from collections import Counter

    from .errors import ArgumentError
    from .results import Dissection

    found = []
    for path in paths:
        result, name = _result(path), path.stem if path.suffix.lower() == ".csv" else path.resolve().name
        tables = result.items() if isinstance(result, Dissection) else [("", result)]
        found += [(path.resolve().parent.name, f"{name} {layer}".strip(), table) for layer, table in tables]
    times = Counter(name for _, name, _ in found)
    named = [(f"{above}/{name}" if times[name] > 1 else name, table) for above, name, table in found]
    if len(dict(named)) < len(named):
        twice = next(name for name, count in Counter(name for name, _ in named).items() if count > 1)
        raise ArgumentError(f"two results to compare would both be called {twice!r}: rename one")
    return dict(named)


def _dissect(arguments: argparse.Namespace) -> None:
    import torch

    from .data.broden import Broden
    from .data.dataset import ConceptDataset, Subset
    from .dissection import dissect
    from .estimating import estimate
    from .models import load_model
    from .summary import layer_text, result_json

    if arguments.threads is not None:
        torch.set_num_threads(max(1, arguments.threads))
    data: ConceptDataset = Broden(
        arguments.data, split=arguments.split, categories=arguments.categories, strict=not arguments.skip_broken
    )
    if arguments.limit is not None and arguments.limit < len(data):
        data = Subset.first(data, arguments.limit)
    model = load_model(arguments.model, arguments.weights)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = _moved(model, device)
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
    result = dissect(model, data, arguments.layers, **options, out=arguments.out, progress=not arguments.quiet)
    if arguments.json:
        print(json.dumps(result_json(result, arguments.iou_threshold), indent=2, ensure_ascii=False))
        return
    for layer in result.values():
        print(layer_text(layer, arguments.iou_threshold), end="\n\n")
    images, seconds = result.run["data"]["images"], result.run["timings"]
    print(f"{images} images; seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    if arguments.out:
        print(f"written to {arguments.out}; pictures: netdissect-fast report {arguments.out}")


def _moved(model: Any, device: str) -> Any:
    from .errors import ArgumentError

    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"cannot use --device {device}: {error}") from error


def _preprocess(arguments: argparse.Namespace, model: Any) -> Any:
    """Preprocessing from the options, completed from the model's configuration; None where no option was given."""
    from .data.preprocess import Preprocess, from_model
    from .errors import ArgumentError

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


def _demo(arguments: argparse.Namespace) -> None:
    from .demo import LAYER, report_demo, run_demo
    from .summary import layer_text

    results = run_demo(arguments.out, seed=arguments.seed, images=arguments.images)
    for name, result in results.items():
        print(f"{name} weights\n{layer_text(result[LAYER])}\n")
    unique = {name: sum(result[LAYER].unique_detectors().values()) for name, result in results.items()}
    print(f"concepts that units detect: {unique['trained']} after training, {unique['random']} with random weights")
    print(f"results and drawn scenes are in {arguments.out}; open the report:")
    print(report_demo(arguments.out, results).index)


def _synth(arguments: argparse.Namespace) -> None:
    from .data.synthetic import write_synthetic

    write_synthetic(arguments.out, images=arguments.images, seed=arguments.seed, size=arguments.size)
    print(f"{arguments.images} images written to {arguments.out}")


def _info(arguments: argparse.Namespace) -> None:
    from .config import show_config

    config = show_config()
    if arguments.json:
        print(json.dumps(config, indent=2))
        return
    for name, value in config.items():
        print(f"{name:<16} {', '.join(value) if isinstance(value, list) else value}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> float | tuple[float, ...]:
    numbers = tuple(float(number) for number in text.split(","))
    return numbers if len(numbers) > 1 else numbers[0]


def _size(text: str) -> int | tuple[int, int]:
    height, cross, width = text.partition("x")
    return (int(height), int(width)) if cross else int(text)


def _slice(text: str) -> slice:
    if ":" not in text:
        return slice(int(text), int(text) + 1)
    return slice(*(int(part) if part else None for part in text.split(":")))


def _alignment(text: str) -> Any:
    return _numbers(text) if "," in text else text
