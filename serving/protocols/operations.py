"""What operators ask for: /metrics."""

from serving.access import OBSERVE
from serving.metrics import CONTENT_TYPE, Metrics
from serving.protocols.route import HttpRequest, Reply, Route


class Operations:
    """The operators' routes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("GET", "/metrics", self.metrics, scopes=OBSERVE)]

    def metrics(self, _request: HttpRequest) -> Reply:
        """Return all series in the Prometheus text format."""
        return Reply(200, self._metrics.exposition(), media_type=CONTENT_TYPE)
