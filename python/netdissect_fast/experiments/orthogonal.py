"""Random rotations of K units, and rotations part of the way to them (the paper's section 3.2; spec 5)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, require
from ..types import Array, Float64Array

if TYPE_CHECKING:
    from torch import Tensor


def random_rotation(units: int, seed: int) -> Float64Array:
    """Draw a rotation uniformly from SO(K), float64 [K, K].

    QR of a Gaussian matrix with the columns signed by R's diagonal is uniform on O(K) (Mezzadri 2007, arXiv
    math-ph/0609050); if the determinant is −1, the first column changes its sign.
    """
    if units < 1:
        raise ArgumentError(f"a rotation needs at least one unit, got {units}")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((units, units)))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    if np.linalg.slogdet(q)[0] < 0:
        q[:, 0] = -q[:, 0]
    return np.asarray(q, np.float64)


def rotation_power(rotation: Float64Array, alpha: float) -> Float64Array:
    """Return Q^α on the geodesic from I (α = 0) to Q (α = 1), float64 [K, K].

    Raises ArgumentError for a reflection, MissingExtra without scipy.
    """
    z, planes = _planes(rotation)
    return _turned(z, planes, alpha)


def _planes(rotation: Float64Array) -> tuple[Float64Array, list[tuple[int, int, float]]]:
    """Return orthonormal columns Z, and pairs of them with the angle by which Q turns their plane; Q keeps the others.

    By the real Schur form Q = Z·T·Zᵀ: 2×2 blocks of T are planes; pairs of eigenvalues −1 are planes turned by π.
    """
    schur: Any = require("scipy.linalg", "experiments").schur
    t, z = schur(rotation, output="real")
    planes, half, place = [], [], 0
    while place < len(t):
        if place + 1 < len(t) and t[place + 1, place] != 0:
            angle = float(np.arctan2(t[place + 1, place], t[place, place]))  # arccos would lose its sign
            planes.append((place, place + 1, angle))
            place += 2
            continue
        if t[place, place] < 0:
            half.append(place)
        place += 1
    if len(half) % 2:
        raise ArgumentError(
            "this matrix is a reflection (determinant -1): no path of rotations leads to it from the identity"
        )
    return z, planes + [(one, two, np.pi) for one, two in zip(half[::2], half[1::2], strict=True)]


def _turned(z: Float64Array, planes: list[tuple[int, int, float]], alpha: float) -> Float64Array:
    turned = z.copy()
    for one, two, angle in planes:
        cos, sin = np.cos(alpha * angle), np.sin(alpha * angle)
        turned[:, one], turned[:, two] = cos * z[:, one] + sin * z[:, two], cos * z[:, two] - sin * z[:, one]
    return np.asarray(turned @ z.T, np.float64)


@lru_cache(maxsize=8)  # so that all powers of a rotation share one decomposition
def _random_planes(units: int, seed: int) -> Any:
    return _planes(random_rotation(units, seed))


class Turn:
    """A transform of maps [B, K, H, W]: the units at each position, times Q^α of a random rotation Q; in float32."""

    def __init__(self, alpha: float, seed: int) -> None:
        self.alpha, self.seed = alpha, seed
        self._matrix: Array | None = None

    def __repr__(self) -> str:
        return f"Turn(alpha={self.alpha}, seed={self.seed})"

    def __call__(self, maps: Tensor) -> Tensor:
        """Return rotated maps, float32 of the same shape."""
        import torch

        units = maps.shape[1]
        if self._matrix is None or len(self._matrix) != units:
            z, planes = _random_planes(units, self.seed)
            self._matrix = _turned(z, planes, self.alpha).astype(np.float32)
        matrix = torch.from_numpy(self._matrix).to(maps.device)
        return torch.matmul(matrix, maps.float().flatten(2)).reshape(maps.shape)
