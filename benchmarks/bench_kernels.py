"""The numbered versions in kernels/, each held to the definition; skipped without g++."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .kernels.job import Kernel, compiled, validate

VERSIONS = sorted(path.stem for path in (Path(__file__).parent / "kernels").glob("[0-9]*_*.cpp"))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kernel]:
    if shutil.which("g++") is None:
        pytest.skip("the versions are compiled with g++, which is not there")
    return compiled(tmp_path_factory.mktemp("kernels"))


@pytest.mark.benchmark(group="versions of the kernel on resnet_layer4", min_rounds=3, max_time=0.5)
@pytest.mark.parametrize("name", VERSIONS)
def test_version(benchmark, workload, kernels: dict[str, Kernel], name: str) -> None:
    if name not in kernels:
        pytest.skip(f"{name} needs AVX-512")
    work = workload("resnet_layer4")
    validate(name, kernels[name], work)
    benchmark(kernels[name].on(work).run)
