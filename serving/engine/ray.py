"""The engine's versions across Ray Serve replicas: Ray places and scales them, our batcher batches, no front end notices.

This process has the table of what is served (replicas.py) and the requests that wait (held.py). One application is deployed,
of replicas (ray_replica.py) each of which can open any version. Calls go through Ray Serve's handle (ray_calls.py), on an
event loop in a thread of its own; its proxies are not started, as our own front ends are the edge.
"""

import asyncio
import contextlib
import logging
import math
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve

from serving.engine.ray_calls import RayCalls
from serving.engine.ray_replica import Replica
from serving.engine.replicas import Replicas
from serving.metrics import Metrics

log = logging.getLogger(__name__)

#: So many calls under way for each replica mean that there are enough of these; more than that, that one more would help.
_BUSY_CALLS = 1
#: Far more than there will be: requests wait at the edge, where they can be given up.
_MOST_CALLS = 1000
#: Calls share memory where they are large; 200 MB hold six of the largest bodies.
_SHARED_BYTES = 200 * 1024 * 1024
_LOOK_SECONDS = 1.0
_STOP_SECONDS = 5.0
#: So often in a row it must look as if another server had the application, as Ray replaces replicas one after the other.
_STRANGE_LOOKS = 5
_ASK_SECONDS = 5.0
#: Ray takes none of 0 s, and its replicas measure once a second.
_LEAST_LOOK_BACK_SECONDS = 2.0
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
    opening_seconds: float


class Cluster:
    """A connection with Ray, and the application that is deployed there. `told` is what each replica needs to know."""

    def __init__(
        self,
        application: str,
        fleet: Fleet,
        told: Mapping[str, object],
        metrics: Metrics,
        replaced: Callable[[], None],
    ) -> None:
        """`replaced` is called, in a thread, once another server has taken the application, or ended it."""
        self._application = application
        self._fleet = fleet
        #: By which replicas know who has deployed them.
        self._owner = secrets.token_hex(8)
        self._told = {**told, "owner": self._owner}
        self._replaced = replaced
        self._folder: str | None = None
        self._stopped = False
        #: Held by a thread that asks Ray for something: its end, meanwhile, would be the end of this process.
        self._asking = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._calls = RayCalls()
        self.replicas = Replicas(
            self._calls,
            self._loop,
            metrics,
            least=fleet.least,
            most=fleet.most,
            models=fleet.models,
            opening_seconds=fleet.opening_seconds,
        )
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
            shutil.rmtree(self._folder, ignore_errors=True)
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
                    "look_back_period_s": max(_LEAST_LOOK_BACK_SECONDS, min(fleet.up_seconds, 10.0)),
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
        self._calls.handle = serve.run(deployment.bind(self._told), name=self._application, route_prefix=None)
        asyncio.run_coroutine_threadsafe(self._look(), self._loop)
        log.info("event=deployed application=%s replicas=%d", self._application, fleet.least)

    def stop(self) -> None:
        """End the application, and Ray where it was started here."""
        self._stopped = True
        self.replicas.stop()
        # A deployment that waits for room may never end: Ray's processes then see that this one has, and end too.
        asked = self._asking.acquire(timeout=max(_STOP_SECONDS, self._fleet.drain_seconds))
        if self._folder is None:
            self._delete()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_SECONDS)
        if asked:
            with contextlib.suppress(Exception):
                ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _delete(self) -> None:
        """End the application, unless it is another server's by now."""
        try:
            if self._application not in serve.status().applications:
                return
            if self._calls.handle is not None and self._is_taken():
                log.warning("event=application_left application=%s reason='another server has it'", self._application)
                return
            serve.delete(self._application)
        except Exception as error:  # noqa: BLE001 - Ray may be gone, and raise anything
            log.warning("event=application_left application=%s reason=%r", self._application, str(error))

    def _is_taken(self) -> bool:
        """Tell whether there are replicas, and none of them is ours. Blocks, not on the loop."""
        asking = asyncio.run_coroutine_threadsafe(self._owners(), self._loop)
        try:
            owners = asking.result(_ASK_SECONDS)
        except TimeoutError:
            asking.cancel()
            return False
        return bool(owners) and self._owner not in owners

    async def _owners(self) -> set[str]:
        """Return who has deployed the replicas, nobody where they do not answer: one may be busy, or none be there."""
        try:
            said = await self._calls.everywhere("whose", seconds=_ASK_SECONDS)
        except Exception as error:  # noqa: BLE001 - Ray may raise anything
            log.debug("event=owner_not_seen reason=%r", type(error).__name__)
            return set()
        return {one for one in said if isinstance(one, str)}

    def _count(self) -> int | None:
        """Return how many replicas run, None where the application is not there."""
        with self._asking:
            if self._stopped:
                return 0
            status = serve.status()
        application = status.applications.get(self._application)
        if application is None:
            return None
        states = application.deployments[_DEPLOYMENT].replica_states
        running: int = sum(count for state, count in states.items() if state == "RUNNING")
        return running

    async def _look(self) -> None:
        """Follow how many replicas there are, and whose they are."""
        strange = 0
        while not self._stopped:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                running = await asyncio.to_thread(self._count)
                if self._stopped:
                    return
                owners = await self._owners() if running else {self._owner}
                if running is not None and (self._owner in owners or not owners):
                    strange = 0
                    await self.replicas.look(running)
                    continue
            except Exception as error:  # noqa: BLE001 - Ray's controller may be away for a moment, and raise anything
                log.info("event=ray_not_seen reason=%r", type(error).__name__)
                continue
            strange += 1
            if strange >= _STRANGE_LOOKS:
                log.error(
                    "event=application_taken application=%s reason='another server has deployed it, or ended it; "
                    "each needs a ray_application of its own'",
                    self._application,
                )
                await asyncio.to_thread(self._replaced)
                return


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
