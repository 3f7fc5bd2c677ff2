"""compose.yaml: read by Debian's docker-compose, and held against what it starts. No container is started here."""

import copy
from typing import Any

import pytest
import yaml

from tests.deploy.composed import SERVERS, complaints
from tests.deploy.stack import compose
from tests.deploy.tools import DEPLOY, ROOT, said


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:  # Any: YAML
    done = compose("config", GRAFANA_PASSWORD="of-a-test")
    assert done.returncode == 0, said(done)
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


def test_it_is_well_formed(services: dict[str, Any]) -> None:
    assert set(services) == {*SERVERS, "nginx", "prometheus", "grafana"}


def test_without_a_password_for_grafana_it_says_so() -> None:
    done = compose("config", "--quiet", GRAFANA_PASSWORD="")
    assert done.returncode != 0
    assert "a password for Grafana's user admin" in said(done)


def test_every_file_it_mounts_is_there() -> None:
    """Docker would make a folder of the name in its place."""
    plain = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    mounted = [volume.split(":")[0] for service in plain.values() for volume in service.get("volumes", [])]
    files = [DEPLOY / source for source in mounted if source.startswith("./")]
    assert len(files) == 5
    assert [file for file in files if not file.exists()] == []


def test_the_images_are_the_dockerfiles_or_named_by_version(services: dict[str, Any]) -> None:
    stages = (ROOT / "Dockerfile").read_text()
    for name, service in services.items():
        if name in SERVERS:
            assert f" AS {service['build']['target']}\n" in stages
        else:
            assert service["image"].rpartition(":")[2] not in ("", "latest"), name


def test_it_starts_what_docs_say_and_nobody_has_rights_or_room_without_need(services: dict[str, Any]) -> None:
    assert complaints(services) == []


#: By service and by place in it; None takes something away.
_MISTAKES: list[tuple[str, str, object]] = [
    ("flask", "healthcheck", {"disable": True}),
    ("fastapi", "environment.SAMEWAY_HOST", "127.0.0.1"),
    ("fastapi", "environment.SAMEWAY_PROT", "8000"),
    ("fastapi", "environment.SAMEWAY_FRONTEND", "flask"),
    ("fastapi", "environment.SAMEWAY_PORT", "9000"),
    ("fastapi", "stop_grace_period", "16s"),
    ("fastapi", "mem_limit", None),
    ("fastapi", "cap_drop", []),
    ("nginx", "tmpfs", None),
    ("nginx", "tmpfs", ["/tmp:uid=101,gid=101,size=16m"]),
    ("nginx", "tmpfs", ["/tmp:uid=101,gid=101", "/var/cache/nginx:uid=101,gid=101"]),
    ("nginx", "mem_limit", "64m"),
    ("nginx", "ports.0", "8080:8080/tcp"),
    ("nginx", "command.0", "sed -f /etc/sameway/compose.sed /etc/sameway/nginx.conf > /tmp/nginx.conf && exec nginx"),
    ("nginx", "command.0", "sed -f /etc/sameway/c.sed /etc/sameway/nginx.conf > /tmp/n.conf && exec nginx -c /tmp/n.conf"),
    ("prometheus", "command.0", "--config.file=/etc/prometheus/prometheus.yaml"),
    ("prometheus", "command.0", "--config.file=/etc/prom/prometheus.yml"),
    ("prometheus", "command.1", "--storage.tsdb.path=/data"),
    ("grafana", "environment.GF_SECURITY_ADMIN_PASSWORT", "of-a-test"),
    ("grafana", "environment.GF_SECURITY_ADMIN_PASSWORD", "admin"),
    ("grafana", "environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "/var/lib/grafana/dashboards/another.json"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "place", "value"), _MISTAKES)
def test_a_mistake_is_complained_of(services: dict[str, Any], service: str, place: str, value: object) -> None:
    wrong = copy.deepcopy(services)
    inside = wrong[service]
    *way, last = [int(step) if step.isdecimal() else step for step in place.split(".")]
    for step in way:
        inside = inside[step]
    if value is None:
        del inside[last]
    else:
        assert isinstance(inside, list) or inside.get(last) != value, "no mistake"
        inside[last] = value
    assert complaints(wrong) != []


def test_prometheus_scrapes_the_servers_there_are() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:8000" for name in SERVERS]}]
