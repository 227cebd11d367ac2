"""What makes two runs the same run: settings as text that is the same in every process, and what differs is named."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import netdissect_fast as nd
from netdissect_fast.errors import ResumeMismatch
from netdissect_fast.network.hashes import describe
from netdissect_fast.runs.records import ResumeWarning, require_same, run_record

from ..support.networks import two_layers

SETTINGS: dict[str, Any] = {"layers": ["3"], "batch_size": 8, "device": "cpu", "torch_threads": 2, "workers": 0}


def scaled(by: float) -> Any:
    return lambda maps: maps * by


def in_set(maps: Any, names: Any = frozenset({"a", "b"})) -> Any:
    return maps if "a" in {"c", "a", "bb", "ddd"} else names


class Table:
    def __call__(self, maps: Any) -> Any:
        return maps


def test_functions_are_told_apart_by_what_they_do() -> None:
    assert describe(scaled(2.0)) == describe(scaled(2.0))
    assert describe(scaled(2.0)) != describe(scaled(3.0))
    assert describe(lambda maps: maps + 1) != describe(lambda maps: maps - 1)
    assert describe(functools.partial(torch.clamp, min=0)) != describe(functools.partial(torch.clamp, min=1))
    assert describe(Table()) == describe(Table())
    assert "0x" not in describe([Table(), scaled(1.0), functools.partial(scaled, 1)])


def test_networks_and_arrays_are_told_apart_by_their_values() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
    assert describe(first) == describe(copy.deepcopy(first)) != describe(second)
    values = np.arange(5000, dtype=np.float32)  # long enough for repr to leave some out
    other = values.copy()
    other[2500] = 0
    assert describe(values) == describe(torch.from_numpy(values)) != describe(other)
    assert describe({"a": values}) != describe({"b": values})


def test_a_function_that_refers_to_itself() -> None:
    def again(n: int) -> int:
        return again(n - 1) if n else 0

    assert describe(again) == describe(again)


def test_the_same_in_every_process() -> None:
    value = "[scaled(2.0), in_set, slice(0, 3), (4, 1.5), nd.Preprocess(8, 0.5, 0.5)]"
    program = f"from tests.runs.test_records import *\nprint(describe({value}))"
    texts = set()
    for seed in "01":
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(done.stdout)
    assert len(texts) == 1


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return run_record(two_layers(), nd.Synthetic(4, size=32), SETTINGS)


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("model",), "ResNet", r"model \(ResNet there, Sequential here\)"),
        (("structure",), "0", "model structure"),
        (("weights",), "0", "model weights"),
        (("settings", "batch_size"), 16, r"batch_size \(16 there, 8 here\)"),
        (("settings", "device"), "cuda:1", r"device \(cuda there, cpu here\)"),
        (("settings", "layers"), ["0"], "layers"),
        (("settings", "quantile"), "0.01", "quantile"),
        (("data", "fingerprint"), "0", "data"),
        (("versions", "netdissect_fast"), "7.1.0", r"major version \(7 there, 0 here\)"),
    ],
)
def test_what_differs_is_named(record: dict[str, Any], keys: tuple[str, ...], value: Any, named: str) -> None:
    other = copy.deepcopy(record)
    inside = other
    for key in keys[:-1]:
        inside = inside[key]
    inside[keys[-1]] = value
    with pytest.raises(ResumeMismatch, match=f"out belongs to a different run: {named}.*[.] Remedy") as caught:
        require_same(other, record, "out", "Remedy")
    assert str(caught.value).count(" there, ") == 1, "nothing else is named"


def test_what_does_not_matter(record: dict[str, Any]) -> None:
    other = copy.deepcopy(record)
    other["settings"] |= {"workers": 4, "threads": 9, "backend": "reference"}
    other["versions"]["netdissect_fast"] = "0.99"
    require_same(other, record, "out", "")
    other["settings"]["torch_threads"] = 4
    with pytest.warns(ResumeWarning, match="torch_threads 4, this run uses 2: activations may differ in the last bits"):
        require_same(other, record, "out", "")


def test_another_of_several_gpus_is_the_same_device(record: dict[str, Any]) -> None:
    one, two = copy.deepcopy(record), copy.deepcopy(record)
    one["settings"]["device"], two["settings"]["device"] = "cuda:0", "cuda:3"
    require_same(one, two, "out", "")
