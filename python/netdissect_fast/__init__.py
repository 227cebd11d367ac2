"""Network Dissection, exact and at the speed of the forward pass.

>>> import netdissect_fast as nd
>>> result = nd.dissect(model, nd.Broden("broden1_224"), layers=["layer4"])  # doctest: +SKIP
>>> result["layer4"].unique_detectors()  # doctest: +SKIP

Names are loaded on first use, so that importing the package needs neither torch nor the rest of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import _core

__version__ = "0.1.0"

if _core.__version__ != __version__:  # an old extension next to new Python files
    raise ImportError(
        f"netdissect_fast {__version__} found its compiled core in version {_core.__version__}: reinstall the package"
    )

if TYPE_CHECKING:
    from . import plot
    from .concepts import ImageLabels, PackedLabels, Vocabulary
    from .data.builder.build import build
    from .data.dataset import ConceptDataset, Subset
    from .data.download.download import download
    from .data.formats.broden import Broden
    from .data.formats.coco import CocoInstances, CocoPanoptic
    from .data.formats.folder import Folder
    from .data.formats.joined import Joined
    from .data.formats.segmented import Segmented
    from .data.formats.synthetic import Synthetic
    from .data.formats.torch_dataset import FromTorch
    from .data.input.preprocess import Preprocess
    from .data.inspection.check import check
    from .data.inspection.find import find
    from .data.inspection.overview import overview
    from .data.opening import open_data
    from .dissection import dissect
    from .errors import NetDissectError
    from .experiments.ablation import ablate, sets_by_label, sets_by_rank
    from .experiments.comparison import compare
    from .experiments.curves import curve
    from .experiments.explanation import explain
    from .experiments.null import null
    from .experiments.rotation import rotate
    from .experiments.training import dissect_series
    from .geometry.grids import Grid
    from .network.hooks import Tokens, watch
    from .pages.contact_sheets import contact_sheet
    from .pages.report import Report, report
    from .results.layer_result import LayerResult
    from .results.null import Null
    from .results.result_csv import compare_csv
    from .results.run_result import Dissection, load
    from .results.scores import score, score_peaks
    from .results.tables import UnitTable
    from .runs.estimates import Estimate, estimate
    from .runs.merge import merge
    from .runs.versions import show_config
    from .scoring.counts import Counts
    from .scoring.peaks import Peaks

_WHERE = {
    "Broden": "data.formats.broden",
    "CocoInstances": "data.formats.coco",
    "CocoPanoptic": "data.formats.coco",
    "ConceptDataset": "data.dataset",
    "Counts": "scoring.counts",
    "Dissection": "results.run_result",
    "Estimate": "runs.estimates",
    "Folder": "data.formats.folder",
    "FromTorch": "data.formats.torch_dataset",
    "Grid": "geometry.grids",
    "ImageLabels": "concepts",
    "Joined": "data.formats.joined",
    "LayerResult": "results.layer_result",
    "NetDissectError": "errors",
    "Null": "results.null",
    "PackedLabels": "concepts",
    "Peaks": "scoring.peaks",
    "Preprocess": "data.input.preprocess",
    "Report": "pages.report",
    "Segmented": "data.formats.segmented",
    "Subset": "data.dataset",
    "Synthetic": "data.formats.synthetic",
    "Tokens": "network.hooks",
    "UnitTable": "results.tables",
    "Vocabulary": "concepts",
    "ablate": "experiments.ablation",
    "build": "data.builder.build",
    "check": "data.inspection.check",
    "compare": "experiments.comparison",
    "compare_csv": "results.result_csv",
    "contact_sheet": "pages.contact_sheets",
    "curve": "experiments.curves",
    "dissect": "dissection",
    "dissect_series": "experiments.training",
    "download": "data.download.download",
    "estimate": "runs.estimates",
    "explain": "experiments.explanation",
    "find": "data.inspection.find",
    "load": "results.run_result",
    "merge": "runs.merge",
    "null": "experiments.null",
    "open_data": "data.opening",
    "overview": "data.inspection.overview",
    "report": "pages.report",
    "rotate": "experiments.rotation",
    "score": "results.scores",
    "score_peaks": "results.scores",
    "sets_by_label": "experiments.ablation",
    "sets_by_rank": "experiments.ablation",
    "show_config": "runs.versions",
    "watch": "network.hooks",
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
    if name == "plot":  # a module, not a name inside one
        return import_module(".plot", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
