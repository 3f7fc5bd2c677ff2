from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SAMEWAY_{name.upper()}", raising=False)


def settings(**given: Any) -> Settings:  # Any: as flags give them
    return Settings(**given)


def test_the_defaults_serve_all_of_models_to_this_machine_only() -> None:
    found = settings()
    assert (found.repository, found.host, found.port, found.models) == (Path("models"), "127.0.0.1", 8000, None)


def test_the_environment_is_heard_and_a_flag_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEWAY_PORT", "9000")
    monkeypatch.setenv("SAMEWAY_HOST", "0.0.0.0")
    monkeypatch.setenv("SAMEWAY_MODELS", "a, b ,a,,")
    found = settings(port=7000)
    assert (found.host, found.port, found.models) == ("0.0.0.0", 7000, ("a", "b"))


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_no_models_named_means_all(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SAMEWAY_MODELS", text)
    assert settings().models is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "-1"),
        ("port", "65536"),
        ("port", "http"),
        ("port", ""),
        ("port", " 8000"),
        ("port", "8000.0"),
        ("port", "8_000"),
        ("management_port", "9000 "),
        ("host", ""),
        ("drain_seconds", "-1"),
        ("drain_seconds", "nan"),
        ("drain_delay_seconds", "601"),
        ("max_body_bytes", "0"),
        ("max_body_bytes", "32MiB"),
        ("log_level", "loud"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SAMEWAY_{name.upper()}", value)
    with pytest.raises(ValidationError) as error:
        settings()
    assert [problem["loc"] for problem in error.value.errors()] == [(name,)]


@pytest.mark.parametrize("name", ["keys", "tls_certificate", "tls_key", "trusted_keys", "management_port"])
def test_an_empty_variable_names_no_file_and_no_port(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"SAMEWAY_{name.upper()}", "")
    assert getattr(settings(), name) is None


@pytest.mark.parametrize(("host", "keys", "others"), [
    ("127.0.0.1", None, False), ("::1", None, False), ("0.0.0.0", None, True), ("0.0.0.0", "keys.toml", False),
])  # fmt: skip
def test_an_address_of_others_without_keys_is_open(host: str, keys: str | None, others: bool) -> None:
    assert Settings(host=host, keys=None if keys is None else Path(keys)).open == others


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMEWAY_TLS_KEY_PASSWORD", "open sesame")
    assert "sesame" not in repr(settings())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        settings().port = 1


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is_for(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("number", ["-1", "256", "two"])
def test_front_ends_are_so_many(number: str) -> None:
    with pytest.raises(ValidationError, match="frontends"):
        settings(frontends=number)


def test_front_ends_and_workers_are_two_ways_and_not_one() -> None:
    assert settings(frontends=4).workers == 1
    with pytest.raises(ValidationError, match=r"frontends: expected 0 with workers 2, .*, found 3"):
        settings(frontends=3, workers=2)


@pytest.mark.parametrize(("told", "found"), [("3", (3, 3)), ("1:4", (1, 4)), ("2:2", (2, 2))])
def test_replicas_are_a_number_or_a_range(told: str, found: tuple[int, int]) -> None:
    assert settings(ray_replicas=told).ray_replicas == found


@pytest.mark.parametrize("told", ["", "0", "4:2", "1:", ":3", "1:2:3", "-1", "two", "1:1001", "1.5"])
def test_replicas_that_make_no_sense_are_named(told: str) -> None:
    with pytest.raises(ValidationError, match=r"ray_replicas[\s\S]*replicas"):
        settings(ray_replicas=told)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "head.ray.svc:6379"])
def test_a_ray_is_ours_this_machines_or_that_of_a_head(address: str) -> None:
    assert settings(ray_address=address).ray_address == address


@pytest.mark.parametrize("address", ["", "ray://head:10001", "head", "head:", ":6379", "head:0", "head:70000", "head:x"])
def test_an_address_that_is_no_ray_s_is_named(address: str) -> None:
    with pytest.raises(ValidationError, match="expected local, auto or HOST:PORT"):
        settings(ray_address=address)


@pytest.mark.parametrize("others", [{"workers": 2}, {"frontends": 2}])
def test_replicas_on_ray_have_one_edge(others: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="engine ray: expected workers 1 and frontends 0"):
        settings(engine="ray", **others)
