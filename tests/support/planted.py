"""Files that would run code if they were unpickled."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Payload:
    """Something that makes the file ``mark`` when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def plant(path: Path, mark: Path) -> None:
    """Write a payload in the format that the name promises: arrays, an archive as torch's, or a bare pickle."""
    content = pickle.dumps({"weight": Payload(mark)})
    if path.suffix == ".npz":
        np.savez(path, weight=np.array([Payload(mark)], dtype=object))
        return
    if path.suffix in (".pt", ".pth", ".pt2"):
        with io.BytesIO() as file, zipfile.ZipFile(file, "w") as archive:
            for name in ("data.pkl", "data/constants/custom_obj_0", "models/model.json"):
                archive.writestr(f"{path.stem}/{name}", content)
            archive.writestr(f"{path.stem}/version", b"3\n")
            archive.close()
            content = file.getvalue()
    path.write_bytes(content)
