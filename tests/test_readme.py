"""README.md: its Python runs and prints what is shown; its commands, options and extras exist."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from netdissect_fast.cli import main
from netdissect_fast.data.formats.synthetic import write_synthetic

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
OURS = (["netdissect-fast"], ["python", "-m", "netdissect_fast"])


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[list[str]]:
    """Yield every shell command, split into words: those of shell blocks, and those quoted in the text."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    lines += [quoted for quoted in re.findall(r"`([^`]+)`", PROSE) if quoted.split()[0] in KNOWN]
    for line in lines:
        words = shlex.split(line, comments=True)
        while "&&" in words:
            yield words[: words.index("&&")]
            words = words[words.index("&&") + 1 :]
        yield words


def ours(words: list[str]) -> list[str] | None:
    """Return what follows netdissect-fast in a command, or None if it runs something else."""
    if words[0] == "torchrun":
        words = ["python", *words[words.index("-m") :]]
    return next((words[len(start) :] for start in OURS if words[: len(start)] == start), None)


HELP: dict[tuple[str, ...], str] = {}


def help_of(*command: str) -> str:
    """Return what --help prints for a command."""
    if command not in HELP:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as left:
            main([*command, "--help"])
        assert left.value.code == 0, command
        HELP[command] = printed.getvalue()
    return HELP[command]


def subcommands(text: str) -> list[str]:
    """Return the commands that a help text lists."""
    return re.findall(r"^    ([a-z]+)\s", text[text.index("COMMAND\n") :], re.MULTILINE) if "COMMAND\n" in text else []


def options(text: str) -> set[str]:
    """Return the options that a help text lists, each at the beginning of a line."""
    return set(re.findall(r"^  (?:-[a-z], )?(--[a-z][a-z0-9-]*)", text, re.MULTILINE))


def check_ours(words: list[str]) -> None:
    command: list[str] = []
    while len(words) > len(command) and words[len(command)] in subcommands(help_of(*command)):
        command.append(words[len(command)])
    assert command, f"netdissect-fast has no command {words[:1]}"
    assert command != ["data"], f"netdissect-fast data has no command {words[1:2]}"
    text = help_of(*command)
    assert {word for word in words if word.startswith("--")} <= options(text), (words, options(text))
    for word in words:
        if word.startswith("examples/"):
            path, function = word.split(":")
            assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8")


def check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
        assert set(extra.split(",")) <= set(project["optional-dependencies"])
    if "-c" in words:
        assert (ROOT / words[words.index("-c") + 1]).is_file()


def check_bash(words: list[str]) -> None:
    assert (ROOT / words[1]).is_file(), words


def check_nothing(words: list[str]) -> None:
    """The command is not ours."""


KNOWN = {
    "netdissect-fast": check_ours,
    "torchrun": check_ours,
    "pip": check_pip,
    "bash": check_bash,
    **dict.fromkeys(("git", "cd", "python3", "."), check_nothing),
}


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_commands_exist(words: list[str]) -> None:
    assert words[0] in KNOWN, f"the test does not know {words[0]}"
    found = ours(words)
    KNOWN[words[0]](words if found is None else found)


def test_there_are_commands() -> None:
    assert len(list(commands())) >= 20
    assert sum(ours(words) is not None for words in commands()) >= 15


@pytest.mark.parametrize(
    "words", [["dissector"], ["data", "merge"], ["null", "--repeat"], ["report", "RUN", "--out", "--compared"]]
)
def test_a_wrong_command_is_noticed(words: list[str]) -> None:
    with pytest.raises(AssertionError):
        check_ours(words)


def test_options_in_the_text_exist() -> None:
    known = {option for command in subcommands(help_of()) if command != "data" for option in options(help_of(command))}
    mentioned = {word for quoted in re.findall(r"`([^`]+)`", PROSE) for word in quoted.split() if word.startswith("--")}
    assert mentioned - {"--nproc-per-node"} <= known  # torchrun's
    assert len(mentioned) >= 5


def test_extras_in_the_text_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    mentioned = re.search(r"the extra `(\w+)` or `(\w+)`", PROSE)
    assert mentioned is not None
    assert set(mentioned.groups()) <= set(project["optional-dependencies"])


def test_length() -> None:
    assert len(TEXT.splitlines()) < 170


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with a label cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETDISSECT_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.usefixtures("elsewhere")
def test_the_first_example_prints_what_is_shown() -> None:
    (block,) = blocks("pycon")
    example = doctest.DocTestParser().get_doctest(block, {}, README.name, str(README), 0)
    assert example.examples
    report: list[str] = []
    outcome = doctest.DocTestRunner().run(example, out=report.append)
    assert not outcome.failed, "".join(report)
    assert any(one.want for one in example.examples)


def test_the_second_example_runs(elsewhere: Path) -> None:
    """On a network and a data set that stand for the reader's own."""
    import netdissect_fast as nd
    from netdissect_fast.demo.demo import networks

    write_synthetic(elsewhere / "broden1_224", images=12, seed=1, size=64, progress=False)
    (block,) = blocks("python")
    names = {"nd": nd, "model": networks()["trained"]}
    exec(compile(block, str(README), "exec"), names)
    assert (elsewhere / "results" / "my_net" / "report" / "index.html").is_file()
    assert (elsewhere / "layer4.pdf").is_file()
    assert set(names["result"]) == {"layer3", "layer4"}
