"""compose.yaml: read by Debian's docker-compose, and held against what it starts. No container is started here."""

from typing import Any

import pytest
import yaml

from serving.settings import Settings
from tests.deploy.stack import compose, nginx_configuration
from tests.deploy.tools import DEPLOY, ROOT, said

SERVERS = ("fastapi", "flask")


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


def test_every_setting_of_a_server_is_one(services: dict[str, Any]) -> None:
    for name in SERVERS:
        given = {key.removeprefix("SAMEWAY_").lower(): value for key, value in services[name]["environment"].items()}
        assert set(given) <= set(Settings.model_fields)
        assert Settings.model_validate(given).frontend == name


def test_a_server_has_the_time_it_takes_to_drain(services: dict[str, Any]) -> None:
    drain = Settings.model_fields["drain_delay_seconds"].default + Settings.model_fields["drain_seconds"].default
    for name in SERVERS:
        assert services[name]["stop_grace_period"] == f"{drain + 5:.0f}s"


def test_nobody_has_rights_that_it_does_not_need(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "grafana", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


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


def test_nginx_is_configured_by_the_one_file_there_is(services: dict[str, Any]) -> None:
    text = nginx_configuration()
    assert "127.0.0.1" not in text
    for name in SERVERS:
        assert f"server {name}:{services[name]['environment']['SAMEWAY_PORT']} max_fails=0;" in text
    assert "listen 8080;" in text
    assert services["nginx"]["ports"][0].endswith(":8080/tcp")
    assert "pid /tmp/nginx.pid;" in text


def test_prometheus_scrapes_the_servers_there_are() -> None:
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:8000" for name in SERVERS]}]
