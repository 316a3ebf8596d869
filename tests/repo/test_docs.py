"""The generated part of the documentation is up to date, and what it shows of clients is what tests run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

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
