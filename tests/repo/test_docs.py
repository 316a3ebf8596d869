"""The generated part of the documentation is up to date, and what it names exists."""

from __future__ import annotations

import configparser
import re
import runpy
from pathlib import Path

import pytest
import yaml

from animate_server.backend import open_backend
from animate_server.metrics import render_metrics
from animate_server.settings import OTHER_VARIABLES, Settings

ROOT = Path(__file__).parents[2]


def test_dialects_page_is_what_make_docs_writes() -> None:
    writer = runpy.run_path(str(ROOT / "docs/write_dialects.py"))
    page = (ROOT / "docs/dialects.md").read_text()
    assert writer["write_page"](page) == page, "make docs"
    for client in ("segmind", "openai", "runwayml", "@runwayml/sdk", "runware", "runware-sdk", "@runware/sdk-js"):
        assert f" `{client}`:\n\n```" in page
    assert page.count("plain HTTP:\n\n```python") == 3


@pytest.mark.parametrize("page", ["options", "settings"])
def test_tables_are_what_make_docs_writes(page: str) -> None:
    writer = runpy.run_path(str(ROOT / f"docs/write_{page}.py"))
    assert writer["write_page"]() == (ROOT / f"docs/{page}.md").read_text(), "make docs"


def test_troubleshooting_page_has_a_section_for_every_code() -> None:
    writer = runpy.run_path(str(ROOT / "docs/write_troubleshooting.py"))
    page = (ROOT / "docs/troubleshooting.md").read_text()
    assert writer["write_page"](page) == page, "make docs"
    assert sorted(re.findall(r"^### `(\w+)`$", page, re.MULTILINE)) == sorted(writer["list_codes"]())


def test_weights_page_is_what_make_docs_writes() -> None:
    writer = runpy.run_path(str(ROOT / "docs/write_weights.py"))
    page = (ROOT / "docs/weights.md").read_text()
    assert writer["write_page"](page) == page, "make docs"


@pytest.mark.parametrize("page", ["docs/operations.md", "examples/animate-server.service", "examples/compose.yaml"])
def test_settings_that_are_named_exist(page: str) -> None:
    settings = {f"ANIMATE_{name.upper()}" for name in Settings.model_fields}
    mine = {"ANIMATE_WEIGHTS"}  # compose.yaml's own
    assert set(re.findall(r"ANIMATE_[A-Z_]+", (ROOT / page).read_text())) <= settings | OTHER_VARIABLES | mine


def test_stopping_waits_longer_than_workers_may_take() -> None:
    drain_s = Settings.model_fields["drain_s"].default
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "examples/animate-server.service")
    compose = yaml.safe_load((ROOT / "examples/compose.yaml").read_text())
    grace = compose["services"]["animate"]["stop_grace_period"]
    assert int(unit["Service"]["TimeoutStopSec"]) > drain_s
    assert int(grace.removesuffix("s")) > drain_s


def test_operations_page_names_every_metric(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    with open_backend(Settings(home=tmp_path)) as backend:
        shown = render_metrics(backend.store, backend.workers).decode()
    metrics = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    named = {re.sub(r"_(sum|count)$", "", name) for name in re.findall(r"\banimate_[a-z_]+", page)}
    assert named == metrics
