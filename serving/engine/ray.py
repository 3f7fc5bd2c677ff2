"""The engine's versions across Ray Serve replicas: Ray places and scales them, our batcher batches, no front end notices.

This process has the table of what is served and the requests that wait (held.py). One application is deployed, of replicas
(ray_replica.py) each of which can open any version. Calls go through Ray Serve's handle, on an event loop in a thread of
its own; its proxies are not started, as our own front ends are the edge.
"""

import asyncio
import contextlib
import logging
import math
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, RayServeException

from serving.engine import parcels
from serving.engine.held import HeldVersion, Lost
from serving.engine.opener import NotOpened
from serving.engine.ray_replica import Replica
from serving.engine.version import Version
from serving.errors import ModelNotReady
from serving.metrics import Metrics

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Calls of one version under way, for each replica: one that is computed, and one that is on its way. With more of them
#: each would carry fewer requests, and cost as much.
_CALLS = 2
#: And so many for each replica mean that there are enough of these; more than that, that one more would help.
_BUSY_CALLS = 1
#: Far more than there will be: requests wait at the edge, where they can be given up.
_MOST_CALLS = 1000
#: Calls share memory where they are large; 200 MB hold six of the largest bodies.
_SHARED_BYTES = 200 * 1024 * 1024
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 5.0
_DEPLOYMENT, _NAMESPACE = "models", "sameway"
#: For a machine of the cluster to take a connection, and for Ray there to answer: what listens may be something else.
_KNOCK_SECONDS, _CONNECT_SECONDS = 3.0, 20.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Which replicas are wanted: from `least` to `most`, each with `cpus` and `gpus` reserved, for `models` versions."""

    least: int
    most: int
    models: int
    cpus: float
    gpus: float
    up_seconds: float
    down_seconds: float
    drain_seconds: float


class Cluster:
    """A connection with Ray, and the application that is deployed there. `told` is what each replica needs to know."""

    def __init__(self, application: str, fleet: Fleet, told: Mapping[str, object], metrics: Metrics) -> None:
        self._application = application
        self._fleet = fleet
        self._told = dict(told)
        self._metrics = metrics
        self._folder: str | None = None
        self._handle: Any = None  # Any: Ray's, which has no types for a deployment's methods
        self._held: dict[str, HeldVersion] = {}
        self._running = fleet.least
        self._stopped = False
        #: Held by a thread that asks Ray for something: its end, meanwhile, would be the end of this process.
        self._asking = threading.Lock()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ray", daemon=True)

    def connect(self, address: str | None) -> None:
        """Connect with the Ray at an address, or start one that ends with this process; raise ConnectionError."""
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of every step
        if address is None:
            self._start()
            return
        if address != "auto":
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
            except OSError as error:
                raise ConnectionError(error.strerror or str(error)) from error
        _within(_CONNECT_SECONDS, lambda: ray.init(address=address, namespace=_NAMESPACE, logging_level=logging.ERROR))

    def _start(self) -> None:
        """Start a Ray on this machine; raise ConnectionError."""
        self._folder = tempfile.mkdtemp(prefix="sameway-ray-")
        fleet = self._fleet
        try:
            ray.init(
                address="local",
                # As many as the replicas are promised, whatever this machine has: it is the operator's to know.
                num_cpus=max(1, math.ceil(fleet.most * fleet.cpus)),
                include_dashboard=False,
                object_store_memory=_SHARED_BYTES,
                logging_level=logging.WARNING,
                namespace=_NAMESPACE,
                _node_ip_address="127.0.0.1",
                _temp_dir=self._folder,
            )
        except Exception as error:
            raise ConnectionError(str(error)) from error
        log.info("event=ray_started logs=%s", self._folder)

    def deploy(self) -> bool:
        """Start the replicas and wait until the first of them are there; raise RuntimeError where they cannot be.

        False: it was stopped meanwhile.
        """
        with self._asking:
            if self._stopped:
                return False
            try:
                self._deploy()
            except Exception as error:
                raise RuntimeError(str(error)) from error
        return not self._stopped

    def _deploy(self) -> None:
        self._thread.start()
        fleet = self._fleet
        scaling: dict[str, Any] = {"num_replicas": fleet.least}
        if fleet.most > fleet.least:
            scaling = {
                "autoscaling_config": {
                    "min_replicas": fleet.least,
                    "max_replicas": fleet.most,
                    "target_ongoing_requests": _BUSY_CALLS,
                    "upscale_delay_s": fleet.up_seconds,
                    "downscale_delay_s": fleet.down_seconds,
                    "metrics_interval_s": 1.0,
                    "look_back_period_s": min(fleet.up_seconds, 10.0),
                }
            }
        deployment = serve.deployment(
            Replica,
            name=_DEPLOYMENT,
            max_ongoing_requests=_MOST_CALLS,
            ray_actor_options={"num_cpus": fleet.cpus, "num_gpus": fleet.gpus},
            health_check_period_s=2.0,
            graceful_shutdown_timeout_s=fleet.drain_seconds,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
            **scaling,
        )
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING", "enable_access_log": False})
        self._handle = serve.run(deployment.bind(self._told), name=self._application, route_prefix=None)
        asyncio.run_coroutine_threadsafe(self._look(), self.loop)
        log.info("event=deployed application=%s replicas=%d", self._application, fleet.least)

    def open(self, model: str, number: int, served: Version | None) -> Version:
        """Open a version in replicas; raise NotOpened, or what a fault of ours raises. Blocks, not on the loop."""
        try:
            opened = self._wait(self._open(model, number))
        except ModelNotReady as error:
            raise NotOpened(str(error)) from error
        if served is not None and served.opened_from == opened.opened_from:
            return served
        version = HeldVersion(opened, self, self._metrics, queues=self._fleet.most, verified=opened.metadata.verified)
        if len(self._held) < self._fleet.models:
            # All of them are to have it when the first request comes. One that is not there now opens it when it is asked.
            for problem in self._wait(self._everywhere("hold", version.held.frame)):
                if problem:
                    raise NotOpened(problem)
        self._held[version.held.key] = version
        return version

    def slots(self) -> int:
        """Return how many calls of one version may be under way."""
        return _CALLS * max(1, self._running)

    async def carry(self, key: str, parcel: bytes) -> bytes:
        """Give a parcel to a replica and return what it answers; raise Lost."""
        handle = self._handle
        if len(self._held) > self._fleet.models:
            handle = handle.options(multiplexed_model_id=key)
        response = handle.infer.remote(key, parcel)
        try:
            answer: bytes = await response
        except (RayActorError, WorkerCrashedError, TaskCancelledError, BackPressureError) as error:
            raise Lost(type(error).__name__) from error
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayError, RayServeException) as error:
            log.exception("event=call_failed")
            raise Lost(type(error).__name__) from error
        return answer

    def let_go(self, version: HeldVersion) -> None:
        """Let replicas close a version that nobody asks for any more."""
        if self._held.get(version.held.key) is version:
            del self._held[version.held.key]
        if not self._stopped:
            asyncio.run_coroutine_threadsafe(self._keep(), self.loop)

    def stop(self) -> None:
        """End the application, and Ray where it was started here."""
        self._stopped = True
        # A deployment that waits for room may never end: Ray's processes then see that this one has, and end too.
        asked = self._asking.acquire(timeout=max(_STOP_SECONDS, self._fleet.drain_seconds))
        if self._folder is None:
            with contextlib.suppress(Exception):
                serve.delete(self._application)
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(_STOP_SECONDS)
        if asked:
            with contextlib.suppress(Exception):
                ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _wait(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result()

    async def _open(self, model: str, number: int) -> parcels.Opened:
        """Have a version opened by one replica; another one where it ends meanwhile."""
        while True:
            try:
                return parcels.opened_of(await self._handle.open.remote(model, number))
            except RayActorError:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _everywhere(self, method: str, *words: object) -> list[Any]:
        """Call a method of every replica, and return what they say; nothing where one of them has ended meanwhile."""
        try:
            said: list[Any] = await self._handle.broadcast(method, *words).results_async()
        except (RayError, RayServeException) as error:
            log.info("event=broadcast_lost method=%s reason=%r", method, type(error).__name__)
            return []
        return said

    def _count(self) -> int:
        """Return how many replicas run."""
        with self._asking:
            if self._stopped:
                return self._running
            status = serve.status()
        states = status.applications[self._application].deployments[_DEPLOYMENT].replica_states
        return sum(count for state, count in states.items() if state == "RUNNING")

    async def _keep(self) -> None:
        """Let every replica close what is not served any more."""
        await self._everywhere("keep", list(self._held))

    async def _look(self) -> None:
        """Follow how many replicas there are; new ones are told what is served."""
        while not self._stopped:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                running = await asyncio.to_thread(self._count)
            except Exception as error:  # noqa: BLE001 - Ray's controller may be away for a moment, and raise anything
                log.info("event=ray_not_seen reason=%r", type(error).__name__)
                continue
            if running != self._running:
                log.info("event=replicas running=%d", running)
                self._running = running
                await self._keep()


def _within(seconds: float, doing: Callable[[], object]) -> None:
    """Do something in a thread; raise ConnectionError where it fails, or takes longer."""
    problems: list[str] = ["it does not answer as Ray does, or wants another token"]

    def run() -> None:
        try:
            doing()
        except Exception as error:  # noqa: BLE001 - Ray raises many things, which all mean that there is no connection
            problems[:] = [str(error)]
        else:
            problems.clear()

    thread = threading.Thread(target=run, name="connect", daemon=True)
    thread.start()
    thread.join(seconds)
    if problems:
        raise ConnectionError(problems[0])
