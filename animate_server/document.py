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
from animate_server.dialect import Dialect, find_dialect
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

# What routes can end with, by what they do.
LOOKUP_ERRORS: Errors = (NotAuthorized, JobNotFound)
QUERY_ERRORS: Errors = (NotAuthorized, BodyInvalid, BodyTooLarge, InvalidField)  # a lookup whose request has a body
BODY_ERRORS: Errors = (*QUERY_ERRORS, TooManyRequests, DiskFull)
UPLOAD_ERRORS: Errors = (*BODY_ERRORS, MediaError, MediaTooLarge)
SUBMIT_ERRORS: Errors = (*UPLOAD_ERRORS, FetchError, QueueFull)

_BYTES = {"type": "string", "format": "binary"}
_RAW_FILE = {"application/octet-stream": {"schema": _BYTES}}
_FILE_FORM = {
    "multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BYTES}}}
}
# `openapi_extra` of routes that read one file: as the whole body, as a form's `file`, or as either.
RAW_FILE: dict[str, Any] = {"requestBody": {"required": True, "content": _RAW_FILE}}
FILE_FORM: dict[str, Any] = {"requestBody": {"required": True, "content": _FILE_FORM}}
RAW_FILE_OR_FORM: dict[str, Any] = {"requestBody": {"required": True, "content": _RAW_FILE | _FILE_FORM}}
_FILE_TYPES = (
    "video/mp4",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
    "image/jpeg",
    "image/png",
    "image/webp",
)
FILE: Responses = {  # with Range, good and bad
    200: {"description": "The file.", "content": {media_type: {} for media_type in _FILE_TYPES}},
    206: {"description": "The part asked for by Range."},
    400: {"description": "Range cannot be read.", "content": {"text/plain": {}}},
    416: {"description": "The file has no such part.", "content": {"text/plain": {}}},
}
_MARK = "x-errors"
# The same key, in whichever header a service's clients send it.
_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "One of ANIMATE_API_KEYS."},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
}


def raises(*errors: type[AnimateError]) -> Responses:
    """Say, for a route's `responses`, that it can end with these errors, and with no others of the request's fault."""
    return {"default": {"description": "", _MARK: [kind.__name__ for kind in errors]}}


def write_document(app: FastAPI, dialects: Sequence[Dialect]) -> dict[str, Any]:
    """Return what /openapi.json answers. Routes that do not say `raises` keep what they say."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    document["components"] = document.get("components", {}) | {"securitySchemes": _SCHEMES}
    document["tags"] = [{"name": dialect.name, "description": " ".join(dialect.notes)} for dialect in dialects]
    kinds = _tree(AnimateError)
    for path, item in document["paths"].items():
        dialect = find_dialect(path, dialects)
        for operation in item.values():
            names = operation["responses"].pop("default", {}).get(_MARK, ())
            answers = _answers(dialect, [kinds[name] for name in names])
            if NotAuthorized.__name__ in names:
                operation["security"] = [{name: []} for name in _SCHEMES]
            if "200" in answers:
                _or_error(operation["responses"]["200"], answers.pop("200"))
            for status, response in answers.items():
                operation["responses"].setdefault(status, response)
    return document


def _tree(root: type[AnimateError]) -> dict[str, type[AnimateError]]:
    """Return every error there is, by name."""
    tree = {root.__name__: root}
    for kind in root.__subclasses__():
        tree |= _tree(kind)
    return tree


def _answers(dialect: Dialect, errors: Sequence[type[AnimateError]]) -> dict[str, dict[str, Any]]:
    """Return the answers to errors by status, in order."""
    by_status: dict[str, list[str]] = {}
    for kind in errors:
        sentences = by_status.setdefault(str(dialect.render_error(kind()).status_code), [])
        sentence = (kind.__doc__ or "").partition("\n")[0]
        if sentence not in sentences:
            sentences.append(sentence)
    content = {"application/json": {"schema": show_schema(dialect.error_view)}}
    return {status: {"description": " ".join(by_status[status]), "content": content} for status in sorted(by_status)}


def _or_error(good: dict[str, Any], error: dict[str, Any]) -> None:
    """Document either body, for services that answer errors with 200 too."""
    body, other = (answer["content"]["application/json"] for answer in (good, error))
    body["schema"] = {"anyOf": [body["schema"], other["schema"]]}
    good["description"] += f" Or: {error['description']}"
