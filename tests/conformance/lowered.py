"""`sameway serve` with limits of one's own: what takes 10 seconds or 1,024 connections there, a test can wait for here.

python -m tests.conformance.lowered --repository DIR --limits '{"head_seconds": 0.3}' --port 0
"""

import argparse
import json
import logging
import socket
import threading
from pathlib import Path

from serving.engine.local import LocalEngine
from serving.frontends import fastapi_app, flask_app
from serving.frontends.lane import DirectLane
from serving.frontends.server import Server
from serving.frontends.tls import context_of
from serving.frontends.wsgi_endpoint import WsgiEndpoint
from serving.limits import Limits
from serving.process import FrontEnd, Wired, wired_alone
from serving.settings import Settings


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--frontend", default="fastapi")
    parser.add_argument("--limits", type=json.loads, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--drain-delay-seconds", type=float, default=0)
    parser.add_argument("--tls-certificate", type=Path)
    parser.add_argument("--tls-key", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    wired = wired_alone(Settings(repository=arguments.repository))
    limits = Limits(**arguments.limits)
    front = _front(arguments.frontend, wired, limits)
    server = Server(
        front.app,
        limits=limits,
        on_stop=wired.engine.drain,
        on_tick=wired.metrics.beat,
        drain_delay_seconds=arguments.drain_delay_seconds,
        drain_seconds=1,
        lane=front.lane,
        tls=context_of(arguments.tls_certificate, arguments.tls_key, None) if arguments.tls_certificate else None,
    )
    threading.Thread(target=wired.engine.load_all, daemon=True).start()
    server.run_on(socket.create_server(("127.0.0.1", arguments.port), backlog=2048))
    wired.engine.close(drain_seconds=1)


def _front(frontend: str, wired: Wired[LocalEngine], limits: Limits) -> FrontEnd:
    if frontend == "flask":
        endpoint = WsgiEndpoint(flask_app.create_app(wired.dispatcher), wired.dispatcher, limits)
        return FrontEnd(endpoint, endpoint.lane)
    app = fastapi_app.create_app(wired.dispatcher, limits)
    return FrontEnd(app, lambda loop: DirectLane(wired.dispatcher, limits, loop))


if __name__ == "__main__":
    main()
