"""Settings of the server process, from flags and from the environment (`SAMEWAY_PORT=9000`); a flag wins."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: What is absent where its variable is empty. An empty flag is an error: a door must not stand open because a shell's
#: variable was not set.
OPTIONAL = ("keys", "tls_certificate", "tls_key", "tls_key_password", "trusted_keys", "management_port")


class Settings(BaseSettings):
    """What the process needs to know before it starts. How a model is served stands in its own config.toml."""

    model_config = SettingsConfigDict(env_prefix="SAMEWAY_", frozen=True)

    repository: Path = Field(default=Path("models"), description="the model repository")
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 for any free one")
    frontend: Literal["fastapi", "flask"] = Field(default="fastapi", description="web framework: fastapi or flask")
    models: Annotated[tuple[str, ...] | None, NoDecode] = Field(
        default=None, description="models to serve, as a,b; default: all"
    )
    workers: int = Field(default=1, ge=1, le=256, description="processes that answer, each with every model")
    frontends: int = Field(
        default=0, ge=0, le=255, description="processes that answer, with one engine for all of them; 0: each has its own"
    )
    engine: Literal["local", "ray"] = Field(
        default="local", description="where models compute: local, in this server's processes, or ray, in Ray Serve replicas"
    )
    ray_address: str = Field(
        default="local", description="the Ray to use: local starts one, auto finds this machine's, or HOST:PORT of its head"
    )
    ray_replicas: Annotated[tuple[int, int], NoDecode] = Field(
        default=(1, 1), description="replicas, as N, or as MIN:MAX to follow the load; default: 1"
    )
    ray_models: int = Field(
        default=16,
        ge=1,
        le=1000,
        description="versions a replica has open; of more, those asked for last; a swap needs one more than are served",
    )
    ray_cpus: float = Field(default=1.0, ge=0, le=1024, description="CPUs that Ray reserves for each replica")
    ray_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs that Ray reserves for each replica")
    ray_up_seconds: float = Field(
        default=5.0, ge=0, le=86_400, description="how long replicas must be too few before there are more"
    )
    ray_down_seconds: float = Field(
        default=120.0, ge=0, le=86_400, description="how long replicas must be too many before there are fewer"
    )
    ray_application: str = Field(
        default="sameway", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="name in Ray; one for each server of a cluster"
    )
    watch_seconds: float = Field(
        default=0.0, ge=0, le=86_400, description="how often to look for changes in the repository and load them; 0: never"
    )
    ready_when: Literal["any", "all"] = Field(
        default="any", description="ready when any model is; or once all are, so that a rollout of a broken one stops"
    )
    opening_seconds: float = Field(
        default=300.0, gt=0, le=86_400, description="how long opening a version may take before it is given up"
    )
    hang_exit_seconds: float = Field(
        default=30.0, ge=0, le=86_400, description="how long a batch may hang before the process ends, to be replaced"
    )
    drain_delay_seconds: float = Field(
        default=1.0, ge=0, le=600, description="after SIGTERM: how long to go on answering while not ready"
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="after that: how long accepted requests may take to finish"
    )
    management: bool = Field(
        default=False, description="load and unload models by API: without keys for all of this machine, loopback only"
    )
    management_port: int | None = Field(
        default=None, ge=0, le=65535, description="port on 127.0.0.1 for loading and unloading, and not on the other one"
    )
    keys: Path | None = Field(default=None, description="TOML file of API keys; without one everybody may ask")
    tls_certificate: Path | None = Field(default=None, description="PEM file of the certificate, for HTTPS")
    tls_key: Path | None = Field(default=None, description="PEM file of its private key")
    tls_key_password: SecretStr | None = Field(
        default=None, description="password of that key; better in SAMEWAY_TLS_KEY_PASSWORD, for flags are seen by all"
    )
    trusted_keys: Path | None = Field(
        default=None, description="PEM file of the Ed25519 public keys whose signatures on manifests are believed"
    )
    require_signed: bool = Field(default=False, description="serve versions signed by a trusted key only")
    require_manifest: bool = Field(
        default=False, description="serve no model without a manifest, for whose files nobody vouches"
    )
    trust_torchscript: bool = Field(
        default=False, description="open TorchScript files without a manifest, which may run code"
    )
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1, description="largest request body")
    access_log: Literal["off", "text", "json"] = Field(
        default="off", description="a line on standard output for every request but probes that went well: off, text or json"
    )
    access_log_sample: float = Field(
        default=1.0, ge=0, le=1, description="share of the requests that went well in the access log; all others are always"
    )
    telemetry: bool = Field(default=False, description="send OpenTelemetry spans, as the OTEL_* variables say; extra otel")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="what is logged")

    @model_validator(mode="after")
    def _guard(self) -> Self:
        if self.management and self.keys is None and self.management_port is None and self.host not in _LOOPBACK:
            raise ValueError(f"management without keys needs a loopback address to listen on, not {self.host}")
        if self.frontends and self.workers > 1:
            raise ValueError(
                f"frontends: expected 0 with workers {self.workers}, each of which has an engine of its own, "
                f"found {self.frontends}"
            )
        if self.engine == "ray" and (self.workers > 1 or self.frontends):
            raise ValueError(
                f"engine ray: expected workers 1 and frontends 0, found {self.workers} and {self.frontends}; "
                "start several servers, each with a ray_application of its own"
            )
        if self.management_port is not None and not self.management and self.keys is None:
            raise ValueError("management_port needs management, or keys of which one has the scope manage")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key need each other")
        if self.require_signed and self.trusted_keys is None:
            raise ValueError("require_signed needs trusted_keys: whose signatures are to be believed")
        return self

    @property
    def open(self) -> bool:
        """Whether others than this machine's own may ask, and need no key for it."""
        return self.keys is None and self.host not in _LOOPBACK

    # Before `_absent` in the file, which is after it in time: for those that may be absent, empty is no port.
    @field_validator("port", "management_port", mode="before")
    @classmethod
    def _digits(cls, value: object) -> object:
        # Stricter than pydantic, to which " 8000", "8_000" and "8000.0" are numbers: others read these variables too.
        if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) is None:
            raise ValueError("expected a port number in digits alone")
        return value

    @field_validator("host")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value:  # to a socket: every address
            raise ValueError("expected an address to listen on, or 0.0.0.0 for all")
        return value

    @field_validator(*OPTIONAL, mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        # Empty, as a variable that is not set arrives from a compose file.
        return None if value == "" else value

    @field_validator("ray_address")
    @classmethod
    def _reachable(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value not in ("local", "auto") and not (host and "/" not in host and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError("expected local, auto or HOST:PORT; the server has to be on a machine of the cluster")
        return value

    @field_validator("ray_replicas", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        least, colon, most = value.partition(":")
        if not (least.isascii() and least.isdecimal() and (not colon or (most.isascii() and most.isdecimal()))):
            raise ValueError("expected a number of replicas, or MIN:MAX")
        return int(least), int(most if colon else least)

    @field_validator("ray_replicas")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= 1000:
            raise ValueError("expected 1 to 1000 replicas, MIN not above MAX")
        return value

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        # Empty, as a variable that is not set arrives from a compose file, means all.
        return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip())) or None
