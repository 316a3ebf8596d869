"""`Body`: a request body read under limits, with the data that came in it taken out and replaced by a name.

Data URIs and multipart files become `Part`s; in their place the fields hold `inline:NAME`. So a dialect parses small
JSON only, and data is decoded piece by piece, after everything else was found good.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from animate_pipelines.errors import InvalidField
from animate_server.errors import BodyInvalid, BodyTooLarge
from animate_server.files import CHUNK_BYTES, too_large

INLINE = "inline:"
MAX_PARTS = 8
MAX_FORM_FIELDS = 64
MAX_TASKS = 100
FIRST_BYTES = 4096  # of an array of tasks, in which a key must have come
MAX_FORM_TEXT_BYTES = 64 * 1024  # beside the file of an upload
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.IGNORECASE)
_BASE64_STEP = 4 * 256 * 1024


@dataclass(slots=True, kw_only=True)
class Part:
    """Data that came with a request, in the order of `chunks`: an open file, or the text of a data URI."""

    field: str
    file: IO[bytes] | None = None
    data_uri: str = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, a megabyte at a time. Raises `InvalidField` where a data URI is not valid base64."""
        if self.file is None:
            yield from self._decoded()
            return
        self.file.seek(0)
        while chunk := self.file.read(CHUNK_BYTES):
            yield chunk

    def _decoded(self) -> Iterator[bytes]:
        head = _DATA_URI.match(self.data_uri)
        start = head.end() if head else 0
        if head is None or not head[3]:
            yield unquote_to_bytes(self.data_uri[start:])
            return
        for offset in range(start, len(self.data_uri), _BASE64_STEP):
            try:
                yield base64.b64decode(self.data_uri[offset : offset + _BASE64_STEP], validate=True)
            except (binascii.Error, ValueError):
                raise InvalidField("{field} is not valid base64", field=self.field) from None

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


@dataclass(slots=True, kw_only=True)
class Body:
    """`fields` as JSON values; `parts` by the placeholder that stands for them. Close it to drop temporary files."""

    fields: dict[str, Any]
    parts: dict[str, Part] = field(default_factory=dict)
    is_form: bool = False

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self.parts.values():
            part.close()


async def read_body(request: Request, *, max_json_bytes: int, max_form_bytes: int) -> Body:
    """Read a JSON or form body. Raises `BodyInvalid` and `BodyTooLarge`."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _read_form(request, max_form_bytes, max_json_bytes)
    if content_type and content_type != "application/json" and not content_type.endswith("+json"):
        raise BodyInvalid(
            f"the content type must be application/json or multipart/form-data, not {content_type}",
            field="content-type",
            value=content_type,
        )
    text = bytearray()
    async for chunk in _limited(request, max_json_bytes):
        text += chunk
    return await run_in_threadpool(_read_json, text)


async def read_tasks(request: Request, *, max_bytes: int, on_first: Callable[[dict[str, Any]], None]) -> list[Body]:
    """Read a JSON array of objects into a `Body` each; an object alone is an array of one.

    on_first: given the first object when `FIRST_BYTES` are read; what it raises ends the reading.
    Raises like `read_body`.
    """
    text, was_given = bytearray(), False
    async for chunk in _limited(request, max_bytes):
        text += chunk
        if not was_given and len(text) >= FIRST_BYTES:
            on_first(_first_object(text))
            was_given = True
    if not was_given:
        on_first(_first_object(text))
    return await run_in_threadpool(parse_tasks, text)


def parse_tasks(text: bytes | bytearray | str) -> list[Body]:
    """Read the text of such an array. Raises `BodyInvalid`."""
    tasks = _loaded(text)
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, dict) for task in tasks):
        raise BodyInvalid("the body must be an array of JSON objects")
    if len(tasks) > MAX_TASKS:
        raise BodyInvalid(f"{len(tasks)} tasks in one request, the limit is {MAX_TASKS}", limit=MAX_TASKS)
    return [_body(task) for task in tasks]


async def read_file(request: Request, *, name: str, max_bytes: int, more_fields: bool = False) -> Body:
    """Read a body that is one file, either raw or as the form field `name`; it is the one part of the result.

    more_fields: whether the form may have text fields beside it.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await _read_form(request, max_bytes, MAX_FORM_TEXT_BYTES)
        if list(body.parts) != [INLINE + name] or (len(body.fields) > 1 and not more_fields):
            with body:
                raise BodyInvalid(f"the form must hold one file, named {name!r}", field=name)
        return body
    file = tempfile.TemporaryFile()  # noqa: SIM115  closed by Body
    body = Body(fields={name: INLINE + name}, parts={INLINE + name: Part(field=name, file=file)})
    try:
        async for chunk in _limited(request, max_bytes):
            await run_in_threadpool(file.write, chunk)
    except BaseException:
        file.close()
        raise
    return body


class _FormTooLarge(MultiPartException):
    """Raised inside the parser, which closes its files for this kind only."""

    def __init__(self, cause: BodyTooLarge) -> None:
        super().__init__(cause.message)
        self.cause = cause


class _FormParser(MultiPartParser):
    """Takes data URIs as form fields: the limit is on the text of all fields together, which is held in memory."""

    _text_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self._text_bytes += end - start
            if self._text_bytes > self.max_part_size:
                raise _FormTooLarge(too_large(self._text_bytes, self.max_part_size, "the text of the form"))
        super().on_part_data(data, start, end)


async def _limited(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(int(declared), limit_bytes)
    size_bytes = 0
    try:
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise too_large(size_bytes, limit_bytes)
            yield chunk
    except ClientDisconnect:
        raise BodyInvalid("the connection closed before the body was complete") from None


async def _read_form(request: Request, limit_bytes: int, limit_text_bytes: int) -> Body:
    async def stream() -> AsyncIterator[bytes]:
        try:
            async for chunk in _limited(request, limit_bytes):
                yield chunk
        except BodyTooLarge as error:
            raise _FormTooLarge(error) from None
        except BodyInvalid as error:
            raise MultiPartException(error.message) from None

    parser = _FormParser(
        request.headers,
        stream(),  # type: ignore[arg-type]  # only iterated
        max_files=MAX_PARTS,
        max_fields=MAX_FORM_FIELDS,
        max_part_size=limit_text_bytes,
    )
    try:
        form = await parser.parse()
    except _FormTooLarge as error:
        raise error.cause from None
    except (MultiPartException, KeyError) as error:
        raise BodyInvalid(f"the form cannot be read: {error}") from None
    body = Body(fields={}, is_form=True)
    if len(form.multi_items()) != len(form):
        await form.close()
        raise BodyInvalid("a field of the form is given twice")
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            body.parts[INLINE + name] = Part(field=name, file=value.file)
            body.fields[name] = INLINE + name
        elif _DATA_URI.match(value):
            body.fields[name] = _detach(value, name, body.parts)
        else:
            body.fields[name] = value
    return body


def _read_json(text: bytearray) -> Body:
    fields = _loaded(text)
    if not isinstance(fields, dict):
        raise BodyInvalid(f"the body must be a JSON object, not {type(fields).__name__}")
    return _body(fields)


def _loaded(text: bytes | bytearray | str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BodyInvalid(f"the body is not valid JSON: {error}") from None


def _first_object(text: bytearray) -> dict[str, Any]:
    """Return the first object of an array that may be cut short; empty when there is none."""
    head = text[:FIRST_BYTES].decode("utf-8", "ignore").lstrip().removeprefix("[").lstrip()
    try:
        first, _ = json.JSONDecoder().raw_decode(head)
    except (ValueError, RecursionError):
        return {}
    return first if isinstance(first, dict) else {}


def _body(fields: dict[str, Any]) -> Body:
    body = Body(fields={})
    body.fields = _detach(fields, "", body.parts)
    return body


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _detach(value: Any, path: str, parts: dict[str, Part]) -> Any:
    """Return `value` with each data URI replaced by a placeholder, under which `parts` then has the data."""
    if isinstance(value, dict):
        return {key: _detach(inner, f"{path}.{key}" if path else key, parts) for key, inner in value.items()}
    if isinstance(value, list):
        return [_detach(inner, f"{path}[{index}]", parts) for index, inner in enumerate(value)]
    if isinstance(value, str) and _DATA_URI.match(value):
        if len(parts) == MAX_PARTS:
            raise BodyInvalid(f"more than {MAX_PARTS} data URIs in one request", field=path, limit=MAX_PARTS)
        parts[INLINE + path] = Part(field=path, data_uri=value)
        return INLINE + path
    return value
