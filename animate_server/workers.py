"""`WorkerRegistry`: which workers there are, what they have loaded, and when they were last heard of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine, delete, insert, select, update

from animate_server.database import writing
from animate_server.tables import workers

FORGET_S = 3600.0
WorkerState = Literal["starting", "ready", "busy", "draining"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """One worker. Times in seconds since the epoch. bundle: `Manifest.to_json()` once it is loaded."""

    name: str
    device: str
    state: WorkerState
    bundle: dict[str, Any] | None
    started_at: float
    heartbeat_at: float

    @property
    def can_take_jobs(self) -> bool:
        """Return whether it has loaded its bundle and takes a job, now or after the one it has."""
        return self.state in ("ready", "busy")


class WorkerRegistry:
    """The table of workers. silent_s: a worker not heard of for so long is not counted."""

    def __init__(self, engine: Engine, *, silent_s: float, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self._silent_s = silent_s
        self._clock = clock

    def register(self, name: str, device: str) -> None:
        """Add a worker that starts, under a name that may have been used before."""
        now = self._clock()
        values = {"name": name, "device": device, "state": "starting", "started_at": now, "heartbeat_at": now}
        with self._writer.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))
            connection.execute(insert(workers).values(values))

    def heartbeat(self, name: str, state: WorkerState, bundle: dict[str, Any] | None = None) -> None:
        """Note that a worker lives, and in which state; `bundle` once it is loaded."""
        values: dict[str, Any] = {"state": state, "heartbeat_at": self._clock()}
        if bundle is not None:
            values["bundle"] = bundle
        with self._writer.begin() as connection:
            connection.execute(update(workers).where(workers.c.name == name).values(values))

    def unregister(self, name: str) -> None:
        """Drop a worker that ends."""
        with self._writer.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def prune(self) -> None:
        """Drop workers that were killed long ago and could not unregister."""
        with self._writer.begin() as connection:
            connection.execute(delete(workers).where(workers.c.heartbeat_at < self._clock() - FORGET_S))

    def alive(self) -> Sequence[WorkerInfo]:
        """Return the workers heard of lately, by name."""
        recent = workers.c.heartbeat_at > self._clock() - self._silent_s
        with self._engine.begin() as connection:
            rows = connection.execute(select(workers).where(recent).order_by(workers.c.name)).all()
        return [WorkerInfo(**row._mapping) for row in rows]

    def ready(self) -> Sequence[WorkerInfo]:
        """Return the workers that can take jobs."""
        return [worker for worker in self.alive() if worker.can_take_jobs]

    def bundle(self) -> dict[str, Any] | None:
        """Return what is loaded, or None while nothing is."""
        return next((worker.bundle for worker in self.ready() if worker.bundle), None)
