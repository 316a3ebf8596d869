"""People are told apart and known again, from boxes and colours alone; nothing here is read by a network."""

from __future__ import annotations

import numpy as np
import pytest

from animate_pipelines.errors import InvalidField, NoPersonFound
from animate_pipelines.person import PersonAt, read_person
from animate_pipelines.preprocess.choice import choose_person, real_people
from animate_pipelines.preprocess.sightings import Sighting, one_a_person
from animate_pipelines.preprocess.tracks import Track, link_tracks

SIZE, FPS = (640, 360), 20.0
RED, BLUE, GREEN = 0, 21, 42


def sighting(frame: int, x: float, colour: int, *, width: float = 80, score: float = 0.9) -> Sighting:
    look = np.zeros((2, 64))
    look[:, colour] = 1.0
    box = np.array([x - width / 2, 60.0, x + width / 2, 300.0, score])
    return Sighting(frame=frame, box=box, look=look)


def colours(tracks: list[Track]) -> list[tuple[int, list[int]]]:
    """Of each track: its colour, and its frames."""
    return [(int(track.look[0].argmax()), [s.frame for s in track.sightings]) for track in tracks]


def test_two_who_cross_stay_who_they_are() -> None:
    frames = []
    for frame in range(60):
        pair = [sighting(frame, 100 + 7 * frame, RED), sighting(frame, 520 - 7 * frame, BLUE)]
        hidden = 28 <= frame <= 32  # the one behind is not detected
        frames.append(pair[:1] if hidden else pair)
    tracks = link_tracks(frames, [], FPS)
    assert colours(tracks) == [(RED, list(range(60))), (BLUE, [*range(28), *range(33, 60)])]


def test_who_comes_back_after_a_minute_elsewhere_is_the_same_person() -> None:
    frames = [[sighting(frame, 100, RED), sighting(frame, 400, BLUE)] for frame in range(20)]
    frames += [[sighting(frame, 400, BLUE)] for frame in range(20, 1200)]
    frames += [[sighting(frame, 550, RED), sighting(frame, 400, BLUE)] for frame in range(1200, 1220)]
    tracks = link_tracks(frames, [], FPS)
    assert [(colour, len(seen)) for colour, seen in colours(tracks)] == [(RED, 40), (BLUE, 1220)]


def test_someone_else_who_comes_to_the_same_place_is_someone_else() -> None:
    frames = [[sighting(frame, 300, RED if frame < 20 else GREEN)] for frame in [*range(20), *range(40, 60)]]
    assert colours(link_tracks(frames, [], FPS)) == [(RED, list(range(20))), (GREEN, list(range(40, 60)))]


def test_people_dressed_alike_are_told_apart_by_place() -> None:
    frames = [[sighting(frame, 100, RED), sighting(frame, 500, RED)] for frame in range(20)]
    frames += [[] for _ in range(14)]
    frames += [[sighting(frame, 495, RED), sighting(frame, 110, RED)] for frame in range(34, 50)]
    for track in link_tracks(frames, [], FPS):
        assert np.ptp([s.centre[0] for s in track.sightings]) < 20


def test_places_mean_nothing_across_a_cut() -> None:
    frames = [[sighting(frame, 100, RED), sighting(frame, 500, BLUE)] for frame in range(10)]
    frames += [[sighting(frame, 100, BLUE), sighting(frame, 500, RED)] for frame in range(10, 20)]
    for _, seen in colours(link_tracks(frames, [10], FPS)):
        assert seen == list(range(20))


def test_one_person_of_several_boxes_is_the_largest_as_in_the_official_code() -> None:
    joints = np.concatenate([np.random.default_rng(0).uniform(100, 300, (17, 2)), np.ones((17, 1))], axis=1)
    boxes = [np.array([100, 100, 300, 300, 0.9]), np.array([90, 90, 310, 310, 0.5])]
    seen = [Sighting(frame=0, box=box, look=np.zeros((2, 64)), joints=joints) for box in boxes]
    assert [s.box[4] for s in one_a_person(seen)] == [0.5]
    moved = joints + np.array([300, 0, 0])
    other = Sighting(frame=0, box=np.array([400, 90, 600, 300, 0.8]), look=np.zeros((2, 64)), joints=moved)
    assert [s.box[4] for s in one_a_person([*seen, other])] == [0.9, 0.8]


@pytest.fixture
def people() -> list[Track]:
    """From the left: a thin one in the middle of the picture, a wide one, and one who comes late."""
    frames = [[sighting(frame, 320, RED), sighting(frame, 520, BLUE, width=160)] for frame in range(20)]
    frames += [[*(sighting(20 + i, 60 + i, GREEN),), sighting(20 + i, 320, RED)] for i in range(20)]
    return link_tracks(frames, [], FPS)


@pytest.mark.parametrize(
    ("asked", "index"),
    [("largest", 0), ("center", 0), (2, 1), ("3", 2), ("0.8,0.5@0.5", 1), ("0.1,0.5@1.2", 2), ("0.5,0.5@1.9", 0)],
)
def test_who_is_followed(asked: str | int, index: int, people: list[Track]) -> None:
    assert choose_person(people, read_person(asked), SIZE, FPS) == index


@pytest.mark.parametrize("asked", [4, PersonAt(x=0.1, y=0.5, time_s=0.2), PersonAt(x=0.5, y=0.99, time_s=0.2)])
def test_who_is_not_there_is_an_error_that_says_how_many_are(asked: int | PersonAt, people: list[Track]) -> None:
    with pytest.raises(NoPersonFound) as caught:
        choose_person(people, asked, SIZE, FPS)
    assert (caught.value.field, caught.value.limit) == ("person", 3)


@pytest.mark.parametrize("value", ["tallest", 0, 101, True, 1.5, "2,0.5@1", "0.5,0.5", "-1", "", None])
def test_what_is_no_person_is_refused(value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        read_person(value)
    assert caught.value.field == "person"


def test_false_alarms_are_no_people() -> None:
    steady = [sighting(frame, 300, RED) for frame in range(200)]
    faint = [sighting(frame, 500, BLUE, score=0.2) for frame in range(200)]
    frames = [[a, b] for a, b in zip(steady, faint, strict=True)]
    frames[7].append(sighting(7, 80, GREEN))
    assert colours(real_people(link_tracks(frames, [], FPS), 200)) == [(RED, list(range(200)))]
