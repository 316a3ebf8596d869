"""`StoredUploads`: uploads in their folder, however their bytes come."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from animate_server.addresses import AddressPolicy
from animate_server.bodies import Body, read_file
from animate_server.fetch import fetch
from animate_server.files import read_chunks
from animate_server.ports.callers import Caller, Callers
from animate_server.ports.uploads import PresignedUpload, Upload
from animate_server.presign import Presigner, read_secret
from animate_server.references import UPLOAD_PATH
from animate_server.settings import MIB, Settings
from animate_server.uploads import UploadStore

FETCH_S = 60.0  # a caller waits for it


class StoredUploads:
    """Implements `ports.uploads.Uploads`."""

    def __init__(self, settings: Settings, store: UploadStore, callers: Callers, policy: AddressPolicy) -> None:
        self._settings = settings
        self._store = store
        self._callers = callers
        self._policy = policy
        self._presigner = Presigner(read_secret(settings.home / "secret"), lifetime_s=settings.upload_retention_s)

    async def save(self, body: Body, caller: Caller) -> Sequence[Upload]:
        return await run_in_threadpool(self._save, body, caller)

    async def fetch(self, url: str, caller: Caller, *, field: str) -> Upload:
        return await run_in_threadpool(self._fetch, url, caller, field)

    def presign(self, caller: Caller) -> PresignedUpload:
        return self._presigner.presign(caller.owner)

    async def receive(self, request: Request, token: str, name: str) -> Upload:
        signed = self._presigner.read_token(token)
        await self._callers.admit(signed.owner)
        limit_bytes = self._settings.max_file_bytes + MIB
        with await read_file(request, name=name, max_bytes=limit_bytes, more_fields=True) as body:
            (part,) = body.parts.values()

            def save() -> Upload:
                return self._store.save(part.chunks(), signed.owner, field=name, upload_id=signed.upload_id)

            return await run_in_threadpool(save)

    async def delete(self, upload_id: str, caller: Caller) -> None:
        await run_in_threadpool(self._store.expire, upload_id, caller.owner)

    def url(self, upload_id: str, caller: Caller) -> str:
        return f"{caller.base_url}{UPLOAD_PATH}{upload_id}"

    def _save(self, body: Body, caller: Caller) -> Sequence[Upload]:
        saved: list[Upload] = []
        try:
            for part in body.parts.values():
                saved.append(self._store.save(part.chunks(), caller.owner, field=part.field))
        except BaseException:
            for upload in saved:
                self._store.remove(upload.id)
            raise
        return saved

    def _fetch(self, url: str, caller: Caller, field: str) -> Upload:
        limit_bytes = self._settings.max_file_bytes
        with tempfile.TemporaryDirectory(dir=self._settings.work_dir) as folder:
            file = Path(folder, "fetched")
            fetch(url, file, field=field, limit_bytes=limit_bytes, timeout_s=FETCH_S, policy=self._policy)
            return self._store.save(read_chunks(file), caller.owner, field=field)
