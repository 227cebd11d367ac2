"""``python -m netdissect_fast`` is the same as ``netdissect-fast``."""

import sys

from .cli import main

sys.exit(main())
