"""Gate one: what can be said of a request before there is a job. An error leaves no job and no file behind.

What needs the network or a decoder waits for gate two, in the job: `fetch`, and the first stage of `render_video()`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate_pipelines.errors import AnimateError, InvalidField, MediaError
from animate_pipelines.media.input_limits import check_sizes, check_stated_length
from animate_pipelines.request.availability import check_family, check_safety, check_turbo
from animate_pipelines.request.fields import FileKind
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import AddressPolicy, check_url, redact
from animate_server.backend import Backend
from animate_server.bodies import INLINE, Part
from animate_server.errors import JobNotFound
from animate_server.files import read_chunks
from animate_server.references import ARTEFACT_PATH, HASHED, STORED, UPLOAD, UPLOAD_PATH

_NAME = r"([A-Za-z0-9_-]{32}(?:\.[a-z0-9]{2,5})?)"
_RESULT = "result:"  # with the name of an artefact's file: knowing it is the permission to read it
_RESULTS = (_RESULT, STORED)
_ACCEPTED = "an http(s) URL, a data URI, or upload:ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedInputs:
    """What gate one lets pass.

    params: all their inputs are URLs or uploads.
    uploads: the ids of the latter.
    inline: the ids of those made just now, of data in the request.
    """

    params: RenderParams
    uploads: tuple[str, ...]
    inline: tuple[str, ...]


class Gate:
    """Checks requests against this server: its bundle, its files, its address policy."""

    def __init__(self, backend: Backend, policy: AddressPolicy) -> None:
        self._backend = backend
        self._uploads = backend.uploads
        self._policy = policy

    def accept(self, params: RenderParams, parts: Mapping[str, Part], owner: str, base_url: str) -> AcceptedInputs:
        """Check everything, and only then store the data that came with the request.

        parts: the data in the request, by the reference that stands for it.
        base_url: our own URL as the caller knows it; URLs of uploads and results below it are taken for those files.
        Raises `InvalidField`, `FetchError` (a host that is not allowed), `JobNotFound` (an upload), `MediaError`,
        `BodyTooLarge`.
        """
        self._check_bundle(params)
        given = {field: getattr(params, field) for field in params.inputs}
        references = {field: self._resolve(reference, owner, base_url) for field, reference in given.items()}
        for field, reference in references.items():
            self._check(field, params.file_kind(field), reference, parts, owner)
        _check_unused(references, parts)
        return self._store(params, references, parts, owner)

    def discard(self, inputs: AcceptedInputs) -> None:
        """Delete the data of a request that made no job after all."""
        for upload_id in inputs.inline:
            self._uploads.remove(upload_id)

    def _check_bundle(self, params: RenderParams) -> None:
        bundle, settings = self._backend.workers.bundle(), self._backend.settings
        if bundle is None:  # no worker has loaded one yet; the job finds out
            return
        name, refuse = bundle["name"], settings.when_no_safety_checker == "refuse"
        if "tasks" in bundle:
            traits = {key: bundle[key] for key in ("family", "tasks", "refuses")}
            check_family(params, bundle=name, **traits)
        check_safety(params.safety_check, bundle=name, checker=bundle.get("safety_checker"), refuse=refuse)
        turbo = params.turbo and settings.when_no_turbo_lora != "full_steps"
        check_turbo(turbo, bundle=name, lora=bundle.get("turbo_lora"))

    def _resolve(self, reference: str, owner: str, base_url: str) -> str:
        """Return a reference to a file that is here as one of ours, any other as it is; without blanks around it."""
        reference = reference.strip()
        if match := re.fullmatch(re.escape(base_url + UPLOAD_PATH) + _NAME, reference):
            return UPLOAD + match[1]
        if match := re.fullmatch(re.escape(base_url + ARTEFACT_PATH) + _NAME, reference):
            return _RESULT + match[1]
        if reference.startswith(HASHED):
            found = self._uploads.find_hash(reference.removeprefix(HASHED), owner)
            return reference if found is None else UPLOAD + found
        if reference.startswith(STORED):
            upload_id = reference.removeprefix(STORED).replace("-", "")
            return UPLOAD + upload_id if self._uploads.has(upload_id, owner) else reference
        return reference

    def _check(self, field: str, family: FileKind, reference: str, parts: Mapping[str, Part], owner: str) -> None:
        try:
            if reference.startswith(UPLOAD):
                self._uploads.find(reference.removeprefix(UPLOAD), owner, family=family, field=field)
            elif reference.startswith(HASHED):
                name = reference.removeprefix(HASHED)
                raise JobNotFound(f"{{field}}: there is no file {name} here; upload it first", value=name)
            elif reference.startswith(_RESULTS):
                self._check_result(field, family, reference, owner)
            elif reference.startswith(("http://", "https://")):
                check_url(reference, self._policy)
            elif reference not in parts:
                raise InvalidField(f"{{field}} must be {_ACCEPTED}", value=redact(reference)[:80], limit=_ACCEPTED)
        except AnimateError as error:
            error.field = error.field or field
            raise

    def _check_result(self, field: str, family: FileKind, reference: str, owner: str) -> None:
        if family != "video":
            name = reference.partition(":")[2]
            raise MediaError(f"{{field}} must be an image, but {name} is a generated video", field=field, limit="image")
        self._find_result(reference, owner)

    def _find_result(self, reference: str, owner: str) -> Path:
        scheme, _, name = reference.partition(":")
        store = self._backend.store
        artefact = store.find_artefact(name) if scheme + ":" == _RESULT else store.find_result(name, owner)
        return self._backend.artefacts.path(artefact)

    def _store(
        self, params: RenderParams, references: dict[str, str], parts: Mapping[str, Part], owner: str
    ) -> AcceptedInputs:
        inline: list[str] = []
        try:
            for field, reference in references.items():
                if reference in parts or reference.startswith(_RESULTS):
                    chunks = self._chunks(reference, parts, owner)
                    family = params.file_kind(field)
                    upload = self._uploads.save(chunks, owner, field=field, family=family, inline=True)
                    inline.append(upload.id)
                    references[field] = UPLOAD + upload.id
            self._check_limits(params, references)
        except BaseException:
            for upload_id in inline:
                self._uploads.remove(upload_id)
            raise
        named = tuple(r.removeprefix(UPLOAD) for r in references.values() if r.startswith(UPLOAD))
        resolved = RenderParams.from_json(params.to_json() | references)
        return AcceptedInputs(params=resolved, uploads=named, inline=tuple(inline))

    def _check_limits(self, params: RenderParams, references: Mapping[str, str]) -> None:
        """Hold files that are here to the limits of the request; those behind URLs are held to them in the job.

        Raises `MediaTooLarge` and `MediaError`.
        """
        here = {
            name: self._uploads.path(r.removeprefix(UPLOAD)) for name, r in references.items() if r.startswith(UPLOAD)
        }
        check_sizes(here, params)
        if "driving_video" in here and (params.longest_s or params.shortest_s):
            limits = self._backend.settings.media_limits.with_videos_of(params.longest_s)
            check_stated_length(here["driving_video"], limits, params.shortest_s)

    def _chunks(self, reference: str, parts: Mapping[str, Part], owner: str) -> Iterator[bytes]:
        """Read data of the request, or a result. A result is copied: its job may be gone before this one runs."""
        if reference in parts:
            return parts[reference].chunks()
        return read_chunks(self._find_result(reference, owner))


def fingerprint(route: str, fields: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """Return a hash of a whole request, equal for equal requests: of its fields and of the data that came along."""
    digest = hashlib.sha256(json.dumps([route, fields], sort_keys=True).encode())
    for name in sorted(parts):
        inner = hashlib.sha256()
        for chunk in parts[name].chunks():
            inner.update(chunk)
        digest.update(f"{name}\0{inner.hexdigest()}".encode())
    return digest.hexdigest()


def _check_unused(references: Mapping[str, str], parts: Mapping[str, Part]) -> None:
    for name in parts.keys() - set(references.values()):
        field = name.removeprefix(INLINE)
        raise InvalidField("{field} takes no data; only fields that name a file do", field=field)
