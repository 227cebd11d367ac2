"""What a run costs, from a handful of measured constants: ``python -m benchmarks.scale``; docs/scale.md explains it.

The constants are fitted on two layers, held against others, then multiplied out for whole Broden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from netdissect_fast.scoring.backends.cpu import CpuBackend
from netdissect_fast.scoring.peaks import Peaks

from .ours import Ours
from .tables import print_head, print_row
from .timing import header, interleaved, one_thread
from .workload import SETTINGS, Setting, Workload, make

BRODEN = 63_305  # images
CONCEPTS, CATEGORIES = 1_197, 6
CROP = 16  # bytes beside its values: image, unit, box
# GPU on paper, see docs/gpu.md: bytes a second, thread-instructions a second, and those that the kernels spend.
HBM, ISSUE, KEEP, COUNT = 3.35e12, 30e12, {7: 147.5, 13: 51.4, 28: 19.6}, 18.0
LABEL_PIXELS = 112 * 112


@dataclass(frozen=True)
class Network:
    """Layers that one run dissects: (units, side) and how many of the kind; GMAC of one forward pass."""

    name: str
    layers: tuple[tuple[int, int, int], ...]
    gmac: float


NETWORKS = (
    Network("AlexNet conv5", ((256, 13, 1),), 0.7),
    Network("VGG16 conv5_3", ((512, 14, 1),), 15.5),
    Network("ResNet-50, all stages", ((256, 56, 1), (512, 28, 1), (1024, 14, 1), (2048, 7, 1)), 4.1),
    Network("ViT-L/14, all 24 blocks", ((1024, 16, 24),), 81.0),
    Network("autoencoder, 65,536 latents", ((65_536, 14, 1),), 0.0),
)


@dataclass(frozen=True)
class Shares:
    """Of one grid size: stored activations, and active maps."""

    stored: float
    active: float


@dataclass(frozen=True)
class Constants:
    """Seconds on one core: to look at an activation, to rank and prune it, to keep and to count an active map."""

    look: float
    rank: float
    keep: float
    count: float

    def image(self, units: int, side: int, active: float) -> float:
        """Seconds an image of a layer."""
        return units * side * side * (self.look + self.rank) + units * active * (self.keep + self.count)


def shares(work: Workload) -> Shares:
    crops = Ours(work).keep()
    return Shares(crops.values.size / work.maps.size, len(crops) / (len(work) * work.setting.units))


def passes(work: Workload) -> float:
    """Seconds of all images with bounds that rise from −∞, in batches of 1 % of them."""
    backend = CpuBackend(1)

    def run() -> None:
        peaks = Peaks(work.setting.units, work.maps.shape[2:], len(work), "0.005")
        for first in range(0, len(work), max(1, len(work) // 100)):
            peaks.add(work.maps[first : first + max(1, len(work) // 100)], first, backend)
        peaks.finish()

    return interleaved({"pass": run}, 3)["pass"].best


@dataclass(frozen=True)
class Measured:
    """One workload: seconds of all its images on one core; ``whole`` is a run's pass, with rising bounds, and count."""

    activations: int
    active: int
    look: float
    keep: float
    count: float
    whole: float


def measure(work: Workload) -> Measured:
    ours = Ours(work)
    crops, backend = ours.keep(), ours.backend
    never = np.full_like(work.thresholds, np.finfo(np.float32).max)
    subjects = {
        "look": lambda: backend.keep(work.maps, never, 0),
        "keep": ours.keep,
        "count": lambda: ours.count(crops),
    }
    found = {name: timing.best for name, timing in interleaved(subjects, 5).items()}
    return Measured(work.maps.size, len(crops), **found, whole=passes(work) + found["count"])


def fit(cases: list[Measured]) -> Constants:
    """Averages over the cases."""
    activations, active = sum(case.activations for case in cases), sum(case.active for case in cases)
    ranked = sum(case.whole - case.keep - case.count for case in cases)
    return Constants(
        look=sum(case.look for case in cases) / activations,
        rank=ranked / activations,
        keep=sum(case.keep - case.look for case in cases) / active,
        count=sum(case.count for case in cases) / active,
    )


def check(names: list[str]) -> Constants:
    """Fit on two layers, then print what that says of each, and what was measured."""
    measured = {name: measure(make(SETTINGS[name])) for name in names}
    constants = fit([measured["alexnet_conv5"], measured["resnet_layer4"]])
    print(
        f"an activation: {1e9 * constants.look:.3f} ns looked at, {1e9 * constants.rank:.3f} ns ranked and pruned; "
        f"an active map: {1e9 * constants.keep:.0f} ns kept, {1e9 * constants.count:.0f} ns counted\n"
    )
    print_head("layer", "ms an image, measured", "by the model", "measured / model")
    for name, case in measured.items():
        setting = SETTINGS[name]
        model = constants.image(setting.units, setting.height, case.active / (setting.images * setting.units))
        whole = case.whole / setting.images
        print_row(name, f"{1e3 * whole:.3f}", f"{1e3 * model:.3f}", f"{whole / model:.2f}")
    return constants


def gpu_seconds(units: int, side: int, active: float) -> tuple[float, float]:
    """An image of a layer in float32: the read of its activations, and keep + count. From paper, never run."""
    activations = units * side * side
    read = 4 * activations / HBM
    instructions = KEEP[min(KEEP, key=lambda known: abs(known - side))] * activations
    count = units * active * LABEL_PIXELS * COUNT / ISSUE
    return read, max(read, instructions / ISSUE) + count


def broden(constants: Constants) -> None:
    """Multiply out."""
    sides = sorted({side for network in NETWORKS for _, side, _ in network.layers})
    by_side = {side: shares(make(Setting(f"{side}", 64, side, side, 48))) for side in sides}
    print_head("grid", "activations stored", "maps active")
    for side, found in by_side.items():
        print_row(f"{side}×{side}", f"{100 * found.stored:.1f} %", f"{100 * found.active:.1f} %")
    print()
    print_head(
        "network", "units", "all activations, GB", "store, GB", "counters, MB", "one core, minutes", "two cores",
        "forward, TMAC", "GPU: read, s", "GPU: keep + count, s",
    )  # fmt: skip
    for network in NETWORKS:
        dense = stored = core = read = gpu = 0.0
        units = sum(count * many for count, _, many in network.layers)
        for count, side, many in network.layers:
            here = by_side[side]
            dense += 4.0 * many * count * side * side
            stored += many * count * (4 * here.stored * side * side + CROP * here.active)
            core += many * constants.image(count, side, here.active)
            on_gpu = gpu_seconds(count, side, here.active)
            read, gpu = read + many * on_gpu[0], gpu + many * on_gpu[1]
        print_row(
            network.name,
            f"{units:,}",
            f"{BRODEN * dense / 1e9:,.1f}",
            f"{BRODEN * stored / 1e9:.2f}",
            f"{8 * units * (CONCEPTS + CATEGORIES) / 1e6:.1f}",
            f"{BRODEN * core / 60:.1f}",
            f"{BRODEN * core / 120:.1f}",
            f"{BRODEN * network.gmac / 1e3:,.0f}" if network.gmac else "",
            f"{BRODEN * read:.1f}",
            f"{BRODEN * gpu:.1f}",
        )


def main() -> None:
    one_thread()
    print(header() + "\n")
    constants = check([name for name in SETTINGS if name != "autoencoder"])
    print(f"\nBroden, {BRODEN:,} images, {CONCEPTS:,} concepts; the GPU columns are computed, nobody measured them\n")
    broden(constants)


if __name__ == "__main__":
    main()
