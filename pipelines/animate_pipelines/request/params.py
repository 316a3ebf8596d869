"""`RenderParams`: the one canonical request, the same object in a dialect, the job store, the worker and the pipeline.

Standard library only, because the HTTP side imports it and must start without torch.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.person import read_person

Mode = Literal["animate", "replace"]
Resolution = Literal["480p", "580p", "720p", "1080p"]
Overlap = Literal[1, 5]
Preflight = Literal["warn", "strict", "off"]
# Fields that say where a file is.
INPUTS = ("reference_image", "driving_video", "keypoints", "mask_video", "neutral_reference", "neutral_driver")
_NEUTRAL = INPUTS[4:]
ReferenceKind = Literal["image", "video"]
MaskFit = Literal["box", "blocks", "tight"]
Fit = Literal["pad", "crop"]
OutputFormat = Literal["mp4", "mov", "webm"]

# The model was trained with this one prompt; English: "the person in the video is performing actions".
DEFAULT_PROMPT = "视频中的人在做动作"
DEFAULT_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，"
    "手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
MAX_PROMPT_CHARS = 2_000
MAX_SEED = 2**53 - 1  # the largest integer every JSON reader keeps exact
MAX_STEPS = 100
MAX_FPS = 120
MIN_RENDER_SIDE_PX, MAX_RENDER_SIDE_PX = 16, 2048
MAX_GUIDANCE_SCALE = 20.0
MIN_SHIFT, MAX_SHIFT = 0.1, 20.0
MAX_REFERENCE_CHARS = 8_192
_REQUIRED = INPUTS[:2]
MIN_OUTPUT_SIDE_PX, MAX_OUTPUT_SIDE_PX = 64, 4096
MIN_QUALITY, DEFAULT_QUALITY, MAX_QUALITY = 20, 95, 99
MAX_RESULTS = 4
MAX_SECONDS = 86_400.0
DEFAULT_MAX_GAP_S, LONGEST_MAX_GAP_S = 1.0, 60.0
AS_PERFORMED, MAX_EXPRESSION = 3, 5


def draw_seed() -> int:
    """A random seed below 2**32, the range that every hosted schema can echo."""
    return random.SystemRandom().randrange(2**32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderParams:
    """What to render. Every value is checked on construction: `InvalidField` names field, value and limit.

    reference_image, driving_video: where they are, as the caller said it: a URL, `upload:ID`, or a path.
    reference_kind: video: `reference_image` is a video of the character, and the reference is that frame of it whose
        pose is nearest to the driving video's first.
    keypoints: where the caller's own keypoints of the driving video are, see `preprocess.keypoint_track`; None has them
        found.
    mask_video: where a video is that is white on the person to replace, frame for frame of the driving video.
    neutral_reference, neutral_driver: for `retarget`, both or neither: where pictures are that show the reference's
        character and the driving video's person in a neutral pose, as an image editing model makes them of the
        reference image and of a frame. Limbs are measured in these; None measures them in those.
    render_area: (width, height) in pixels whose product is the area the model generates at; None takes the bundle's.
    fps: "source" keeps the driving video's rate, exactly.
    seed: drawn when not given, so it is always known and reported.
    steps, shift: None takes what the bundle was made for.
    overlap: frames carried from one segment into the next.
    retarget: give the driver the reference character's proportions first (animate mode).
    start, duration: seconds; the part of the driving video that is used, in whole frames. None: to its end.
    longest_s: a longer driving video is refused. None: the server's own limit decides.
    num_frames: render only this many frames from the start; None renders all.
    output_size: (width, height) of the result, both even; None takes the driving video's aspect and `resolution`.
    fit: how a driving video of another aspect comes into `output_size`: with black at two sides, or cut at two sides.
    output_format: MP4 and MOV hold H.264, WebM VP9.
    quality: 20 to 99, of the encoding.
    preflight: whether image and driving video go together is looked at first. warn: and told with the result; strict:
        and a pair with problems is refused before anything is rendered.
    align: crop and pad the reference image, so that its person stands where the driving video's does.
    mask_fit: how closely the regenerated part follows the person in replace mode. box: all of the box around it, as the
        official code does; blocks: those of a grid of 8 by 16 that hold some of it; tight: its outline, grown a little.
    person: who of several people is followed: "largest" or "center" over the whole clip, a number (from 1, in order of
        appearance and from left to right), or whoever stands at "X,Y@SECONDS", X and Y being fractions of the frame.
    max_gap_s: for so long that person may be out of sight; what is missing is put between the poses around it.
    smoothing: steady the boxes of person and face from frame to frame; without it they are the official code's.
    num_results: how many videos, with the seeds `seed`, `seed` + 1, ...; `takes` gives the params of each.
    body_control: False holds the body as the reference has it; only face and head follow (animate mode).
    expression: 1 to 5, how far the face moves from the reference's; 3 is as performed.
    safety_check: let the bundle's safety checker look at the reference image and at the output.
    """

    reference_image: str
    driving_video: str
    reference_kind: ReferenceKind = "image"
    mode: Mode = "animate"
    prompt: str = DEFAULT_PROMPT
    negative_prompt: str = DEFAULT_NEGATIVE_PROMPT
    resolution: Resolution = "720p"
    render_area: tuple[int, int] | None = None
    fps: Literal["source"] | int = "source"
    seed: int = field(default_factory=draw_seed)
    steps: int | None = None
    shift: float | None = None
    guidance_scale: float = 1.0
    turbo: bool = False
    keep_audio: bool = True
    retarget: bool = False
    overlap: Overlap = 1
    num_frames: int | None = None
    output_size: tuple[int, int] | None = None
    fit: Fit = "pad"
    output_format: OutputFormat = "mp4"
    quality: int = DEFAULT_QUALITY
    num_results: int = 1
    preflight: Preflight = "warn"
    align: bool = False
    mask_fit: MaskFit = "box"
    person: str | int = "largest"
    start: float = 0.0
    duration: float | None = None
    max_gap_s: float = DEFAULT_MAX_GAP_S
    smoothing: bool = False
    body_control: bool = True
    expression: int = AS_PERFORMED
    safety_check: bool = False
    keypoints: str | None = None
    mask_video: str | None = None
    neutral_reference: str | None = None
    neutral_driver: str | None = None
    longest_s: float | None = None

    def __post_init__(self) -> None:
        for name in INPUTS:
            if name in _REQUIRED or getattr(self, name) is not None:
                _check_text(self, name, 1, MAX_REFERENCE_CHARS)
        for name in ("prompt", "negative_prompt"):
            _check_text(self, name, 0, MAX_PROMPT_CHARS)
        _check_choice(self, "reference_kind", get_args(ReferenceKind))
        _check_choice(self, "mode", get_args(Mode))
        _check_choice(self, "resolution", get_args(Resolution))
        _check_choice(self, "overlap", get_args(Overlap))
        _check_choice(self, "fit", get_args(Fit))
        _check_choice(self, "output_format", get_args(OutputFormat))
        _check_choice(self, "preflight", get_args(Preflight))
        _check_choice(self, "mask_fit", get_args(MaskFit))
        if self.mask_fit != "box" and self.mode != "replace":
            raise InvalidField("mask_fit is for the mode replace", field="mask_fit", value=self.mask_fit, limit="box")
        if self.mask_video is not None and self.mode != "replace":
            raise InvalidField("mask_video is for the mode replace", field="mask_video", limit=None)
        for name in ("turbo", "keep_audio", "retarget", "align", "smoothing", "body_control", "safety_check"):
            _check_type(self, name, bool)
        _check_range(self, "seed", int, 0, MAX_SEED)
        _check_range(self, "guidance_scale", float, 1.0, MAX_GUIDANCE_SCALE)
        _check_range(self, "quality", int, MIN_QUALITY, MAX_QUALITY)
        _check_range(self, "num_results", int, 1, MAX_RESULTS)
        _check_range(self, "max_gap_s", float, 0.0, LONGEST_MAX_GAP_S)
        read_person(self.person)
        _check_range(self, "start", float, 0.0, MAX_SECONDS)
        if self.duration is not None:
            _check_range(self, "duration", float, 0.0, MAX_SECONDS)
        if self.longest_s is not None:
            _check_range(self, "longest_s", float, 0.0, MAX_SECONDS)
        _check_range(self, "expression", int, 1, MAX_EXPRESSION)
        if self.fps != "source":
            _check_range(self, "fps", int, 1, MAX_FPS)
        if self.steps is not None:
            _check_range(self, "steps", int, 1, MAX_STEPS)
        if self.shift is not None:
            _check_range(self, "shift", float, MIN_SHIFT, MAX_SHIFT)
        if self.num_frames is not None:
            _check_range(self, "num_frames", int, 1, 10**6)
        if self.render_area is not None:
            _check_size(self, "render_area", MIN_RENDER_SIDE_PX, MAX_RENDER_SIDE_PX)
        if self.output_size is not None:
            _check_size(self, "output_size", MIN_OUTPUT_SIDE_PX, MAX_OUTPUT_SIDE_PX, even=True)
        if self.retarget and self.mode != "animate":
            raise InvalidField("retarget is for the mode animate", field="retarget", value=True, limit=False)
        _check_neutral(self)
        if not self.body_control and (self.retarget or self.mode != "animate"):
            message = "a body is held in the mode animate only, and without retarget"
            raise InvalidField(f"body_control: {message}", field="body_control", value=False, limit=True)

    def takes(self) -> tuple[RenderParams, ...]:
        """One for each of the results: the same render with the next seed."""
        if self.num_results == 1:
            return (self,)
        seeds = [(self.seed + take) % (MAX_SEED + 1) for take in range(self.num_results)]
        return tuple(dataclasses.replace(self, seed=seed, num_results=1) for seed in seeds)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values; `from_json` of it is an equal object."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> RenderParams:
        """From JSON values. `InvalidField` for an unknown, missing or out-of-range field."""
        names = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in names:
                raise InvalidField(f"unknown field {name!r}", field=name, limit=sorted(names))
        for name in _REQUIRED:
            if name not in values:
                raise InvalidField(f"{name} is required", field=name)
        sizes = {name: values[name] for name in ("render_area", "output_size") if name in values}
        return cls(**values | {name: tuple(v) if isinstance(v, list) else v for name, v in sizes.items()})


def _check_neutral(params: RenderParams) -> None:
    given = [name for name in _NEUTRAL if getattr(params, name) is not None]
    if given and not params.retarget:
        raise InvalidField(f"{given[0]} is for retarget", field=given[0], limit=None)
    for name in _NEUTRAL:
        if given and name not in given:
            raise InvalidField(f"{name} is required with {given[0]}: limbs are compared in both", field=name)


def _check_type(params: RenderParams, name: str, kind: type) -> None:
    value = getattr(params, name)
    if not isinstance(value, kind):
        raise InvalidField(f"{name} must be of type {kind.__name__}, not {value!r}", field=name, value=value)


def _check_choice(params: RenderParams, name: str, choices: tuple[object, ...]) -> None:
    value = getattr(params, name)
    if value not in choices or isinstance(value, bool):
        options = ", ".join(map(str, choices))
        raise InvalidField(f"{name} must be one of {options}, not {value!r}", field=name, value=value, limit=options)


def _check_range(params: RenderParams, name: str, kind: type, low: float, high: float) -> None:
    value = getattr(params, name)
    number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not number or isinstance(value, bool) or not low <= cast(float, value) <= high:
        limit = f"{kind.__name__} from {low} to {high}"
        raise InvalidField(f"{name} must be a {limit}, not {value!r}", field=name, value=value, limit=limit)


def _check_text(params: RenderParams, name: str, low: int, high: int) -> None:
    value = getattr(params, name)
    if not isinstance(value, str):
        raise InvalidField(f"{name} must be text, not {value!r}", field=name, value=value, limit="text")
    if not low <= len(value) <= high or "\0" in value:
        # Only its length is shown: a URL may hold secrets.
        limit = f"{low} to {high} characters, none of them NUL"
        raise InvalidField(
            f"{name} has {len(value)} characters, not {limit}", field=name, value=len(value), limit=limit
        )


def _check_size(params: RenderParams, name: str, low: int, high: int, *, even: bool = False) -> None:
    size: object = getattr(params, name)
    sides = size if isinstance(size, tuple) else ()
    whole = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not whole or not all(low <= side <= high and not (even and side % 2) for side in sides):
        limit = f"WIDTHxHEIGHT, each {low} to {high} px" + (" and even" if even else "")
        raise InvalidField(f"{name} must be {limit}, not {size!r}", field=name, value=str(size), limit=limit)
