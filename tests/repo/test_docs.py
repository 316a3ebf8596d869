"""The generated part of the documentation is up to date, and what it names exists."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

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


def test_operations_page_names_settings_that_exist() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    settings = {f"ANIMATE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"ANIMATE_[A-Z_]+", page)) <= settings | OTHER_VARIABLES


def test_operations_page_names_every_metric(tmp_path: Path) -> None:
    page = (ROOT / "docs/operations.md").read_text()
    with open_backend(Settings(home=tmp_path)) as backend:
        shown = render_metrics(backend.store, backend.workers).decode()
    metrics = set(re.findall(r"^# TYPE (\S+)", shown, re.MULTILINE))
    named = {re.sub(r"_(sum|count)$", "", name) for name in re.findall(r"\banimate_[a-z_]+", page)}
    assert named == metrics
