"""The folders of a build: begun or resumed, and in the end renamed to the data set's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import DataError, OutputError, ResumeMismatch
from ...storage import only_writer, read_json, remove_file, remove_tree, remove_unfinished, write_json

_WRITING = {"min_frequency", "min_coverage", "synonyms", "train", "salt"}  # settings that reading does not depend on


@contextmanager
def begun(folder: Path, settings: Mapping[str, Any], restart: bool) -> Iterator[tuple[Path, Path]]:
    """Yield the folders to build and to work in, in ``.NAME.building`` beside ``folder``, which the first becomes.

    An interrupted build with the same settings is resumed; if only settings of the second pass differ, what was read
    is kept. Raises ResumeMismatch if others differ, unless ``restart``: then everything is removed.
    """
    beside = folder.with_name(f".{folder.name}.building")
    new, work = beside / "data", beside / "work"
    with only_writer(folder.parent, f".{folder.name}.lock"):
        if beside.exists():
            _go_on(beside, new, work, settings, restart)
        try:
            for made in (new / "images", work):
                made.mkdir(parents=True, exist_ok=True)
            remove_unfinished(new)  # what a process was writing when it was killed
            write_json(beside / "settings.json", settings)
            yield new, work
            os.sync()  # photographs and label maps were not synced one by one
            if folder.exists():
                folder.rmdir()
            new.rename(folder)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot write {folder}: {error.strerror or error}; free some space") from error
        shutil.rmtree(beside, ignore_errors=True)


def _go_on(beside: Path, new: Path, work: Path, settings: Mapping[str, Any], restart: bool) -> None:
    """Remove what cannot be resumed."""
    different = _different(beside / "settings.json", settings)
    if different is None or not new.is_dir():  # nothing was begun, or the data set got its name and this remained
        remove_tree(beside)
    elif _WRITING.issuperset(different):
        if different:
            # rows first: without them all label maps are written again, whatever stops us here
            for left in (*work.glob("rows-*.json"), *new.glob("*.csv"), *new.rglob("*.png")):
                remove_file(left)
    elif restart:
        remove_tree(beside)
    else:
        raise ResumeMismatch(
            f"{beside} was begun with different settings ({', '.join(different)}): use the same, or start over "
            "(restart=True, --restart)"
        )


def _different(path: Path, settings: Mapping[str, Any]) -> list[str] | None:
    """Return the names of the settings that differ in an interrupted build; None if it had not written them."""
    try:
        begun = read_json(path)
    except DataError:
        return None
    other = begun if isinstance(begun, dict) else {}
    if other.get("strict"):
        other["strict"] = settings["strict"]  # nothing was skipped so far
    return [name for name, value in settings.items() if other.get(name) != value]
