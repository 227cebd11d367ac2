"""Several ranks give the bytes of one process; thresholds over ranks are exact; what differs between ranks is said."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdissect_fast.cli import main
from netdissect_fast.data.formats.synthetic import write_synthetic
from netdissect_fast.errors import ArgumentError
from netdissect_fast.runs.ranks import GroupRanks, find_ranks
from netdissect_fast.scoring.backends.choice import choose
from netdissect_fast.scoring.peaks import Peaks, peaks_of

from ..support.run_folders import contents
from .test_shards import NET

VALUES = np.array([-np.inf, -3e38, -1.5, -1e-38, 0, 2.0**-70, 1, 1.0000001, 2, 3e38], np.float32)[1:]


class Together(GroupRanks):
    """Ranks in threads of one process: sums and maxima by hand instead of torch's."""

    def __init__(self, rank: int, size: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size, self._table, self._barrier = rank, size, table, barrier
        self._dist = type("Ops", (), {"ReduceOp": type("ReduceOp", (), {"SUM": np.sum, "MAX": np.max})})

    def _reduced(self, array: np.ndarray, how: Any) -> np.ndarray:
        self._table[self.rank] = array.copy()
        self._barrier.wait(60)
        result = how(self._table, axis=0)
        self._barrier.wait(60)
        return result


@given(
    maps=st.tuples(st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    size=st.integers(1, 4),
    quantile=st.sampled_from(["0.001", "0.05", "0.3", "0.9"]),
    seed=st.integers(0, 2**32 - 1),
    ties=st.booleans(),
)
def test_thresholds_over_ranks_are_those_of_all(maps: Any, size: int, quantile: str, seed: int, ties: bool) -> None:
    """To the bit: ties, both signs, extremes, ranks without images, ranks whose bounds have risen."""
    rng = np.random.default_rng(seed)
    values = rng.choice(VALUES, maps) if ties else rng.standard_normal(maps).astype(np.float32)
    whole = peaks_of(values, quantile)
    edges = np.sort(rng.integers(0, len(values) + 1, size - 1))
    spans = list(zip([0, *edges], [*edges, len(values)], strict=True))
    parts, found = [Peaks(maps[1], maps[2:], maps[0], quantile) for _ in spans], [None] * size
    table, barrier = [None] * size, threading.Barrier(size)

    def work(rank: int) -> None:
        first, last = spans[rank]
        if first < last:
            parts[rank].add(values[first:last], int(first), choose())
            if rank % 2:
                parts[rank].compact()
        found[rank] = Together(rank, size, table, barrier).finish(parts[rank])

    threads = [threading.Thread(target=work, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for thresholds in found:
        assert thresholds is not None
        assert thresholds.tobytes() == whole.bounds.tobytes()
    merged = Peaks.merge(parts)
    for one, two in zip(merged.crops.arrays, whole.crops.arrays, strict=True):
        np.testing.assert_array_equal(one, two)


# ------------------------------------------------------------------------------------------- real process groups

IMAGES = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a network, and the result of one process with one thread, as every rank has."""
    folder = tmp_path_factory.mktemp("ranks")
    write_synthetic(folder / "data", images=IMAGES, seed=3, size=32)
    (folder / "net.py").write_text(NET)
    assert main([*command(folder), "--out", str(folder / "one")]) == 0
    return folder


def command(folder: Path, batch_size: int = 4) -> list[str]:
    options = ["dissect", "--model", f"{folder / 'net.py'}:make", "--layers", "0,2", "--data", str(folder / "data")]
    options += ["--quantile", "0.05", "--batch-size", str(batch_size), "--threads", "1", "--quiet"]
    return [*options, "--cache", str(folder / "cache")]


def torchrun(*arguments: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "torch.distributed.run", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = process.communicate(timeout=240)
    return process.returncode, out, errors


def test_torchrun_gives_the_same_bytes(folder: Path) -> None:
    """Eight batches on three ranks."""
    run = ["--standalone", "--nproc-per-node", "3", "-m", "netdissect_fast", *command(folder)]
    code, out, errors = finished(torchrun(*run, "--out", str(folder / "torchrun")))
    assert code == 0, errors
    assert contents(folder / "torchrun") == contents(folder / "one")
    assert out.count("written to") == 1


def test_two_machines_end_what_a_shard_began(folder: Path) -> None:
    """Two launchers that meet on loopback and share no folder; the first node's holds a shard already."""
    outs = folder / "node0", folder / "node1"
    assert main([*command(folder), "--out", str(outs[0]), "--shard", "2/5"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1", "--master-port", port]
    run = ["-m", "netdissect_fast", *command(folder), "--checkpoint-every", "0", "--out"]
    nodes = [torchrun(*meet, "--node-rank", str(node), *run, str(out)) for node, out in enumerate(outs)]
    for node in nodes:
        code, _, errors = finished(node)
        assert code == 0, errors
    assert contents(outs[0]) == contents(folder / "one")
    assert contents(outs[1]) == {}


def test_torchrun_says_what_is_wrong(folder: Path) -> None:
    """A folder in which a file stands cannot be written: every rank ends, with the reason."""
    (folder / "file").write_text("")
    run = ["--standalone", "--nproc-per-node", "2", "-m", "netdissect_fast", *command(folder)]
    code, _, errors = finished(torchrun(*run, "--out", str(folder / "file")))
    assert code != 0
    assert "error: cannot write" in errors


SPAWN = """
import socket, sys
import numpy as np
import torch
from torch import distributed, multiprocessing
import netdissect_fast as nd
from netdissect_fast.errors import NetDissectError
from tests.support.networks import two_layers

FOLDER, RANKS, FAILING = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "failing"
DATA = nd.Synthetic(30, seed=3, size=32)
THRESHOLDS = {"0": np.full(6, 0.1, np.float32), "3": np.full(12, 0.05, np.float32)}
CASES = {"plain": {}, "many": {"batch_size": 16}, "thresholds": {"thresholds": THRESHOLDS}}

def run(out, model=None, **options):
    options = {"quantile": "0.05", "batch_size": 4, "threads": 1, "cache": FOLDER + "/spawned", **options}
    return nd.dissect(model or two_layers(), DATA, ["0", "3"], out=f"{FOLDER}/{out}", progress=False, **options)

def say(rank, text):
    sys.stdout.write(f"rank {rank}: {text}\\n")
    sys.stdout.flush()

def broken(module, inputs):
    if len(inputs[0]) == 2:
        raise ValueError("broken on the last batch")

def work(rank, port):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    if FAILING:
        model = two_layers()
        if rank == RANKS - 1:
            model.register_forward_pre_hook(broken)
        run("failing", model)
    for case, options in CASES.items():
        result = run(case, **options)["3"]
        assert (result.peaks is None) == (rank > 0 or case == "thresholds")
        say(rank, f"{case} {result.counts.intersection.sum()} {result.thresholds.sum()}")
    pair = distributed.new_group([0, 2])
    run("pair", group=pair) if rank in (0, 2) else run(f"alone{rank}", group=None)
    try:
        run("never", two_layers(seed=rank // 2))
    except NetDissectError as error:
        say(rank, f"{type(error).__name__}: {error}")
    distributed.barrier()
    distributed.destroy_process_group()

if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.set_num_threads(1)
    for case, options in CASES.items():
        run("single-" + case, **options)
    multiprocessing.spawn(work, (port,), RANKS)
"""


def spawned(folder: Path, ranks: int, how: str) -> tuple[int, list[str], str]:
    """A user's own process group: (exit status, what ranks say, stderr)."""
    program = folder / "spawn.py"
    program.write_text(SPAWN)
    done = subprocess.run(
        [sys.executable, program, folder, str(ranks), how],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return done.returncode, sorted(line for line in done.stdout.splitlines() if line.startswith("rank ")), done.stderr


def test_a_users_own_group(folder: Path) -> None:
    """All ranks get all counts, with batches of 16 two of four ranks have no image; groups of some ranks, or none."""
    code, lines, errors = spawned(folder, 4, "working")
    assert code == 0, errors
    assert len(lines) == 4 * 4
    for case in ("plain", "many", "thresholds"):
        assert len({line.partition(": ")[2] for line in lines if case in line}) == 1
        assert contents(folder / case) == contents(folder / f"single-{case}")
    for name in ("pair", "alone1", "alone3"):
        assert contents(folder / name) == contents(folder / "single-plain")
    refused = [line for line in lines if "ResumeMismatch" in line]
    assert len(refused) == 4
    assert all("rank 2 belongs to a different run: model weights" in line for line in refused)
    assert not list((folder / "never").iterdir())


def test_a_rank_that_fails_ends_all(folder: Path) -> None:
    code, _, errors = spawned(folder, 2, "failing")
    assert code != 0
    assert "ValueError: broken on the last batch" in errors


def test_groups_that_are_none() -> None:
    assert find_ranks().size == 1
    assert find_ranks(None).size == 1
    for wrong in ("world", 3):
        with pytest.raises(ArgumentError, match="group must be 'auto', None or a torch"):
            find_ranks(wrong)
