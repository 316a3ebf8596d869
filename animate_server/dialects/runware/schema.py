"""The tasks of Runware's interface: their fields, and what is answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from animate_pipelines.request.params import (
    DEFAULT_QUALITY,
    MAX_PROMPT_CHARS,
    MAX_QUALITY,
    MAX_RESULTS,
    MAX_SEED,
    MIN_QUALITY,
)

ANIMATE, REPLACE = "prunaai:p-video@animate", "prunaai:p-video@replace"
MAX_TTL_S = 365 * 24 * 3600


def _canonical_uuid(value: str) -> str:
    """Take any UUID in its canonical form, as their service does: its own are of version 4 or 7."""
    try:
        is_canonical = str(UUID(value)) == value.lower()
    except ValueError:
        is_canonical = False
    if not is_canonical:
        raise ValueError(f"must be a UUID such as {UUID(int=0)}, not {value[:80]!r}")
    return value


def _url_only(value: Any) -> Any:
    if value not in ("URL", ["URL"]):
        raise ValueError("results are given out as URL only")
    return value


TaskUUID = Annotated[str, AfterValidator(_canonical_uuid)]


class Task(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    taskType: str  # noqa: N815  theirs, as all names with capitals below
    taskUUID: TaskUUID = Field(description="Drawn by the caller; once used, it is taken.")  # noqa: N815


class Inputs(BaseModel):
    """Each a URL, a data URI, bare base64, or the UUID of an upload or of an earlier result."""

    model_config = ConfigDict(extra="forbid")

    referenceImages: list[str] = Field(  # noqa: N815
        min_length=1, description="Who: one image; further ones are refused as unsupported."
    )
    referenceVideos: list[str] | None = Field(None, description="How, for @animate: one video.")  # noqa: N815
    video: str | None = Field(None, min_length=1, description="How, for @replace.")


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    preserveAudio: bool = Field(True, description="Whether the output has the driving video's sound.")  # noqa: N815
    turbo: bool = Field(False, description="Few steps; refused when the bundle has no LoRA for it.")


class Safety(BaseModel):
    model_config = ConfigDict(extra="forbid")

    checkContent: bool | None = Field(None, description="Whether to check.")  # noqa: N815  theirs
    mode: Literal["none", "fast", "full"] | None = Field(None, description="fast and full are the same here.")

    @property
    def wanted(self) -> bool:
        """Return whether image and output are to be checked."""
        return self.checkContent if self.checkContent is not None else self.mode in ("fast", "full")


class VideoInference(Task):
    """`videoInference` for the models prunaai:p-video@animate and @replace."""

    taskType: Literal["videoInference"]  # noqa: N815
    model: Literal["prunaai:p-video@animate", "prunaai:p-video@replace"] = Field(
        description="Animate the image, or put its character in place of the person in the video."
    )
    inputs: Inputs
    positivePrompt: str = Field(  # noqa: N815
        "", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with."
    )
    resolution: Literal["720p", "1080p"] = Field("720p", description="Class of the output's size.")
    fps: Literal[24, 48] | None = Field(None, description="Default: the driving video's.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Default: drawn, and reported.")
    settings: Settings = Field(default_factory=Settings.model_construct, description="preserveAudio and turbo.")
    numberResults: int = Field(  # noqa: N815
        1, ge=1, le=MAX_RESULTS, description="How many videos, with the seeds `seed`, `seed` + 1, ..."
    )
    outputFormat: Literal["MP4", "WEBM", "MOV"] = Field("MP4", description="H.264, or VP9 in WEBM.")  # noqa: N815
    outputQuality: int = Field(  # noqa: N815
        DEFAULT_QUALITY, ge=MIN_QUALITY, le=MAX_QUALITY, description="Of the encoding."
    )
    outputType: Annotated[Any, AfterValidator(_url_only)] = Field("URL", description="Only URL.")  # noqa: N815
    deliveryMethod: Literal["sync", "async"] = Field(  # noqa: N815
        "sync", description="sync is answered when the video is there, async at once."
    )
    includeCost: bool = Field(False, description="Whether results tell their cost, which is 0 here.")  # noqa: N815
    ttl: int | None = Field(
        None, ge=60, le=MAX_TTL_S, description="Seconds to keep the result; at most as long as the server keeps any."
    )
    webhookURL: str | None = Field(None, max_length=2000, description="Called when the task has ended.")  # noqa: N815
    uploadEndpoint: str | None = Field(  # noqa: N815
        None, max_length=2000, description="Where the file is sent to by PUT when it is there; for one result."
    )
    safety: Safety | None = Field(None, description="Whether image and output are checked. Default: they are not.")
    routing: dict[str, Any] | None = Field(None, description="Taken; a task runs where there is a worker.")


class Lookup(Task):
    """`getResponse` and `getTaskDetails`."""

    taskType: Literal["getResponse", "getTaskDetails"]  # noqa: N815
    taskUUID: str = Field(min_length=1, max_length=64)  # noqa: N815


class ImageUpload(Task):
    taskType: Literal["imageUpload"]  # noqa: N815
    image: str = Field(min_length=1, description="A URL, a data URI or bare base64.")


class MediaStorage(Task):
    taskType: Literal["mediaStorage"]  # noqa: N815
    operation: Literal["upload", "delete"] = "upload"
    media: str = Field(min_length=1, description="A URL, a data URI or bare base64; to delete, the mediaUUID.")


class AccountManagement(Task):
    taskType: Literal["accountManagement"]  # noqa: N815
    operation: Literal["getDetails"] = Field(description="Only getDetails: keys are the server's settings.")


class ModelSearch(Task):
    """What narrows the search; a model here has a name, a category and no more."""

    taskType: Literal["modelSearch"]  # noqa: N815
    search: str = Field("", max_length=100)
    category: str | None = Field(None, max_length=100)
    type: str | None = Field(None, max_length=100)
    architecture: str | None = Field(None, max_length=100)
    conditioning: str | None = Field(None, max_length=100)
    tags: list[str] | None = Field(None, max_length=20)
    visibility: Literal["public", "private", "all"] = "all"
    limit: int = Field(20, ge=1, le=100)
    offset: int = Field(0, ge=0)


class Authentication(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    taskType: Literal["authentication"]  # noqa: N815
    apiKey: str = Field(max_length=1000)  # noqa: N815
    connectionSessionUUID: str | None = Field(None, max_length=64)  # noqa: N815


class Failed(BaseModel):
    """Which fields there are depends on what is wrong."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    parameter: str | None = None
    taskType: str | None = None  # noqa: N815
    taskUUID: str | None = None  # noqa: N815


class Answers(BaseModel):
    data: list[dict[str, Any]] | None = Field(None, description="One object or more for each task that went well.")
    errors: list[Failed] | None = Field(None, description="One for each task that did not.")
