"""``python -m ptzjepa`` is ``ptzjepa``."""

from __future__ import annotations

import sys

from ptzjepa.cli import main

sys.exit(main())
