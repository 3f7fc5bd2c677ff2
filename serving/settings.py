"""Settings of the server process, from flags and from the environment (`SAMEWAY_PORT=9000`); a flag wins."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """What the process needs to know before it starts. How a model is served stands in its own config.toml."""

    model_config = SettingsConfigDict(env_prefix="SAMEWAY_", frozen=True)

    repository: Path = Field(Path("models"), description="the model repository")
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 for any free one")
    models: Annotated[tuple[str, ...] | None, NoDecode] = Field(None, description="models to serve, as a,b; default: all")
    drain_delay_seconds: float = Field(
        1.0, ge=0, le=600, description="after SIGTERM: how long to go on answering while not ready"
    )
    drain_seconds: float = Field(
        10.0, ge=0, le=3600, description="after that: how long accepted requests may take to finish"
    )
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1, description="largest request body")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        # Empty, as a variable that is not set arrives from a compose file, means all.
        return tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip())) or None
