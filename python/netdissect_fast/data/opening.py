"""Opening a data set from what a user names: a folder, a file, or a function of the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..concepts import ImageLabels, Vocabulary
from ..errors import ArgumentError, shortened
from ..python_files import function_of, require_no_arguments, run_users
from .broden import Broden
from .coco import open_coco
from .dataset import ConceptDataset, own_inputs
from .folder import Folder
from .folder.tables import NAMES
from .inspecting import without_broken
from .label_maps import LabelSize

if TYPE_CHECKING:
    from PIL.Image import Image

FORMS = (
    "a data set is a folder in Broden's format (index.csv), a folder with images/, masks/ and names.csv, a COCO .json "
    "file, or path/to/file.py:function"
)


def open_data(
    spec: str | os.PathLike[str],
    split: str | None = None,
    categories: Sequence[str] | None = None,
    strict: bool = True,
    label_size: LabelSize | str = "default",
) -> ConceptDataset:
    """Open the data set that ``spec`` names: see FORMS.

    split, categories   as ``Broden`` takes them; other kinds have no splits, and all their categories
    strict              False: images whose files are missing or broken are left out, with a warning
    label_size          as ``Folder`` takes it; Broden's files and functions have theirs, for which None is right too
    Raises ArgumentError where ``spec`` is none of the forms or an option does not fit it; else what opening raises.
    """
    text, path = os.fspath(spec), Path(spec)
    sized: dict[str, Any] = {} if label_size == "default" else {"label_size": label_size}
    own = label_size in ("default", None)
    function = path.suffix == ".py" or ".py:" in text
    if not function and not os.path.exists(text):  # noqa: PTH110 — Path's raises where the name is too long
        raise ArgumentError(f"{FORMS}; got {shortened(repr(text))}, which does not exist")
    if (path / "index.csv").exists():
        _require_unset(path, "is in Broden's format", label_size=not own)
        return Broden(path, split, categories, strict)
    _require_unset(path, "is not in Broden's format", split=split is not None, categories=categories is not None)
    data: ConceptDataset
    if path.is_dir() and (path / NAMES).exists():
        data = Folder(path, **sized)
    elif path.suffix == ".json":
        data = open_coco(path, **sized)
    elif function:
        _require_unset(path, "is a function of your own", label_size=not own)
        data = OfFunction(text)
    else:
        raise ArgumentError(f"{FORMS}; got {text!r}")
    return data if strict else without_broken(data)


def _require_unset(path: Path, what: str, **given: bool) -> None:
    for option, is_given in given.items():
        if is_given:
            raise ArgumentError(f"{path} {what}: it has no choice of {option}; leave that out")


class OfFunction:
    """The data set that a function of the user's own Python file gives: a ConceptDataset again, that knows where from.

    spec   path/to/file.py:function; it takes no arguments and gives a ConceptDataset
    Raises ArgumentError where it names no function, or that gives something else; ModelError where it raises.
    """

    def __init__(self, spec: str) -> None:
        path, name, function = function_of(spec, FORMS, "gives the data set")
        require_no_arguments(path, name, function)
        data = run_users(path, f"{name}()", function)
        if not isinstance(data, ConceptDataset) or not isinstance(data.vocabulary, Vocabulary):
            raise ArgumentError(
                f"{path}: {name}() must give a data set, such as nd.Folder or nd.FromTorch, or an object with "
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
        """What the network is given, where the data set says that; else None."""
        return own_inputs(self.dataset)

    @property
    def vocabulary(self) -> Vocabulary:
        """See ConceptDataset."""
        return self.dataset.vocabulary

    def source(self) -> dict[str, Any]:
        """Where it is from; only its user may run that again."""
        return {"kind": "function", "spec": self.spec}

    def image(self, index: int) -> Image:
        """See ConceptDataset."""
        return self.dataset.image(index)

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
    """An OfFunction still to be filled: its file is imported, where another process finds the classes that fill it."""
    function_of(spec, FORMS, "gives the data set")
    return OfFunction.__new__(OfFunction)
