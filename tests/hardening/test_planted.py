"""Code planted in data sets and results never runs; in weights and exports: test_weights.py, test_exported.py."""

from __future__ import annotations

import ast
import pickle
import shutil
from pathlib import Path

import pytest

import netdissect_fast as nd
from netdissect_fast.data.formats.broden import Broden
from netdissect_fast.errors import DataError

from ..results.test_result_files import EVERY, read
from ..support.planted import Payload, plant
from ..support.small_results import dissection
from ..support.tiny_broden import edit, write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    dissection().save(tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["evil.pkl", "evil.pt", "evil.pth", "evil.npz", "evil.pt2", "evil.jpg", "evil.png"])
def test_code_planted_in_a_data_set_never_runs(tiny: Path, name: str) -> None:
    """Beside the tables, below images/, and where a row asks for it."""
    for folder in (tiny, tiny / "images", tiny / "images" / "a"):
        plant(folder / name, tiny / "ran")
    edit(tiny / "index.csv", "a/two.jpg", f"a/{name}")
    if name.endswith(".png"):
        edit(tiny / "index.csv", "a/two_object.png", f"a/{name}")
    data = Broden(tiny)
    with pytest.raises(DataError, match=f"images/a/{name} is not a readable JPEG or PNG"):
        data.image(1)
    if name.endswith(".png"):
        with pytest.raises(DataError, match="is not a PNG file"):
            data.labels(1)
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        Broden(tiny, strict=False).fingerprint()
    assert not (tiny / "ran").exists()


def test_no_module_of_ours_can_unpickle_or_evaluate() -> None:
    """No pickle, eval or exec; torch.load and np.load say themselves that they take no objects."""
    import netdissect_fast

    required = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    found = set()
    for file in Path(netdissect_fast.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"} & set(names), file
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "numpy.load", "torch.jit.load"), (file, node.lineno)
                if called in required:
                    found.add(called)
                    name, value = required[called]
                    assert {k.arg: ast.unparse(k.value) for k in node.keywords}[name] == str(value), (file, node.lineno)
    assert found == set(required)


PICKLES = ["evil.pkl", "evil.pt", "evil.pth", "evil.npz", "evil.pt2"]


@pytest.mark.parametrize("file", EVERY)
@pytest.mark.parametrize("name", PICKLES)
def test_code_planted_in_a_result_never_runs(name: str, file: str, out: Path) -> None:
    """Beside our files it is not touched; in the place of one it is refused."""
    for folder in (out, out / "features.3", out / "features.3" / "peaks"):
        plant(folder / name, out / "ran")
    nd.load(out)
    shutil.copy(out / name, out / file)
    with pytest.raises(DataError) as caught:
        read(out, file)
    assert caught.value.path == str(out / file)
    assert not (out / "ran").exists()
    pickle.loads((out / "evil.pkl").read_bytes() if name == "evil.pkl" else pickle.dumps(Payload(out / "ran")))
    assert (out / "ran").exists()  # the payload is a real one
