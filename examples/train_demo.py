"""Train the network of ``netdissect-fast demo`` to predict which concepts are in a drawn scene.

It is told only which concepts an image shows (all except colours), never where: the dissection shows that its units
learn to locate them. Writes the checkpoint that ships with the package; takes about 15 minutes on two cores.

    python examples/train_demo.py --out demo.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

import netdissect_fast as nd
from netdissect_fast.data.input.preprocess import from_model
from netdissect_fast.demo.demo import PIXELS, network

SEED = 1000  # the demo draws its scenes from much smaller seeds


def targets(scenes: nd.Synthetic, index: int) -> torch.Tensor:
    """Return 1 for every concept in the image except colours, else 0; float32 [C]."""
    vocabulary, labels = scenes.vocabulary, scenes.labels(index)
    there = torch.zeros(len(vocabulary) + 1)
    there[torch.from_numpy(labels.maps).unique().long()] = 1
    there[list(labels.whole)] = 1
    learnt = torch.from_numpy(vocabulary.category != vocabulary.categories.index("color"))
    return there[torch.from_numpy(vocabulary.numbers)] * learnt


def main() -> None:
    """Draw the scenes, train the network and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()

    torch.manual_seed(SEED)
    scenes = nd.Synthetic(options.images, seed=SEED, size=PIXELS)
    model = network(len(scenes.vocabulary)).to(memory_format=torch.channels_last)
    preprocess = from_model(model)
    images = torch.stack([preprocess(scenes.image(i)) for i in range(len(scenes))])
    wanted = torch.stack([targets(scenes, i) for i in range(len(scenes))])

    steps = options.epochs * (len(scenes) // 32)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for epoch in range(options.epochs):
        total = 0.0
        for batch in torch.randperm(len(scenes)).split(32)[: len(scenes) // 32]:
            x = images[batch].contiguous(memory_format=torch.channels_last)
            if torch.rand(()) < 0.5:
                x = x.flip(3)
            loss = functional.binary_cross_entropy_with_logits(model(x), wanted[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(scenes):.4f}", flush=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, options.out)


if __name__ == "__main__":
    main()
