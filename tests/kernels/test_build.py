"""What the package is made of: one table of kernels a variant, versions that agree, an import that stays light."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import version
from pathlib import Path

import pytest

import netdissect_fast as nd
from netdissect_fast import _core

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ["torch", "cupy", "pandas", "matplotlib", "jinja2", "PIL", "tqdm", "safetensors", "torchvision", "timm"]


def python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------ compiled variants


def variant_objects() -> list[Path]:
    """Object files of the variants in the newest build tree beside the sources."""
    builds = sorted(ROOT.glob("build/*/CMakeFiles/_core.dir"), key=lambda folder: folder.stat().st_mtime)
    objects = sorted(builds[-1].rglob("variant_*.o")) if builds else []
    if not objects:
        pytest.skip("no build tree with object files beside the sources (the package was installed from a wheel)")
    if shutil.which("nm") is None:
        pytest.skip("nm (binutils) is not installed")
    return objects


def symbols(path: Path) -> list[tuple[str, str]]:
    """(kind, name) as nm prints them, names demangled."""
    text = subprocess.run(["nm", "--demangle", path], capture_output=True, text=True, check=True).stdout
    found = [re.match(r"(?:[0-9a-f]+)?\s+(\S) (.*)", line) for line in text.splitlines()]
    return [(match[1], match[2]) for match in found if match]


def test_variants_export_one_table_and_share_nothing() -> None:
    """Code of a variant that the linker could merge with another's would run on processors that lack it."""
    objects = variant_objects()
    for path in objects:
        name = re.sub(r"variant_(\w+)\..*", r"\1", path.name)
        found = symbols(path)
        assert found
        exported = [(kind, symbol) for kind, symbol in found if kind.isupper() and kind != "U"]
        assert [symbol for _, symbol in exported] == [f"netdissect::k{name.capitalize()}"], path.name
        assert exported[0][0] in "DRS", "data, not code"
        assert not [symbol for kind, symbol in found if kind in "WwVvui"], f"weak or unique symbols in {path.name}"
        needed = {symbol for kind, symbol in found if kind == "U"}
        assert not [symbol for symbol in needed if "std::" in symbol or "netdissect" in symbol], path.name


def test_baseline_uses_only_registers_that_every_processor_has() -> None:
    if shutil.which("objdump") is None:
        pytest.skip("objdump (binutils) is not installed")
    for path in variant_objects():
        text = subprocess.run(["objdump", "-d", path], capture_output=True, text=True, check=True).stdout
        if "x86-64" not in text:
            pytest.skip("the objects are not for x86-64")
        widest = "zmm" if "%zmm" in text else "ymm" if "%ymm" in text else "xmm"
        assert widest == {"baseline": "xmm", "avx2": "ymm", "avx512": "zmm"}[path.name.split(".")[0][8:]], path.name
        fused = re.search(r"\tvfn?m(add|sub)", text)
        assert fused is None, f"{path.name} fuses a multiplication and an addition: {fused}"


# --------------------------------------------------------------------------------------------------- versions


def test_versions_agree() -> None:
    assert nd.__version__ == _core.__version__ == version("netdissect-fast")


MISMATCH = """
import importlib.util, sys
name = "netdissect_fast._core"
spec = importlib.util.spec_from_file_location(name, sys.argv[1])
core = importlib.util.module_from_spec(spec)
core.__version__ = "0.0.1"
sys.modules[name] = core
try:
    import netdissect_fast
except ImportError as error:
    print(error)
"""


def test_an_old_compiled_core_is_refused() -> None:
    assert _core.__file__.endswith(tuple(EXTENSION_SUFFIXES))
    assert python(MISMATCH, _core.__file__) == (
        f"netdissect_fast {nd.__version__} found its compiled core in version 0.0.1: reinstall the package\n"
    )


# ----------------------------------------------------------------------------------------------------- import


def test_import_is_light() -> None:
    """NumPy and the compiled core; everything else when it is needed."""
    program = "import sys, netdissect_fast, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(python(program))
    tops = {name.split(".")[0] for name in loaded}
    assert not tops.intersection(HEAVY)
    ours = {name for name in loaded if name.startswith("netdissect_fast")}
    assert ours == {"netdissect_fast", "netdissect_fast._core"}


WITHOUT_TORCH = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # importing it fails
import numpy as np
import netdissect_fast as nd
maps = np.zeros((4, 2, 3, 3), np.float32)
maps[:, 0, 0, 0] = 1
labels = np.zeros((4, 9, 9), int)
labels[:, :4, :4] = 7
layer = nd.score(maps, labels, thresholds=[0.4, 0.4])
print(layer.units()[0].label, layer.units()[1].label == "", sum(layer.detectors().values()))
layer = nd.score(maps, labels, quantile="0.2")
images = [nd.ImageLabels(one[None].astype(np.int32)) for one in labels]
packed = nd.PackedLabels.pack(images, layer.vocabulary)
again = nd.score_peaks(layer.peaks, layer.grid, packed, layer.vocabulary)
print((again.counts.intersection == layer.counts.intersection).all(), layer.top(0)[0].tolist())
"""


def test_scoring_without_torch() -> None:
    """Arrays are scored where torch, PIL and the rest cannot be imported."""
    missing = [name for name in HEAVY if name != "safetensors"]
    assert python(WITHOUT_TORCH, *missing).splitlines() == ["7 True 1", "True [0, 1, 2, 3]"]


PUBLIC = """
import importlib, json, pkgutil, sys
import netdissect_fast as nd
def kinds():
    return {name: type(getattr(nd, name)).__name__ for name in nd.__all__}
before = kinds()
for module in pkgutil.walk_packages(nd.__path__, "netdissect_fast."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
after = kinds()
ours = sorted(name for name in sys.modules if name.startswith("netdissect"))
print(json.dumps([before, after, sorted(dir(nd)), ours]))
"""


def test_public_names_keep_their_kind() -> None:
    """No module may take the place of a function of the same name once it is imported."""
    before, after, listed, modules = json.loads(python(PUBLIC))
    assert before == after
    assert [name for name, kind in before.items() if kind == "module"] == ["plot"]  # nd.plot.* is meant as one
    for name in ("dissect", "load", "score", "watch", "show_config"):
        assert after[name] == "function"
    assert listed == sorted(nd.__all__)
    assert len(modules) > 20, "the submodules were imported"


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="module 'netdissect_fast' has no attribute 'disect'"):
        nd.disect  # noqa: B018


def test_show_config_says_what_a_bug_report_needs() -> None:
    found = nd.show_config()
    assert found["netdissect_fast"] == nd.__version__
    assert found["isa"] in found["available_isas"] == _core.available_isas()
    assert found["threads"] >= 1
    json.dumps(found)
