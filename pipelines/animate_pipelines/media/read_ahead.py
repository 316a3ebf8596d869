"""Reads ahead: a thread makes the next items while the caller works on those it has."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], size: int) -> Generator[list[Item], None, None]:
    """Yield lists of `size` items, the last one shorter. Two lists are in memory at once.

    Exceptions of `items` are raised here. Closed early, it waits for the items that are being made.
    """
    source = iter(items)
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        coming = reader.submit(lambda: list(islice(source, size)))
        while batch := coming.result():
            coming = reader.submit(lambda: list(islice(source, size)))
            yield batch
