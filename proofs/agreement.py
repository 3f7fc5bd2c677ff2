"""Proof that the numbers are true, `make agreement`: statistics, /metrics and the clients' own ledger say the same.

    python -m proofs.agreement [--requests 20000] [--frontend fastapi] [--workers 1]

The ledger (tests/ledger: liars, bad bodies, hang-ups, and a line for each request's end) is kept of a run on the tracer,
which is swapped for its next version in the middle. Beside it a model whose backend raises now and then is asked by a
client that never hangs up. Then everything is counted on both sides: by outcome and reason, by version, by rows. The
ledger's client, plan and judge belong to the suite, which has to show that they find what is broken; so they are taken
from there.
"""

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson
from prometheus_client.samples import Sample

from proofs import graphs, totals
from proofs.load import Outcome, Request, closed_load, post
from proofs.overload import FRONTENDS
from proofs.server import Server, running
from proofs.verdict import Verdict, at_least, at_most, exit_code, none_of, table, told
from tests.ledger import ledger, tracer
from tests.ledger.client import Settings
from tests.ledger.judge import judge
from tests.ledger.ledger import Entries, Sent
from tests.ledger.plan import Request as Planned
from tests.ledger.plan import plan
from tests.ledger.prove import record, uvloop_runner
from tests.ledger.publish import publish

_LOOKUP = "lookup"
#: One request in so many asks for a place outside of the table. It has to be answered 500, and those in its batch not.
_RAISES = 50
_TABLE = 4


class _Swap:
    """Publishes and loads the tracer's second version in the middle of a plan, beside the client's event loop."""

    def __init__(self, server: Server, root: Path) -> None:
        self._server, self._root = server, root
        self._thread = threading.Thread(target=self._run, name="swap")
        self.status = 0

    def amid(self, requests: Iterable[Planned], count: int) -> Iterator[Planned]:
        """Yield the requests of a plan; begin at half of them, and wait at three quarters, so that some meet what is new."""
        for number, request in enumerate(requests):
            if number == count // 2:
                self._thread.start()
            elif number == count * 3 // 4:
                self._thread.join()
            yield request

    def _run(self) -> None:
        publish(self._root)
        self.status, _ = self._server.ask(f"/v2/repository/models/{tracer.MODEL}/load", "POST")


def prove(frontend: str, *, workers: int, requests: int, seed: int = 1) -> list[Verdict]:
    """Run so many requests against a server of its own, and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        root, file = Path(folder) / "models", Path(folder) / "run.ledger"
        publish(root)
        graphs.publish_lookup(root)
        with running(root, "--management", "--workers", str(workers), frontend=frontend) as server:
            server.until(lambda: server.logged("loaded") == workers, "loaded by every worker")
            swap = _Swap(server, root)
            with uvloop_runner() as runner:
                lookups = runner.run(_drive(server, file, swap, requests=requests, seed=seed))
            samples = totals.at_rest(server)
            statistics = _statistics(server)
            unexpected = [line for line in server.errors() if "event=inference_failed" not in line]
            code = server.stop()
        entries = ledger.read(file)
    report = judge(entries)
    left = (totals.value(samples, "sameway_in_flight"), totals.value(samples, "sameway_queue_rows"))
    return [
        told("requests by the ledger, and to the model that raises", len(entries.sent) + len(lookups)),
        none_of("violations found by the ledger's judge", [str(one) for one in report.violations]),
        Verdict("the swap in the middle", f"{swap.status}", "= 200", swap.status == 200),
        *_tracer(entries, samples),
        *_lookup(lookups, samples),
        *_agree(statistics, samples),
        _equal("in flight, and rows queued", left, (0, 0)),
        none_of("unexpected errors in the server's log", unexpected),
        at_most("exit code", code, 0),
    ]  # fmt: skip


async def _drive(server: Server, file: Path, swap: _Swap, *, requests: int, seed: int) -> list[Outcome]:
    """Send the ledger's plan, and lookups for as long as that takes; return how the lookups ended."""
    settings = Settings(server.host, server.port, seed)
    over = asyncio.Event()
    lookups = asyncio.create_task(
        # An hour stands for as long as it takes.
        closed_load(
            server.host, server.port, _lookups(server.url.removeprefix("http://"), seed), clients=4, seconds=3600.0,
            until=over.is_set,
        )
    )  # fmt: skip
    try:
        await record(settings, swap.amid(plan(seed, requests), requests), requests, file)
    finally:
        over.set()
    return await lookups


def _lookups(host: str, seed: int) -> Iterator[Request]:
    draws = random.Random(seed)
    while True:
        place = _TABLE + 5 if draws.randrange(_RAISES) == 0 else draws.randrange(_TABLE)
        tensor = {"name": "place", "datatype": "INT64", "shape": [1], "data": [place]}

        def right(body: bytes, place: int = place) -> bool:
            return bool(orjson.loads(body)["outputs"][0]["data"] == [10 + place])

        kind = "raises" if place >= _TABLE else "honest"
        yield Request(post(host, f"/v2/models/{_LOOKUP}/infer", orjson.dumps({"inputs": [tensor]})), right, kind=kind)


def _tracer(entries: Entries, samples: Sequence[Sample]) -> list[Verdict]:
    """Hold the tracer's totals against the ledger.

    Who hung up may have been answered nevertheless, and too late to know it: such a request may be counted in either way,
    once. One that was cut before it was whole is cancelled, if its head had come. Everything else has to be equal.
    """
    ours, cut = Counter[totals.End](), Counter[str]()
    versions = Counter[str]()
    rows: Counter[str] = Counter()
    for sent in entries.sent.values():
        event, *facts = sent.ends[0]
        if event == "OK":
            ours["ok", ""] += 1
            versions[facts[0]] += 1
            rows[facts[0]] += sent.rows
        elif event == "ERR":
            ours["refused", facts[1]] += 1
        elif event == "CUT":
            cut["good" if sent.wants == 200 or facts[0] == "before" else "bad"] += 1
    theirs = totals.ended(samples, tracer.MODEL)
    surplus = theirs - ours
    missing = [f"{count} × {end}" for end, count in (ours - theirs).items()]
    of_cut = sum(count for end, count in surplus.items() if end == ("ok", "") or end[0] == "cancelled")
    verdicts = [
        none_of("tracer: ends that a client had and the server has not", missing),
        at_most(f"tracer: ok or cancelled, of {cut['good']} who hung up", of_cut, cut["good"]),
        at_most(f"tracer: refused, of {cut['bad']} who hung up", surplus.total() - of_cut, cut["bad"]),
        told("tracer: answered", ours["ok", ""]),
        told("tracer: refused", ours.total() - ours["ok", ""]),
    ]  # fmt: skip
    newest = max(versions, key=int)
    live = {
        "answers": totals.value(samples, "sameway_requests_total", model=tracer.MODEL, version=newest, outcome="ok"),
        "rows": totals.value(samples, "sameway_batch_rows_sum", model=tracer.MODEL, version=newest),
    }
    old = totals.value(samples, "sameway_requests_retired_total", model=tracer.MODEL, outcome="ok")
    given_up = _rows_given_up(entries.sent.values())
    return [
        *verdicts,
        at_least("tracer: versions that answered", len(versions), 2),
        _between(f"tracer: answers of version {newest}", live["answers"], versions[newest], of_cut),
        _between("tracer: answers of the version that is gone", old, versions.total() - versions[newest], of_cut),
        _between(f"tracer: rows computed by version {newest}", live["rows"], rows[newest], given_up),
    ]


def _rows_given_up(sent: Iterable[Sent]) -> int:
    """Return the rows of requests whose client hung up: they may have been computed."""
    return sum(one.rows for one in sent if one.ends[0][0] == "CUT" and one.wants == 200)


def _lookup(outcomes: Sequence[Outcome], samples: Sequence[Sample]) -> list[Verdict]:
    """Hold the totals of the model that raises against its client's: nobody hung up, so they are equal."""
    ours = {"ok": sum(one.good for one in outcomes), "failed": sum(one.status == 500 for one in outcomes)}
    wrong = sum(one.status != 500 if one.kind == "raises" else not one.good for one in outcomes)
    theirs = totals.ended(samples, _LOOKUP)
    counted = (theirs["ok", ""], theirs["failed", "inference_failed"])
    return [
        at_most("lookup: 500 for others than those that make it raise, or the other way round", wrong, 0),
        at_least("lookup: answered 500", ours["failed"], 1),
        _equal("lookup: ok, and failed with inference_failed", counted, (ours["ok"], ours["failed"])),
        _equal("lookup: all that was counted", theirs.total(), len(outcomes)),
        # A batch that raises is none that was computed.
        _equal("lookup: rows computed", totals.value(samples, "sameway_batch_rows_sum", model=_LOOKUP), ours["ok"]),
    ]  # fmt: skip


def _statistics(server: Server) -> dict[str, dict[str, int]]:
    """Return the statistics extension's counts for the newest version of each model."""
    found = {}
    for model in (tracer.MODEL, _LOOKUP):
        one = server.statistics(model)
        found[model] = {
            "version": int(one["version"]),
            "success": int(one["inference_stats"]["success"]["count"]),
            "fail": int(one["inference_stats"]["fail"]["count"]),
            "rows": int(one["inference_count"]),
            "batches": int(one["execution_count"]),
        }
    return found


def _agree(statistics: dict[str, dict[str, int]], samples: Sequence[Sample]) -> list[Verdict]:
    """Hold the statistics extension against /metrics."""
    verdicts = []
    for model, one in statistics.items():
        names = {"model": model, "version": str(one["version"])}
        metrics = (
            totals.value(samples, "sameway_requests_total", **names, outcome="ok"),
            totals.value(samples, "sameway_requests_total", **names, outcome="failed"),
            totals.value(samples, "sameway_batch_rows_sum", **names),
            totals.value(samples, "sameway_batch_rows_count", **names),
        )
        said = (one["success"], one["fail"], one["rows"], one["batches"])
        verdicts.append(_equal(f"{model}: statistics, and /metrics: ok, failed, rows, batches", said, metrics))
        observed = totals.value(samples, "sameway_request_seconds_count", **names)
        verdicts.append(_equal(f"{model}: latencies observed, and requests answered", observed, metrics[0]))
    return verdicts


def _equal(name: str, found: object, expected: object) -> Verdict:
    return Verdict(name, _plain(found), f"= {_plain(expected)}", found == expected)


def _between(name: str, found: float, least: int, more: int) -> Verdict:
    """Return the verdict on a number that may be larger by what those have who hung up."""
    return Verdict(name, f"{found:g}", f"{least} to {least + more}", least <= found <= least + more)


def _plain(value: object) -> str:
    """Return whole numbers as such, one or several."""
    parts = value if isinstance(value, tuple) else (value,)
    return " ".join(f"{part:.0f}" for part in parts)


def main() -> int:
    """Print what was found on each front end; return 1 where numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000, help="requests by the ledger (20000)")
    parser.add_argument("--seed", type=int, default=1, help="another number is another run (1)")
    parser.add_argument("--frontend", choices=FRONTENDS, action="append", help="only this front end")
    parser.add_argument("--workers", type=int, action="append", help="only so many workers; default 1, and then 2")
    arguments = parser.parse_args()
    code = 0
    for frontend, workers in itertools.product(arguments.frontend or FRONTENDS, arguments.workers or (1, 2)):
        verdicts = prove(frontend, workers=workers, requests=arguments.requests, seed=arguments.seed)
        print(f"agreement, {frontend}, {workers} worker{'s' * (workers > 1)}", table(verdicts), sep="\n", flush=True)
        code = max(code, exit_code(verdicts))
    return code


if __name__ == "__main__":
    sys.exit(main())
