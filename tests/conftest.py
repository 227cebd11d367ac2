"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real photographs, networks and published tables; skips where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data not found at {SHARED_DATA.parent.name}/{SHARED_DATA.name} beside the project")
    return SHARED_DATA


@pytest.fixture(scope="session")
def squeezenet_run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Result folder of SqueezeNet on all of minibroden_224, made by the command line; its cache is beside it."""
    from netdissect_fast.cli import main

    folder = tmp_path_factory.mktemp("squeezenet")
    model = Path(__file__).parents[1] / "examples" / "squeezenet.py"
    command = ["dissect", "--model", f"{model}:squeezenet"]
    command += ["--weights", str(shared_data / "models" / "squeezenet1_0_imagenet.npz")]
    command += ["--layers", "features.9,features.10,features.12", "--data", str(shared_data / "minibroden_224")]
    assert main([*command, "--out", str(folder / "out"), "--cache", str(folder / "cache"), "--quiet"]) == 0
    return folder / "out"


GROUPS = ("data", "browser", "cuda", "cuda_host")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note in each test's reports which group it is of (their keywords would hold folder names too)."""
    for item in items:
        item.user_properties += [("group", group) for group in GROUPS if item.get_closest_marker(group) is not None]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which groups of tests were skipped as a whole: such a run has not shown what they show."""
    outcomes: dict[str, set[str]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if group := dict(report.user_properties).get("group"):
                outcomes.setdefault(group, set()).add(outcome)
    for group, found in outcomes.items():
        if found == {"skipped"}:
            terminalreporter.write_line(f"NOT RUN: every test marked '{group}' was skipped", yellow=True, bold=True)
