"""Where built things are kept: folders under build/, named by a hash of what went into them."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "cuda"


def digest(*parts: str) -> str:
    """A name for what these texts make."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder build/cuda/``name``, filled by ``fill`` on first use; complete or absent, also with two processes."""
    wanted = CACHE / name
    if not wanted.is_dir():
        wanted.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", dir=wanted.parent))
        try:
            fill(temporary)
            temporary.rename(wanted)
        except OSError:
            if not wanted.is_dir():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return wanted
