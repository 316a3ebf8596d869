"""`Settings`: every knob of the server. Built once in the CLI, from `ANIMATE_*` variables or a TOML file."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from animate_pipelines.errors import InvalidField
from animate_pipelines.loading.shortcuts import recipe_changes
from animate_pipelines.media.limits import MediaLimits
from animate_server.dialects import DIALECT_NAMES

MIB = 1024**2


class Settings(BaseSettings):
    """Sizes in bytes, times in seconds, as the names say. A variable wins over the file named by `ANIMATE_CONFIG`."""

    model_config = SettingsConfigDict(env_prefix="ANIMATE_", frozen=True, extra="forbid")

    home: Path = Field(Path("~/.cache/animate-server"), description="Database, uploads, artefacts and bundles.")
    bundle: str = Field("puppet", min_length=1, description="Name or path of the bundle of weights.")
    turbo_without_lora: Literal["refuse", "full_steps"] = Field(
        "refuse", description="What becomes of `turbo` where the bundle has no few-step LoRA; full_steps says so."
    )
    devices: Annotated[tuple[str, ...], NoDecode] = Field(
        ("auto",), min_length=1, description="One worker for each: cpu, cuda:0, ...; auto: every GPU, or cpu."
    )
    shortcuts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated approximations for speed: fp8-linears, 8-bit-attention, density-0.2, ..."
    )

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str = Field("", description="Base of the URLs that are given out; empty: as the caller addressed us.")
    files_urls: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="Comma-separated `dialect=URL`: another base for the files of that interface's results."
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Comma-separated. `sha256:HEX` gives a key by its hash."
    )
    dialects: Annotated[tuple[str, ...], NoDecode] = Field(
        DIALECT_NAMES, min_length=1, description="Which interfaces are served; all of them by default."
    )

    fetch_public: bool = Field(True, description="Whether input URLs may point at public addresses at all.")
    fetch_allow: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts, addresses and CIDR ranges that input URLs may point at beyond public ones."
    )
    fetch_timeout_s: float = Field(300.0, gt=0)

    max_file_bytes: int = Field(500_000_000, gt=0, description="One input, image or video.")
    max_duration_s: float = Field(600.0, gt=0, description="The driving video.")
    max_image_pixels: int = Field(50_000_000, gt=0)
    max_json_bytes: int = Field(64 * MIB, gt=0, description="A JSON body, data URIs included.")
    unchecked: Literal["render", "refuse"] = Field(
        "render", description="What becomes of a safety check where the bundle has no checker; render says so."
    )
    service_limits: Literal["keep", "lift"] = Field(
        "keep", description="What becomes of a hosted service's own limit on the length of driving videos."
    )
    preprocess_cache_bytes: int = Field(
        4 * 1024 * MIB, ge=0, description="Keypoints and masks of driving videos, kept for later jobs; 0 keeps none."
    )
    max_queued: int = Field(1_000, gt=0)
    max_running_per_key: int | None = Field(
        None, ge=1, description="Jobs of one key that run at a time; its others wait while those of other keys run."
    )
    max_requests_per_minute: int = Field(600, gt=0, description="Submits and uploads of one key.")
    min_free_disk: float = Field(0.05, ge=0, lt=1, description="Part of the disk that must stay free.")

    job_retention_s: float = Field(7 * 24 * 3600.0, gt=0)
    upload_retention_s: float = Field(24 * 3600.0, gt=0)
    lease_s: float = Field(30.0, gt=0, description="A worker silent for this long is taken for dead.")
    heartbeat_s: float = Field(5.0, gt=0, le=10)
    max_attempts: int = Field(3, ge=1)
    drain_s: float = Field(120.0, ge=0, description="How long a worker may take to finish its segment on SIGTERM.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("devices", "shortcuts", "api_keys", "dialects", "fetch_allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("shortcuts")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            recipe_changes(value)
        except InvalidField as unknown:
            raise ValueError(str(unknown)) from None
        return value

    @field_validator("dialects")
    @classmethod
    def _served(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(DIALECT_NAMES):
            raise ValueError(f"each must be one of {', '.join(DIALECT_NAMES)}")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("public_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/")

    @field_validator("files_urls", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        pairs = [part.partition("=") for part in value.split(",") if part] if isinstance(value, str) else []
        return {name.strip(): url.strip() for name, _, url in pairs} if isinstance(value, str) else value

    @field_validator("files_urls")
    @classmethod
    def _origins(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if name not in DIALECT_NAMES:
                raise ValueError("each must be the name of a dialect, =, and a URL")
        return {name: cls._origin(url) for name, url in value.items() if url}

    @property
    def database(self) -> Path:
        return self.home / "animate.sqlite3"

    @property
    def media_limits(self) -> MediaLimits:
        return MediaLimits(
            max_file_bytes=self.max_file_bytes,
            max_duration_s=self.max_duration_s,
            max_image_pixels=self.max_image_pixels,
        )

    @property
    def uploads_dir(self) -> Path:
        return self.home / "uploads"

    @property
    def artefacts_dir(self) -> Path:
        return self.home / "artefacts"

    @property
    def reports_dir(self) -> Path:
        return self.home / "reports"

    @property
    def work_dir(self) -> Path:
        return self.home / "work"

    @property
    def preprocess_cache_dir(self) -> Path:
        return self.home / "cache" / "preprocess"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        config = os.environ.get("ANIMATE_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, toml_file=Path(config)),) if config else ()
        return (init_settings, env_settings, *file)


def load_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    bundle: str | None = None,
    devices: str | None = None,
    shortcuts: str | None = None,
) -> Settings:
    """From the environment; what is given here wins. `InvalidField` names the setting that is wrong."""
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "bundle": bundle,
        "devices": devices,
        "shortcuts": shortcuts,
    }
    config = os.environ.get("ANIMATE_CONFIG")
    if config and not Path(config).is_file():
        raise InvalidField(f"ANIMATE_CONFIG: there is no file {config}", field="ANIMATE_CONFIG", value=config)
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as invalid:
        first = invalid.errors(include_input=False)[0]  # the input may be a key
        name = f"ANIMATE_{first['loc'][0]}".upper() if first["loc"] else "settings"
        raise InvalidField(f"{name}: {first['msg']}", field=name) from None
    except ValueError as invalid:  # a TOML file that is none
        raise InvalidField(f"ANIMATE_CONFIG: {invalid}", field="ANIMATE_CONFIG", value=config) from None


def check_exposure(settings: Settings) -> None:
    """Refuse to serve strangers without keys: `InvalidField` unless keys are set or the host is loopback."""
    if settings.api_keys or settings.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InvalidField(
            f"ANIMATE_API_KEYS is required to listen on {settings.host}; only loopback is served without keys",
            field="ANIMATE_API_KEYS",
            value="",
            limit="at least one key",
        )
