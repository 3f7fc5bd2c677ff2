"""Serve the published versions of a model repository over HTTP, until SIGTERM or Ctrl-C.

  sameway serve                                  every model under ./models, on 127.0.0.1:8000
  sameway serve --repository /srv/models --port 9000
  sameway serve --workers 2 --watch-seconds 5    two processes; what is published meanwhile is loaded
  sameway serve --frontends 2                    two processes that read and write HTTP, and one with the models
  sameway serve --engine ray --ray-replicas 1:4  models in one to four Ray Serve replicas, as many as the load needs
  SAMEWAY_HOST=0.0.0.0 sameway serve             settings may come from the environment too

A version is served once its checksums are right and its golden sample has been reproduced on this machine. A model.onnx
that others wrote, with a config.pbtxt or without, is served too, and marked as unverified.
"""

import argparse
import logging
import socket
import sys

from pydantic import ValidationError

from models.repository import Repository, RepositoryError
from models.signing import SigningError
from serving import keys, on_ray
from serving.frontends.tls import TlsError
from serving.keys import KeysError
from serving.observers import ObserverError
from serving.process import begin_logging, check, end, front_end, serve, tls_of, watch_alone, wired_alone
from serving.settings import OPTIONAL, Settings
from serving.supervisor import Supervisor

log = logging.getLogger(__name__)

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


def run(arguments: argparse.Namespace) -> int:  # noqa: RET503 - `end` does not return
    """Serve until told to stop. Return 0 after a clean stop, 1 where the server could not start, 2 for a bad setting."""
    for name in OPTIONAL:
        if getattr(arguments, name, None) == "":
            _complain(f"{name}: expected a value, found an empty flag; without the flag there is none")
            return 2
    try:
        settings = Settings(**vars(arguments))
        repository = Repository(settings.repository)
        found = repository.models()
        for name in settings.models or ():
            if name not in found:
                raise RepositoryError(f"models: expected some of {', '.join(found) or 'none'}, found {name!r}")
        tls = tls_of(settings)
        wired = front = cluster = None
        if settings.engine == "ray":
            wired, cluster = on_ray.wired(settings)
            front = front_end(settings.frontend, wired)
        elif settings.workers == 1 and not settings.frontends:
            wired = wired_alone(settings)
            front = front_end(settings.frontend, wired)
        else:
            check(settings)  # each process puts its own together, from settings that are known to be right
    except ValidationError as error:
        for problem in error.errors():
            # A rule about several settings together has no place of its own, and its message says all.
            place, found_value = (f"{problem['loc'][0]}: ", f", found {problem['input']!r}") if problem["loc"] else ("", "")
            # pydantic puts the kind of error before what a rule of ours says.
            _complain(f"{place}{problem['msg'].removeprefix('Value error, ')}{found_value}")
        return 2
    except (KeysError, ObserverError, RepositoryError, SigningError, TlsError) as error:
        _complain(str(error))
        return 2
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] == "ray":
            _complain("engine 'ray' needs the package 'ray': pip install 'sameway[ray]'")
            return 2
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
    begin_logging(settings)
    if settings.keys is not None and (exposure := keys.exposed(settings.keys)) is not None:
        log.warning("event=keys_exposed file=%r reason=%r", str(settings.keys), exposure)
    if settings.open:
        log.warning("event=open host=%s reason='no keys: whoever reaches this address may ask'", settings.host)
    if wired is None or front is None:
        return Supervisor(settings, listeners).run()
    if cluster is not None:
        try:
            cluster.connect(None if settings.ray_address == "local" else settings.ray_address)
        except ConnectionError as error:
            if settings.ray_address == "local":
                _complain(f"ray_address local: expected to start a Ray on this machine, found: {error}")
            else:
                _complain(f"ray_address: expected a Ray that can be reached, found none at {settings.ray_address}: {error}")
            end(1)  # a thread may still wait for what does not answer
        end(on_ray.serve(settings, front, wired, cluster, listeners, tls))
    end(serve(settings, front, wired, listeners, load=wired.engine.load_all, tls=tls, watch=watch_alone(settings, wired)))


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; the server may be restarted on its port at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _complain(problem: str) -> None:
    print(f"sameway serve: {problem}", file=sys.stderr)
