"""`Settings`: every knob of the server. Built once in the CLI, from `ANIMATE_*` variables or a TOML file."""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Collection
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
from animate_pipelines.loading.shortcuts import take_shortcuts
from animate_pipelines.media.limits import MediaLimits
from animate_server.addresses import AddressPolicy
from animate_server.dialects import DIALECT_NAMES
from animate_server.invalid import describe_invalid

MIB = 1024**2


RENAMED = {
    "turbo_without_lora": "when_no_turbo_lora",
    "unchecked": "when_no_safety_checker",
    "service_limits": "hosted_limits",
}
# Variables of the product that are no settings of the server: where a TOML file is, and what the client commands read.
OTHER_VARIABLES = frozenset({"ANIMATE_CONFIG", "ANIMATE_SERVER", "ANIMATE_API_KEY", "ANIMATE_HUB", "ANIMATE_HUB_TOKEN"})


def _setting(group: str, default: Any, description: str, *, unit: str = "", **limits: Any) -> Any:
    """Return a setting for the table that `docs/settings.md` and `animate-server settings` show."""
    return Field(default, description=description, json_schema_extra={"group": group, "unit": unit}, **limits)


_list = NoDecode  # lists are comma-separated text in a variable


class Settings(BaseSettings):
    """Sizes in bytes, times in seconds, as the names say. A variable wins over the file named by `ANIMATE_CONFIG`."""

    model_config = SettingsConfigDict(env_prefix="ANIMATE_", frozen=True, extra="forbid")

    home: Path = _setting("Models", Path("~/.cache/animate-server"), "Database, uploads, artefacts and bundles.")
    bundle: str = _setting("Models", "puppet", "Name or path of the bundle of weights.", min_length=1)
    devices: Annotated[tuple[str, ...], _list] = _setting(
        "Models", ("auto",), "One worker for each: cpu, cuda:0, ...; auto: every GPU, or cpu.", min_length=1
    )
    shortcuts: Annotated[tuple[str, ...], _list] = _setting(
        "Models",
        (),
        "Comma-separated approximations for speed: fp8-linears, 8-bit-attention, density-0.2, half-first-step, ...",
    )

    host: str = _setting("Listening", "127.0.0.1", "Address to listen on; beyond loopback only with keys.")
    port: int = _setting("Listening", 8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    public_url: str = _setting(
        "Listening", "", "Base of the URLs that are given out; empty: as the caller addressed us."
    )
    files_urls: Annotated[dict[str, str], _list] = _setting(
        "Listening", {}, "Comma-separated `dialect=URL`: another base for the files of that interface's results."
    )
    api_keys: Annotated[tuple[SecretStr, ...], _list] = _setting(
        "Listening", (), "Comma-separated. `sha256:HEX` gives a key by its hash."
    )
    dialects: Annotated[tuple[str, ...], _list] = _setting(
        "Listening", DIALECT_NAMES, "Which interfaces are served; all of them by default.", min_length=1
    )

    fetch_public: bool = _setting("Fetching", True, "Whether input URLs may point at public addresses at all.")
    fetch_allow: Annotated[tuple[str, ...], _list] = _setting(
        "Fetching", (), "Hosts, addresses and CIDR ranges that input URLs may point at beyond public ones."
    )
    fetch_timeout_s: float = _setting("Fetching", 300.0, "How long fetching one input may take.", unit="s", gt=0)

    max_file_bytes: int = _setting("Limits", 500_000_000, "One input, image or video.", unit="bytes", gt=0)
    max_duration_s: float = _setting("Limits", 600.0, "The driving video.", unit="s", gt=0)
    max_image_pixels: int = _setting("Limits", 50_000_000, "The reference image.", unit="pixels", gt=0)
    max_json_bytes: int = _setting("Limits", 64 * MIB, "A JSON body, data URIs included.", unit="bytes", gt=0)
    max_queued: int = _setting("Limits", 1_000, "Jobs that wait, of all keys together.", unit="jobs", gt=0)
    max_running_per_key: int | None = _setting(
        "Limits",
        None,
        "Jobs of one key that run at a time; its others wait while those of other keys run.",
        unit="jobs",
        ge=1,
    )
    max_requests_per_minute: int = _setting(
        "Limits", 600, "Submits and uploads of one key in a minute.", unit="requests", gt=0
    )
    min_free_disk: float = _setting("Limits", 0.05, "Part of the disk that must stay free.", ge=0, lt=1)

    when_no_turbo_lora: Literal["refuse", "full_steps"] = _setting(
        "Policies",
        "refuse",
        "What becomes of `turbo` where the bundle has no few-step LoRA; full_steps renders in full and says so.",
    )
    when_no_safety_checker: Literal["render", "refuse"] = _setting(
        "Policies",
        "render",
        "What becomes of a safety check where the bundle has no checker; render says that nothing was checked.",
    )
    hosted_limits: Literal["keep", "lift"] = _setting(
        "Policies", "keep", "What becomes of a hosted service's own limit on the length of driving videos."
    )

    preprocess_cache_bytes: int = _setting(
        "Keeping",
        4 * 1024 * MIB,
        "Keypoints and masks of driving videos, kept for later jobs; 0 keeps none.",
        unit="bytes",
        ge=0,
    )
    job_retention_s: float = _setting(
        "Keeping", 7 * 24 * 3600.0, "How long a finished job and its files are kept.", unit="s", gt=0
    )
    upload_retention_s: float = _setting(
        "Keeping", 24 * 3600.0, "How long an upload is kept that no job reads.", unit="s", gt=0
    )

    lease_s: float = _setting("Workers", 30.0, "A worker silent for this long is taken for dead.", unit="s", gt=0)
    heartbeat_s: float = _setting("Workers", 5.0, "How often a worker says that it lives.", unit="s", gt=0, le=10)
    max_attempts: int = _setting("Workers", 3, "How often a job is taken up before it fails for good.", ge=1)
    drain_s: float = _setting(
        "Workers", 120.0, "How long a worker may take to finish its segment on SIGTERM.", unit="s", ge=0
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting("Workers", "info", "What is logged.")

    @field_validator("devices", "shortcuts", "api_keys", "dialects", "fetch_allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("shortcuts")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            take_shortcuts(value)
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
    def address_policy(self) -> AddressPolicy:
        return AddressPolicy.of(self.fetch_allow, public=self.fetch_public)

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
    """Load the settings from environment and TOML file; arguments win. `InvalidField` names a wrong setting."""
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
    _check_names(os.environ, _toml_names(config))
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as invalid:
        first = invalid.errors(include_input=False)[0]  # the input may be a key
        name = variable_of(str(first["loc"][0])) if first["loc"] else "settings"
        raise InvalidField(f"{name} {describe_invalid(first, with_value=False)}", field=name) from None
    except ValueError as invalid:  # a TOML file that is none
        raise InvalidField(f"ANIMATE_CONFIG: {invalid}", field="ANIMATE_CONFIG", value=config) from None


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"ANIMATE_{name}".upper()


def source_of(name: str) -> str:
    """Return where the value of a setting comes from: its variable, the TOML file, or "default"."""
    if variable_of(name) in os.environ:
        return variable_of(name)
    config = os.environ.get("ANIMATE_CONFIG")
    return str(config) if name in _toml_names(config) else "default"


def _toml_names(config: str | None) -> Collection[str]:
    """Return the settings that a TOML file has; what is wrong with the file is said when it is read in full."""
    if not config:
        return ()
    try:
        return tomllib.loads(Path(config).read_text()).keys()
    except (OSError, ValueError):
        return ()


def _check_names(variables: Collection[str], in_file: Collection[str]) -> None:
    """Refuse a setting under a former name, which must not be dropped silently, and variables that are no setting."""
    for old, new in RENAMED.items():
        if variable_of(old) in variables or old in in_file:
            raise InvalidField(
                f"{variable_of(old)} is now {variable_of(new)}", field=variable_of(old), limit=variable_of(new)
            )
    known = {*map(variable_of, Settings.model_fields), *OTHER_VARIABLES}
    for variable in sorted(variables):
        if variable.startswith("ANIMATE_") and variable not in known:
            nearest = difflib.get_close_matches(variable, known, n=1)
            hint = f"; the nearest is {nearest[0]}" if nearest else ""
            raise InvalidField(f"{variable} is no setting{hint}", field=variable, limit=nearest[0] if nearest else None)


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
