"""A data set and a run that several tests ask, a label cache of their own, and figures that do not pile up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot

import netdissect_fast as nd

from ..support.networks import two_layers

mpl.use("Agg")

DATA = nd.Synthetic(26, seed=3, size=32)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result folder of two layers at a quantile of 0.05; not to be changed."""
    out = tmp_path_factory.mktemp("run") / "out"
    nd.dissect(two_layers(), DATA, ["0", "3"], quantile="0.05", batch_size=8, out=out, progress=False)
    return out


@pytest.fixture
def run(folder: Path) -> nd.Dissection:
    """The same, loaded anew."""
    return nd.load(folder)
