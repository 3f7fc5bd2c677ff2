"""A real Prometheus with the project's own files, on other addresses and with half a second for its intervals."""

import contextlib
import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.deploy.tools import DEPLOY, tool

FOLDER = DEPLOY / "prometheus"
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class Prometheus:
    """One that runs, and what can be asked of it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **parameters: str) -> Any:  # Any: JSON
        """Return the data of an answer of its API."""
        words = urllib.parse.urlencode([(name.replace("match", "match[]"), text) for name, text in parameters.items()])
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{words}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant query's series, without those that are not a number."""
        data = self.ask("query", query=expression)
        samples = [data["result"]] if data["resultType"] == "scalar" else [one["value"] for one in data["result"]]
        values = [float(value) for _, value in samples]
        return [value for value in values if value == value]

    def tracks(self, expression: str) -> list[str]:
        """Return the tracks that an instant query's series are of, sorted."""
        return sorted(one["metric"].get("track", "") for one in self.ask("query", query=expression)["result"])

    def values(self, label: str, selector: str) -> list[str]:
        """Return the values of a label, as Grafana's `label_values` asks for them."""
        found: list[str] = self.ask(f"label/{label}/values", match=selector)
        return found


def configuration(targets: Sequence[str]) -> str:
    """Return prometheus.yml with other targets and intervals; everything else is as people run it."""
    text = (FOLDER / "prometheus.yml").read_text()
    for old, new in zip(("fastapi:8000", "flask:8000"), targets, strict=True):
        assert text.count(old) == 1, f"prometheus.yml: expected {old} once"
        text = text.replace(old, new)
    text, changed = re.subn(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 500ms", text)
    assert changed == 2
    return text


class PodPort(NamedTuple):
    """A port of a pod's container as Kubernetes' discovery finds it."""

    address: str
    pod: str
    labels: Mapping[str, str]
    namespace: str = "sameway"
    port: str = "http"
    phase: str = "Running"

    def found(self) -> dict[str, object]:
        """Return it as discovery by files has it, under the names that Kubernetes' discovery gives."""
        labels = {re.sub(r"\W", "_", name): value for name, value in self.labels.items()}
        return {
            "targets": [self.address],
            "labels": {
                "__meta_kubernetes_namespace": self.namespace,
                "__meta_kubernetes_pod_name": self.pod,
                "__meta_kubernetes_pod_phase": self.phase,
                "__meta_kubernetes_pod_container_port_name": self.port,
                **{f"__meta_kubernetes_pod_label_{name}": value for name, value in labels.items()},
            },
        }


def on_kubernetes(folder: Path, ports: Sequence[PodPort]) -> dict[str, Any]:  # Any: YAML
    """Return kubernetes.yml with pods that are found in a file: no package of Prometheus here can ask Kubernetes."""
    (folder / "pods.json").write_text(json.dumps([port.found() for port in ports]))
    found: dict[str, Any] = yaml.safe_load((FOLDER / "kubernetes.yml").read_text())
    found["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    (job,) = found["scrape_configs"]
    del job["kubernetes_sd_configs"]
    job["file_sd_configs"] = [{"files": [str(folder / "pods.json")]}]
    return found


@contextlib.contextmanager
def running(folder: Path, configuration: str) -> Iterator[Prometheus]:
    """Run Prometheus until the block ends, with its data and its copy of the files in a folder."""
    program = tool("prometheus")
    (folder / "prometheus.yml").write_text(configuration)
    (folder / "alerts.yml").write_bytes((FOLDER / "alerts.yml").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    words = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    log = folder / "prometheus.log"
    with log.open("wb") as file:
        process = subprocess.Popen(words, cwd=folder, stdout=file, stderr=file)
    try:
        _wait(f"http://127.0.0.1:{port}/-/ready", process, log)
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        assert process.poll() is None, f"Prometheus ended:\n{log.read_text()}"
        assert time.monotonic() < end, f"Prometheus did not become ready:\n{log.read_text()}"
        time.sleep(_LOOK_SECONDS)
