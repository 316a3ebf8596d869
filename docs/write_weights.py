"""Writes the tables of weights.md: the files of a bundle, their sizes and licences, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from animate_server.cli.byte_progress import size
from animate_weights.catalogue import CATALOGUE, Item
from animate_weights.layouts import Layout

PAGE = Path(__file__).with_name("weights.md")
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end of what `make docs` writes -->\n"
_COLUMNS = "| part | files | size | licence, unverified | without it |\n|---|---|---|---|---|\n"


def write_page(page: str) -> str:
    """Return `page` with its tables made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + "\n".join(map(_table, CATALOGUE)) + END + rest.partition(END)[2]


def _table(layout: Layout) -> str:
    total = size(sum(item.size_bytes for item in CATALOGUE[layout]))
    return f"`--form {layout}`, together {total}:\n\n{_COLUMNS}{''.join(_rows(CATALOGUE[layout]))}"


def _rows(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        files = ", ".join(f"`{pattern}`" for pattern in item.patterns)
        licence = f"[{item.licence}]({item.licence_page})"
        yield f"| {item.name} | {item.repository}: {files} | {size(item.size_bytes)} | {licence} | {item.without} |\n"


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text()))
