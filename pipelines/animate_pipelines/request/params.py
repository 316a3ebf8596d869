"""`RenderParams`: the one canonical request, the same object in a dialect, the job store, the worker and the pipeline.

Its class body is the one table of request fields; everything else that lists fields reads it. Standard library only,
because the HTTP side imports it and must start without torch.
"""

from __future__ import annotations

import dataclasses
import difflib
import random
from dataclasses import dataclass
from typing import Any, Literal, get_args

from animate_pipelines.errors import InvalidField
from animate_pipelines.request import fields
from animate_pipelines.request.checks import check_value
from animate_pipelines.request.choices import (
    Drive,
    Fit,
    MaskFit,
    OutputFormat,
    Overlap,
    Preflight,
    ReferenceKind,
    Resolution,
    Task,
)
from animate_pipelines.request.fields import FileKind, defaults_of, fields_of
from animate_pipelines.request.person import read_person
from animate_pipelines.request.size import Size

# The model was trained with this one prompt; English: "the person in the video is performing actions".
DEFAULT_PROMPT = "视频中的人在做动作"
DEFAULT_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
MAX_PROMPT_CHARS = 2_000
MAX_SEED = 2**53 - 1  # the largest integer every JSON reader keeps exact
MAX_FPS = 120
MIN_OUTPUT_SIDE_PX, MAX_OUTPUT_SIDE_PX = 64, 4096
MIN_QUALITY, DEFAULT_QUALITY, MAX_QUALITY = 20, 95, 99
MAX_RESULTS = 4
MAX_SECONDS = 86_400.0
DEFAULT_MAX_GAP_S = 1.0
AS_PERFORMED = 3  # of `expression`
_BY_VIDEO = ("animate", "replace")  # the tasks that a driving video drives


def draw_seed() -> int:
    """Return a random seed below 2**32, the range that every hosted schema can echo."""
    return random.SystemRandom().randrange(2**32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderParams:
    """What to render. Every value is checked on construction: `InvalidField` names field, value and limit.

    Its JSON form is flat; a record that lacks a field has its default.
    """

    reference_image: str = fields.file(
        "image",
        optional=False,
        option="image",
        preflight=True,
        help="Who is on screen. JPEG, PNG or WebP: http(s) URL, data URI, `upload:ID`, or a path on the command line.",
    )
    reference_kind: ReferenceKind = fields.choice(
        "image",
        get_args(ReferenceKind),
        group="source",
        preflight=True,
        help="video: the reference is a video of the character, of which that frame is taken whose pose is nearest to "
        "the driving video's first; the result's `reference_taken_at_s` says which.",
    )
    driving_video: str | None = fields.file(
        "video",
        option="video",
        tasks=_BY_VIDEO,
        required_by=_BY_VIDEO,
        finds=True,
        preflight=True,
        help="What happens. MP4, MOV, Matroska or WebM, given as the image is.",
    )
    driving_audio: str | None = fields.file(
        "audio",
        option="audio",
        tasks=("speak",),
        required_by=("speak",),
        help="What is said: speech or song, which also becomes the sound of the result.",
    )
    mode: Task = fields.choice(
        "animate",
        get_args(Task),
        group="source",
        finds=True,
        preflight=True,
        help="The task. animate: the person in the image moves as the one in the video does. replace: it takes the "
        "place of the person in the video. image-to-video: the prompt alone says what happens. speak: the audio does. "
        "Which of them are done depends on the loaded bundle; others are refused by name.",
    )
    keypoints: str | None = fields.file(
        "keypoints",
        tasks=_BY_VIDEO,
        finds=True,
        help="Your own keypoints of the driving video, in place of ours: JSON with format (coco_wholebody or "
        "openpose), width, height and one entry a frame in frames.",
    )
    mask_video: str | None = fields.file(
        "video",
        tasks=("replace",),
        finds=True,
        preflight=True,
        help="Your own masks: a video as long as the driving video, white on the person.",
    )
    neutral_reference: str | None = fields.file(
        "image",
        tasks=("animate",),
        help="For `retarget`, with `neutral_driver`: an image of the same character in a neutral pose, such as an "
        "image editing model makes of the reference. Limbs are measured in these two.",
    )
    neutral_driver: str | None = fields.file(
        "image",
        tasks=("animate",),
        help="For `retarget`, with `neutral_reference`: an image of the driving video's person, likewise.",
    )
    start: float = fields.number(
        0.0,
        0.0,
        MAX_SECONDS,
        unit="s",
        group="source",
        tasks=_BY_VIDEO,
        finds=True,
        preflight=True,
        help="How much of the driving video to leave out first. Sound and frames stay together.",
    )
    duration: float | None = fields.number(
        None,
        0.0,
        MAX_SECONDS,
        unit="s",
        group="source",
        finds=True,
        preflight=True,
        help="How much of the driving video or audio to use, or how long the result is. Default: to its end.",
    )
    num_frames: int | None = fields.whole(
        None,
        1,
        10**6,
        unit="frames",
        group="source",
        option="frames",
        finds=True,
        help="Render only so many frames. Default: all; with a prompt alone, one segment of the bundle.",
    )
    longest_s: float | None = fields.number(
        None,
        0.0,
        MAX_SECONDS,
        unit="s",
        group="source",
        option="longest",
        tasks=_BY_VIDEO,
        help="Refuse a longer driving video. Default: the server's own limit.",
    )
    shortest_s: float | None = fields.number(
        None,
        0.0,
        MAX_SECONDS,
        unit="s",
        group="source",
        option="shortest",
        tasks=_BY_VIDEO,
        help="Refuse a shorter driving video.",
    )
    largest_bytes: int | None = fields.whole(
        None,
        1,
        10**12,
        unit="bytes",
        group="source",
        option="largest",
        help="Refuse larger input files. Default: the server's own limit.",
    )
    person: str | int = fields.person(
        read_person,
        group="following",
        tasks=_BY_VIDEO,
        finds=True,
        preflight=True,
        help="Who is followed among several: `largest` or `center` over the whole clip, a number (from 1, in order of "
        "appearance and from left to right), or whoever stands at X,Y@SECONDS, X and Y as fractions of the frame.",
    )
    max_gap_s: float = fields.number(
        DEFAULT_MAX_GAP_S,
        0.0,
        60.0,
        unit="s",
        group="following",
        option="max-gap",
        tasks=_BY_VIDEO,
        help="How long that person may be out of sight; poses are put between those around it.",
    )
    smoothing: bool = fields.switch(
        False,
        group="following",
        tasks=_BY_VIDEO,
        finds=True,
        help="Steady the boxes of person and face from frame to frame; off: as the official code has them.",
    )
    retarget: bool = fields.switch(
        False,
        group="following",
        tasks=("animate",),
        help="Give the driver the reference character's proportions first.",
    )
    body_control: bool = fields.switch(
        True,
        group="following",
        tasks=("animate",),
        help="Off: the body stays as the reference has it; only face and head follow.",
    )
    expression: int = fields.whole(
        AS_PERFORMED,
        1,
        5,
        group="following",
        tasks=_BY_VIDEO,
        help="How far the face moves from the reference's: 1 half as far, 3 as performed, 5 half as far again.",
    )
    mask_fit: MaskFit = fields.choice(
        "box",
        get_args(MaskFit),
        group="following",
        tasks=("replace",),
        preflight=True,
        help="How closely the regenerated part follows the person. box: the whole box around it, which the model was "
        "trained with; blocks: those of a coarse grid; tight: its outline, grown a little.",
    )
    align: bool = fields.switch(
        False,
        group="following",
        tasks=_BY_VIDEO,
        preflight=True,
        help="Crop and pad the image to the video's framing before the render.",
    )
    prompt: str = fields.text(
        DEFAULT_PROMPT,
        high=MAX_PROMPT_CHARS,
        group="sampling",
        help="What to say to the model beyond the inputs. Wan2.2-Animate was trained with the default.",
    )
    negative_prompt: str = fields.text(
        DEFAULT_NEGATIVE_PROMPT,
        high=MAX_PROMPT_CHARS,
        group="sampling",
        help="Has an effect with a guidance scale above 1. The default is the official one.",
    )
    seed: int = fields.whole(draw_seed, 0, MAX_SEED, group="sampling", help="Default: drawn, and reported.")
    steps: int | None = fields.whole(None, 1, 100, group="sampling", help="Denoising steps. Default: the bundle's.")
    shift: float | None = fields.number(
        None, 0.1, 20.0, group="sampling", help="Timestep shift of the schedule. Default: the bundle's."
    )
    guidance_scale: float = fields.number(
        1.0, 1.0, 20.0, group="sampling", help="1 is off; above 1 takes twice the time."
    )
    turbo: bool = fields.switch(
        False,
        group="sampling",
        help="Few steps with the bundle's LoRA. Where it has none: refused, or, where the server is set so, rendered "
        "in full steps, which the result says.",
    )
    overlap: Overlap = fields.choice(
        1, get_args(Overlap), group="sampling", help="Frames carried from one segment into the next."
    )
    render_area: Size | None = fields.size(
        16, 2048, group="sampling", help="What is generated at, as far as its area goes. Default: the bundle's."
    )
    resolution: Resolution = fields.choice(
        "720p", get_args(Resolution), group="output", help="Class of the result's size; its aspect is the source's."
    )
    output_size: Size | None = fields.size(
        MIN_OUTPUT_SIDE_PX,
        MAX_OUTPUT_SIDE_PX,
        even=True,
        group="output",
        finds=True,
        help="Exactly how large the result is. Default: what `resolution` and the source's aspect give.",
    )
    fit: Fit = fields.choice(
        "pad",
        get_args(Fit),
        group="output",
        finds=True,
        help="How a driving video of another aspect comes into `output_size`: set on black, or cut. Never stretched.",
    )
    fps: Literal["source"] | int = fields.rate(
        MAX_FPS,
        group="output",
        finds=True,
        preflight=True,
        help="Frames per second of the result; source keeps the driving video's rate exactly, 30000/1001 too.",
    )
    keep_audio: bool = fields.switch(
        True, group="output", option="audio", help="Whether the result has the source's sound."
    )
    output_format: OutputFormat = fields.choice(
        "mp4", get_args(OutputFormat), group="output", help="MP4 and MOV hold H.264, WebM VP9."
    )
    quality: int = fields.whole(DEFAULT_QUALITY, MIN_QUALITY, MAX_QUALITY, group="output", help="Of the encoding.")
    num_results: int = fields.whole(
        1, 1, MAX_RESULTS, group="job", help="How many videos, with the seeds `seed`, `seed` + 1, ..."
    )
    preflight: Preflight = fields.choice(
        "warn",
        get_args(Preflight),
        group="job",
        tasks=_BY_VIDEO,
        help="Whether image and video go together is looked at first. warn: and told with the result; strict: and a "
        "pair with problems fails before anything is rendered.",
    )
    anyway: bool = fields.switch(
        False,
        group="job",
        tasks=_BY_VIDEO,
        help="Render also what the bundle does not read: photographs with a bundle that reads drawn puppets only.",
    )
    safety_check: bool = fields.switch(
        False,
        group="job",
        help="The bundle's safety checker looks at image and output; the result's `safety` says whether.",
    )

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            check_value(name, field, getattr(self, name))
        for rule in (_check_tasks, _check_neutral, _check_held_body):
            rule(self)

    @property
    def drive(self) -> Drive:
        """Return what says how the picture moves."""
        if self.driving_video is not None:
            return "video"
        return "prompt" if self.driving_audio is None else "audio"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return the names of the input files that are given."""
        return tuple(name for name in INPUTS if getattr(self, name) is not None)

    @property
    def given(self) -> tuple[str, ...]:
        """Return the names of the fields that have another value than their default."""
        return tuple(name for name, default in defaults_of(type(self)).items() if getattr(self, name) != default)

    def file_kind(self, name: str) -> FileKind:
        """Return what kind of file the input `name` is."""
        if name == "reference_image":
            return self.reference_kind
        return FILE_KINDS[name]

    def takes(self) -> tuple[RenderParams, ...]:
        """Return one for each of the results: the same render with the next seed."""
        if self.num_results == 1:
            return (self,)
        seeds = [(self.seed + take) % (MAX_SEED + 1) for take in range(self.num_results)]
        return tuple(dataclasses.replace(self, seed=seed, num_results=1) for seed in seeds)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; `from_json` of it is an equal object."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RenderParams:
        """Return the request of JSON values. Raises `InvalidField` for an unknown, missing or out-of-range field."""
        table = fields_of(cls)
        for name in values:
            if name not in table:
                near = difflib.get_close_matches(name, table, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InvalidField(f"{{field}} is not a field here{hint}", field=name, limit=sorted(table))
        for name in table.keys() - defaults_of(cls).keys() - values.keys():
            if not _is_drawn(cls, name):
                raise InvalidField("{field} is required", field=name)
        sizes = {name: values[name] for name, field in table.items() if field.kind == "size" and name in values}
        return cls(**values | {name: tuple(side) if isinstance(side, list) else side for name, side in sizes.items()})


FILE_KINDS: dict[str, FileKind] = {
    name: field.file for name, field in fields_of(RenderParams).items() if field.file is not None
}
INPUTS = tuple(FILE_KINDS)  # the fields that say where a file is
_NEUTRAL = ("neutral_reference", "neutral_driver")


def _is_drawn(params: type, name: str) -> bool:
    return any(entry.name == name and callable(entry.default_factory) for entry in dataclasses.fields(params))


def _check_tasks(params: RenderParams) -> None:
    """Refuse by name what the task does not take, and what it lacks."""
    defaults = defaults_of(type(params))
    for name, field in fields_of(type(params)).items():
        value = getattr(params, name)
        if params.mode in field.required_by and value is None:
            raise InvalidField("{field} is required", field=name)
        if field.tasks and params.mode not in field.tasks and value != defaults[name]:
            raise InvalidField(
                f"{{field}} is for the mode {' or '.join(field.tasks)}",
                field=name,
                value=None if field.kind == "file" else value,
                limit=defaults[name],
            )


def _check_neutral(params: RenderParams) -> None:
    given = [name for name in _NEUTRAL if getattr(params, name) is not None]
    if given and not params.retarget:
        raise InvalidField("{field} is for retarget", field=given[0], limit=None)
    for name in _NEUTRAL:
        if given and name not in given:
            raise InvalidField(f"{{field}} is required with {given[0]}: limbs are compared in both", field=name)


def _check_held_body(params: RenderParams) -> None:
    if params.retarget and not params.body_control:
        message = "{field}: a body is held without retarget"
        raise InvalidField(message, field="body_control", value=False, limit=True)
