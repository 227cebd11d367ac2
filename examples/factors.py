"""The paper's factors in miniature: small networks trained on drawn scenes, then dissected.

Does the number of unique detectors depend on how long a network is trained, on its first random weights, on depth,
width, dropout, batch normalisation, the task, the basis? Each experiment trains variants of one small network, each
from several seeds, dissects their last convolutional layer on scenes that no network was trained on, and writes tables
and figures to OUT/EXPERIMENT. Trained networks are kept in OUT/networks and shared by the experiments.

    python examples/factors.py seeds dropout --out factors
    python examples/factors.py all --out factors         # docs/experiments/factors.md says how long this takes
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

import netdissect_fast as nd
from netdissect_fast.data.preprocess import from_model
from netdissect_fast.experiments.rows import rows_text, save_figure, save_rows

PIXELS = 64
BATCH = 32
TRAIN_SEED, TEST_SEED = 2000, 2001  # of the drawn scenes
STEPS = (0, 2, 5, 10, 20, 50, 100, 200, 500)  # at which weights are kept, beside the last

VARIANTS: Mapping[str, dict[str, Any]] = {
    "baseline": {},  # 4 convolutions, 128 units in the last, batch normalisation, told which concepts are there
    **{f"{n} layers": {"layers": n} for n in (2, 3, 5)},
    **{f"{n} units": {"units": n} for n in (32, 64, 256)},
    "dropout": {"dropout": True},
    "no batchnorm": {"batchnorm": False},
    "scenes": {"task": "scenes"},  # told only which scene or texture it is
    "turns": {"task": "turns"},  # told nothing: says by how many quarter turns a picture was turned
    "random": {"task": None},  # not trained
}
COMPARED: Mapping[str, tuple[str, ...]] = {
    "seeds": ("baseline", "random"),
    "depth": ("2 layers", "3 layers", "baseline", "5 layers"),
    "width": ("32 units", "64 units", "baseline", "256 units"),
    "dropout": ("baseline", "dropout"),
    "batchnorm": ("baseline", "no batchnorm"),
    "supervision": ("baseline", "scenes", "turns", "random"),
}


class Network(nn.Sequential):
    """``layers`` convolutions, layer1, layer2, ..., of maps of 16×16 from the second on, and a linear read-out."""

    input_size, mean, std = (3, PIXELS, PIXELS), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def __init__(
        self, outputs: int, *, layers: int = 4, units: int = 128, batchnorm: bool = True, dropout: bool = False
    ) -> None:
        super().__init__()
        widths = [3, 16, 32, 48, 48][:layers] + [units]
        for n, (before, after) in enumerate(zip(widths, widths[1:], strict=False), start=1):
            convolution = nn.Conv2d(before, after, 5 if n == 1 else 3, 2 if n == 1 else 1, 2 if n == 1 else 1)
            nn.init.kaiming_normal_(convolution.weight)
            nn.init.zeros_(convolution.bias)
            normalisation = [nn.BatchNorm2d(after)] if batchnorm else []
            self.add_module(f"layer{n}", nn.Sequential(convolution, *normalisation, nn.ReLU(inplace=True)))
            if n == 1:
                self.add_module("pool", nn.MaxPool2d(2))
        self.add_module("mean_of_map", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        self.add_module("dropout", nn.Dropout(0.5 if dropout else 0))
        self.add_module("readout", nn.Linear(units, outputs))
        self.last = f"layer{layers}"


class Scenes(nd.Synthetic):
    """Drawn scenes, kept once drawn; what a network is told about them."""

    def __init__(self, images: int, seed: int) -> None:
        super().__init__(images, seed, PIXELS)
        drawings = [super(Scenes, self).draw(i) for i in range(images)]
        self._drawings = drawings
        words, prepare = self.vocabulary, from_model(Network(1))
        self.inputs = torch.stack([prepare(self.image(i)) for i in range(images)])
        there = torch.zeros(images, len(words) + 1)
        for i, (_, labels) in enumerate(drawings):
            there[i, torch.from_numpy(labels.maps).unique().long()] = 1
            there[i, list(labels.whole)] = 1
        told = torch.from_numpy(words.category != words.categories.index("color"))  # as in train_demo.py
        self.concepts = there[:, torch.from_numpy(words.numbers)][:, told]
        whole = [labels.whole[0] for _, labels in drawings]
        self.kinds = torch.tensor([sorted(set(whole)).index(number) for number in whole])

    def draw(self, index: int) -> Any:
        """See Synthetic."""
        return self._drawings[index] if hasattr(self, "_drawings") else super().draw(index)


@dataclass
class Task:
    """What a network learns: inputs and targets of some images, loss, score on the test set."""

    name: str | None

    def outputs(self, scenes: Scenes) -> int:
        """How many numbers the network gives."""
        return {"scenes": int(scenes.kinds.max()) + 1, "turns": 4}.get(self.name or "", scenes.concepts.shape[1])

    def batch(self, scenes: Scenes, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [B, 3, H, W] and targets of the chosen images."""
        x = scenes.inputs[chosen]
        if self.name == "turns":
            turns = chosen % 4
            return torch.stack([image.rot90(int(n), (1, 2)) for image, n in zip(x, turns, strict=True)]), turns
        return x, scenes.kinds[chosen] if self.name == "scenes" else scenes.concepts[chosen]

    def loss(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy, of classes or of each concept."""
        if wanted.ndim == 1:
            return functional.cross_entropy(scores, wanted)
        return functional.binary_cross_entropy_with_logits(scores, wanted)

    @torch.no_grad()
    def score(self, model: nn.Module, scenes: Scenes) -> float:
        """Share of right classes; for concepts F1 of all answers."""
        batches = [self.batch(scenes, chosen) for chosen in torch.arange(len(scenes)).split(100)]
        scores, wanted = torch.cat([model(x) for x, _ in batches]), torch.cat([wanted for _, wanted in batches])
        if wanted.ndim == 1:
            return float((scores.argmax(1) == wanted).float().mean())
        said = scores > 0
        return float(2 * (said * wanted).sum() / (said.sum() + wanted.sum()))


@dataclass
class Laboratory:
    """Trains, keeps and dissects networks."""

    out: Path
    seeds: int
    images: int
    epochs: int

    def __post_init__(self) -> None:
        started = time.monotonic()
        self.train, self.test = Scenes(self.images, TRAIN_SEED), Scenes(max(100, self.images // 4), TEST_SEED)
        print(f"drew {len(self.train)} and {len(self.test)} scenes: {time.monotonic() - started:.0f} s", flush=True)

    def checkpoints(self, variant: str, seed: int) -> list[Path]:
        """The weights of a variant as it was trained from a seed, in order; trained now where that was not done."""
        options = dict(VARIANTS[variant])
        task = Task(options.pop("task", "concepts"))
        folder = self.out / "networks" / f"{variant.replace(' ', '-')}-{seed}-{self.images}-{self.epochs}"
        total = self.epochs * (self.images // BATCH) if task.name else 0
        paths = [folder / f"step_{step}.safetensors" for step in [*(s for s in STEPS if s < total), total]]
        if paths[-1].exists():
            return paths
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        torch.manual_seed(seed)
        model = Network(task.outputs(self.train), **options).to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=max(2, total))
        for step in range(total + 1):
            if (path := folder / f"step_{step}.safetensors") in paths:
                save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
            if step == total:
                break
            if step % (self.images // BATCH) == 0:
                order = torch.randperm(self.images).split(BATCH)
            x, wanted = task.batch(self.train, order[step % (self.images // BATCH)])
            if task.name != "turns" and torch.rand(()) < 0.5:
                x = x.flip(3)
            loss = task.loss(model(x.contiguous(memory_format=torch.channels_last)), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if total:
            print(f"trained {variant}, seed {seed}: {time.monotonic() - started:.0f} s", flush=True)
        return paths

    def network(self, variant: str, seed: int) -> tuple[Network, float | str]:
        """A variant as trained from a seed, and its score in its task on the test set; "" where it has none."""
        options = dict(VARIANTS[variant])
        task = Task(options.pop("task", "concepts"))
        model = Network(task.outputs(self.train), **options).eval()
        model.load_state_dict(load_file(self.checkpoints(variant, seed)[-1]))
        return model, task.score(model, self.test) if task.name else ""

    def compare(self, name: str, variants: tuple[str, ...]) -> None:
        """Every variant from every seed: detectors, those beyond chance, and their means over seeds."""
        results, scores = {}, []
        for variant in variants:
            for seed in range(self.seeds):
                model, score = self.network(variant, seed)
                found = nd.dissect(model, self.test, model.last, threads=1, progress=False)
                results[f"{variant}, {seed}"] = nd.null(found, repeats=20, threads=1)
                scores.append(score)
        comparison = nd.compare(results)
        comparison.save(self.out / name)
        rows = [{"score": score, **row} for score, row in zip(scores, comparison.rows(), strict=True)]
        self.write(name, "means", [self.mean(v, rows[i * self.seeds :][: self.seeds]) for i, v in enumerate(variants)])

    @staticmethod
    def mean(variant: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Means over seeds, and the lowest and highest number of unique detectors."""
        unique = [row["unique"] for row in rows]
        columns = [column for column, value in rows[0].items() if column != "±" and not isinstance(value, str)]
        means = {column: sum(row[column] for row in rows) / len(rows) for column in columns}
        return {"variant": variant, "score": "", **means, "lowest": min(unique), "highest": max(unique)}

    def iterations(self) -> None:
        """Detectors against the step of training, for each seed."""
        series = {}
        for seed in range(self.seeds):
            paths = self.checkpoints("baseline", seed)
            model, _ = self.network("baseline", seed)
            series[seed] = nd.dissect_series(model, paths, self.test, model.last, threads=1, progress=False)
        self.write("iterations", "training", [{"seed": s, **row} for s in series for row in series[s].rows()])
        for seed, one in series.items():
            save_figure(self.out / "iterations", f"seed-{seed}", partial(self.against_steps, one))

    @staticmethod
    def against_steps(series: Any) -> Any:
        """Series.plot with a logarithmic axis."""
        ax = series.plot(next(iter(next(iter(series.results.values())))))
        ax.set_xscale("symlog", linthresh=2)
        return ax

    def layers(self) -> None:
        """All layers of the deepest network."""
        tables = {}
        for seed in range(self.seeds):
            model, _ = self.network("5 layers", seed)
            names = [f"layer{n}" for n in range(1, 6)]
            found = nd.null(nd.dissect(model, self.test, names, threads=1, progress=False), repeats=20, threads=1)
            tables |= {(name, seed): layer for name, layer in found.items()}
        nd.compare({f"{name}, {seed}": tables[name, seed] for name, seed in sorted(tables)}).save(self.out / "layers")

    def rotation(self) -> None:
        """Bases more and more rotated, of the trained and of the random network."""
        rows = []
        for variant in ("baseline", "random"):
            for seed in range(self.seeds):
                model, _ = self.network(variant, seed)
                turned = nd.rotate(model, self.test, model.last, seeds=3, threads=1, progress=False)
                turned.save(self.out / "rotation" / f"{variant}-{seed}")
                rows += [{"variant": variant, "seed": seed, **row} for row in turned.means()]
        self.write("rotation", "means", rows)

    def write(self, folder: str, name: str, rows: list[dict[str, Any]]) -> None:
        """Save a table and print it."""
        save_rows(self.out / folder, name, rows)
        print(f"\n{folder}\n{rows_text(rows)}\n", flush=True)


def main() -> None:
    """Run the experiments asked for, one after the other."""
    names = [*COMPARED, "layers", "iterations", "rotation"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="+", choices=[*names, "all"], metavar="EXPERIMENT", help=", ".join(names))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="networks of each variant")
    parser.add_argument("--images", type=int, default=2400, help="drawn for training; a quarter more for dissection")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    laboratory = Laboratory(options.out, options.seeds, options.images, options.epochs)
    for name in names if "all" in options.experiments else options.experiments:
        started = time.monotonic()
        if name in COMPARED:
            laboratory.compare(name, COMPARED[name])
        else:
            getattr(laboratory, name)()
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
