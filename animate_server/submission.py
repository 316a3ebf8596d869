"""Submitting a job in a dialect: read, translate, store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from animate_pipelines.errors import AnimateError, InvalidField
from animate_server.bodies import Body
from animate_server.dialect import Dialect
from animate_server.errors import JobNotFound
from animate_server.jobs import Job
from animate_server.ports.bodies import Bodies
from animate_server.ports.callers import Caller
from animate_server.ports.jobs import NO_OPTIONS, JobOptions, Jobs


async def submit_body(
    request: Request, bodies: Bodies, jobs: Jobs, caller: Caller, dialect: Dialect, options: JobOptions = NO_OPTIONS
) -> Job:
    """Read the body of `request`, and submit its fields. Raises as `Bodies.read` and `submit_fields`."""
    with await bodies.read(request, caller) as body:
        return await submit_fields(body, body.fields, jobs, caller, dialect, options)


async def submit_fields(
    body: Body,
    fields: Mapping[str, Any],
    jobs: Jobs,
    caller: Caller,
    dialect: Dialect,
    options: JobOptions = NO_OPTIONS,
) -> Job:
    """Translate fields, and store the job; errors name the fields as the request does.

    An upload that is not there is a bad field (`InvalidField`), not an unknown path. Raises as `Jobs.submit`.
    body: the request that the fields were taken from.
    options: `webhooks` are found in the fields.
    """
    names = dialect.names(fields)
    try:
        params = dialect.parse(fields)
        if dialect.hosted and params.drive == "video":
            params = replace(params, anyway=True)
        webhooks = tuple(dialect.webhooks.find(fields)) if dialect.webhooks else ()
        options = replace(options, webhooks=webhooks, hosted=dialect.hosted)
        return await jobs.submit(params, body, caller, dialect=dialect.name, options=options)
    except JobNotFound as missing:
        raise InvalidField(missing.template, field=missing.field, value=missing.value).named(names) from None
    except AnimateError as error:
        raise error.named(names) from None
