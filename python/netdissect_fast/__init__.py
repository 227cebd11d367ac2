"""Network Dissection, exact and at the speed of the forward pass.

>>> import netdissect_fast as nd
>>> result = nd.dissect(model, nd.Broden("broden1_224"), layers=["layer4"])  # doctest: +SKIP
>>> result["layer4"].unique_detectors()  # doctest: +SKIP

Names are loaded when first used, so that importing the package needs neither torch nor the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _core

__version__ = "0.1.0"

if _core.__version__ != __version__:  # an old extension beside new Python files
    raise ImportError(
        f"netdissect_fast {__version__} found its compiled core in version {_core.__version__}: reinstall the package"
    )

if TYPE_CHECKING:
    from . import plot
    from .concepts import ImageLabels, PackedLabels, Vocabulary
    from .config import show_config
    from .counts import Counts
    from .data.broden import Broden
    from .data.building.builder import build
    from .data.coco import CocoInstances, CocoPanoptic
    from .data.dataset import ConceptDataset, Subset
    from .data.downloading import download
    from .data.folder import Folder
    from .data.joined import Joined
    from .data.looking.checking import check
    from .data.looking.finding import find
    from .data.looking.overview import overview
    from .data.opening import open_data
    from .data.preprocess import Preprocess
    from .data.segmented import Segmented
    from .data.synthetic import Synthetic
    from .data.torch_dataset import FromTorch
    from .dissection import dissect
    from .errors import NetDissectError
    from .estimating import Estimate, estimate
    from .experiments.ablating import ablate, sets_by_label, sets_by_rank
    from .experiments.comparing import compare
    from .experiments.curves import curve
    from .experiments.explaining import explain
    from .experiments.null import null
    from .experiments.rotation import rotate
    from .experiments.training import dissect_series
    from .grids import Grid
    from .hooks import Tokens, watch
    from .merging import merge
    from .nulls import Null
    from .pages import Report, report
    from .pages.sheets import contact_sheet
    from .peaks import Peaks
    from .results import Dissection, LayerResult, load
    from .scoring import score, score_peaks
    from .tables import UnitTable, compare_csv

_WHERE = {
    "Broden": "data.broden",
    "CocoInstances": "data.coco",
    "CocoPanoptic": "data.coco",
    "ConceptDataset": "data.dataset",
    "Counts": "counts",
    "Dissection": "results",
    "Estimate": "estimating",
    "Folder": "data.folder",
    "FromTorch": "data.torch_dataset",
    "Grid": "grids",
    "ImageLabels": "concepts",
    "Joined": "data.joined",
    "LayerResult": "results",
    "NetDissectError": "errors",
    "Null": "nulls",
    "PackedLabels": "concepts",
    "Peaks": "peaks",
    "Preprocess": "data.preprocess",
    "Report": "pages",
    "Segmented": "data.segmented",
    "Subset": "data.dataset",
    "Synthetic": "data.synthetic",
    "Tokens": "hooks",
    "UnitTable": "tables",
    "Vocabulary": "concepts",
    "ablate": "experiments.ablating",
    "build": "data.building.builder",
    "check": "data.looking.checking",
    "compare": "experiments.comparing",
    "compare_csv": "tables",
    "contact_sheet": "pages.sheets",
    "curve": "experiments.curves",
    "dissect": "dissection",
    "dissect_series": "experiments.training",
    "download": "data.downloading",
    "estimate": "estimating",
    "explain": "experiments.explaining",
    "find": "data.looking.finding",
    "load": "results",
    "merge": "merging",
    "null": "experiments.null",
    "open_data": "data.opening",
    "overview": "data.looking.overview",
    "report": "pages",
    "rotate": "experiments.rotation",
    "score": "scoring",
    "score_peaks": "scoring",
    "sets_by_label": "experiments.ablating",
    "sets_by_rank": "experiments.ablating",
    "show_config": "config",
    "watch": "hooks",
}

__all__ = [
    "Broden",
    "CocoInstances",
    "CocoPanoptic",
    "ConceptDataset",
    "Counts",
    "Dissection",
    "Estimate",
    "Folder",
    "FromTorch",
    "Grid",
    "ImageLabels",
    "Joined",
    "LayerResult",
    "NetDissectError",
    "Null",
    "PackedLabels",
    "Peaks",
    "Preprocess",
    "Report",
    "Segmented",
    "Subset",
    "Synthetic",
    "Tokens",
    "UnitTable",
    "Vocabulary",
    "__version__",
    "ablate",
    "build",
    "check",
    "compare",
    "compare_csv",
    "contact_sheet",
    "curve",
    "dissect",
    "dissect_series",
    "download",
    "estimate",
    "explain",
    "find",
    "load",
    "merge",
    "null",
    "open_data",
    "overview",
    "plot",
    "report",
    "rotate",
    "score",
    "score_peaks",
    "sets_by_label",
    "sets_by_rank",
    "show_config",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name == "plot":  # a module, not a name in one
        return import_module(".plot", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
