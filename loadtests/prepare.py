"""From the words of a command line to what is asked: which models, travelling how, with which expected answers.

Used by `sameway loadtest` before it starts a generator, and by locustfile.py itself where Locust runs it alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtests.asked import asked_samples
from loadtests.bodies import Sample, newest_golden
from loadtests.plan import PAYLOADS, Traffic
from loadtests.server import CannotRun, Server
from loadtests.weights import weights
from models.repository import RepositoryError

#: Where golden samples are looked for when nobody says where: the repository of a checkout.
DEFAULT_REPOSITORY = Path("models")


def prepare(
    server: Server, models: str, payloads: str | None, *, repository: Path | None
) -> tuple[tuple[Traffic, ...], dict[str, list[Sample]]]:
    """Return the traffic and the samples of each model; raise CannotRun or RepositoryError.

    Without a repository the checkout's is tried, and then the server is asked. Without payloads it is V2 JSON (binary where
    a datatype has no JSON), and content besides where the model has some.
    """
    chosen = None if payloads is None else weights(payloads, "payload")
    for payload in chosen or {}:
        if payload not in PAYLOADS:
            raise CannotRun(f"payload: expected some of {', '.join(PAYLOADS)}, found {payload!r}")
    traffic: list[Traffic] = []
    samples: dict[str, list[Sample]] = {}
    for model, weight in weights(models, "model").items():
        samples[model] = samples_of(server, model, repository)
        shares = chosen or _usual(samples[model][0])
        whole = sum(shares.values())
        for payload, share in shares.items():
            _check(model, payload, samples[model][0])
            traffic.append(Traffic(model, payload, weight * share / whole))
    return tuple(traffic), samples


def samples_of(server: Server, model: str, repository: Path | None) -> list[Sample]:
    """Return a model's samples, from the repository, or else from the server."""
    metadata = server.metadata(model)
    versions = metadata["versions"]
    if repository is not None:
        return newest_golden(repository, model, versions)
    if (DEFAULT_REPOSITORY / model).is_dir():
        try:
            return newest_golden(DEFAULT_REPOSITORY, model, versions)
        except RepositoryError:  # a checkout of this project, and a server of something else
            pass
    return asked_samples(server, model, metadata)


def _usual(sample: Sample) -> Mapping[str, float]:
    usual = {"json" if sample.v2_json else "binary": 1.0}
    return usual if sample.file is None else {**usual, "content": 1.0}


def _check(model: str, payload: str, sample: Sample) -> None:
    if payload == "json" and not sample.v2_json:
        found = [spec.datatype for spec in (*sample.case.inputs, *sample.case.outputs)]
        raise CannotRun(f"payload: {model}: expected binary, as {', '.join(found)} do not all travel as JSON; found 'json'")
    if payload == "content" and sample.file is None:
        reason = "its manifest has none" if sample.case.digest else "only a repository (--repository) tells it"
        raise CannotRun(f"payload: {model}: expected json or binary, as no content is known: {reason}; found 'content'")


def sources(samples: Mapping[str, Sequence[Sample]]) -> dict[str, str]:
    """Return where each model's expected answers are from."""
    return {model: rows[0].case.source for model, rows in samples.items()}
