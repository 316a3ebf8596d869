"""`Dialect`: one hosted service's HTTP interface, translated to and from our jobs. Those there are lie in `dialects`.

A dialect is routes and translation. What it needs done it asks of the `ports`; it knows neither the store nor the
worker nor another dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from animate_pipelines.errors import AnimateError
from animate_pipelines.request.params import RenderParams
from animate_server.jobs import Job
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.webhooks import Call, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """How a service calls back.

    find: reads what the caller wants from the fields of a request that `parse` took.
    render: makes the body, as JSON values, of the POST about an ended job; None when the service does not call at such
        an end.
    headers: makes those beside the content type, for a call with that body at that time.
    pauses_s: between one attempt and the next; as many retries as pauses.
    """

    find: Callable[[Mapping[str, Any]], Sequence[Webhook]]
    render: Callable[[Job, Files, Caller], Any]
    headers: Callable[[Call, str, float], dict[str, str]] = lambda call, body, now: {}
    pauses_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What the server knows of an interface.

    name: of its module in `dialects`.
    router: its routes; all begin with the router's prefix.
    parse: translates request fields to params, without I/O, raising `InvalidField`.
    render: shows a job as this service does.
    render_error: answers any error as this service does.
    error_view: the shape of such an answer.
    schemas: the models of a job's request, by what a caller calls them; `docs/dialects.md` is written from them.
    ignored: their fields that are taken and change nothing, each with the reason; all others count or are refused.
    notes: sentences on where it differs from the service, for the page of dialects and the API's document.
    names: what a request with these fields calls fields of `RenderParams` and `JobOptions`, where it is another name.
    webhooks: how it calls back; None when it calls nobody.
    hosted: whether it stands for a service. Then the limits of its requests are that service's, which a server may
        lift, and a job goes on where the bundle does not read its pictures: there is no field to ask for that.
    """

    name: str
    router: APIRouter
    parse: Callable[[Mapping[str, Any]], RenderParams]
    render: Callable[[Job, Files, Caller], dict[str, Any]]
    render_error: Callable[[AnimateError], Response]
    error_view: type[BaseModel]
    schemas: Mapping[str, type[BaseModel]]
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    names: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda fields: {}
    webhooks: WebhookRules | None = None
    hosted: bool = True

    @property
    def prefix(self) -> str:
        return self.router.prefix


def find_dialect(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """Return the dialect that answers for a path: the first under whose prefix it lies, or the last for any path."""
    below = (dialect for dialect in dialects if f"{path}/".startswith(f"{dialect.prefix}/"))
    return next(below, dialects[-1])
