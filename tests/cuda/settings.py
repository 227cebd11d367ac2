"""What the tests here share: the mark for what needs NVRTC."""

from __future__ import annotations

import pytest

from . import nvrtc


def _reason() -> str:
    """Why NVRTC cannot be used, "" if it can. Installs the wheels."""
    try:
        for requirement in nvrtc.WHEELS:
            nvrtc.load(requirement)
    except nvrtc.NvrtcMissing as missing:
        return str(missing)
    return ""


_REASON = _reason()
needs_nvrtc = pytest.mark.skipif(bool(_REASON), reason=_REASON or "NVRTC is there")
