"""Serve the published versions of a model repository over HTTP, until SIGTERM or Ctrl-C.

  sameway serve                                  every model under ./models, on 127.0.0.1:8000
  sameway serve --repository /srv/models --port 9000
  SAMEWAY_HOST=0.0.0.0 sameway serve             settings may come from the environment too

A version is served once its checksums are right and its golden sample has been reproduced on this machine.
"""

import argparse
import logging
import socket
import sys
import threading

import prometheus_client
from pydantic import ValidationError

from models.repository import Repository, RepositoryError
from serving.engine.local import LocalEngine
from serving.frontends.fastapi_app import create_app
from serving.frontends.server import Server
from serving.limits import Limits
from serving.metrics import Metrics
from serving.protocols.operations import Operations
from serving.protocols.predict import Predict
from serving.protocols.route import Dispatcher
from serving.protocols.v2 import V2
from serving.settings import Settings

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting."""
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        # No default here, so that the environment is heard where a flag is silent.
        parser.add_argument(
            flag, default=argparse.SUPPRESS, metavar=name.upper(), help=f"{field.description} ({field.default})"
        )


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Return 0 after a clean stop, 1 where the server could not start, 2 for a bad setting."""
    try:
        settings = Settings(**vars(arguments))
        repository = Repository(settings.repository)
        found = repository.models()
        for name in settings.models or ():
            if name not in found:
                raise RepositoryError(f"models: expected some of {', '.join(found) or 'none'}, found {name!r}")
    except ValidationError as error:
        for problem in error.errors():
            _complain(f"{problem['loc'][0]}: {problem['msg']}, found {problem['input']!r}")
        return 2
    except RepositoryError as error:
        _complain(str(error))
        return 2
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        _complain(f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}")
        return 1
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
    )
    # Its warnings are a line for every stranger whose bytes are not HTTP.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    _serve(settings, repository, listener)
    return 0


def _serve(settings: Settings, repository: Repository, listener: socket.socket) -> None:
    """Wire everything together and run it: the one place where concrete classes are chosen."""
    # A second series per series, with the time of its creation, is nothing that our queries ask for.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = Metrics()
    engine = LocalEngine(repository, metrics, models=settings.models)
    limits = Limits(body_bytes=settings.max_body_bytes)
    routes = [*V2(engine, limits).routes(), *Predict(engine, limits).routes(), *Operations(metrics).routes()]
    app = create_app(Dispatcher(routes, engine, metrics), limits)
    server = Server(
        app,
        on_stop=engine.drain,
        drain_delay_seconds=settings.drain_delay_seconds,
        drain_seconds=settings.drain_seconds,
    )
    # Models are opened while the server already answers that it is alive, and not yet ready.
    threading.Thread(target=engine.load_all, name="load", daemon=True).start()
    server.run_on(listener)
    engine.close(drain_seconds=settings.drain_seconds)
    log.info("event=stopped")


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; the server may be restarted on its port at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _complain(problem: str) -> None:
    print(f"sameway serve: {problem}", file=sys.stderr)
