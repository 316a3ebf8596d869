"""Batches drawn ahead by other processes; the same ones, whatever their number."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import cv2
import numpy as np
import torch

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Batches drawn ahead: `batch(step)` is `make(rng of that step)`. Without workers it is made when it is needed.

    make: a function of a module, or a partial of one: it travels to the workers.
    """

    def __init__(self, make: Callable[[np.random.Generator], Batch], *, workers: int, seed: int = 0) -> None:
        self._make, self._seed, self._ahead = make, seed, 2 * workers
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_core) if workers else None
        self._waiting: dict[int, Future[Batch]] = {}

    def batch(self, step: int) -> Batch:
        if self._pool is None:
            return _make_batch(self._make, self._seed, step)
        for index in range(step, step + self._ahead):
            if index not in self._waiting:
                self._waiting[index] = self._pool.submit(_make_batch, self._make, self._seed, index)
        return self._waiting.pop(step).result()

    def __enter__(self) -> Prefetch[Batch]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _make_batch(make: Callable[[np.random.Generator], Batch], seed: int, step: int) -> Batch:
    return make(np.random.default_rng([seed, step]))


def _use_one_core() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
