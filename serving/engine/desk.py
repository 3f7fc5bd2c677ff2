"""Where a replica answers parcels: requests of one version meet in its batcher with those of every other parcel."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping

from models.tensors import SignatureError
from serving.engine import messages, parcels
from serving.engine.answer import Answer
from serving.engine.opener import NotOpened
from serving.engine.parcels import Held
from serving.engine.shelf import Shelf
from serving.errors import InternalError, InvalidInput, ModelNotReady, ServingError
from serving.request import InferRequest, InferResponse
from serving.wire import Buffer, WireError

log = logging.getLogger(__name__)

#: How often a version may be closed, to make room for others, between being found and being asked.
_TRIES = 3


class Desk:
    """Answers on an event loop, which never computes but what it is lent for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def open(self, model: str, number: int) -> bytes:
        """Open a version as it lies in the repository, and return what the edge is to know of it."""
        try:
            return parcels.opened_parcel(await self._shelf.find(model, number))
        except NotOpened as error:
            return parcels.error_parcel(ModelNotReady(str(error)))
        except Exception as error:  # noqa: BLE001 - the edge waits for an answer, whatever happened
            return parcels.error_parcel(_told(error))

    async def hold(self, parcel: bytes) -> str:
        """Open the versions that are about to be asked for; return why one cannot be, nothing where all could."""
        for held in parcels.held_in(parcel):
            try:
                await self._shelf.hold(held)
            except NotOpened as error:
                return f"model {held.model!r} version {held.version}: {error}"
        return ""

    async def answer(self, parcel: bytes) -> bytes:
        """Answer the requests of a parcel, each with an answer or an error. Cancelled, it gives up those not yet begun."""
        held, requests = parcels.requests_of(parcel, time.monotonic())
        frames: list[list[Buffer]] = []
        answers: dict[int, Answer[InferResponse]] = {}
        try:
            for number, request in requests.items():
                try:
                    answers[number] = await self._submit(held, request)
                except Exception as error:  # noqa: BLE001 - whatever happened, somebody waits for an answer
                    frames.append(messages.error_frame(number, _told(error)))
            await _ended(answers)
        finally:
            for answer in answers.values():
                answer.cancel()
        frames += [_frame(number, answer) for number, answer in answers.items()]
        return parcels.answers_parcel(frames, self._shelf.batches(held))

    async def _submit(self, held: Held, request: InferRequest) -> Answer[InferResponse]:
        for _ in range(_TRIES):
            try:
                version = await self._shelf.hold(held)
            except NotOpened as error:
                raise ModelNotReady(f"model {held.model!r} is not ready: {error}", retry_after_seconds=1) from error
            with contextlib.suppress(ModelNotReady):  # closed in this very moment
                return version.submit(request)
        raise ModelNotReady(f"model {held.model!r} is not ready: too many models are asked for", retry_after_seconds=1)


async def _ended(answers: Mapping[int, Answer[InferResponse]]) -> None:
    """Return once all answers are there. The loop is woken once, by the last of them."""
    if not answers:
        return
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    ended: list[None] = []

    def count(_: Answer[InferResponse]) -> None:
        ended.append(None)
        if len(ended) >= len(answers):
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the process about to end
                loop.call_soon_threadsafe(woken.set)

    for answer in list(answers.values()):
        answer.add_done_callback(count)
    await woken.wait()


def _frame(number: int, answer: Answer[InferResponse]) -> list[Buffer]:
    error = answer.exception()
    try:
        return (
            messages.answer_frame(number, answer.result()) if error is None else messages.error_frame(number, _told(error))
        )
    except WireError as unsent:
        return messages.error_frame(number, _told(unsent))


def _told(error: BaseException) -> ServingError:
    """Return an error as the edge is told of it; the cause of one that clients are not told is logged here."""
    if isinstance(error, ServingError):
        return error
    if isinstance(error, SignatureError):
        return InvalidInput.at(error.field, expected=error.expected, found=error.found)
    log.error("event=internal_error", exc_info=error)
    return InternalError("an internal error; the server's log has its cause")
