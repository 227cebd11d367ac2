"""Labels are packed while the network runs, and nothing of that is left behind when a run ends early."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import netdissect_fast as nd
from netdissect_fast.concepts import ImageLabels
from netdissect_fast.errors import DataError

from ..support.networks import two_layers

TIMEOUT = 60


class Scenes(nd.Synthetic):
    """Labels that wait for an event, and fail where told to."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__(40, size=32)
        self.go, self.asked, self.fails_at = threading.Event(), [], fails_at

    def labels(self, index: int) -> ImageLabels:
        if index and threading.current_thread() is not threading.main_thread():  # 0: only its size is asked
            assert self.go.wait(TIMEOUT)
        self.asked.append(index)
        if index == self.fails_at:
            raise DataError(Path("labels.png"), "is broken")
        return super().labels(index)


def test_the_network_does_not_wait_for_labels(tmp_path) -> None:
    """All batches run before a single label can be packed; the result is the usual one."""
    data, batches = Scenes(), []
    net = two_layers()

    def count(*_: object) -> None:
        batches.append(1)
        if len(batches) == 1 + 5:  # the first image alone, then all batches
            data.go.set()

    net[3].register_forward_hook(count)
    result = nd.dissect(net, data, "3", batch_size=8, cache=tmp_path)
    usual = nd.dissect(two_layers(), nd.Synthetic(40, size=32), "3", batch_size=8, cache=tmp_path / "other")
    np.testing.assert_array_equal(result["3"].counts.intersection, usual["3"].counts.intersection)
    assert set(result.run["timings"]) == {"prepare", "forward", "labels", "count"}


def test_given_thresholds_wait_for_labels(tmp_path) -> None:
    data = Scenes()
    data.go.set()
    result = nd.dissect(two_layers(), data, "3", thresholds=np.full(12, 0.1), cache=tmp_path)
    assert result["3"].counts.intersection.any()


def test_broken_labels_stop_the_run(tmp_path) -> None:
    """The error comes after the batch during which it was found, not after the last."""
    data, net, ran = Scenes(fails_at=1), two_layers(), []

    def wait(*_: object) -> None:
        ran.append(1)
        if len(ran) == 3:
            data.go.set()
            for thread in threading.enumerate():
                if thread.name.startswith("netdissect_fast labels"):
                    thread.join(TIMEOUT)

    net[3].register_forward_hook(wait)
    with pytest.raises(DataError, match=r"labels\.png: is broken"):
        nd.dissect(net, data, "3", batch_size=1, cache=tmp_path)
    assert len(ran) == 3
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_ends_early_ends_packing(failure, tmp_path) -> None:
    """No label is read any more, no thread and no file stays."""
    data, net, ran = Scenes(), two_layers(), []

    def fail(*_: object) -> None:
        ran.append(1)
        if len(ran) == 2:
            threading.Timer(0.2, data.go.set).start()
            raise failure

    net[3].register_forward_hook(fail)
    with pytest.raises((failure, nd.NetDissectError)):
        nd.dissect(net, data, "3", batch_size=8, cache=tmp_path)
    assert len(data.asked) < 40
    assert not [thread.name for thread in threading.enumerate() if "labels" in thread.name]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
