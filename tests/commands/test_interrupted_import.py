"""Ctrl-C while modules are imported ends the command with its status and one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")

INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
# What a compiled module makes of an interrupt while it is imported.
SWALLOW = (
    f"try:\n    {'; '.join(INTERRUPT.splitlines())}\nexcept BaseException as e:\n    raise ImportError('no') from e\n"
)
ENTRY = "import sys; sys.argv[0] = 'netdissect-fast'; from netdissect_fast.__main__ import main; sys.exit(main())"

DISSECT = ["dissect", "--model", "net.py:make", "--layers", "0", "--data", "scenes"]
COMMANDS = [["--version"], ["data", "check", "scenes"], DISSECT]


def run(folder: Path, module: str, source: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command; the module of that name interrupts it when it is imported."""
    (folder / f"{module}.py").write_text(source)
    (folder / "net.py").write_text("import torch\n\n\ndef make():\n    return torch.nn.Conv2d(3, 4, 3)\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("entry", [["-m", "netdissect_fast"], ["-c", ENTRY]], ids=["python -m", "netdissect-fast"])
@pytest.mark.parametrize("source", [INTERRUPT, SWALLOW], ids=["raised", "swallowed"])
def test_in_the_first_import(source: str, entry: list[str], tmp_path: Path) -> None:
    """Every command imports argparse."""
    for arguments in COMMANDS:
        done = run(tmp_path, "argparse", source, [*entry, *arguments])
        assert (done.returncode, done.stderr, done.stdout) == (130, "netdissect-fast: interrupted\n", "")


@pytest.mark.parametrize("source", [INTERRUPT, SWALLOW], ids=["raised", "swallowed"])
def test_while_torch_is_imported(source: str, tmp_path: Path) -> None:
    done = run(tmp_path, "torch", source, ["-m", "netdissect_fast", *DISSECT])
    assert done.returncode in (1, 130)
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("netdissect-fast: ")


def test_an_import_that_fails_by_itself_is_still_shown(tmp_path: Path) -> None:
    done = run(tmp_path, "argparse", "raise RuntimeError('broken here')\n", ["-m", "netdissect_fast", "--version"])
    assert done.returncode == 1
    assert "RuntimeError: broken here" in done.stderr


def test_the_script_is_the_guarded_entry() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert 'netdissect-fast = "netdissect_fast.__main__:main"' in text
