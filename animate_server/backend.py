"""`Backend`: the database and folders that API and workers share, opened together."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from sqlalchemy import Engine

from animate_server.artefacts import Artefacts
from animate_server.database import open_database
from animate_server.outbox import Outbox
from animate_server.reports import Reports
from animate_server.settings import Settings
from animate_server.store import Store
from animate_server.uploads import UploadStore
from animate_server.workers import WorkerRegistry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Everything that is shared. Use it as a context: it closes the database."""

    settings: Settings
    store: Store
    uploads: UploadStore
    artefacts: Artefacts
    reports: Reports
    workers: WorkerRegistry
    outbox: Outbox
    engine: Engine

    def __enter__(self) -> Backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.dispose()

    def sweep(self) -> None:
        """Take back lost jobs, expire finished ones, and delete files that nothing names any more."""
        for job in self.store.requeue_lost():
            log.warning("job %s: its worker fell silent; now %s", job.id, job.status)
        for job in self.store.expire():
            log.info("job %s expired", job.id)
            self.artefacts.remove(job.artefacts)
            self.reports.remove(job.id)
        self.store.purge()
        self.uploads.sweep()
        self.workers.prune()
        for stray in self.artefacts.strays(self.store.artefact_names()):
            stray.unlink(missing_ok=True)
        self._drop_workspaces()

    def _drop_workspaces(self) -> None:
        folder = self.settings.work_dir
        workspaces = list(folder.iterdir()) if folder.is_dir() else []
        live = self.store.live_ids()  # read after the listing: one of a job that starts in between is not listed
        for workspace in workspaces:
            if workspace.name not in live:
                shutil.rmtree(workspace, ignore_errors=True)


def open_backend(settings: Settings, *, clock: Callable[[], float] = time.time) -> Backend:
    """Make the folders, readable by this user only, and open the database."""
    for folder in (
        settings.home,
        settings.uploads_dir,
        settings.artefacts_dir,
        settings.reports_dir,
        settings.work_dir,
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_database(settings.database)
    store = Store(
        engine,
        clock=clock,
        lease_s=settings.lease_s,
        max_attempts=settings.max_attempts,
        max_queued=settings.max_queued,
        max_running=settings.max_running_per_key,
        retention_s=settings.job_retention_s,
    )
    uploads = UploadStore(
        engine,
        settings.uploads_dir,
        limits=settings.media_limits,
        retention_s=settings.upload_retention_s,
        clock=clock,
    )
    return Backend(
        settings=settings,
        store=store,
        uploads=uploads,
        artefacts=Artefacts(settings.artefacts_dir),
        reports=Reports(settings.reports_dir),
        workers=WorkerRegistry(engine, silent_s=settings.lease_s, clock=clock),
        outbox=Outbox(engine, clock=clock),
        engine=engine,
    )
