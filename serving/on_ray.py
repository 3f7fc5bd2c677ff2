"""A server whose models are in Ray Serve replicas: put together, and run. Ray is imported once it is asked for."""

import logging
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING

from models.repository import Repository
from serving import process
from serving.engine.local import LocalEngine
from serving.metrics import Metrics
from serving.process import FrontEnd, Wired
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.engine.ray import Cluster

log = logging.getLogger(__name__)


def wired(settings: Settings) -> "tuple[Wired[LocalEngine], Cluster]":
    """Return a server whose models compute in Ray Serve replicas, and its connection with Ray, which is not made yet.

    Raise SigningError as `wired_alone` does, and ModuleNotFoundError where Ray is not installed.
    """
    from serving.engine import ray_environment

    ray_environment.prepare(local=settings.ray_address == "local")
    from serving.engine.ray import Cluster, Fleet

    process.trust_of(settings)  # whether the keys can be read: replicas read them again
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
        opening_seconds=settings.opening_seconds,
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
    cluster = Cluster(settings.ray_application, fleet, told, metrics, _stop)
    engine = LocalEngine(
        Repository(settings.repository),
        metrics,
        models=settings.models,
        opening_seconds=settings.opening_seconds,
        opener=cluster.replicas.open,
    )
    return process.wire(settings, engine, metrics, management=engine.management), cluster


def serve(
    settings: Settings,
    front: FrontEnd,
    wired: "Wired[LocalEngine]",
    cluster: "Cluster",
    listeners: list[socket.socket],
    tls: ssl.SSLContext | None,
) -> int:
    """Serve with models in Ray Serve replicas until told to stop; return the exit code."""

    def load() -> None:
        try:
            if cluster.deploy():
                wired.engine.load_all()
        except RuntimeError as error:
            log.error("event=cannot_start reason=%r", str(error))
            cluster.stop()
            process.end(1)

    code = process.serve(settings, front, wired, listeners, load=load, tls=tls, watch=process.watch_alone(settings, wired))
    cluster.stop()
    return code


def _stop() -> None:
    """End this server as SIGTERM does: what was accepted is still answered."""
    os.kill(os.getpid(), signal.SIGTERM)
