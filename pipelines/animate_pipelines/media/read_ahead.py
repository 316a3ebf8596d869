"""Reads ahead: the next items are being made in a thread while the caller works on those it has."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], size: int) -> Generator[list[Item], None, None]:
    """Lists of `size` items, the last one shorter. Two are in memory at once; what `items` raises is raised here.

    Closed early it waits for the items that are being made.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(lambda: list(islice(source, size)))
        while batch := coming.result():
            coming = reader.submit(lambda: list(islice(source, size)))
            yield batch
