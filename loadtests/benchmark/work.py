"""What servers are asked to do: which model, how many images in a request, how they travel, on how many connections."""

from dataclasses import dataclass

#: The two models: a hand-over between threads is a large part of what the small one costs, and nothing of the larger one.
SMALL, LARGE = "small", "large"

#: The two ways in which images travel.
JSON, BINARY = "JSON", "binary"


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request, and how many of them are on their way at any time."""

    model: str
    rows: int
    kind: str
    connections: int

    def __str__(self) -> str:
        return f"{self.group}, {self.connections} connection{'s' if self.connections > 1 else ''}"

    @property
    def group(self) -> str:
        """What is the same for several numbers of connections."""
        images = "one image" if self.rows == 1 else f"{self.rows} images"
        return f"{images}, {self.kind}" if self.model == SMALL else f"larger model, {images}, {self.kind}"

    @property
    def beside_raw(self) -> bool:
        """Whether the session alone is measured in the same turns: where computing is most of what a request costs."""
        return self.kind == BINARY and (self.model == LARGE or self.rows > 1)


WORKS = (
    *(Work(SMALL, 1, kind, connections) for kind in (JSON, BINARY) for connections in (1, 16, 64)),
    *(Work(SMALL, 32, kind, 4) for kind in (JSON, BINARY)),
    *(Work(LARGE, 1, kind, 16) for kind in (JSON, BINARY)),
)
