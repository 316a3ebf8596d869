"""Who is in a driving video with several people: everybody with the number by which `person` names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.families.wan_animate.conditioning import DrivingFrames
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.perception.describe import people_seen
from animate_pipelines.perception.detection_report import PersonSeen
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.people import FoundPeople, find_people
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage
from animate_pipelines.preflight.sampling import sampled_frames
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.person import read_person
from animate_pipelines.sheets.people_still import people_still

_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_GAP_PX, _TITLE_PX, _WIDEST_PX = 10, 28, 960


def find_crowd(
    readers: Readers, clip: Clip, files: Workspace, person: str | int, on_frame: Callable[[int, int], None]
) -> FoundPeople:
    """Everybody in every frame, as a job finds and numbers them; kept in `files`.

    Raises `NoPersonFound` for a `person` not there.
    """
    if not files.has_people():
        footage = Footage(
            read=clip.read_source,
            frames=sorted(set(clip.indices.tolist())),
            size=clip.size,
            fps=float(clip.source_fps),
        )
        files.save_people(
            find_people(
                readers,
                footage,
                person=read_person(person),
                smoothing=False,
                watch=Stopwatch(("detect", "pose")),
                on_frame=on_frame,
            )
        )
    return files.load_people()


def see_followed(seen: Observations, people: FoundPeople, frames: DrivingFrames) -> Observations:
    """What the sampled frames show of the one who is followed; `seen` as it is where they do not show that one.

    people: found in `frames`.
    """
    clip = frames.clip
    boxes = dict(
        zip(*(part[people.box_people == people.chosen] for part in (people.box_frames, people.boxes)), strict=True)
    )
    sampled = [(index, int(clip.indices[index])) for index in sampled_frames(clip.num_frames, float(clip.fps))]
    shown = [(index, frame) for index, frame in sampled if people.found[frame] and frame in boxes]
    if not shown:
        return seen
    at = [frame for _, frame in shown]
    corners = np.array([boxes[frame][:4] for frame in at]).reshape(-1, 2, 2) / frames.size
    poses = people.poses[at]
    return replace(
        seen,
        poses=np.concatenate([frames.take_back(poses[..., :2]), poses[..., 2:]], axis=-1),
        boxes=np.clip(frames.take_back(corners), 0, 1).reshape(-1, 4),
        times_s=np.array([index / float(clip.fps) for index, _ in shown]),
        sharpness=people.sharpness[at],
    )


def add_still(people: FoundPeople, clip: Clip, picture: Path) -> tuple[PersonSeen, ...]:
    """Draw everybody, numbered, below what the PNG `picture` shows. Who they are."""
    still = people_still(people, clip.read_source)
    with Image.open(picture) as above:
        width = min(above.width - 2 * _GAP_PX, _WIDEST_PX)
        below = still.resize((width, round(still.height * width / still.width)))
        both = Image.new("RGB", (above.width, above.height + _TITLE_PX + below.height + _GAP_PX), _PAPER)
        both.paste(above, (0, 0))
    title = f"people in the video, by number for `person`; {people.chosen} is followed"
    ImageDraw.Draw(both).text((_GAP_PX, above.height + 5), title, _INK, ImageFont.load_default(14))
    both.paste(below, (_GAP_PX, above.height + _TITLE_PX))
    both.save(picture, optimize=True)
    return tuple(people_seen(people, clip.size))
