"""What has to be in the environment before Ray is imported, here and in every process that it starts on this machine."""

import os
import secrets

_SET = {
    # Nothing is sent to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Our /metrics has the figures.
    "RAY_enable_metrics_collection": "false",
    # What replicas write goes to a log, not to a terminal.
    "RAY_COLOR_PREFIX": "0",
    # A thread that is late must not start another Ray when this one has been left.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Calls are made on a loop of our own: to cross to another one costs a third of a call.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}


def prepare(*, local: bool) -> None:
    """Set what is not set. A Ray of our own is open to this process and no other: it takes a token nobody else knows."""
    for name, value in _SET.items():
        os.environ.setdefault(name, value)
    if local:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
