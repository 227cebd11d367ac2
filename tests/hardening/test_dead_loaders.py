"""A loader process that is killed, as systems do when memory runs out, is named as that, whatever was running then."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.errors import CapacityError
from netdissect_fast.network.hooks import evaluating
from netdissect_fast.processes import loader_deaths_named

from ..support.networks import two_layers

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="kills with a POSIX signal"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.timeout(120),
]

IMAGES, FATAL = 24, 9


class Fatal(nd.Synthetic):
    """The process that loads image 9 ends: by a signal, or by itself; the main process never does."""

    def __init__(self, end: int = -signal.SIGKILL) -> None:
        super().__init__(IMAGES, size=32)
        self.end = end

    def image(self, index: int) -> Any:
        if index == FATAL and multiprocessing.parent_process() is not None:
            time.sleep(0.3)  # the network is running by now
            if self.end < 0:
                os.kill(os.getpid(), -self.end)
            os._exit(self.end)
        return super().image(index)


def slow(model: nn.Sequential) -> nn.Sequential:
    """The network, which takes a second for each batch: the death falls into a forward pass."""

    def wait(*_: Any) -> None:
        for _ in range(50):
            time.sleep(0.02)

    model.register_forward_pre_hook(wait)
    return model


def named_death() -> Any:
    return pytest.raises(CapacityError, match=r"a loader process died: DataLoader worker \(pid.*workers=0")


@pytest.mark.parametrize("end", [-signal.SIGKILL, -signal.SIGSEGV, 3], ids=["killed", "crashed", "ended"])
@pytest.mark.parametrize("network", [two_layers, lambda: slow(two_layers())], ids=["fast", "slow"])
def test_a_dead_loader_is_named(network: Any, end: int, tmp_path: Path) -> None:
    with named_death() as caught:
        nd.dissect(network(), Fatal(end), "0", batch_size=4, workers=1, cache=tmp_path, progress=False)
    assert "the model raised" not in str(caught.value)
    if end < 0:
        assert signal.strsignal(-end) in str(caught.value)


def test_what_the_message_says_works(tmp_path: Path) -> None:
    """workers=0, with the same folder: it resumes."""
    out, options = tmp_path / "out", {"batch_size": 4, "cache": tmp_path / "cache", "progress": False}
    with named_death():
        nd.dissect(two_layers(), Fatal(), "0", workers=1, out=out, checkpoint_every=0, **options)
    assert len(nd.dissect(two_layers(), Fatal(), "0", workers=0, out=out, **options)["0"].thresholds) == 6


def test_in_an_estimate_and_an_ablation(tmp_path: Path) -> None:
    options: dict[str, Any] = {"batch_size": IMAGES, "workers": 1}
    with named_death():
        nd.estimate(two_layers(), Fatal(), "0", cache=tmp_path, **options)
    network = nn.Sequential(two_layers(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.input_size, network.mean, network.std = (3, 32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    with named_death():
        nd.ablate(network, Fatal(), "0.0", {"one": [0]}, batch_size=4, workers=1)


def test_an_error_of_the_model_stays_one(tmp_path: Path) -> None:
    model = two_layers()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("DataLoader of my own")))
    with pytest.raises(nd.NetDissectError, match="the model raised RuntimeError") as caught:
        nd.dissect(model, nd.Synthetic(8, size=32), "0", batch_size=4, cache=tmp_path, progress=False)
    assert not isinstance(caught.value, CapacityError)


def test_the_innermost_words_are_quoted() -> None:
    """Once, however often the error was wrapped; the network is left as it was found."""
    model = two_layers().train()

    def fail() -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        except RuntimeError as error:
            raise ValueError(f"the model raised RuntimeError: {error}") from error

    with pytest.raises(CapacityError) as caught, loader_deaths_named(), evaluating(model):
        fail()
    assert re.match(
        r"a loader process died: DataLoader worker \(pid 7\) is killed by signal: Killed\. If ", str(caught.value)
    )
    assert model.training
    assert torch.is_grad_enabled()
