"""What a generator is told: whom to ask, what, how much of it, and when. Written once, read by every process."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from loadtests.shapes import Profile

#: How a sample travels, by HTTP: the server has no gRPC.
PAYLOADS = ("json", "binary", "content")

#: The name of each in figures.
NAMES = {"json": "V2 JSON", "binary": "V2 binary", "content": "/predict"}


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of request, and its weight among all."""

    model: str
    payload: str
    weight: float

    @property
    def path(self) -> str:
        """The path it is sent to."""
        name = quote(self.model, safe="")
        return f"/predict/{name}" if self.payload == "content" else f"/v2/models/{name}/infer"


@dataclass(frozen=True, slots=True)
class Plan:
    """One load. `open_load` says what the profile's levels are: arrivals per second, or users with one request each.

    A request that has no answer after `timeout_seconds` has failed. `honour_retry_after`: one that is refused with 429 is
    sent again when the server asks for it, as a polite client does.
    """

    url: str
    traffic: tuple[Traffic, ...]
    profile: Profile
    open_load: bool = False
    poisson: bool = True
    seed: int = 0
    timeout_seconds: float = 10.0
    honour_retry_after: bool = False
    processes: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    ca: str | None = None

    def name(self, traffic: Traffic) -> str:
        """Return how a kind of request is called in figures: its model is named where there are several."""
        several = len({one.model for one in self.traffic}) > 1
        return f"{traffic.model} {NAMES[traffic.payload]}" if several else NAMES[traffic.payload]

    @property
    def load(self) -> str:
        """The load in a few words."""
        level = f"{self.profile.highest:,.5g}"
        kind = ("Poisson" if self.poisson else "constant") if self.open_load else ""
        peak = "up to " if self.profile.changing else ""
        return f"{peak}{level} arrivals/s ({kind})" if self.open_load else f"{peak}{level} users"

    def write(self, path: Path) -> None:
        """Write it for the generator alone: headers may hold a key."""
        told = {**asdict(self), "profile": self.profile.to_json()}
        path.touch(mode=0o600)
        path.write_text(json.dumps(told), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read what `write` wrote."""
        told = json.loads(path.read_text(encoding="utf-8"))
        told["profile"] = Profile.from_json(told["profile"])
        told["traffic"] = tuple(Traffic(**traffic) for traffic in told["traffic"])
        return cls(**told)
