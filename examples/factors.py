"""The paper's factors in miniature: small networks trained on drawn scenes, then dissected.

Does the number of unique detectors depend on how long a network is trained, on its initial weights, on depth, width,
dropout, batch normalisation, the task or the basis? Each experiment trains variants of one small network from several
seeds, dissects their last convolution on scenes that no network was trained on, and writes tables and figures to
OUT/EXPERIMENT. Trained networks are kept in OUT/networks and shared by all experiments.

    python examples/factors.py seeds depth --out factors
    python examples/factors.py all --out factors  # docs/experiments/factors.md says how long that takes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import netdissect_fast as nd
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.experiments.rows import rows_text, save_figure, save_rows

PIXELS = 64
BATCH = 32
TRAIN_SEED, TEST_SEED = 2000, 2001  # of the drawn scenes
KEPT = (0, 2, 5, 10, 20, 50, 100, 200)  # steps after which weights are saved, as well as after the last

VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},  # 4 convolutions, 128 units in the last, batch normalisation; told which concepts are present
    **{f"{n} layers": {"layers": n} for n in (2, 3, 5)},
    **{f"layer {n} of 5": {"layers": 5, "layer": n} for n in range(1, 6)},
    **{f"{n} units": {"units": n} for n in (32, 64, 256)},
    "dropout": {"dropout": True},
    "no batchnorm": {"batchnorm": False},
    "scenes": {"task": "scenes"},  # told only the scene or texture
    "turns": {"task": "turns"},  # told nothing: predicts by how many quarter turns a picture was rotated
    "random": {"task": None},  # not trained
}
COMPARED = {
    "seeds": ("baseline", "random"),
    "depth": ("2 layers", "3 layers", "baseline", "5 layers"),
    "layers": tuple(f"layer {n} of 5" for n in range(1, 6)),
    "width": ("32 units", "64 units", "baseline", "256 units"),
    "regularisation": ("baseline", "dropout", "no batchnorm"),
    "supervision": ("baseline", "scenes", "turns", "random"),
}


class Network(nn.Sequential):
    """Convolutions layer1, layer2, ..., the last two or more on 16×16 maps; means over maps; a linear read-out."""

    input_size, mean, std = (3, PIXELS, PIXELS), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(self, outputs: int, layers: int, units: int, batchnorm: bool = True, dropout: bool = False) -> None:
        super().__init__()
        for n, (before, after) in enumerate(pairwise([*(3, 16, 32, 32, 32)[:layers], units]), start=1):
            kernel, stride = (5, 2) if n == 1 else (3, 1)
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)
            normalisation = [nn.BatchNorm2d(after)] if batchnorm else []
            self.add_module(f"layer{n}", nn.Sequential(convolution, *normalisation, nn.ReLU(inplace=True)))
            if n == 1:
                self.add_module("pool", nn.MaxPool2d(2))
        self.add_module("means", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        self.add_module("dropout", nn.Dropout(0.5 if dropout else 0))
        self.add_module("readout", nn.Linear(units, outputs))


class Scenes(nd.Synthetic):
    """Scenes drawn once and kept, with the targets that networks are trained on.

    inputs    float32 [N, 3, 64, 64]
    concepts  1 for every concept in the image except colours, float32 [N, concepts]
    kinds     the scene or texture of the image, int64 [N]
    outputs   number of outputs by task, if not one per concept
    """

    def __init__(self, images: int, seed: int) -> None:
        super().__init__(images, seed, PIXELS)
        self._drawings = [super(Scenes, self).draw(i) for i in range(images)]
        words, prepare = self.vocabulary, from_model(Network(1, 1, 1))
        self.inputs = torch.stack([prepare(self.image(i)) for i in range(images)])
        there = torch.zeros(images, len(words) + 1)
        for i, (_, labels) in enumerate(self._drawings):
            there[i, torch.from_numpy(labels.maps).unique().long()] = 1
            there[i, list(labels.whole)] = 1
        self.concepts = there[:, words.numbers[words.category != words.categories.index("color")]]
        self.kinds = torch.tensor([labels.whole[0] for _, labels in self._drawings]).unique(return_inverse=True)[1]
        self.outputs = {"scenes": int(self.kinds.max()) + 1, "turns": 4}

    def draw(self, index: int) -> Any:
        """Return a kept drawing; see Synthetic."""
        return self._drawings[index]

    def batch(self, task: str | None, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs [B, 3, H, W] and targets of the chosen images."""
        x = self.inputs[chosen]
        if task == "turns":
            turns = chosen % 4
            return torch.stack([image.rot90(n, (1, 2)) for image, n in zip(x, turns.tolist(), strict=True)]), turns
        return x, (self.kinds if task == "scenes" else self.concepts)[chosen]


def train(model: nn.Module, task: str | None, scenes: Scenes, epochs: int) -> Iterator[int]:
    """Train a network; yield the number of steps done, starting with 0."""
    model.train().to(memory_format=torch.channels_last)
    each = len(scenes) // BATCH if task else 0
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=max(2, epochs * each))
    yield 0
    for epoch in range(epochs):
        for step, chosen in enumerate(torch.randperm(len(scenes)).split(BATCH)[:each], start=1):
            x, wanted = scenes.batch(task, chosen)
            if task != "turns" and torch.rand(()) < 0.5:
                x = x.flip(3)
            scores = model(x.contiguous(memory_format=torch.channels_last))
            loss = functional.binary_cross_entropy_with_logits if wanted.ndim == 2 else functional.cross_entropy
            optimizer.zero_grad()
            loss(scores, wanted).backward()
            optimizer.step()
            schedule.step()
            yield epoch * each + step


@torch.no_grad()
def score(model: nn.Module, task: str | None, scenes: Scenes) -> float:
    """Return the share of correct classes; for concepts, F1 over all answers. Untrained networks are scored too."""
    batches = [scenes.batch(task, chosen) for chosen in torch.arange(len(scenes)).split(100)]
    scores, wanted = torch.cat([model(x) for x, _ in batches]), torch.cat([wanted for _, wanted in batches])
    if wanted.ndim == 1:
        return float((scores.argmax(1) == wanted).float().mean())
    said = scores > 0
    return float(2 * (said * wanted).sum() / (said.sum() + wanted.sum()))


class Laboratory:
    """Networks in a folder: trained, kept and dissected."""

    def __init__(self, out: Path, seeds: int, images: int, epochs: int) -> None:
        self.out, self.seeds, self.epochs = out, range(seeds), epochs
        self.train, self.test = Scenes(images, TRAIN_SEED), Scenes(max(100, images // 4), TEST_SEED)

    def network(self, variant: str, seed: int) -> tuple[Network, str, list[Path], str | None]:
        """Train a variant from a seed unless done before; return it, the layer to dissect, checkpoints, task."""
        options = {"task": "concepts", "layers": 4, "units": 128, **VARIANTS[variant]}
        layer = f"layer{options.pop('layer', options['layers'])}"
        name = "-".join(f"{key}-{value}" for key, value in sorted(options.items()))
        folder = self.out / "networks" / f"{name}-images-{len(self.train)}-epochs-{self.epochs}-seed-{seed}"
        task = options.pop("task")
        total = self.epochs * (len(self.train) // BATCH) if task else 0
        paths = [folder / f"step_{step}.safetensors" for step in [*(s for s in KEPT if s < total), total]]
        torch.manual_seed(seed)
        model = Network(self.train.outputs.get(task, self.train.concepts.shape[1]), **options)
        if not paths[-1].exists():
            folder.mkdir(parents=True, exist_ok=True)
            for step in train(model, task, self.train, self.epochs):
                if (path := folder / f"step_{step}.safetensors") in paths:
                    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
        model.load_state_dict(load_file(paths[-1]))
        return model.eval().to(memory_format=torch.contiguous_format), layer, paths, task

    def compare(self, name: str) -> None:
        """Compare variants from every seed side by side, and their means over seeds."""
        found, scores = {}, {}
        for variant, seed in product(COMPARED[name], self.seeds):
            model, layer, _, task = self.network(variant, seed)
            result = nd.dissect(model, self.test, layer, threads=1, progress=False)
            found[f"{variant}, {seed}"] = nd.null(result, threads=1)  # for the column "sure"
            scores[f"{variant}, {seed}"] = {"variant": variant, "score": score(model, task, self.test)}
        comparison = nd.compare(found)
        comparison.save(self.out / name)
        rows = [scores[row["run"]] | row for row in comparison.rows()]
        self.write(name, "means", [mean_row(variant, rows) for variant in COMPARED[name]])

    def iterations(self) -> None:
        """Count detectors at each training step."""
        rows: list[Any] = []
        for seed in self.seeds:
            model, layer, paths, _ = self.network("baseline", seed)
            series = nd.dissect_series(model, paths, self.test, layer, threads=1, progress=False)
            save_figure(self.out / "iterations", f"seed-{seed}", partial(on_log_axis, series, layer))
            rows += [{"seed": seed, **row} for row in series.rows()]
        self.write("iterations", "training", rows)

    def rotation(self) -> None:
        """Rotate the basis further and further, in trained and in random networks."""
        rows: list[Any] = []
        for variant, seed in product(("baseline", "random"), self.seeds):
            model, layer, _, _ = self.network(variant, seed)
            turned = nd.rotate(model, self.test, layer, seeds=3, threads=1, progress=False)
            turned.save(self.out / "rotation" / f"{variant}-{seed}")
            for least in (0.04, 0.1):
                rows += [{"variant": variant, "seed": seed, "IoU >": least, **row} for row in turned.means(least)]
        self.write("rotation", "means", rows)

    def write(self, folder: str, name: str, rows: list[Any]) -> None:
        """Save a table and print it."""
        save_rows(self.out / folder, name, rows)
        print(f"\n{folder}\n{rows_text(rows)}\n", flush=True)


def mean_row(variant: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over a variant's seeds, and the lowest and highest number of unique detectors."""
    same = [row for row in rows if row["variant"] == variant]
    unique = [row["unique"] for row in same]
    columns = [column for column in same[0] if column not in ("variant", "run", "±")]
    means = {column: sum(row[column] for row in same) / len(same) for column in columns}
    return {"variant": variant, **means, "lowest": min(unique), "highest": max(unique)}


def on_log_axis(series: Any, layer: str) -> Any:
    """Plot a series with its steps on a logarithmic axis that starts at 0."""
    ax = series.plot(layer)
    ax.set_xscale("symlog", linthresh=2)
    ax.set_xticks(series.steps, list(map(str, series.steps)), fontsize=7)
    ax.minorticks_off()
    ax.set_xlim(-0.5, 1.2 * series.steps[-1])
    return ax


def main() -> None:
    """Run the requested experiments, one after the other."""
    names = [*COMPARED, "iterations", "rotation"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=[*names, "all"], metavar="EXPERIMENT", help=", ".join(names))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="networks per variant")
    parser.add_argument("--images", type=int, default=2000, help="training scenes; a quarter as many are dissected")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.monotonic()
    laboratory = Laboratory(options.out, options.seeds, options.images, options.epochs)
    for name in names if "all" in options.experiments else options.experiments:
        laboratory.compare(name) if name in COMPARED else getattr(laboratory, name)()
        print(f"{name} done after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
