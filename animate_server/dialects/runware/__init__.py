"""Runware's interface at /runware/v1: arrays of tasks by POST, or one by one over a WebSocket on the same path.

Their clients choose a task's id and look for it again after a lost connection; so a caller who hangs up leaves the
task running. A task is answered by an object in `data` or one in `errors`, and a request may be answered by both.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response, WebSocket
from fastapi.responses import JSONResponse

from animate_pipelines.errors import AnimateError, InvalidField, ServerError
from animate_pipelines.request.choices import OutputFormat
from animate_pipelines.request.params import DEFAULT_PROMPT, RenderParams, draw_seed
from animate_server.addresses import check_length
from animate_server.bodies import Body
from animate_server.dialect import Dialect, WebhookRules
from animate_server.dialects.runware.schema import ANIMATE, Answers, Inputs, VideoInference
from animate_server.dialects.runware.session import Session
from animate_server.dialects.runware.tasks import Answer, TaskRunner, describe_error, describe_failure
from animate_server.document import SUBMIT_ERRORS, raises
from animate_server.errors import (
    JobNotFound,
    MissingField,
    UnsupportedField,
    coarse_status,
    http_headers,
    http_status,
)
from animate_server.fields import read_fields
from animate_server.jobs import Job
from animate_server.ports import Ports, PortsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.references import STORED
from animate_server.webhooks import Method, Webhook

router = APIRouter(prefix="/runware/v1", tags=["runware"])
_FORMATS: Mapping[str, OutputFormat] = {"MP4": "mp4", "MOV": "mov", "WEBM": "webm"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object", "required": ["taskType"]}, "maxItems": 100}
            }
        },
    }
}


@router.post(
    "",
    response_model=Answers,
    response_model_exclude_none=True,
    responses=raises(*SUBMIT_ERRORS, JobNotFound),
    openapi_extra=_BODY,
    summary="Do tasks",
)
async def do_tasks(request: Request, ports: PortsDep) -> Response:
    """Answer when the tasks with `deliveryMethod` sync have ended. 200 when at least one task went well."""
    bodies, caller = await ports.bodies.read_tasks(request, _find_key)
    runner = TaskRunner(dialect, ports, caller, request)
    answers = await asyncio.gather(*(_run_to_end(runner, body, ports, caller) for body in bodies))
    data = [item for answer in answers for item in answer.data]
    errors = [item for answer in answers for item in answer.errors]
    status = answers[0].status if not data else 200
    shown = {name: items for name, items in (("data", data), ("errors", errors)) if items}
    return JSONResponse(shown, status_code=status)


@router.websocket("")
async def talk(socket: WebSocket, ports: PortsDep) -> None:
    """Do the same tasks, a frame each; results come on the socket that asked for them."""
    await Session(dialect, ports, socket).run()


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate a `videoInference` task. Raises `InvalidField`, naming Runware's parameter by its path."""
    task = read_fields(VideoInference, fields)
    if task.uploadEndpoint and task.numberResults > 1:
        message = f"uploadEndpoint: one address takes one result, not numberResults {task.numberResults}"
        raise UnsupportedField(message, field="uploadEndpoint", value=task.numberResults, limit=1)
    image, video = _pair(task.model, task.inputs)
    return RenderParams(
        reference_image=image,
        driving_video=video,
        mode="animate" if task.model == ANIMATE else "replace",
        prompt=task.positivePrompt or DEFAULT_PROMPT,
        resolution=task.resolution,
        fps=task.fps or "source",
        seed=draw_seed() if task.seed is None else task.seed,
        turbo=task.settings.turbo,
        keep_audio=task.settings.preserveAudio,
        output_format=_FORMATS[task.outputFormat],
        quality=task.outputQuality,
        num_results=task.numberResults,
        safety_check=task.safety is not None and task.safety.wanted,
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    """Show `data` of a task that runs or has succeeded, `errors` of one that did not."""
    named: dict[str, Any] = {"taskType": "videoInference", "taskUUID": job.id}
    if job.artefacts:
        safety = {"safety": job.result["safety"]} if job.result and job.params.safety_check else {}
        cost = {"cost": 0.0} if (job.request or {}).get("includeCost") is True else {}
        return {
            "data": [
                named
                | {
                    "status": "success",
                    "videoUUID": str(UUID(artefact.name.partition(".")[0])),
                    "videoURL": files.url(artefact, caller, dialect=dialect.name),
                    "seed": artefact.seed,
                    "warnings": job.warnings,
                }
                | cost
                | safety
                for artefact in job.artefacts
            ]
        }
    if not job.status.is_final:
        done = round(100 * job.progress["fraction"]) if job.progress else 0
        return {"data": [named | {"status": "processing", "progress": done}]}
    return {"errors": [describe_failure(job) | named | {"status": "error"}]}


def find_webhooks(fields: Mapping[str, Any]) -> Sequence[Webhook]:
    wanted: tuple[tuple[str, Method], ...] = (("webhookURL", "POST"), ("uploadEndpoint", "PUT"))
    return [Webhook(url=fields[name], field=name, method=method) for name, method in wanted if fields.get(name)]


def render_error(error: AnimateError) -> Response:
    shown = {"errors": [describe_error(error)]}
    return JSONResponse(shown, status_code=coarse_status(error), headers=http_headers(error))


def _find_key(task: dict[str, Any]) -> str | None:
    key = task.get("apiKey") if task.get("taskType") == "authentication" else None
    return key if isinstance(key, str) else None


async def _run_to_end(runner: TaskRunner, body: Body, ports: Ports, caller: Caller) -> Answer:
    """Answer a sync task when it has ended, any other at once."""
    answer = await runner.answer(body)
    if not answer.held:
        return answer
    async for job in ports.jobs.watch(answer.follow, caller, beat_s=1.0):
        if job.status.is_final:
            return Answer(**render(job, ports.files, caller))
    stopping = ServerError(f"the server is stopping; ask for {answer.follow} by getResponse")
    return Answer(errors=[describe_error(stopping)], status=http_status(stopping))


def _pair(model: str, inputs: Inputs) -> tuple[str, str]:
    """Return reference image and driving video."""
    name, other = ("referenceVideos", "video") if model == ANIMATE else ("video", "referenceVideos")
    if getattr(inputs, other) is not None:
        raise UnsupportedField(f"inputs.{other}: {model} takes inputs.{name}", field=f"inputs.{other}")
    if len(inputs.referenceImages) > 1:
        message = f"inputs.referenceImages: this server takes one reference image, not {len(inputs.referenceImages)}"
        raise UnsupportedField(message, field="inputs.referenceImages", value=len(inputs.referenceImages), limit=1)
    videos = inputs.referenceVideos if model == ANIMATE else inputs.video and [inputs.video]
    if not videos:
        raise MissingField(f"inputs.{name} is required", field=f"inputs.{name}")
    if len(videos) > 1:
        raise InvalidField(f"inputs.{name}: one video, not {len(videos)}", field=f"inputs.{name}", limit=1)
    check_length(inputs.referenceImages[0], "inputs.referenceImages")
    check_length(videos[0], f"inputs.{name}")
    return _reference(inputs.referenceImages[0]), _reference(videos[0])


def _reference(given: str) -> str:
    """Return the UUID of an upload, of a result or of a task as the reference that says so here."""
    return STORED + given.lower() if _UUID.fullmatch(given) else given


dialect = Dialect(
    name="runware",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=Answers,
    schemas={"videoInference": VideoInference},
    ignored={"routing": "a task runs where there is a worker"},
    webhooks=WebhookRules(find=find_webhooks, render=render, pauses_s=(10.0, 60.0, 300.0)),
)
