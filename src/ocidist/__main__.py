"""``python -m ocidist``: the command line, as ``ocidist``."""

from __future__ import annotations

import sys

from ocidist.cli import main

if __name__ == "__main__":
    sys.exit(main())
