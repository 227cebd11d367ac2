"""The help of every command, as a newcomer reads it."""

from __future__ import annotations

import re
import shlex

import pytest

from netdissect_fast.cli import _parser, main
from netdissect_fast.commands import options
from netdissect_fast.geometry.grids import ALIGNMENTS

PLAIN = [
    "dissect",
    "layers",
    "merge",
    "report",
    "compare",
    "rotate",
    "null",
    "curve",
    "explain",
    "ablate",
    "demo",
    "info",
]
DATA = ["download", "build", "check", "info", "find", "show", "synth"]
COMMANDS = [*PLAIN, *(f"data {name}" for name in DATA)]


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def required_by(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command misses if nothing is given."""
    if command in ("demo", "info", "data info"):
        return ["DATA"] if command == "data info" else []
    with pytest.raises(SystemExit):
        main(command.split())
    names = capsys.readouterr().err.partition("arguments are required: ")[2].strip().split(", ")
    assert names != [""]
    return names


@pytest.fixture(autouse=True, params=["80", "120"])
def _width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", request.param)


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for command, names in (("", [*PLAIN, "data"]), ("data", DATA)):
        text = help_of(command, capsys)
        assert sorted(re.findall(r"^    ([a-z]+)(?: |$)", text, re.MULTILINE)) == sorted(names)
        assert "None" not in text
        assert "examples:\n  netdissect-fast" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_usage_is_short_and_names_what_is_required(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    usage = help_of(command, capsys).partition("\n\n")[0]
    assert usage.startswith(f"usage: netdissect-fast {command} ")
    assert len(usage.splitlines()) <= 3
    assert max(map(len, usage.splitlines())) <= 80
    for name in required_by(command, capsys):
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", usage)


@pytest.mark.parametrize("command", COMMANDS)
def test_required_options_come_first(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, description, *groups = help_of(command, capsys).split("\n\n")
    assert re.match(r"[A-Z].*\.$", description, re.DOTALL)
    assert groups[-1].startswith("example:")
    assert groups[-2].startswith("other options:")
    names = required_by(command, capsys)
    listed = [line.split()[0] for line in groups[0].splitlines()[1:] if re.match(r"  \S", line)]
    assert (listed == names) if names else not groups[0].startswith("required")


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_say_something(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(command, capsys)
    assert "None" not in text
    assert not re.search(r"default: (False|\[\]|\)|==)", text)
    for option in re.split(r"\n\n|\n  (?=\S)", text):
        assert option.count("(default:") <= 1


@pytest.mark.parametrize("command", ["", "data", *COMMANDS])
def test_examples_are_valid(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.split(r"examples?:\n", help_of(command, capsys))[-1].replace("\\\n", "").strip().splitlines()
    for line in lines:
        name, *words = shlex.split(line)
        assert name == "netdissect-fast"
        assert " ".join(words).startswith(command)
        if words[-1] != "--help":
            _parser().parse_args(words)


def test_alignments_are_those_of_grids() -> None:
    assert (*options._ALIGNMENTS, "explicit") == ALIGNMENTS
