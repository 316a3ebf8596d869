"""Gate one: what can be said of a request before there is a job. An error leaves no job and no file behind.

What needs the network or a decoder waits for gate two, in the job: `fetch`, and the first stage of `render_video()`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate_pipelines.errors import AnimateError, InvalidField, MediaError
from animate_pipelines.request.availability import check_fields, check_safety, check_task, check_turbo
from animate_pipelines.request.fields import FileKind
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import AddressPolicy, check_url, redact
from animate_server.bodies import INLINE, Part
from animate_server.files import read_chunks
from animate_server.uploads import SCHEME, Uploads

UPLOAD_PATH, ARTEFACT_PATH = "/files/uploads/", "/files/"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(r"\d{19}")  # RunningHub's ids of jobs
_NAME = r"([A-Za-z0-9_-]{32}(?:\.[a-z0-9]{2,5})?)"
_GENERATED = "generated:"
_REFERENCE = "an http(s) URL, a data URI, or upload:ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """`params` whose inputs are URLs or uploads; `uploads`, the ids of the latter; `inline`, those made just now."""

    params: RenderParams
    uploads: tuple[str, ...]
    inline: tuple[str, ...]


class Gate:
    """bundle: what the workers said of the loaded bundle (`Manifest.to_json()`), None while none has.

    generated: the file of an owner's earlier result, by its job's id, its UUID or its name; raises `JobNotFound`.
    refuse_unchecked: whether a safety check is refused where the bundle has no checker.
    full_steps: whether `turbo` is taken also where the bundle cannot do it; see `renderer.with_full_steps`.
    """

    def __init__(
        self,
        uploads: Uploads,
        policy: AddressPolicy,
        bundle: Callable[[], Mapping[str, Any] | None],
        generated: Callable[[str, str], Path],
        *,
        full_steps: bool,
        refuse_unchecked: bool,
    ) -> None:
        self._uploads = uploads
        self._generated = generated
        self._policy = policy
        self._bundle = bundle
        self._full_steps = full_steps
        self._refuse_unchecked = refuse_unchecked

    def accept(self, params: RenderParams, parts: Mapping[str, Part], owner: str, base: str = "") -> Accepted:
        """Check everything, and only then store the data that came with the request.

        base: our own URL as the caller knows it; URLs of uploads and results below it are taken for those files. Raises
        `InvalidField`, `FetchError` (a host that is not allowed), `JobNotFound` (an upload), `MediaError`,
        `BodyTooLarge`.
        """
        if (bundle := self._bundle()) is not None:
            if "tasks" in bundle:
                check_task(params, tasks=bundle["tasks"], bundle=bundle["name"])
                check_fields(params, refuses=bundle["refuses"], family=bundle["family"])
            checker = bundle.get("safety_checker")
            check_safety(params.safety_check, bundle=bundle["name"], checker=checker, refuse=self._refuse_unchecked)
            check_turbo(params.turbo and not self._full_steps, bundle=bundle["name"], lora=bundle.get("turbo_lora"))
        given = {field: getattr(params, field) for field in params.inputs}
        references = {field: self._reference(reference, owner, base) for field, reference in given.items()}
        for field, reference in references.items():
            self._check(field, params.file_kind(field), reference, parts, owner)
        _check_unused(references, parts)
        return self._store(params, references, parts, owner)

    def discard(self, accepted: Accepted) -> None:
        """Delete the data of a request that made no job after all."""
        for upload_id in accepted.inline:
            self._uploads.remove(upload_id)

    def _reference(self, reference: str, owner: str, base: str) -> str:
        if base and (match := re.fullmatch(re.escape(base + UPLOAD_PATH) + _NAME, reference)):
            return SCHEME + match[1]
        if base and (match := re.fullmatch(re.escape(base + ARTEFACT_PATH) + _NAME, reference)):
            return _GENERATED + match[1]
        if _NUMBER.fullmatch(reference):
            return _GENERATED + reference
        if not _UUID.fullmatch(reference):
            return reference
        upload_id = reference.replace("-", "").lower()
        return SCHEME + upload_id if self._uploads.has(upload_id, owner) else _GENERATED + reference.lower()

    def _check(self, field: str, family: FileKind, reference: str, parts: Mapping[str, Part], owner: str) -> None:
        try:
            if reference.startswith(SCHEME):
                self._uploads.find(reference.removeprefix(SCHEME), owner, family=family, field=field)
            elif reference.startswith(_GENERATED):
                self._check_generated(field, family, reference.removeprefix(_GENERATED), owner)
            elif reference.startswith(("http://", "https://")):
                check_url(reference, self._policy)
            elif reference not in parts:
                raise InvalidField(f"{{field}} must be {_REFERENCE}", value=redact(reference)[:80], limit=_REFERENCE)
        except AnimateError as error:
            error.field = error.field or field
            raise

    def _check_generated(self, field: str, family: FileKind, name: str, owner: str) -> None:
        if family != "video":
            raise MediaError(f"{{field}} must be an image, but {name} is a generated video", field=field, limit="image")
        self._generated(name, owner)

    def _store(
        self, params: RenderParams, references: dict[str, str], parts: Mapping[str, Part], owner: str
    ) -> Accepted:
        inline: list[str] = []
        try:
            for field, reference in references.items():
                if reference in parts or reference.startswith(_GENERATED):
                    chunks = self._chunks(reference, parts, owner)
                    family = params.file_kind(field)
                    upload = self._uploads.save(chunks, owner, field=field, family=family, inline=True)
                    inline.append(upload.id)
                    references[field] = SCHEME + upload.id
        except BaseException:
            for upload_id in inline:
                self._uploads.remove(upload_id)
            raise
        named = tuple(r.removeprefix(SCHEME) for r in references.values() if r.startswith(SCHEME))
        changed = RenderParams.from_json(params.to_json() | references)
        return Accepted(params=changed, uploads=named, inline=tuple(inline))

    def _chunks(self, reference: str, parts: Mapping[str, Part], owner: str) -> Iterator[bytes]:
        """A generated video is copied: the job that made it may be gone before this one runs."""
        if reference in parts:
            return parts[reference].chunks()
        return read_chunks(self._generated(reference.removeprefix(_GENERATED), owner))


def fingerprint(route: str, fields: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """A hash of a whole request, equal for equal requests: of the fields as given and of the data that came along."""
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
