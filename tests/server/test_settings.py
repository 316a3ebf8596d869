from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from animate_pipelines.errors import InvalidField
from animate_server.auth import ANONYMOUS, Keyring
from animate_server.cli import app
from animate_server.errors import NotAuthorized
from animate_server.settings import check_exposure, load_settings
from animate_server.supervisor import find_devices


def test_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANIMATE_HOME", str(tmp_path))
    monkeypatch.setenv("ANIMATE_API_KEYS", "secret-one, two,")
    monkeypatch.setenv("ANIMATE_FETCH_ALLOW", "minio.local,10.0.0.0/8")
    settings = load_settings(port=9, host=None)
    assert [key.get_secret_value() for key in settings.api_keys] == ["secret-one", "two"]
    assert settings.fetch_allow == ("minio.local", "10.0.0.0/8")
    assert (settings.home, settings.port, settings.host) == (tmp_path, 9, "127.0.0.1")
    assert "secret-one" not in repr(settings)


def test_hosts_for_the_files_of_a_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATE_FILES_URLS", "runcomfy=http://files.example:8000/, native=https://n.example")
    urls = {"runcomfy": "http://files.example:8000", "native": "https://n.example"}
    assert load_settings().files_urls == urls
    for wrong in ("runcomfy=files.example", "unknown=http://x.example", "http://x.example"):
        monkeypatch.setenv("ANIMATE_FILES_URLS", wrong)
        with pytest.raises(InvalidField, match="ANIMATE_FILES_URLS"):
            load_settings()


def test_a_toml_file_below_the_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "animate.toml"
    file.write_text('port = 81\nhost = "0.0.0.0"\napi_keys = ["k"]\n')
    monkeypatch.setenv("ANIMATE_CONFIG", str(file))
    monkeypatch.setenv("ANIMATE_PORT", "82")
    settings = load_settings()
    assert (settings.port, settings.host, len(settings.api_keys)) == (82, "0.0.0.0", 1)
    file.write_text("prot = 81\n")
    with pytest.raises(InvalidField, match="ANIMATE_PROT"):
        load_settings()
    file.write_text("port = \n")
    with pytest.raises(InvalidField, match="ANIMATE_CONFIG"):
        load_settings()
    monkeypatch.setenv("ANIMATE_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(InvalidField, match="there is no file"):
        load_settings()


def test_a_wrong_value_is_named_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATE_DIALECTS", "native,hunter2")
    with pytest.raises(InvalidField) as wrong:
        load_settings()
    assert wrong.value.field == "ANIMATE_DIALECTS"
    assert "hunter2" not in str(wrong.value)
    assert "native, openai" in str(wrong.value)


@pytest.mark.parametrize(
    ("host", "keys", "fine"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("0.0.0.0", "", False),
        ("::", "", False),
        ("10.0.0.1", "", False),
        ("studio.example", "", False),
        ("0.0.0.0", "k", True),
    ],
)
def test_strangers_are_served_with_keys_only(host: str, keys: str, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATE_API_KEYS", keys)
    settings = load_settings(host=host)
    if fine:
        check_exposure(settings)
    else:
        with pytest.raises(InvalidField, match="ANIMATE_API_KEYS is required"):
            check_exposure(settings)


def test_keys_in_the_clear_and_by_hash_are_the_same_owner() -> None:
    hashed = "sha256:" + hashlib.sha256(b"secret").hexdigest()
    owners = {Keyring([key]).owner({"x-api-key": "secret"}) for key in ("secret", hashed)}
    assert len(owners) == 1
    assert owners != {hashlib.sha256(b"secret").hexdigest()[:32]}
    ring = Keyring(["secret", "other"])
    assert ring.owner({"authorization": "Bearer secret"}) in owners
    assert ring.owner({"x-api-key": "other"}) not in owners
    for headers in ({}, {"x-api-key": ""}, {"x-api-key": hashed}, {"authorization": "Bearer"}):
        with pytest.raises(NotAuthorized):
            ring.owner(headers)
    assert Keyring([]).owner({}) == ANONYMOUS
    with pytest.raises(InvalidField):
        Keyring(["sha256:abc"])


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(text: str) -> Any:
        return lambda _: text

    monkeypatch.setattr("importlib.metadata.version", version("2.13.0+cpu"))
    assert find_devices(["auto"]) == ["cpu"]
    with pytest.raises(InvalidField, match="no device 'cuda:0' here, only cpu: torch is built without CUDA"):
        find_devices(["cuda:0"])
    monkeypatch.setattr("importlib.metadata.version", version("2.13.0"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert find_devices(["auto"]) == ["cuda:0", "cuda:1"]
    assert find_devices(["cuda:1", "cpu"]) == ["cuda:1", "cpu"]
    with pytest.raises(InvalidField, match="there is no device 'cuda:2' here; there are cpu, cuda:0, cuda:1"):
        find_devices(["cuda:2"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_devices(["auto"]) == ["cpu"]


def test_shortcuts_are_names_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATE_SHORTCUTS", "fp8-linears, density-0.5/0.2")
    assert load_settings().shortcuts == ("fp8-linears", "density-0.5/0.2")
    with pytest.raises(InvalidField, match="'fp9' is none of") as wrong:
        load_settings(shortcuts="fp9")
    assert wrong.value.field == "ANIMATE_SHORTCUTS"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNCHECKED", "WHEN_NO_SAFETY_CHECKER"),
        ("TURBO_WITHOUT_LORA", "WHEN_NO_TURBO_LORA"),
        ("SERVICE_LIMITS", "HOSTED_LIMITS"),
    ],
)
def test_a_former_name_stops_the_start_with_the_new_one(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"ANIMATE_{old}", "refuse")
    with pytest.raises(InvalidField, match=f"^ANIMATE_{old} is now ANIMATE_{new}$") as stopped:
        load_settings()
    assert (stopped.value.field, stopped.value.limit) == (f"ANIMATE_{old}", f"ANIMATE_{new}")
    monkeypatch.delenv(f"ANIMATE_{old}")
    (tmp_path / "animate.toml").write_text(f'{old.lower()} = "refuse"\n')
    monkeypatch.setenv("ANIMATE_CONFIG", str(tmp_path / "animate.toml"))
    with pytest.raises(InvalidField, match=f"^ANIMATE_{old} is now ANIMATE_{new}$"):
        load_settings()


def test_a_variable_that_is_no_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("ANIMATE_SERVER", "ANIMATE_API_KEY", "ANIMATE_HUB", "ANIMATE_HUB_TOKEN"):
        monkeypatch.setenv(other, "x")
    load_settings()
    monkeypatch.setenv("ANIMATE_MAX_QUEUE", "7")
    with pytest.raises(InvalidField, match="ANIMATE_MAX_QUEUE is no setting; the nearest is ANIMATE_MAX_QUEUED"):
        load_settings()


def test_settings_are_shown_with_where_they_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "animate.toml"
    file.write_text("port = 81\nmax_queued = 5\n")
    monkeypatch.setenv("ANIMATE_CONFIG", str(file))
    monkeypatch.setenv("ANIMATE_PORT", "82")
    monkeypatch.setenv("ANIMATE_API_KEYS", "secret-one,two")
    shown = json.loads(CliRunner().invoke(app, ["settings", "--json"]).stdout)
    assert shown["port"] == {"value": 82, "source": "ANIMATE_PORT"}
    assert shown["max_queued"] == {"value": 5, "source": str(file)}
    assert shown["host"] == {"value": "127.0.0.1", "source": "default"}
    assert shown["api_keys"]["value"] == "2 keys"
    text = CliRunner().invoke(app, ["settings"]).stdout
    assert "when_no_safety_checker" in text
    assert "secret-one" not in text
    monkeypatch.setenv("ANIMATE_UNCHECKED", "refuse")
    assert CliRunner().invoke(app, ["settings"]).exit_code == 65
