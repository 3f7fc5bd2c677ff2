"""Settings of the server process, from flags and from the environment (`SAMEWAY_PORT=9000`); a flag wins."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
    drain_delay_seconds: float = Field(
        default=1.0, ge=0, le=600, description="after SIGTERM: how long to go on answering while not ready"
    )
    drain_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="after that: how long accepted requests may take to finish"
    )
    management: bool = Field(
        default=False, description="let anyone who reaches this address load and unload models; loopback addresses only"
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
        if self.management and self.host not in _LOOPBACK:
            raise ValueError(f"management needs a loopback address to listen on, not {self.host}")
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        # Empty, as a variable that is not set arrives from a compose file, means all.
        return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip())) or None
