"""`UploadStore`: files that callers have handed over, kept until no job needs them."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, delete, exists, insert, select, update

from animate_pipelines.errors import InvalidField, MediaError
from animate_pipelines.media.header import HEAD_BYTES, check_head, sniff, with_article
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.request.fields import FileKind
from animate_server.database import writing
from animate_server.errors import JobNotFound
from animate_server.files import unguessable, write_limited
from animate_server.jobs import JobStatus
from animate_server.ports.uploads import Upload
from animate_server.tables import job_uploads, jobs, uploads

_ID = re.compile(r"[A-Za-z0-9_-]{32}")
_STRAY_S = 3600.0
_MEDIA_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "mov": "video/mp4",
    "matroska": "video/x-matroska",
    "json": "application/json",
}


class UploadStore:
    """Rows in the database, bytes in `folder` under their ids. retention_s: how long an unused upload is kept."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        limits: MediaLimits,
        retention_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self._folder = folder
        self._limits = limits
        self._retention_s = retention_s
        self._clock = clock

    def save(
        self,
        chunks: Iterator[bytes],
        owner: str,
        *,
        field: str,
        family: FileKind | None = None,
        inline: bool = False,
        upload_id: str | None = None,
    ) -> Upload:
        """Check the head, then write everything. Nothing is left behind on an error.

        family: what it must be; None takes any.
        inline: it came inside a job's request and goes with the job.
        upload_id: drawn unless it was promised; then `InvalidField` when it is taken.
        Raises `MediaError`, `BodyTooLarge`, and whatever `chunks` raises.
        """
        head, rest = _peek(chunks)
        family = family or sniff(head, field=field).family
        kind = check_head(head, family, len(head), self._limits, field=field)
        upload_id = upload_id or unguessable()
        path = self._folder / upload_id
        limit_bytes = self._limits.max_file_bytes
        try:
            written = write_limited(itertools.chain([head], rest), path, limit_bytes=limit_bytes, field=field)
        except FileExistsError:
            raise InvalidField("this upload URL has been used", field=field) from None
        now = self._clock()
        values = {
            "id": upload_id,
            "owner": owner,
            "kind": kind.family,
            "media_type": _MEDIA_TYPES[kind.container],
            "size_bytes": written.size_bytes,
            "sha256": written.sha256,
            "inline": inline,
            "created_at": now,
            "expires_at": now + self._retention_s,
        }
        try:
            with self._writer.begin() as connection:
                return _upload(connection.execute(insert(uploads).values(values).returning(uploads)).one())
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def get(self, upload_id: str, owner: str | None = None) -> Upload:
        """Return an upload. Raises `JobNotFound`, also when it belongs to another than `owner` or has expired."""
        query = select(uploads).where(uploads.c.id == upload_id, uploads.c.expires_at > self._clock())
        if owner is not None:
            query = query.where(uploads.c.owner == owner)
        with self._engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise JobNotFound("there is no such upload", field="upload", value=upload_id[:64])
        return _upload(row)

    def find_hash(self, sha256: str, owner: str) -> str | None:
        """Return the id of the owner's newest upload of those bytes; None where there is none."""
        query = (
            select(uploads.c.id)
            .where(uploads.c.sha256 == sha256, uploads.c.owner == owner, uploads.c.expires_at > self._clock())
            .order_by(uploads.c.created_at.desc())
            .limit(1)
        )
        with self._engine.begin() as connection:
            return connection.execute(query).scalar_one_or_none()

    def has(self, upload_id: str, owner: str) -> bool:
        """Return whether the owner has such an upload."""
        try:
            return bool(self.get(upload_id, owner))
        except JobNotFound:
            return False

    def find(self, upload_id: str, owner: str, *, family: FileKind, field: str) -> Upload:
        """Return the upload that the field of a request names.

        Raises `JobNotFound`, and `MediaError` for the wrong family.
        """
        try:
            upload = self.get(upload_id, owner)
        except JobNotFound:
            raise JobNotFound(
                f"{{field}}: there is no upload {upload_id[:64]!r}", field=field, value=upload_id
            ) from None
        if upload.family != family:
            raise MediaError(
                f"{{field}} must be {with_article(family)}, but the upload is {with_article(upload.family)}",
                field=field,
                value=upload.family,
                limit=family,
            )
        return upload

    def path(self, upload_id: str) -> Path:
        """Return where an upload's bytes are. Raises `JobNotFound` for what is no id, or when they are gone."""
        path = self._folder / upload_id
        if not _ID.fullmatch(upload_id) or not path.is_file():
            raise JobNotFound("there is no such upload", field="upload", value=upload_id[:64])
        return path

    def remove(self, upload_id: str) -> None:
        """Delete an upload at once."""
        with self._writer.begin() as connection:
            connection.execute(delete(uploads).where(uploads.c.id == upload_id))
        (self._folder / upload_id).unlink(missing_ok=True)

    def expire(self, upload_id: str, owner: str) -> None:
        """Let nobody name it any more; the sweep deletes it when no unfinished job reads it. Raises `JobNotFound`."""
        upload = self.get(upload_id, owner)
        with self._writer.begin() as connection:
            connection.execute(update(uploads).where(uploads.c.id == upload.id).values(expires_at=0.0))

    def sweep(self) -> int:
        """Delete expired uploads that no unfinished job reads, and files without a row. Return how many rows."""
        unfinished = [status for status in JobStatus if not status.is_final]
        in_use = exists(
            select(job_uploads.c.job_id)
            .join(jobs, jobs.c.id == job_uploads.c.job_id)
            .where(job_uploads.c.upload_id == uploads.c.id, jobs.c.status.in_(unfinished))
        )
        gone = delete(uploads).where(uploads.c.expires_at < self._clock(), ~in_use).returning(uploads.c.id)
        with self._writer.begin() as connection:
            ids = list(connection.scalars(gone))
            known = frozenset(connection.scalars(select(uploads.c.id)))
        for upload_id in ids:
            (self._folder / upload_id).unlink(missing_ok=True)
        self._drop_strays(known)
        return len(ids)

    def _drop_strays(self, known: frozenset[str]) -> None:
        before = time.time() - _STRAY_S
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name not in known and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head, chunks


def _upload(row: Row[Any]) -> Upload:
    return Upload(
        id=row.id,
        owner=row.owner,
        family=row.kind,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        expires_at=row.expires_at,
    )
