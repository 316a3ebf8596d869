"""Reads a picture, and a few frames of a video, for preflight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from animate_pipelines.media.clip import Clip
from animate_pipelines.perception.cuts import find_cuts, thumbnail
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.observation import observe
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.readers import Readers

# Frames of a video: these first ones, since the render begins with them, and as many over the whole of it. The pose
# network takes about a second a frame on a CPU, and an answer should come within 20 s.
_FIRST_S = (0.0, 0.08, 0.17)
_SPREAD = 12


def observe_image(readers: Readers, picture: np.ndarray) -> Observations:
    """Return the observations of an `h w 3` RGB picture."""
    return Observations.of([observe(readers, picture)], [0.0], (picture.shape[1], picture.shape[0]))


def observe_clip(
    readers: Readers, clip: Clip, on_frame: Callable[[int, int], None] = lambda done, total: None
) -> Observations:
    """Return the observations of a driving video: its person in at most 15 of its frames.

    All frames are read, for the cuts.

    on_frame: called with (frames done, frames in all).
    """
    fps = float(clip.fps)
    sampled = sampled_frames(clip.num_frames, fps)
    looks, thumbnails = [], []
    for index, frame in enumerate(clip.read_source(clip.indices)):
        thumbnails.append(thumbnail(frame))
        if index in sampled:
            looks.append(observe(readers, frame))
        on_frame(index + 1, clip.num_frames)
    cuts_s = tuple(index / fps for index in find_cuts(thumbnails))
    return Observations.of(looks, [index / fps for index in sampled], clip.size, cuts_s)


def observe_followed(people: FoundPeople, frames: DrivingFrames) -> Observations:
    """Return the observations of the person to follow in the sampled frames; nothing is read.

    people: found in `frames`, everybody in every one of them.
    """
    clip, fps = frames.clip, float(frames.clip.fps)
    sampled = sampled_frames(clip.num_frames, fps)
    theirs = people.box_people == people.chosen
    boxes = dict(zip(people.box_frames[theirs].tolist(), people.boxes[theirs], strict=True))
    crowd = np.bincount(people.box_frames[people.box_people > 0], minlength=len(people.found))
    samples = [
        (index, frame)
        for index in sampled
        if people.found[frame := int(clip.indices[index])] and people.chosen and frame in boxes
    ]
    source_frames = [frame for _, frame in samples]
    corners = np.array([boxes[frame][:4] for frame in source_frames]).reshape(-1, 2, 2) / frames.size
    poses = people.poses[source_frames]
    return Observations(
        poses=np.concatenate([frames.take_back(poses[..., :2]), poses[..., 2:]], axis=-1),
        boxes=np.clip(frames.take_back(corners), 0, 1).reshape(-1, 4),
        times_s=np.array([index / fps for index, _ in samples]),
        sharpness=people.sharpness[source_frames],
        num_pictures=len(sampled),
        people=int(np.quantile(crowd[source_frames], 0.75, method="lower")) if source_frames else 0,
        size=clip.size,
        cuts_s=tuple(float(np.searchsorted(clip.indices, cut)) / fps for cut in people.cuts.tolist()),
    )


def sampled_frames(num_frames: int, fps: float) -> list[int]:
    """Return the sampled frames of a clip of that length, in order.

    The first quarter of a second, and the rest evenly.
    """
    first = {round(second * fps) for second in _FIRST_S}
    spread = np.linspace(0, num_frames - 1, _SPREAD).round().astype(int).tolist()
    return sorted(index for index in first | set(spread) if index < num_frames)
