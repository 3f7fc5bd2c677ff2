"""Workers that do not serve the same: all of them load the model anew or, where one cannot, what one of them serves.

When it starts, each worker finds out by itself what it can open, and an older version may stand in for one that it cannot:
where files arrive or change meanwhile, or one worker has less memory than another, two of them end with different versions.
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from serving.block_bytes import Facts
from serving.control_plane import ControlPlane, Operation
from serving.engine import agreement
from serving.errors import ServingError

log = logging.getLogger(__name__)

#: What failed by no fault of the model's, as a worker ended or a file changed meanwhile, is tried so often.
_TRIES = 2


class Reconciler:
    """Brings all workers to serve the same, by way of the control plane. For the supervisor's thread."""

    def __init__(self, plane: ControlPlane, told: Callable[[], Mapping[int, Sequence[Facts]]]) -> None:
        """`told` returns what each worker that has loaded says of its versions."""
        self._plane = plane
        self._told = told
        self._unsure = False

    def suspect(self) -> None:
        """A worker has loaded: it may not serve what others do."""
        self._unsure = True

    def look(self) -> None:
        """Have loaded anew what workers do not serve alike; while any of them is changing what it serves, they differ."""
        if self._unsure and self._plane.idle:
            self._unsure = False
            self.load_anew(agreement.differing(self._told()))

    def load_anew(self, models: Sequence[str]) -> None:
        """What was read from the disk is not what others have read: they open it anew, all of them, or agree on another."""
        for model in models:
            log.warning("event=workers_differ model=%s", model)
            self._load(model, _TRIES)

    def _load(self, model: str, tries: int) -> None:
        def answer(error: ServingError | None) -> None:
            if error is None:
                return
            if error.retry_after_seconds is not None and tries > 1:
                self._load(model, tries - 1)
            else:
                self._agree(model, load.versions)

        load = Operation("load", model, answer)
        self._plane.ask(load)

    def _agree(self, model: str, failed: tuple[int, ...]) -> None:
        """Let all serve the versions that one of them does, the newest that all can open."""
        plane = self._plane
        wanted = failed or (*(plane.wanted.get(model) or ()), *plane.unopened.get(model, ()))
        found = {tuple(sorted(served.get(model, ()))) for served in agreement.of_each(self._told()).values()}
        self._serve_one_of(model, sorted(found - {(), failed}, key=lambda versions: versions[::-1]), wanted)

    def _serve_one_of(self, model: str, choices: Sequence[tuple[int, ...]], wanted: tuple[int, ...]) -> None:
        """Serve the last of the choices, or the one before it where a worker cannot, and so on."""
        if not choices:
            if model in agreement.differing(self._told()):
                log.error("event=workers_differ_still model=%s", model)
            return

        def answer(error: ServingError | None) -> None:
            if error is not None:
                self._serve_one_of(model, choices[:-1], wanted)

        versions = choices[-1]
        unopened = tuple(number for number in wanted if number not in versions)
        self._plane.follow_up(Operation("serve", model, answer, versions=versions, unopened=unopened))
