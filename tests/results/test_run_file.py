"""run.json says what it said when it was written, or is refused; timings.json may be lost alone."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import netdissect_fast as nd
from netdissect_fast.cli import main
from netdissect_fast.data.dataset import DataWarning
from netdissect_fast.errors import DataError
from netdissect_fast.results.run_file import FORMAT, read_run, write_run

from ..support.small_results import dissection, without_checksum

OLD = Path(__file__).parents[1] / "fixtures" / "be10565" / "run"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    result = dissection()
    result.run |= {"model": "Net", "data": {"name": "Scenes", "images": 8}, "timings": {"forward": 1.5, "count": 0.25}}
    result.save(tmp_path / "out")
    return tmp_path / "out"


def said(path: Path) -> str:
    """All that a run.json says, in its order; or "refused", with a sentence that names the file."""
    try:
        return json.dumps(read_run(path))
    except DataError as error:
        return "refused" if str(error).startswith(f"{path}: ") else str(error)


def test_every_flipped_bit_is_refused_or_changes_nothing(out: Path, tmp_path: Path) -> None:
    """All bits of the file. The few that change nothing are those of a letter in an escape or an exponent."""
    content, path = (out / "run.json").read_bytes(), tmp_path / "run.json"
    expected, same = said(out / "run.json"), 0
    for place in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            got = said(path)
            assert got in ("refused", expected)
            same += got == expected
    assert same <= len(content) / 100


def test_a_folder_with_a_flipped_bit_is_refused(out: Path) -> None:
    """The same through the public function, at places all over the file."""
    content = (out / "run.json").read_bytes()
    for place in range(0, len(content), 37):
        (out / "run.json").write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"run\.json: "):
            nd.load(out)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "run.json"


@given(content=st.dictionaries(st.text(), VALUES, max_size=5), data=st.data())
def test_any_content_is_read_as_written_and_no_byte_may_change(
    one_file: Path, content: dict[str, Any], data: st.DataObject
) -> None:
    content = {name: value for name, value in content.items() if name not in ("format", "checksum")}
    write_run(one_file, content)
    expected = said(one_file)
    assert expected == json.dumps([FORMAT, content])
    text = one_file.read_bytes()
    place = data.draw(st.integers(0, len(text) - 1))
    one_file.write_bytes(text[:place] + data.draw(st.binary(max_size=3)) + text[place + 1 :])
    assert said(one_file) in ("refused", expected)


def edited(out: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    change(run)
    (out / "run.json").write_text(json.dumps(run), encoding="utf-8")


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a name": lambda run: run["vocabulary"]["names"].__setitem__(0, "see"),
    "names swapped": lambda run: run["vocabulary"]["names"].reverse(),
    "a grid": lambda run: run["layers"]["features.3"]["grid"].update(stride=[2, 2]),
    "order of layers": lambda run: run.update(layers=dict(reversed(run["layers"].items()))),
    "the quantile": lambda run: run.update(quantile="0.2"),
    "one more key": lambda run: run.update(more=1),
    "one key less": lambda run: run.pop("quantile"),
    "the checksum": lambda run: run.update(checksum="0" * 64),
    "the checksum null": lambda run: run.update(checksum=None),
    "no checksum": lambda run: run.pop("checksum"),
    "format 1 with a checksum": lambda run: run.update(format=1),
    "format true": lambda run: run.update(format=True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_is_refused_with_what_to_do(what: str, out: Path) -> None:
    edited(out, CHANGES[what])
    with pytest.raises(DataError, match=r"run\.json: (has changed .* run the dissection again|is of format True)"):
        nd.load(out)


def test_blanks_and_line_ends_do_not_matter(out: Path) -> None:
    edited(out, lambda _: None)
    assert "\n" not in (out / "run.json").read_text(encoding="utf-8")
    assert list(nd.load(out)) == list(dissection())


def test_run_json_stays_readable(out: Path) -> None:
    """The checksum is one short line, the second; everything else is as in format 1."""
    lines = (out / "run.json").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["{", '  "format": 2,']
    assert lines[2].startswith('  "checksum": "')
    assert len(lines[2]) < 90
    assert "checksum" not in nd.load(out).run


def test_a_run_without_a_checksum_loads_without_a_word(out: Path) -> None:
    expected = dissection()
    without_checksum(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nd.load(out)["features.3"].units() == expected["features.3"].units()
        assert list(nd.load(OLD)) == ["0", "2"]


def test_a_later_format_is_refused(out: Path) -> None:
    edited(out, lambda run: run.update(format=FORMAT + 1))
    with pytest.raises(DataError, match="is of format 3, this version reads 1 to 2: use the version that wrote it"):
        nd.load(out)


def test_nested_deeper_than_json_can_write(out: Path) -> None:
    text = (out / "run.json").read_text(encoding="utf-8").rstrip().removesuffix("}")
    for depth in (900, 2000, 50_000):
        (out / "run.json").write_text(f'{text}, "deep": {"[" * depth}{"]" * depth}}}', encoding="utf-8")
        with pytest.raises(DataError):
            nd.load(out)


# ------------------------------------------------------------------------------------------- netdissect-fast info RUN


def test_info_says_what_a_run_is_and_that_it_is_intact(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(out)]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (shown["format"], shown["checksum"], shown["images"]) == ("2", "matches", "8")
    assert "features.3 (5 units), features.12 (3 units)" in shown["layers"]
    assert main(["info", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == 2


def test_info_says_that_an_old_run_has_no_checksum_and_its_remedy_adds_one(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without_checksum(out)
    assert main(["info", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "checksum         none before format 2; to add one: " in printed
    code = next(line.partition("to add one: ")[2] for line in printed.splitlines() if "to add one" in line)
    exec(code, {"nd": nd})
    assert main(["info", str(out)]) == 0
    assert "checksum         matches" in capsys.readouterr().out


def test_info_refuses_a_changed_run(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(out, CHANGES["a name"])
    assert main(["info", str(out)]) == 1
    assert "has changed since it was written: its checksum does not match" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- timings.json

DAMAGED = ["", "{", "[]", "null", '{"forward": "x"}', '{"forward": NaN}', '{"forward": -1}', '{"forward": [1]}']
DAMAGED += ['{"forward": 1e999}', '{"forward": 1' + "0" * 400 + "}", "\ud800", "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=lambda text: repr(text[:16]))
def test_damaged_timings_cost_the_timings_only(text: str, out: Path) -> None:
    (out / "timings.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.warns(DataWarning, match=r"timings\.json: .*; the run is loaded without its timings"):
        result = nd.load(out)
    assert "timings" not in result.run
    assert result["features.3"].units() == dissection()["features.3"].units()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such files")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_timings_of_another_kind(kind: str, out: Path) -> None:
    path = out / "timings.json"
    path.unlink()
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "device": lambda: path.symlink_to("/dev/zero")}[kind]()
    with pytest.warns(DataWarning, match="without its timings"):
        assert len(nd.load(out)) == 3


def test_flipped_bits_of_timings_never_stop_a_run(out: Path) -> None:
    """One bit of every byte."""
    content = (out / "timings.json").read_bytes()
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        (out / "timings.json").write_bytes(changed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            assert len(nd.load(out)) == 3


def test_missing_timings_are_no_damage(out: Path) -> None:
    (out / "timings.json").unlink()
    assert "timings" not in nd.load(out).run


@pytest.mark.filterwarnings("always:.*without its timings")
def test_the_command_says_it_in_one_line(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "timings.json").write_text("{")
    assert main(["report", str(out), "--no-pictures"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("netdissect-fast: warning: ")
    assert "timings.json: is not JSON" in line
