"""``python -m ptzjepa.node``."""

from __future__ import annotations

import sys

from ptzjepa.node.service import Node
from ptzjepa.node.settings import NodeSettings
from shared.service import serve

if __name__ == "__main__":
    sys.exit(serve(Node, NodeSettings.from_environment))
