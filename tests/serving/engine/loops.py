"""An event loop in a thread of its own, as an edge has one for its calls."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from tests.serving.sessions import PATIENCE


class Loop:
    """A loop that runs until it is closed."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, doing: Coroutine[Any, Any, Any]) -> Any:
        """Do something on the loop, and return what comes of it."""
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(PATIENCE)

    def close(self) -> None:
        """End it."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()
