"""`sameway loadtest --tune`: the model served here with one configuration after the other, and the best proposed."""

import dataclasses
import sys
from pathlib import Path

from loadtests import environment, local_server, report, runs, search, slo, tune
from loadtests.calibration import calibrate
from loadtests.interrupts import current
from loadtests.options import Options
from loadtests.prepare import DEFAULT_REPOSITORY
from loadtests.server import CannotRun
from loadtests.tune import Candidate
from loadtests.weights import weights
from models import machine
from models.repository import MANIFEST, Repository

#: Trials of one candidate: enough to tell those apart that differ by a fifth.
_TRIALS, _PRECISION = 8, 0.1


def tuned(asked: Options) -> report.Json:
    """Tune and return the report, with the proposal in it; raise CannotRun or RepositoryError."""
    repository = DEFAULT_REPOSITORY if asked.repository is None else Path(asked.repository)
    (model,) = names if len(names := list(weights(asked.model, "model"))) == 1 else _one_only(asked.model)
    versions = Repository(repository).versions(model)
    if not versions:
        raise CannotRun(f"model: expected one with a version in {repository}, found {model!r}")
    config = local_server.own_config(repository, model)
    has_manifest = (repository / model / str(versions[-1]) / MANIFEST).is_file()
    first = tune.first_of(config, has_manifest=has_manifest)
    wanted = runs.objectives(asked)
    known: report.Json = {}

    def one(candidate: Candidate, begin: float | None) -> search.Found:
        sys.stderr.write(f"{candidate} …\n")
        with local_server.serving(repository, model, candidate.into(config)) as server:
            mine = dataclasses.replace(
                asked, repository=str(repository) if has_manifest else None, rate=begin or asked.rate,
                trials=min(asked.trials, _TRIALS), precision=max(asked.precision, _PRECISION),
            )  # fmt: skip
            with current().listening():
                traffic, samples = runs.prepared(server, mine)
                known.update(environment.target(server, samples, asked.image))
            return runs.capacity_of(mine, server, traffic, samples, wanted)

    speeds = [calibrate()]
    tuning = tune.Tuning()
    try:
        limit = slo.latency_limit(wanted)
        tune.tune(tuning, one, first, cores=machine.usable_cores(), has_manifest=has_manifest, limit_seconds=limit)
    except KeyboardInterrupt:  # and what has been tried until then is told
        pass
    interrupted = current().heard is not None
    speeds.append(calibrate())
    found = tune.proposal(
        tuning, first, config, slo=asked.slo or "", model=model, where=str(machine.here()), complete=not interrupted
    )
    if has_manifest:
        found["told"].insert(-1, "batch size: as the manifest says, which a configuration may not contradict")
    _write(found["config"], asked)
    loads = [trial for searches in tuning.tried.values() for trial in searches]
    last = next((load for load in reversed(loads) if load.near is not None), None)
    code = report.INTERRUPTED if interrupted else report.GOOD if found["found"] else report.BAD
    return report.assemble(
        "tune",
        options={name: value for name, value in dataclasses.asdict(asked).items() if value not in (None, (), "", False)},
        target=known or environment.nobody(asked.url),
        environment=environment.here(speeds),
        runs=[] if last is None or last.near is None else [report.run_json(last.near, last.near_label, ())],
        tuning=found,
        exit_code=code,
    )


def _one_only(model: str) -> list[str]:
    raise CannotRun(f"model: expected one with --tune, found {model!r}")


def _write(config: str, asked: Options) -> None:
    """Write the proposal where it is wanted: the file named, or the report's folder."""
    target = asked.config or (None if asked.report is None else str(Path(asked.report) / "config.toml"))
    if target is None:
        return
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(config, encoding="utf-8")
    except OSError as error:
        raise CannotRun(f"config: expected a file that can be written, found {target}: {error.strerror}") from error
