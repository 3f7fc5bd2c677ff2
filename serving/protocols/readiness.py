"""Whether a server should be sent requests: as soon as it can answer for some model, or once it could for every one."""

from serving.engine.base import Engine, State


class Readiness:
    """The answer of the ready route, for one process.

    `every_model`: not ready before every version that is wanted of every model has been served at the same time, once. A
    rollout of files that cannot be opened stops there, while the servers before it answer on. Afterwards one model that
    fails takes no server out of service: all servers would go at once, and with them all other models.
    """

    def __init__(self, engine: Engine, *, every_model: bool) -> None:
        self._engine = engine
        self._incomplete = every_model
        #: The models for want of which the server was not ready when it was last asked.
        self.missing: tuple[str, ...] = ()

    def __call__(self) -> bool:
        """Tell whether this server should be sent requests now."""
        if not self._engine.ready():
            return False
        if self._incomplete:
            index = self._engine.index()
            self.missing = tuple(sorted({status.name for status in index if status.state is not State.READY}))
            self._incomplete = bool(self.missing)
        return not self._incomplete
