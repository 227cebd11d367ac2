"""Opens the data set that a user names: a folder, a file, or a function in a Python file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts import ImageLabels, Vocabulary
from ..errors import ArgumentError, shortened
from ..python_files import function_of, require_no_arguments, run_users
from .dataset import ConceptDataset, bands_of, own_inputs
from .faults import without_broken
from .files.exif import Exif
from .files.label_maps import LabelSize
from .formats.broden import Broden
from .formats.coco import open_coco
from .formats.folder import Folder
from .formats.folder.names import NAMES
from .formats.joined import Joined

if TYPE_CHECKING:
    from PIL.Image import Image

FORMS = (
    "a data set is a folder in Broden's format (index.csv), a folder with images/, masks/ and names.csv, a COCO .json "
    "file, or path/to/file.py:function"
)


_WHAT = {
    "broden": "is in Broden's format",
    "coco": "is not in Broden's format",
    "folder": "is not in Broden's format",
    "function": "is a Python function",
}
_OPTIONS: dict[str, set[str]] = {
    "broden": {"split", "categories", "exif"},
    "coco": {"label_size", "exif"},
    "folder": {"label_size", "exif"},
    "function": set(),
}


def open_data(
    spec: str | os.PathLike[str],
    split: str | None = None,
    categories: Sequence[str] | None = None,
    strict: bool = True,
    label_size: LabelSize | str = "default",
    exif: Exif = None,
) -> ConceptDataset:
    """Open the data set that ``spec`` names: see FORMS.

    split, categories   as in ``Broden``; other kinds have no splits and keep all their categories
    strict              False: images whose files are missing or broken are skipped, with a warning
    label_size          as in ``Folder``; Broden's files and functions have their own, for which None is right too
    exif                as in ``Folder``; functions open their images themselves
    Raises ArgumentError if ``spec`` is none of the forms or an option does not fit it; otherwise what opening raises.
    """
    kind = _kind(spec)
    for option in _given(split, categories, label_size, exif) - _OPTIONS[kind]:
        raise ArgumentError(f"{os.fspath(spec)} {_WHAT[kind]}: the option {option} does not apply; omit it")
    if kind == "broden":
        return Broden(spec, split, categories, strict, exif=exif)
    data: ConceptDataset
    sized: dict[str, Any] = {} if label_size == "default" else {"label_size": label_size}
    if kind == "function":
        data = OfFunction(os.fspath(spec))
    else:
        data = (Folder if kind == "folder" else open_coco)(spec, **sized, exif=exif)
    return data if strict else without_broken(data)


def open_all(
    specs: Sequence[str | os.PathLike[str]],
    split: str | None = None,
    categories: Sequence[str] | None = None,
    strict: bool = True,
    label_size: LabelSize | str = "default",
    exif: Exif = None,
) -> ConceptDataset:
    """Open one data set as ``open_data`` does, or join several; each option goes to those that it applies to.

    Raises what ``open_data`` and ``Joined`` raise; ArgumentError if an option fits none of them.
    """
    if len(specs) == 1:
        return open_data(specs[0], split, categories, strict, label_size, exif)
    options = {"split": split, "categories": categories, "label_size": label_size, "exif": exif}
    given, parts = _given(split, categories, label_size, exif), []
    for option in given - set().union(*(_OPTIONS[_kind(spec)] for spec in specs)):
        raise ArgumentError(f"the option {option} applies to none of the data sets; omit it")
    for spec in specs:
        fitting: dict[str, Any] = {option: options[option] for option in given & _OPTIONS[_kind(spec)]}
        parts.append(open_data(spec, strict=strict, **fitting))
    return Joined(parts)


def _kind(spec: str | os.PathLike[str]) -> str:
    """Return which of FORMS ``spec`` is; ArgumentError if it is none."""
    text, path = os.fspath(spec), Path(spec)
    if path.suffix == ".py" or ".py:" in text:
        return "function"
    if not os.path.exists(text):  # noqa: PTH110 — Path's raises if the name is too long
        raise ArgumentError(f"{FORMS}; got {shortened(repr(text))}, which does not exist")
    if (path / "index.csv").exists():
        return "broden"
    if path.is_dir() and (path / NAMES).exists():
        return "folder"
    if path.suffix == ".json":
        return "coco"
    raise ArgumentError(f"{FORMS}; got {text!r}")


def _given(split: str | None, categories: Sequence[str] | None, label_size: LabelSize | str, exif: Exif) -> set[str]:
    """Return the options that request something; a label_size of None means every data set's own."""
    size = None if label_size == "default" else label_size
    asked = {"split": split, "categories": categories, "label_size": size, "exif": exif}
    return {option for option, value in asked.items() if value is not None}


class OfFunction:
    """The data set that a function in a user's Python file returns: a ConceptDataset that knows its origin.

    spec   path/to/file.py:function; it takes no arguments and returns a ConceptDataset
    Raises ArgumentError if ``spec`` names no function or that returns something else; ModelError if it raises.
    """

    def __init__(self, spec: str) -> None:
        path, name, function = function_of(spec, FORMS, "returns the data set")
        require_no_arguments(path, name, function)
        data = run_users(path, f"{name}()", function)
        if not isinstance(data, ConceptDataset) or not isinstance(data.vocabulary, Vocabulary):
            raise ArgumentError(
                f"{path}: {name}() must return a data set, such as nd.Folder or nd.FromTorch, or an object with "
                f"vocabulary, image, labels, name, fingerprint and a length; got {type(data).__name__}"
            )
        self.spec, self.dataset = f"{path}:{name}", data

    def __repr__(self) -> str:
        return f"{self.dataset!r} of {self.spec}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_its_file, (self.spec,), self.__dict__

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def input(self) -> Callable[[int], Any] | None:
        """What the network is given, if the data set defines that; otherwise None."""
        return own_inputs(self.dataset)

    @property
    def vocabulary(self) -> Vocabulary:
        """See ConceptDataset."""
        return self.dataset.vocabulary

    def source(self) -> dict[str, Any]:
        """Return its origin, as plain values; only the user may run that function again."""
        return {"kind": "function", "spec": self.spec}

    def image(self, index: int) -> Image:
        """See ConceptDataset."""
        return self.dataset.image(index)

    def bands(self, index: int) -> Any:
        """See ConceptDataset."""
        return bands_of(self.dataset, index)

    def labels(self, index: int) -> ImageLabels:
        """See ConceptDataset."""
        return self.dataset.labels(index)

    def name(self, index: int) -> str:
        """See ConceptDataset."""
        return self.dataset.name(index)

    def fingerprint(self) -> str:
        """See ConceptDataset."""
        return self.dataset.fingerprint()


def _in_its_file(spec: str) -> OfFunction:
    """Return an OfFunction still to be filled; import its file first, so that the classes that fill it are found."""
    function_of(spec, FORMS, "returns the data set")
    return OfFunction.__new__(OfFunction)
