"""``python -m lock_broker``."""

from __future__ import annotations

import sys

from lock_broker.service import LockBroker
from lock_broker.settings import BrokerSettings
from shared.service import serve

if __name__ == "__main__":
    sys.exit(serve(LockBroker, BrokerSettings.from_environment))
