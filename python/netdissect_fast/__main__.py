"""``python -m netdissect_fast`` is the same as ``netdissect-fast``; Ctrl-C leaves no traceback."""

from __future__ import annotations

import signal
import sys
from typing import Any

INTERRUPTED = 130  # exit status


def main() -> int:
    """Run the command and return its exit status; Ctrl-C ends it even while modules are being imported."""
    interrupts: list[bool] = []

    def interrupt(*_: Any) -> None:
        interrupts.append(True)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the signal is ignored, as under nohup
        signal.signal(signal.SIGINT, interrupt)
    try:
        from .cli import main as run

        return run()
    except Exception:
        if not interrupts:
            raise  # a compiled module whose import was interrupted raises an error of its own
    except KeyboardInterrupt:
        pass
    print("netdissect-fast: interrupted", file=sys.stderr)
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
