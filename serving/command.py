"""Serve the published versions of a model repository over HTTP, until SIGTERM or Ctrl-C.

  sameway serve                                  every model under ./models, on 127.0.0.1:8000
  sameway serve --repository /srv/models --port 9000
  SAMEWAY_HOST=0.0.0.0 sameway serve             settings may come from the environment too

A version is served once its checksums are right and its golden sample has been reproduced on this machine.
"""

import argparse
import logging
import os
import socket
import ssl
import sys
import threading
from dataclasses import dataclass

import prometheus_client
from pydantic import ValidationError
from starlette.types import ASGIApp

from models.repository import Repository, RepositoryError
from models.signing import SigningError, Trust, trusted_keys
from serving import keys
from serving.access import Access
from serving.engine.local import LocalEngine
from serving.frontends.server import Server
from serving.frontends.tls import TlsError, context_of
from serving.keys import Keys, KeysError, Scope
from serving.limits import Limits
from serving.metrics import Metrics
from serving.protocols.openapi import OpenApi
from serving.protocols.operations import Operations
from serving.protocols.predict import Predict
from serving.protocols.route import Dispatcher
from serving.protocols.v2 import V2
from serving.protocols.v2_repository import V2Repository
from serving.settings import Settings

log = logging.getLogger(__name__)

#: How long a stop waits for the one model that is being opened; most are opened in a tenth of it.
_OPENING_SECONDS = 5.0

#: Where management listens when it has a port of its own: whoever is on this machine, and nobody else.
_MANAGEMENT_HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting."""
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        # No default here, so that the environment is heard where a flag is silent.
        help_line = f"{field.description} ({field.default})"
        if field.annotation is bool:
            parser.add_argument(flag, default=argparse.SUPPRESS, action="store_true", help=help_line)
        else:
            parser.add_argument(flag, default=argparse.SUPPRESS, metavar=name.upper(), help=help_line)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop. Return 0 after a clean stop, 1 where the server could not start, 2 for a bad setting."""
    try:
        settings = Settings(**vars(arguments))
        repository = Repository(settings.repository)
        found = repository.models()
        for name in settings.models or ():
            if name not in found:
                raise RepositoryError(f"models: expected some of {', '.join(found) or 'none'}, found {name!r}")
        wired = wire(settings)
        app = _app(settings.frontend, wired)
        tls = _tls(settings)
    except ValidationError as error:
        for problem in error.errors():
            # A rule about several settings together has no place of its own, and its message says all.
            place, found_value = (f"{problem['loc'][0]}: ", f", found {problem['input']!r}") if problem["loc"] else ("", "")
            _complain(f"{place}{problem['msg']}{found_value}")
        return 2
    except (KeysError, RepositoryError, SigningError, TlsError) as error:
        _complain(str(error))
        return 2
    except ModuleNotFoundError as missing:
        _complain(f"frontend {settings.frontend!r} needs the package {missing.name!r}: pip install 'sameway[flask]'")
        return 2
    addresses = [(settings.host, settings.port)]
    if settings.management_port is not None:
        addresses.append((_MANAGEMENT_HOST, settings.management_port))
    listeners: list[socket.socket] = []
    try:
        for host, port in addresses:
            listeners.append(_listen(host, port))
    except OSError as error:
        host, port = addresses[len(listeners)]
        _complain(f"cannot listen on {host}:{port}: {error.strerror or error}")
        for listener in listeners:
            listener.close()
        return 1
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s",
    )
    # Both warn of every stranger's malformed request; what they have to say of themselves are errors.
    for name in ("uvicorn", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if settings.keys is not None and (exposure := keys.exposed(settings.keys)) is not None:
        log.warning("event=keys_exposed file=%r reason=%r", str(settings.keys), exposure)
    _serve(settings, app, wired, listeners, tls)
    return 0


@dataclass(frozen=True, slots=True)
class Wired:
    """The parts of a server, put together."""

    engine: LocalEngine
    dispatcher: Dispatcher
    limits: Limits


def wire(settings: Settings) -> Wired:
    """Put an engine and the routes on it together: the one place where concrete classes are chosen. Loads nothing yet."""
    # A second series per series, with the time of its creation, is nothing that our queries ask for.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = Metrics()
    repository = Repository(settings.repository, trust=_trust(settings))
    engine = LocalEngine(repository, metrics, models=settings.models)
    known = None if settings.keys is None else keys.read(settings.keys)
    access = Access(known, management_listener=settings.management_port is not None)
    limits = Limits(body_bytes=settings.max_body_bytes)
    routes = [
        *V2(engine, limits).routes(),
        *V2Repository(engine, limits, management=_manageable(settings, known)).routes(),
        *Predict(engine, limits).routes(),
        *Operations(metrics).routes(),
    ]
    routes += OpenApi(routes, engine).routes()
    return Wired(engine, Dispatcher(routes, engine, metrics, limits, access), limits)


def _manageable(settings: Settings, known: Keys | None) -> bool:
    """Tell whether models are loaded and unloaded by API; raise KeysError where it is asked for and no key may do it."""
    granted = known is not None and known.grant(Scope.MANAGE)
    if known is not None and not granted and (settings.management or settings.management_port is not None):
        raise KeysError(f"{settings.keys}: expected a key with the scope manage, as management is asked for; found none")
    return granted or settings.management


def _trust(settings: Settings) -> Trust | None:
    """Return whose signatures count; raise SigningError."""
    if settings.trusted_keys is None:
        return None
    return Trust(trusted_keys(settings.trusted_keys), required=settings.require_signed)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's TLS, None for plain HTTP; raise TlsError."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    password = settings.tls_key_password
    return context_of(settings.tls_certificate, settings.tls_key, None if password is None else password.get_secret_value())


def _app(frontend: str, wired: Wired) -> ASGIApp:
    """Return the chosen front end; its framework is imported here and not before."""
    if frontend == "flask":
        from serving.frontends.flask_app import create_app as create_flask_app
        from serving.frontends.wsgi import WsgiEndpoint

        return WsgiEndpoint(create_flask_app(wired.dispatcher), wired.dispatcher, wired.limits)
    from serving.frontends.fastapi_app import create_app

    return create_app(wired.dispatcher, wired.limits)


def _serve(
    settings: Settings, app: ASGIApp, wired: Wired, listeners: list[socket.socket], tls: ssl.SSLContext | None
) -> None:
    """Run a front end until a signal has come and everything accepted has been answered."""
    server = Server(
        app,
        limits=wired.limits,
        on_stop=wired.engine.drain,
        drain_delay_seconds=settings.drain_delay_seconds,
        drain_seconds=settings.drain_seconds,
        tls=tls,
    )
    # Models are opened while the server already answers that it is alive, and not yet ready.
    loading = threading.Thread(target=wired.engine.load_all, name="load", daemon=True)
    loading.start()
    server.run_on(listeners[0], management=listeners[1] if len(listeners) > 1 else None)
    wired.engine.close(drain_seconds=settings.drain_seconds)
    log.info("event=stopped")
    # A runtime that is opening a model when the interpreter ends aborts the process: it is waited for, to the model's end.
    loading.join(_OPENING_SECONDS)
    if loading.is_alive():
        logging.shutdown()
        os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; the server may be restarted on its port at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _complain(problem: str) -> None:
    print(f"sameway serve: {problem}", file=sys.stderr)
