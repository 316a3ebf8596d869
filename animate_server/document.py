"""The API's OpenAPI document: each route's error answers follow from the errors it can end with.

A route names its errors by `raises`; which statuses these are, its dialect's `render_error` says. So a status is
documented exactly where it can be answered, and never written down by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from animate_pipelines.errors import AnimateError, FetchError, InvalidField, MediaError, MediaTooLarge
from animate_server.dialects import Dialect, find_dialect
from animate_server.errors import (
    BodyInvalid,
    BodyTooLarge,
    DiskFull,
    JobNotFound,
    NotAuthorized,
    QueueFull,
    TooManyRequests,
)
from animate_server.fields import show_schema

Errors = tuple[type[AnimateError], ...]
Responses = dict[int | str, dict[str, Any]]

LOOK: Errors = (NotAuthorized, JobNotFound)
ASK: Errors = (NotAuthorized, BodyInvalid, BodyTooLarge, InvalidField)
READ: Errors = (*ASK, TooManyRequests, DiskFull)
HAND_OVER: Errors = (*READ, MediaError, MediaTooLarge)
SUBMIT: Errors = (*HAND_OVER, FetchError, QueueFull)
FILE_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}  # what a route takes that reads one file
_FILE_TYPES = (
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "image/jpeg",
    "image/png",
    "image/webp",
)
FILE: Responses = {  # what Range asks for, and what is said where it asks for nothing that is there
    200: {"description": "The file.", "content": {media_type: {} for media_type in _FILE_TYPES}},
    206: {"description": "The part asked for by Range."},
    400: {"description": "Range cannot be read.", "content": {"text/plain": {}}},
    416: {"description": "The file has no such part.", "content": {"text/plain": {}}},
}
_MARK = "x-errors"


def raises(*errors: type[AnimateError]) -> Responses:
    """For a route's `responses`: that it can end with these errors, and with no others of the request's fault."""
    return {"default": {"description": "", _MARK: [kind.__name__ for kind in errors]}}


def write_document(app: FastAPI, dialects: Sequence[Dialect]) -> dict[str, Any]:
    """What /openapi.json answers. Routes that do not say `raises` keep what they say."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    kinds = _tree(AnimateError)
    for path, item in document["paths"].items():
        dialect = find_dialect(path, dialects)
        for operation in item.values():
            names = operation["responses"].pop("default", {}).get(_MARK, ())
            answers = _answers(dialect, [kinds[name] for name in names])
            if "200" in answers:
                _or_error(operation["responses"]["200"], answers.pop("200"))
            for status, response in answers.items():
                operation["responses"].setdefault(status, response)
    return document


def _tree(root: type[AnimateError]) -> dict[str, type[AnimateError]]:
    """Every error there is, by name."""
    found = {root.__name__: root}
    for kind in root.__subclasses__():
        found |= _tree(kind)
    return found


def _answers(dialect: Dialect, errors: Sequence[type[AnimateError]]) -> dict[str, dict[str, Any]]:
    """By status, in order."""
    found: dict[str, list[str]] = {}
    for kind in errors:
        sentences = found.setdefault(str(dialect.render_error(kind()).status_code), [])
        said = (kind.__doc__ or "").partition("\n")[0]
        if said not in sentences:
            sentences.append(said)
    content = {"application/json": {"schema": show_schema(dialect.error_view)}}
    return {status: {"description": " ".join(found[status]), "content": content} for status in sorted(found)}


def _or_error(good: dict[str, Any], error: dict[str, Any]) -> None:
    """For services that answer errors with 200 too: either body."""
    body, other = (answer["content"]["application/json"] for answer in (good, error))
    body["schema"] = {"anyOf": [body["schema"], other["schema"]]}
    good["description"] += f" Or: {error['description']}"
