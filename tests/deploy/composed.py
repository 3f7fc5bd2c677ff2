"""What is wrong with the services of compose.yaml, as docker-compose reads them: complaints, none for those that fit."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serving.settings import Settings
from tests.deploy.stack import nginx_configuration
from tests.deploy.tools import DEPLOY

SERVERS = ("fastapi", "flask")
#: What Grafana reads: its documentation's sections and keys, in capitals.
_OF_GRAFANA = {
    "GF_SECURITY_ADMIN_PASSWORD", "GF_AUTH_ANONYMOUS_ENABLED", "GF_AUTH_ANONYMOUS_ORG_ROLE",
    "GF_ANALYTICS_REPORTING_ENABLED", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH",
}  # fmt: skip
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}

Services = dict[str, Any]  # Any: YAML


def complaints(services: Services) -> list[str]:
    """Return what would keep the stack from starting or from being asked, or lets it have more than it needs."""
    return [*_rights(services), *_servers(services), *_nginx(services), *_prometheus(services), *_grafana(services)]


def _rights(services: Services) -> Iterator[str]:
    for name, service in services.items():
        if service["cap_drop"] != ["ALL"] or service["security_opt"] != ["no-new-privileges:true"]:
            yield f"{name}: has rights that it does not need"
        if not service.get("read_only") and name != "grafana":
            yield f"{name}: may write to its image"
        if not all(port.startswith("127.0.0.1:") for port in service.get("ports", [])):
            yield f"{name}: can be reached from other machines"
        if "mem_limit" not in service:
            yield f"{name}: may take all memory"


def _servers(services: Services) -> Iterator[str]:
    for name in SERVERS:
        service = services[name]
        given = {key.removeprefix("SAMEWAY_").lower(): value for key, value in service["environment"].items()}
        if set(given) - set(Settings.model_fields):
            yield f"{name}: no settings: {set(given) - set(Settings.model_fields)}"
            continue
        known = Settings.model_validate(given)
        if known.frontend != name or known.host != "0.0.0.0":
            yield f"{name}: {known.frontend} on {known.host}"
        if service["stop_grace_period"] != f"{known.drain_delay_seconds + known.drain_seconds + 10:.0f}s":
            yield f"{name}: killed after {service['stop_grace_period']}, while it drains, or long after"
        if "healthcheck" in service:
            yield f"{name}: has another health check than its image's"


def _mounted(service: Services) -> dict[str, Path]:
    """Return what lies where in a container: of files of this project's."""
    found = {}
    for volume in service.get("volumes", []):
        source, target = volume.split(":")[:2]
        if source.startswith("/"):
            found[target] = Path(source)
    return found


def _bytes(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def _nginx(services: Services) -> Iterator[str]:
    nginx = services["nginx"]
    command = re.fullmatch(
        r"sed -f (\S+) (\S+) > (\S+) && exec nginx -e stderr -c (\S+) -g \"daemon off;\"", nginx["command"][0]
    )
    if command is None:
        yield "nginx: is not started with what sed makes"
        return
    mounted = _mounted(nginx)
    sources = [mounted.get(command[1]), mounted.get(command[2])]
    if sources != [DEPLOY / "nginx-compose.sed", DEPLOY / "nginx.conf"] or command[3] != command[4]:
        yield "nginx: is started with another configuration"
    text = nginx_configuration()
    pid = re.search(r"^pid (\S+);$", text, re.MULTILINE)
    written = {str(Path(command[3]).parent), "/var/cache/nginx", *([str(Path(pid[1]).parent)] if pid else ["no pid"])}
    room = dict(part.split(":") for part in nginx.get("tmpfs", []))
    if set(room) != written:
        yield f"nginx: writes to {sorted(written)}, and may to {sorted(room)}"
    sizes = [re.search(r"size=(\d+[kmg])", options) for options in room.values()]
    if not all(sizes) or sum(_bytes(size[1]) for size in sizes if size) >= _bytes(nginx.get("mem_limit", "1g")):
        yield "nginx: bodies may take more memory than it has"
    for name in SERVERS:
        if f"server {name}:{services[name]['environment']['SAMEWAY_PORT']} max_fails=0;" not in text:
            yield f"nginx: does not ask {name} on its port"
    ports = re.findall(r"listen (\d+);", text)
    if "127.0.0.1" in text or [port.rpartition(":")[2] for port in nginx["ports"]] != [f"{port}/tcp" for port in ports]:
        yield f"nginx: listens on {ports}, published is {nginx['ports']}"


def _prometheus(services: Services) -> Iterator[str]:
    prometheus = services["prometheus"]
    flags = dict(word.partition("=")[::2] for word in prometheus["command"])
    file = Path(flags["--config.file"])
    folder = _mounted(prometheus).get(str(file.parent))
    if folder is None or not {file.name, "alerts.yml"} <= {one.name for one in folder.iterdir()}:
        yield f"prometheus: no {file}, or no rules beside it"
    volumes = {volume.split(":")[1] for volume in prometheus["volumes"]}
    if flags["--storage.tsdb.path"] not in volumes:
        yield "prometheus: what it has gathered goes with the container"


def _grafana(services: Services) -> Iterator[str]:
    grafana = services["grafana"]
    given = grafana["environment"]
    if set(given) != _OF_GRAFANA:
        yield f"grafana: nobody reads, or nobody gives {sorted(set(given) ^ _OF_GRAFANA)}"
    if given.get("GF_SECURITY_ADMIN_PASSWORD") != "of-a-test":
        yield "grafana: another password than the one that was given"
    home = Path(given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    folder = _mounted(grafana).get(str(home.parent))
    if folder is None or not (folder / home.name).exists():
        yield f"grafana: no dashboard {home}"
