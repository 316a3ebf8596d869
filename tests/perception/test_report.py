"""The report says exactly what was found, and its picture shows it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from animate_pipelines.perception.describe import report_people
from animate_pipelines.perception.detection_report import DetectionReport
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.keypoints import FACE, LEFT_HAND, RIGHT_HAND
from animate_pipelines.sheets.people_still import people_still
from animate_pipelines.sheets.timeline import draw_timeline

NUM_FRAMES = 60
SEEN, MISSING, MARKED = (46, 160, 97), (214, 64, 58), (92, 72, 190)


@pytest.fixture
def people() -> FoundPeople:
    """Person 2 of two is followed: gone in 10-14, without a face in 30-39, without hands in 50, elsewhere from 45."""
    poses = np.full((NUM_FRAMES, 133, 3), 0.9)
    poses[30:40, FACE, 2] = 0.2
    poses[50, LEFT_HAND, 2] = poses[50, RIGHT_HAND, 2] = 0.1
    found = ~np.isin(np.arange(NUM_FRAMES), range(10, 15))
    poses[~found] = 0
    mine = [[100 if frame < 45 else 400, 50, 200 if frame < 45 else 500, 250, 0.8] for frame in np.flatnonzero(found)]
    other = [[0, 0, 64, 180, 0.6]] * 20
    return FoundPeople(
        frames=np.arange(NUM_FRAMES),
        boxes=np.array([*mine, *other, [600, 0, 630, 30, 0.1]]),
        box_frames=np.array([*np.flatnonzero(found), *range(20), 7]),
        box_people=np.array([2] * len(mine) + [1] * 20 + [0]),
        chosen=2,
        poses=poses,
        found=found,
        sharpness=np.where(np.isin(np.arange(NUM_FRAMES), [20, 21]), 5.0, 100.0),
        cuts=np.array([55]),
    )


@pytest.fixture
def report(people: FoundPeople) -> DetectionReport:
    masks = {frame: frame != 58 for frame in range(NUM_FRAMES)}
    return report_people(people, (640, 360), Fraction(20), masks)


def test_the_still_shows_everybody_at_once_and_names_who_is_not_there(people: FoundPeople) -> None:
    def read(frames: Sequence[int]) -> Iterator[np.ndarray]:
        assert list(frames) == [0]  # the first of those with two people in it
        yield np.zeros((360, 640, 3), np.uint8)

    still = people_still(people, read)
    assert still.size == (640, 360)
    assert (still.getpixel((100, 200)), still.getpixel((0, 100))) == ((40, 130, 220), (230, 80, 60))
    third = dataclasses.replace(people, box_people=np.where(people.box_people == 0, 3, people.box_people))
    alone = dataclasses.replace(third, box_frames=np.where(people.box_people == 0, 40, people.box_frames))
    assert people_still(alone, read).size == (640, 360 + 32)


def test_exactly_what_is_missing_is_listed(report: DetectionReport) -> None:
    assert report.missing_person == ((10, 14),)
    assert report.missing_face == ((10, 14), (30, 39))
    assert report.missing_hands == ((10, 14), (50, 50))
    assert report.missing_mask == ((58, 58),)
    assert report.blurred == ((20, 21),)
    assert (report.cuts, report.identity_jumps) == ((55,), (45,))


def test_everybody_who_was_seen_is_told_of(report: DetectionReport) -> None:
    assert [dataclasses.astuple(person) for person in report.people] == [(1, 0, 19, 20, 0.05), (2, 0, 59, 55, 0.0868)]
    assert (report.chosen, report.num_frames, report.fps) == (2, 60, "20/1")
    assert [seen.people for seen in report.frames[:25]] == [2] * 10 + [1] * 5 + [2] * 5 + [1] * 5
    assert (report.frames[7].score, report.frames[12].score, report.frames[30].face) == (0.8, None, 0.2)


def test_it_is_json_and_says_nothing_of_masks_where_there_are_none(people: FoundPeople) -> None:
    values = json.loads(json.dumps(report_people(people, (640, 360), Fraction(30000, 1001), None).to_json()))
    assert (values["missing_mask"], values["fps"], values["frames"][12]["face"]) == (None, "30000/1001", None)
    assert values["missing_face"] == [[10, 14], [30, 39]]


def test_the_timeline_shows_each_row_where_it_happens(report: DetectionReport) -> None:
    picture = draw_timeline(report)

    def at(frame: int, row: int) -> tuple[int, ...]:
        return picture.getpixel((150 + int((frame + 0.5) / NUM_FRAMES * 1026), 64 + row * 40 + 15))  # type: ignore[return-value]

    assert [at(frame, 0) for frame in (9, 10, 14, 15)] == [SEEN, MISSING, MISSING, SEEN]
    assert [at(frame, 1) for frame in (29, 30, 39, 40)] == [SEEN, MISSING, MISSING, SEEN]
    assert [at(55, 4), at(45, 5), at(20, 6)] == [MARKED] * 3


def test_a_single_frame_shows_in_a_long_clip(people: FoundPeople) -> None:
    repeats = 200
    report = report_people(people, (640, 360), Fraction(20), None)
    frames = tuple(dataclasses.replace(report.frames[0], frame=frame) for frame in range(NUM_FRAMES * repeats))
    long = dataclasses.replace(report, frames=frames, missing_person=((6000, 6000),), num_frames=len(frames))
    picture = draw_timeline(long)
    row = [picture.getpixel((x, 79)) for x in range(150, 1176)]
    assert row.count(MISSING) == 1
    assert row.index(MISSING) == 513
