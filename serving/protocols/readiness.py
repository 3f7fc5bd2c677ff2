"""Whether a server should be sent requests: as soon as it can answer for some model, or once it could for every one."""

from serving.engine.base import Engine
from serving.engine.completeness import missing


class Readiness:
    """The answer of the ready route, for one process.

    `every_model`: not ready before every version that is wanted of every model has been served at the same time, once. A
    rollout of files that cannot be opened stops there, while the servers before it answer on. Afterwards one model that
    fails takes no server out of service: all servers would go at once, and with them all other models. That it was so once
    is known to all processes of a server, and to those that take their places.
    """

    def __init__(self, engine: Engine, *, every_model: bool) -> None:
        self._engine = engine
        self._every_model = every_model
        #: The models for want of which the server was not ready when it was last asked.
        self.missing: tuple[str, ...] = ()

    def __call__(self) -> bool:
        """Tell whether this server should be sent requests now."""
        self.missing = ()
        if not self._engine.ready():
            return False
        if not self._every_model or self._engine.was_complete():
            return True
        self.missing = missing(self._engine.index())
        return False
