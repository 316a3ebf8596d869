"""The models that Eachlabs' interface names, each with its fields and what they ask of us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from animate_pipelines.request.choices import Task
from animate_pipelines.request.params import (
    DEFAULT_PROMPT,
    DEFAULT_QUALITY,
    MAX_PROMPT_CHARS,
    MAX_QUALITY,
    MAX_SEED,
    RenderParams,
    draw_seed,
)
from animate_server.addresses import check_length
from animate_server.fields import read_fields, show_schema

_QUALITIES = {"low": 50, "medium": 80, "high": DEFAULT_QUALITY, "maximum": MAX_QUALITY}  # low and medium are ours


_SHORTEST_S, _LARGEST_BYTES = 3.0, 50_000_000  # of Act-Two, each file


class AnimateInput(BaseModel):
    """wan-v2-2-14b-animate-move and -replace."""

    model_config = ConfigDict(extra="forbid")

    image_url: str = Field(min_length=1, description="Who: a URL, data URI, or the public_url of an upload.")
    video_url: str = Field(min_length=1, description="How: a URL, data URI, or the public_url of an upload.")
    resolution: Literal["480p", "580p", "720p"] = "480p"
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Default: drawn.")
    num_inference_steps: int = Field(20, ge=1, le=100, description="Denoising steps.")
    enable_safety_checker: bool = Field(False, description="Whether image and output are checked.")
    shift: float = Field(5.0, ge=1, le=10, description="Timestep shift of the schedule.")
    video_quality: Literal["low", "medium", "high", "maximum"] = Field("high", description="Of the encoding.")
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with.")
    video_write_mode: Literal["fast", "balanced", "small"] = Field("balanced", description="Only `balanced`.")

    @field_validator("video_write_mode")
    @classmethod
    def _one_encoder(cls, value: str) -> str:
        if value != "balanced":
            raise ValueError(f"this server writes videos in one way only, balanced, not {value}")
        return value


class ActTwoInput(BaseModel):
    """runway-act-two. Files of at most 50 MB, performances from 3 s, unless the server lifts their limits."""

    model_config = ConfigDict(extra="forbid")

    character_type: Literal["image", "video"] = Field(
        description="Of a video the frame whose pose is nearest to the reference's first is taken; `logs` say which."
    )
    character_uri: str = Field(min_length=1, description="Who: a URL, data URI, or the public_url of an upload.")
    reference_uri: str = Field(
        min_length=1,
        description=f"How: a URL, data URI, or the public_url of an upload. At least {_SHORTEST_S:g} s.",
    )
    aspect_ratio: Literal["1280:720", "720:1280", "960:960", "1104:832", "832:1104", "1584:672"] = Field(
        description="Size of the result. A driving video of another aspect is fitted into it with black borders."
    )
    body_control: bool = Field(True, description="false: the body stays; only face and head follow.")
    expression_intensity: int = Field(3, ge=1, le=5, description="How far the face moves; 3 as performed.")
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Default: drawn.")
    public_figure_moderation: Literal["auto", "low"] = Field(
        "low", description="auto: image and output are checked; low: they are not."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of their models.

    parse: read the fields of `input` as params; raises `InvalidField`.
    names: how it calls fields of ours.
    """

    title: str
    names: Mapping[str, str]
    schema: type[BaseModel]
    parse: Callable[[Mapping[str, Any]], RenderParams]


class ModelView(BaseModel):
    title: str
    slug: str
    version: str
    output_type: str
    request_schema: dict[str, Any] = Field(description="JSON Schema of `input`.")


def show_model(slug: str) -> ModelView:
    model = MODELS[slug]
    schema = show_schema(model.schema)
    return ModelView(title=model.title, slug=slug, version="0.0.1", output_type="video", request_schema=schema)


def _parse_animate(mode: Task, fields: Mapping[str, Any]) -> RenderParams:
    request = read_fields(AnimateInput, fields)
    check_length(request.image_url, "image_url")
    check_length(request.video_url, "video_url")
    return RenderParams(
        reference_image=request.image_url,
        driving_video=request.video_url,
        mode=mode,
        resolution=request.resolution,
        seed=draw_seed() if request.seed is None else request.seed,
        steps=request.num_inference_steps,
        shift=request.shift,
        safety_check=request.enable_safety_checker,
        prompt=request.prompt or DEFAULT_PROMPT,
        quality=_QUALITIES[request.video_quality],
    )


def _parse_act_two(fields: Mapping[str, Any]) -> RenderParams:
    request = read_fields(ActTwoInput, fields)
    check_length(request.character_uri, "character_uri")
    check_length(request.reference_uri, "reference_uri")
    width, _, height = request.aspect_ratio.partition(":")
    return RenderParams(
        reference_image=request.character_uri,
        driving_video=request.reference_uri,
        reference_kind=request.character_type,
        output_size=(int(width), int(height)),
        body_control=request.body_control,
        expression=request.expression_intensity,
        safety_check=request.public_figure_moderation == "auto",
        prompt=request.prompt or DEFAULT_PROMPT,
        shortest_s=_SHORTEST_S,
        largest_bytes=_LARGEST_BYTES,
        seed=draw_seed() if request.seed is None else request.seed,
    )


ANIMATE_NAMES = {"reference_image": "image_url", "driving_video": "video_url"}
MODELS: Mapping[str, Model] = {
    "wan-v2-2-14b-animate-move": Model(
        title="Wan 2.2 14B Animate: move",
        names=ANIMATE_NAMES,
        schema=AnimateInput,
        parse=partial(_parse_animate, "animate"),
    ),
    "wan-v2-2-14b-animate-replace": Model(
        title="Wan 2.2 14B Animate: replace",
        names=ANIMATE_NAMES,
        schema=AnimateInput,
        parse=partial(_parse_animate, "replace"),
    ),
    "runway-act-two": Model(
        title="Act-Two",
        names={"reference_image": "character_uri", "driving_video": "reference_uri"},
        schema=ActTwoInput,
        parse=_parse_act_two,
    ),
}
