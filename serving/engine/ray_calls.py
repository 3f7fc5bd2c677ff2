"""Calls of Ray Serve replicas, with what Ray raises made into what the edge knows: an answer, or a call that is lost."""

import asyncio
import logging
from typing import Any

from ray.exceptions import RayActorError, RayError, TaskCancelledError, WorkerCrashedError
from ray.serve.exceptions import BackPressureError, RayServeException

from serving.engine.held import Lost

log = logging.getLogger(__name__)

_ENDED = (RayActorError, WorkerCrashedError, TaskCancelledError, BackPressureError)


class RayCalls:
    """Calls of an application's replicas (see replicas.Calls), through the handle that it has once it is deployed."""

    def __init__(self) -> None:
        self.handle: Any = None  # Any: Ray's, which has no types for a deployment's methods

    async def infer(self, key: str, parcel: bytes, *, crowded: bool) -> bytes:
        """Have one replica answer a parcel, where it is crowded one that has the version; raise Lost."""
        handle = self.handle.options(multiplexed_model_id=key) if crowded else self.handle
        return await _answer(handle.infer.remote(key, parcel))

    async def open(self, model: str, number: int) -> bytes:
        """Have one replica open a version; raise Lost."""
        return await _answer(self.handle.open.remote(model, number))

    async def everywhere(self, method: str, *words: object, seconds: float) -> list[Any]:
        """Call a method of every replica and return what each says, or Lost; raise TimeoutError, or what went wrong."""
        said = await self.handle.broadcast(method, *words).results_async(timeout_s=seconds, return_exceptions=True)
        return [_said(one) for one in said]


async def _answer(response: Any) -> bytes:  # Any: Ray's, as above
    try:
        answer: bytes = await response
    except _ENDED as error:
        raise Lost(type(error).__name__) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            response.cancel()
            raise
        # It is Ray that has cancelled it.
        raise Lost(type(error).__name__) from error
    except (RayError, RayServeException) as error:
        log.exception("event=call_failed")
        raise Lost(type(error).__name__) from error
    return answer


def _said(one: Any) -> Any:  # Any: what a method returns
    """Return what a replica has said, Lost where it has ended; raise what it has raised."""
    if isinstance(one, (*_ENDED, asyncio.CancelledError)):
        return Lost(type(one).__name__)
    if isinstance(one, BaseException):
        raise one
    return one
