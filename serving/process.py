"""One server process: put together, run, and ended. The one place where concrete classes are chosen."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NoReturn, Protocol, TypeVar

from starlette.types import ASGIApp

from models.repository import Repository
from models.signing import Trust, trusted_keys
from serving import keys
from serving.access import Access
from serving.engine.base import Engine, Management
from serving.engine.finding import UnverifiedPolicy
from serving.engine.local import LocalEngine
from serving.engine.watch import Watch
from serving.frontends.errand import Lane
from serving.frontends.server import Server
from serving.frontends.tls import context_of
from serving.health import HANGS, Hanging, Health
from serving.keys import Keys, KeysError, Scope
from serving.limits import Limits
from serving.metrics import Metrics
from serving.observers import check_observers, observers_of
from serving.protocols.dispatch import Dispatcher
from serving.protocols.ending import Observer
from serving.protocols.openapi import OpenApi
from serving.protocols.operations import Operations
from serving.protocols.predict import Predict
from serving.protocols.v2 import V2
from serving.protocols.v2_repository import V2Repository
from serving.settings import Settings
from serving.spread import Spread

if TYPE_CHECKING:
    from serving.engine.ray import Cluster

log = logging.getLogger(__name__)

#: Descriptors that are no connections: sockets of the process, shared memory, files being read.
_OTHER_DESCRIPTORS = 256


def begin_logging(settings: Settings, *, who: str = "") -> None:
    """Write events to standard error, as key=value; those of one process of several with what it is called."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"time=%(asctime)s level=%(levelname)s {who}{' ' if who else ''}logger=%(name)s %(message)s",
    )
    # They warn of every stranger's malformed request, the last two in its own words (its `tracestate`); what they have to
    # say of themselves are errors.
    for name in ("uvicorn", "python_multipart", "opentelemetry.trace", "opentelemetry.propagators"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Served(Engine, Hanging, Protocol):
    """An engine that a process lives with: it is asked, and looked after."""


E = TypeVar("E", bound=Served)
E_co = TypeVar("E_co", bound=Served, covariant=True)


@dataclass(frozen=True, slots=True)
class Wired(Generic[E_co]):
    """The parts of a server, put together. `management` is this process's own, or asks the supervisor of all of them."""

    engine: E_co
    metrics: Metrics
    management: Management
    dispatcher: Dispatcher
    limits: Limits
    observers: tuple[Observer, ...]


def engine_of(settings: Settings, metrics: Metrics) -> LocalEngine:
    """Return the engine of this process, which loads nothing yet; raise SigningError."""
    repository = Repository(settings.repository, trust=trust_of(settings))
    # A signature is on a manifest: where one is required, so is the other.
    policy = UnverifiedPolicy(
        require_manifest=settings.require_manifest or settings.require_signed, torchscript=settings.trust_torchscript
    )
    return LocalEngine(repository, metrics, models=settings.models, policy=policy, opening_seconds=settings.opening_seconds)


def wire(settings: Settings, engine: E, metrics: Metrics, *, management: Management) -> Wired[E]:
    """Put the routes on an engine: the one place where concrete classes are chosen. `management` loads and unloads."""
    known = None if settings.keys is None else keys.read(settings.keys)
    access = Access(known, management_listener=settings.management_port is not None)
    limits = Limits(body_bytes=settings.max_body_bytes)
    routes = [
        *V2(engine, limits, every_model=settings.ready_when == "all").routes(),
        *V2Repository(engine, limits, management=management if _manageable(settings, known) else None).routes(),
        *Predict(engine, limits).routes(),
        *Operations(metrics).routes(),
    ]
    routes += OpenApi(routes, engine).routes()
    observers = observers_of(settings, metrics)
    dispatcher = Dispatcher(routes, engine, metrics, limits, access=access, observers=observers)
    return Wired(engine, metrics, management, dispatcher, limits, observers)


def check(settings: Settings) -> None:
    """Raise what `wire` and `front_end` would for settings that cannot be used, and begin nothing."""
    trust_of(settings)
    _manageable(settings, None if settings.keys is None else keys.read(settings.keys))
    check_observers(settings)
    if settings.frontend == "flask":
        import flask  # noqa: F401 - whether it is there


def wired_alone(settings: Settings) -> Wired[LocalEngine]:
    """Return a server that is this process and no other."""
    metrics = Metrics()
    engine = engine_of(settings, metrics)
    return wire(settings, engine, metrics, management=engine.management)


def watch_alone(settings: Settings, wired: Wired[LocalEngine]) -> Watch | None:
    """Return what watches the repository for a server that is this process and no other; None if that is not wished for."""
    if not settings.watch_seconds:
        return None
    return Watch(Repository(settings.repository), wired.management, models=settings.models, seconds=settings.watch_seconds)


def wired_ray(settings: Settings) -> "tuple[Wired[LocalEngine], Cluster]":
    """Return a server whose models compute in Ray Serve replicas, and its connection with Ray, which is not made yet.

    Raise SigningError as `wired_alone` does, and ModuleNotFoundError where Ray is not installed.
    """
    from serving.engine import ray_environment

    ray_environment.prepare(local=settings.ray_address == "local")
    from serving.engine.ray import Cluster, Fleet

    trust_of(settings)  # whether the keys can be read: replicas read them again
    metrics = Metrics()
    least, most = settings.ray_replicas
    fleet = Fleet(
        least=least,
        most=most,
        models=settings.ray_models,
        cpus=settings.ray_cpus,
        gpus=settings.ray_gpus,
        up_seconds=settings.ray_up_seconds,
        down_seconds=settings.ray_down_seconds,
        drain_seconds=settings.drain_seconds,
    )
    told = {
        "repository": str(settings.repository.absolute()),
        "models": settings.models,
        "trusted_keys": None if settings.trusted_keys is None else str(settings.trusted_keys.absolute()),
        "signed": settings.require_signed,
        "manifest": settings.require_manifest or settings.require_signed,
        "torchscript": settings.trust_torchscript,
        "most": settings.ray_models,
        # Its opening of a model is the edge's to tell; what it warns of is not.
        "log_level": "warning" if settings.log_level == "info" else settings.log_level,
        "opening_seconds": settings.opening_seconds,
        "hang_exit_seconds": settings.hang_exit_seconds,
    }
    cluster = Cluster(settings.ray_application, fleet, told, metrics)
    engine = LocalEngine(
        Repository(settings.repository),
        metrics,
        models=settings.models,
        opening_seconds=settings.opening_seconds,
        opener=cluster.open,
    )
    return wire(settings, engine, metrics, management=engine.management), cluster


def _manageable(settings: Settings, known: Keys | None) -> bool:
    """Tell whether models are loaded and unloaded by API; raise KeysError where it is asked for and no key may do it."""
    granted = known is not None and known.grant(Scope.MANAGE)
    if known is not None and not granted and (settings.management or settings.management_port is not None):
        raise KeysError(f"{settings.keys}: expected a key with the scope manage, as management is asked for; found none")
    return granted or settings.management


def trust_of(settings: Settings) -> Trust | None:
    """Return whose signatures count, None if nobody's; raise SigningError."""
    if settings.trusted_keys is None:
        return None
    return Trust(trusted_keys(settings.trusted_keys), required=settings.require_signed)


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's TLS, None for plain HTTP; raise TlsError."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    password = settings.tls_key_password
    return context_of(settings.tls_certificate, settings.tls_key, None if password is None else password.get_secret_value())


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """An application, and what makes the lane by which requests for models come past it, on the event loop."""

    app: ASGIApp
    lane: Callable[[asyncio.AbstractEventLoop], Lane]


def front_end(frontend: str, wired: Wired[Served]) -> FrontEnd:
    """Return the chosen front end; its framework is imported here and not before."""
    if frontend == "flask":
        from serving.frontends.flask_app import create_app as create_flask_app
        from serving.frontends.wsgi_endpoint import WsgiEndpoint

        endpoint = WsgiEndpoint(create_flask_app(wired.dispatcher), wired.dispatcher, wired.limits)
        return FrontEnd(endpoint, endpoint.lane)
    from serving.frontends.fastapi_app import create_app
    from serving.frontends.lane import DirectLane

    app = create_app(wired.dispatcher, wired.limits)
    return FrontEnd(app, lambda loop: DirectLane(wired.dispatcher, wired.limits, loop))


def serve(
    settings: Settings,
    front: FrontEnd,
    wired: Wired[Served],
    listeners: Sequence[socket.socket],
    *,
    load: Callable[[], None],
    tls: ssl.SSLContext | None = None,
    begin: Callable[[], Awaitable[None]] | None = None,
    watch: Watch | None = None,
    patient: bool = False,
) -> int:
    """Run a front end until a signal has come and everything accepted has been answered; return the exit code.

    `load` opens the models, beside the front end, which already answers that it is alive and not yet ready. `begin` is
    awaited on the event loop before it listens. `patient`: a second SIGTERM does not hurry, as a service manager may signal
    all processes of a server, and its supervisor does too.
    """
    health = Health(wired.engine, wired.metrics, exit_seconds=settings.hang_exit_seconds)
    health.watch(end)
    server = Server(
        front.app,
        limits=wired.limits,
        on_start=begin,
        spread=Spread(wired.metrics.counters, wired.metrics.number, most=wired.limits.connections),
        on_stop=wired.engine.drain,
        on_tick=lambda: server.stop() if health.look() else None,
        drain_delay_seconds=settings.drain_delay_seconds,
        drain_seconds=settings.drain_seconds,
        tls=tls,
        patient=patient,
        lane=front.lane,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn's own handlers come and go with its loop; a signal before or after that must not kill either.
        signal.signal(number, server.handle_exit)
    make_room(wired.limits)
    if watch is not None:
        watch.start()
    # What is here by now, modules and routes, stays to the end. With it a full collection holds up every request for some
    # 40 ms, without it for 1 ms. Models come and go, so they are not among it.
    gc.collect()
    gc.freeze()
    loading = threading.Thread(target=load, name="load", daemon=True)
    loading.start()
    server.run_on(listeners[0], management=listeners[1] if len(listeners) > 1 else None)
    if watch is not None:
        watch.stop()
    wired.engine.close(drain_seconds=server.drain_seconds_left())
    for observer in wired.observers:
        observer.close()
    log.info("event=stopped")
    return HANGS if health.hangs else 0


def make_room(limits: Limits) -> None:
    """Let this process open as many descriptors as its connections need, as far as it may: the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Twice, as that many are accepted to be told that they are too many; and what runtimes, logs and models hold.
    needed = 2 * limits.connections + _OTHER_DESCRIPTORS
    if soft >= needed:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard))
    if (soft := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < needed:
        log.warning("event=few_descriptors limit=%d needed=%d connections=%d", soft, needed, limits.connections)


def end(code: int) -> NoReturn:
    """End this process, at once.

    Not the interpreter's way: it would wait for threads that answer nobody any more, and be aborted by a runtime whose
    threads still open a model or compute.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
