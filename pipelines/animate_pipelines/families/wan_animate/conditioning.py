"""What is known of the whole driving video: keypoints, 1.6 KB a frame; what is larger is drawn a segment at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.families.models import Models
from animate_pipelines.families.wan_animate.retarget import Proportions, TargetBody, fit_proportions
from animate_pipelines.job.plan import Size
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.resize import inner_box, padding_resize, resize_interpolation
from animate_pipelines.perception.detector import detect_person
from animate_pipelines.perception.face import FACE_SEEN, face_box, face_confidence
from animate_pipelines.perception.gaps import bridge, check_gaps, stretches_of
from animate_pipelines.perception.given import MaskVideo, people_given
from animate_pipelines.perception.keypoints import interpolate
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.people import FoundPeople, find_people
from animate_pipelines.perception.pose import estimate_pose
from animate_pipelines.perception.scan import Footage
from animate_pipelines.perception.smoothing import smooth_boxes
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.params import DEFAULT_MAX_GAP_S, Mode, RenderParams
from animate_pipelines.request.person import Person, PersonAt, read_person

PARTS = ("preflight", "detect", "pose", "mask")  # of preprocessing, whose seconds are counted


class DrivingFrames:
    """The frames the networks look at: native in animate mode, letter-boxed to the render size in replace mode."""

    def __init__(self, clip: Clip, mode: Mode, render_size: Size) -> None:
        self.clip = clip
        self.mode = mode
        self.size: Size = clip.size if mode == "animate" else render_size
        self._interpolation = resize_interpolation(clip.size, self.size)

    def place_poses(self, poses: np.ndarray) -> np.ndarray:
        """Poses `m 133 3` in fractions of the driving picture, as fractions of these frames."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        moved = (poses[..., :2] * [width, height] + [left, top]) / self.size
        return np.concatenate([moved, poses[..., 2:]], axis=-1)

    def take_back(self, points: np.ndarray) -> np.ndarray:
        """Points `... 2` in fractions of these frames, as fractions of the driving picture."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        return np.asarray((points * self.size - [left, top]) / [width, height])

    def place(self, point: PersonAt) -> PersonAt:
        """The same point of the driving picture, as fractions of these frames."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        x, y = (left + point.x * width) / self.size[0], (top + point.y * height) / self.size[1]
        return PersonAt(x=x, y=y, time_s=point.time_s)

    def read(self, source_indices: Sequence[int]) -> Iterator[np.ndarray]:
        """`h w 3` uint8 frames, one after the other."""
        for frame in self.clip.read_source(source_indices):
            resized = self.size != self.clip.size
            yield padding_resize(frame, *self.size, self._interpolation) if resized else frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Who is followed in the driving video, and how; as in `RenderParams`. A point is one of the frames looked at."""

    person: Person = "largest"
    max_gap_s: float = DEFAULT_MAX_GAP_S
    smoothing: bool = False

    @classmethod
    def asked(cls, params: RenderParams, frames: DrivingFrames) -> Following:
        person = read_person(params.person)
        if isinstance(person, PersonAt):
            person = frames.place(person)
        return cls(person=person, max_gap_s=params.max_gap_s, smoothing=params.smoothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """The driving performance.

    keypoints: `n 133 3`, one pose an output frame, between source frames where the rate goes up.
    proportions: how the driver's skeleton is fitted to the reference; None leaves it as it is.
    face_boxes: `m 4` (x1, x2, y1, y2) in pixels, one a source frame.
    face_frames: the source frame whose face each source frame shows: itself, or the nearest earlier one in which a face
        is seen (the first one with a face, before that); -1 where there never is one.
    people: all that was found, before holes were mended.
    """

    keypoints: np.ndarray
    face_boxes: np.ndarray
    face_frames: np.ndarray
    people: FoundPeople
    proportions: Proportions | None = None


def preprocess(
    models: Models,
    frames: DrivingFrames,
    files: Workspace,
    on_frame: Callable[[int, int], None],
    *,
    watch: Stopwatch,
    following: Following | None = None,
    track: np.ndarray | None = None,
    masks: DrivingFrames | None = None,
    fit_to: TargetBody | None = None,
) -> Conditioning:
    """Find the person and the pose in every frame that is needed; in replace mode the masks too. Kept in the workspace.

    fit_to: whose proportions the skeletons take; None leaves them as they are.
    track: the caller's own poses `m 133 3`, one a source frame, as fractions of the driving picture: none are found.
    masks: the caller's own masks, of the same frames.
    watch: counts the seconds of `PARTS`; none are spent on what the workspace has already.
    on_frame: called with (work done, work in all). Raises `NoPersonFound` when no frame shows anybody, or not the
        person asked for, and `PersonLost` when that one is out of sight for too long.
    """
    following = following or Following()
    people = find_driver(models, frames, files, following, track, watch, on_frame)
    poses = bridge(people.poses, people.found)
    if frames.mode == "replace" and not files.has_masks():
        with watch("mask"):
            looked_at = people.frames.tolist()
            source = models.masks if masks is None else MaskVideo(masks.read(looked_at))
            _find_masks(source, frames, poses, looked_at, files)
    keypoints = _at_output_rate(poses, frames.clip)
    boxes = _face_boxes(people, frames, smoothing=following.smoothing)
    return Conditioning(
        keypoints=keypoints,
        face_boxes=boxes,
        face_frames=_frames_with_face(people, boxes),
        people=people,
        proportions=None if fit_to is None else fit_proportions(keypoints[0], frames.size, fit_to),
    )


def find_driver(
    models: Models,
    frames: DrivingFrames,
    files: Workspace,
    following: Following,
    track: np.ndarray | None,
    watch: Stopwatch,
    on_frame: Callable[[int, int], None],
) -> FoundPeople:
    """The first part of `preprocess`, with the same arguments: who is in the driving video, and the one to follow."""
    needed, fps = _needed_frames(frames.clip), float(frames.clip.source_fps)
    if not files.has_people():
        if track is not None:
            found = people_given(frames.place_poses(track), needed, frames.read, frames.size)
        else:
            found = find_people(
                models.readers,
                Footage(read=frames.read, frames=needed, size=frames.size, fps=fps),
                person=following.person,
                smoothing=following.smoothing,
                watch=watch,
                on_frame=on_frame,
            )
        files.save_people(found)
    people = files.load_people()
    missing = ~people.found[needed]
    if missing.all():
        raise NoPersonFound(
            f"no person was found in any of the {len(needed)} frames looked at", field="driving_video", value=0, limit=1
        )
    check_gaps(stretches_of(needed, missing), fps, following.max_gap_s)
    return people


def pose_in(models: Models, picture: np.ndarray, *, field: str = "reference_image") -> np.ndarray:
    """The pose `133 3` in the picture `h w 3` that was given as `field`. Raises `NoPersonFound`."""
    box = detect_person(models.detector, picture)
    if box is None:
        raise NoPersonFound(
            "no person was found in {field}, whose pose is needed for what was asked", field=field, value=0, limit=1
        )
    return estimate_pose(models.pose, picture, box)


def _needed_frames(clip: Clip) -> list[int]:
    if clip.fps <= clip.source_fps:
        return sorted(set(clip.indices.tolist()))
    ends = np.concatenate([np.floor(clip.positions), np.ceil(clip.positions)]).astype(int).tolist()
    return sorted({min(end, clip.mezzanine.num_frames - 1) for end in ends})


def _at_output_rate(poses: np.ndarray, clip: Clip) -> np.ndarray:
    if clip.fps <= clip.source_fps:
        return poses[clip.indices]
    return interpolate(poses, clip.positions)


def _find_masks(
    source: MaskSource, frames: DrivingFrames, poses: np.ndarray, needed: Sequence[int], files: Workspace
) -> None:
    masks = source.person_masks(frames.read(needed), poses[list(needed)])
    files.save_masks(zip(needed, masks, strict=True), len(poses), frames.size)


def _face_boxes(people: FoundPeople, frames: DrivingFrames, *, smoothing: bool) -> np.ndarray:
    """`m 4`, see `face_box`; zero, and so empty, where the person is not seen."""
    boxes = np.zeros((len(people.poses), 4), int)
    for index in np.flatnonzero(people.found).tolist():
        boxes[index] = face_box(people.poses[index], *frames.size)
    if smoothing:
        seen = {int(index): boxes[index] for index in np.flatnonzero(people.found)}
        for number, box in smooth_boxes(seen, people.cuts.tolist(), float(frames.clip.source_fps)).items():
            boxes[number] = np.round(box).clip(0, np.repeat(frames.size, 2))
    return boxes


def _frames_with_face(people: FoundPeople, boxes: np.ndarray) -> np.ndarray:
    indices = np.arange(len(boxes))
    seen = people.found & (face_confidence(people.poses) >= FACE_SEEN)
    seen &= (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])
    held = np.maximum.accumulate(np.where(seen, indices, -1))
    first = int(indices[seen].min()) if seen.any() else -1
    return np.where(held >= 0, held, first)
