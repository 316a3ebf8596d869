"""Gate one: what can be said of a request before there is a job. An error leaves no job and no file behind.

What needs the network or a decoder waits for gate two, in the job: `fetch`, and the first stage of `animate()`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from animate_pipelines.capability import check_turbo
from animate_pipelines.errors import AnimateError, InvalidField
from animate_pipelines.media.header import Family
from animate_pipelines.params import AnimateParams
from animate_server.addresses import AddressPolicy, check_url, redact
from animate_server.bodies import INLINE, Part
from animate_server.uploads import SCHEME, Uploads

FAMILIES: Mapping[str, Family] = {"reference_image": "image", "driving_video": "video"}
UPLOAD_PATH = "/files/uploads/"
_REFERENCE = "an http(s) URL, a data URI, or upload:ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """`params` whose inputs are URLs or uploads; `uploads`, the ids of the latter; `inline`, those made just now."""

    params: AnimateParams
    uploads: tuple[str, ...]
    inline: tuple[str, ...]


class Gate:
    """bundle: what the workers said of the loaded bundle (`Manifest.to_json()`), None while none has.

    full_steps: whether `turbo` is taken also where the bundle cannot do it; see `renderer.with_full_steps`.
    """

    def __init__(
        self,
        uploads: Uploads,
        policy: AddressPolicy,
        bundle: Callable[[], Mapping[str, Any] | None],
        *,
        full_steps: bool,
    ) -> None:
        self._uploads = uploads
        self._policy = policy
        self._bundle = bundle
        self._full_steps = full_steps

    def accept(self, params: AnimateParams, parts: Mapping[str, Part], owner: str, base: str = "") -> Accepted:
        """Check everything, and only then store the data that came with the request.

        base: our own URL as the caller knows it; URLs of uploads below it are taken for those uploads. Raises
        `InvalidField`, `FetchError` (a host that is not allowed), `JobNotFound` (an upload), `MediaError`,
        `BodyTooLarge`.
        """
        if (bundle := self._bundle()) is not None:
            check_turbo(params.turbo and not self._full_steps, bundle=bundle["name"], lora=bundle.get("turbo_lora"))
        references = {field: self._reference(getattr(params, field), base) for field in FAMILIES}
        for field, reference in references.items():
            self._check(field, reference, parts, owner)
        _check_unused(references, parts)
        return self._store(params, references, parts, owner)

    def discard(self, accepted: Accepted) -> None:
        """Delete the data of a request that made no job after all."""
        for upload_id in accepted.inline:
            self._uploads.remove(upload_id)

    def _reference(self, reference: str, base: str) -> str:
        own = re.escape(base + UPLOAD_PATH) + r"([A-Za-z0-9_-]{32})"
        match = re.fullmatch(own, reference) if base else None
        return SCHEME + match[1] if match else reference

    def _check(self, field: str, reference: str, parts: Mapping[str, Part], owner: str) -> None:
        try:
            if reference.startswith(SCHEME):
                self._uploads.find(reference.removeprefix(SCHEME), owner, family=FAMILIES[field], field=field)
            elif reference.startswith(("http://", "https://")):
                check_url(reference, self._policy)
            elif reference not in parts:
                raise InvalidField(f"{field} must be {_REFERENCE}", value=redact(reference)[:80], limit=_REFERENCE)
        except AnimateError as error:
            error.field = error.field or field
            raise

    def _store(
        self, params: AnimateParams, references: dict[str, str], parts: Mapping[str, Part], owner: str
    ) -> Accepted:
        inline: list[str] = []
        try:
            for field, reference in references.items():
                if reference in parts:
                    chunks = parts[reference].chunks()
                    upload = self._uploads.save(chunks, owner, field=field, family=FAMILIES[field], inline=True)
                    inline.append(upload.id)
                    references[field] = SCHEME + upload.id
        except BaseException:
            for upload_id in inline:
                self._uploads.remove(upload_id)
            raise
        named = tuple(r.removeprefix(SCHEME) for r in references.values() if r.startswith(SCHEME))
        changed = dataclasses.replace(
            params, reference_image=references["reference_image"], driving_video=references["driving_video"]
        )
        return Accepted(params=changed, uploads=named, inline=tuple(inline))


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
        raise InvalidField(f"{field} takes no data, only {', '.join(FAMILIES)} do", field=field)
