"""People are told apart and known again, from boxes and colours alone; nothing here is read by a network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from animate_pipelines.errors import InvalidField, NoPersonFound
from animate_pipelines.perception.choice import choose_person, real_people
from animate_pipelines.perception.hidden import hidden_boxes, is_person, misread
from animate_pipelines.perception.sightings import Sighting, one_a_person, posture_similarity
from animate_pipelines.perception.tracks import Track, link_tracks
from animate_pipelines.request.person import PersonAt, read_person

SIZE, FPS = (640, 360), 20.0
RED, BLUE, GREEN = 0, 21, 42


def sighting(frame: int, x: float, colour: int, *, width: float = 80, score: float = 0.9) -> Sighting:
    colours = np.zeros((2, 64))
    colours[:, colour] = 1.0
    box = np.array([x - width / 2, 60.0, x + width / 2, 300.0, score])
    return Sighting(frame=frame, box=box, colours=colours)


def standing(frame: int, x: float, colour: int, *, raised: float = 0.0) -> Sighting:
    """With joints, as in frames with several people; `raised` bends all of them to the side, in pixels."""
    seen = sighting(frame, x, colour)
    side = np.where(np.arange(17) % 2, 1.0, -1.0) * 20
    heights = np.linspace(70, 290, 17)
    joints = np.stack([x + side + raised * np.linspace(0, 1, 17), heights, np.ones(17)], axis=1)
    return replace(seen, joints=joints)


def in_both(seen: Sighting, red: float) -> Sighting:
    """The same in green clothes of which the share `red` is red."""
    colours = np.zeros((2, 64))
    colours[:, RED], colours[:, GREEN] = np.sqrt(red), np.sqrt(1 - red)
    return replace(seen, colours=colours)


def colours(tracks: list[Track]) -> list[tuple[int, list[int]]]:
    """Of each track: its colour, and its frames."""
    return [(int(track.colours[0].argmax()), [s.frame for s in track.sightings]) for track in tracks]


def test_two_who_cross_stay_who_they_are() -> None:
    frames = []
    for frame in range(60):
        pair = [sighting(frame, 100 + 7 * frame, RED), sighting(frame, 520 - 7 * frame, BLUE)]
        hidden = 28 <= frame <= 32  # the one behind is not detected
        frames.append(pair[:1] if hidden else pair)
    tracks = link_tracks(frames, [], FPS)
    assert colours(tracks) == [(RED, list(range(60))), (BLUE, [*range(28), *range(33, 60)])]


def test_who_steps_in_front_of_somebody_is_not_taken_for_them() -> None:
    frames = [[standing(frame, 300, RED)] for frame in range(20)]
    # One box around both, read as the nearer one.
    frames += [[standing(frame, 300 + 8 * (frame - 20), GREEN)] for frame in range(20, 30)]
    frames += [[standing(frame, 300, RED), standing(frame, 380, GREEN)] for frame in range(30, 50)]
    tracks = colours(link_tracks(frames, [], FPS))
    assert tracks == [(RED, [*range(20), *range(30, 50)]), (GREEN, list(range(20, 50)))]


def test_who_turns_round_in_place_is_the_same_person() -> None:
    frames = [[standing(frame, 300, RED), standing(frame, 500, BLUE)] for frame in range(20)]
    frames += [[standing(frame, 300, GREEN), standing(frame, 500, BLUE)] for frame in range(20, 40)]
    assert [seen for _, seen in colours(link_tracks(frames, [], FPS))] == [list(range(40))] * 2


def test_who_steps_in_front_in_similar_colours_is_somebody_else() -> None:
    frames = [[standing(frame, 300, RED)] for frame in range(20)]
    frames += [[in_both(standing(frame, 300 + 6 * (frame - 20), RED), 0.25)] for frame in range(20, 30)]
    frames += [
        [standing(frame, 300, RED), in_both(standing(frame, 300 + 6 * (frame - 20), RED), 0.25)]
        for frame in range(30, 45)
    ]
    tracks = [[s.frame for s in track.sightings] for track in link_tracks(frames, [], FPS)]
    assert tracks == [[*range(20), *range(30, 45)], list(range(20, 45))]


def test_what_looks_more_like_somebody_else_is_taken_out_of_a_track() -> None:
    frames = [[standing(frame, 300, RED), in_both(standing(frame, 380, RED), 0.5)] for frame in range(20)]
    frames += [[in_both(standing(frame, 300, RED), 0.5)] for frame in range(20, 25)]
    frames += [[standing(frame, 300, RED), in_both(standing(frame, 380, RED), 0.5)] for frame in range(25, 45)]
    tracks = [[s.frame for s in track.sightings] for track in link_tracks(frames, [], FPS)]
    assert tracks == [[*range(20), *range(25, 45)], list(range(45))]  # from left to right


def test_a_moment_of_two_boxes_does_not_part_a_person() -> None:
    frames = [[standing(frame, 300, RED)] for frame in range(28)]
    frames += [[standing(frame, 300, RED), standing(frame, 380, RED)] for frame in (28, 29)]
    frames += [[standing(frame, 380, RED)] for frame in range(30, 60)]
    tracks = [{s.frame for s in track.sightings} for track in link_tracks(frames, [], FPS)]
    assert set(range(60)) in tracks


def test_a_person_in_two_boxes_shortly_before_the_end_is_followed_to_it() -> None:
    frames = [[standing(frame, 300, RED)] for frame in range(40)]
    frames += [[standing(40, 290, RED), standing(40, 310, RED)]]
    frames += [[standing(frame, 310, RED)] for frame in range(41, 46)]
    tracks = link_tracks([*frames], [], FPS)
    assert max(colours(tracks), key=lambda track: len(track[1])) == (RED, list(range(46)))


def test_nobody_is_where_they_could_not_have_come_to() -> None:
    frames = [[standing(frame, 100, RED), standing(frame, 400, BLUE)] for frame in range(20)]
    frames += [[standing(frame, 560, RED), standing(frame, 400, BLUE)] for frame in range(21, 40)]
    assert [len(seen) for _, seen in colours(link_tracks(frames, [], FPS))] == [20, 39, 19]


def test_left_and_right_may_be_mistaken() -> None:
    seen = standing(0, 300, RED)
    assert seen.joints is not None
    mirrored = replace(seen, joints=seen.joints[[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]])
    assert posture_similarity(seen, mirrored) == pytest.approx(1.0)
    apart = posture_similarity(seen, standing(0, 360, RED))
    assert apart is not None
    assert apart < 0.3


def test_who_is_behind_somebody_is_looked_for_between() -> None:
    seen = [standing(frame, 100 + 10 * frame, RED) for frame in (*range(10), *range(16, 26))]
    (followed,) = link_tracks([[s] for s in seen], [], FPS)
    others = {frame: [standing(frame, 230, BLUE)] for frame in range(10, 14)}
    boxes = hidden_boxes(followed, others, [], FPS)
    assert sorted(boxes) == [10, 11, 12, 13]
    np.testing.assert_allclose(boxes[12][:4], standing(12, 220, RED).box[:4])
    assert hidden_boxes(followed, others, [12], FPS) == {}  # nobody is behind anybody across a cut
    nearly = standing(12, 222, RED)
    assert nearly.joints is not None
    assert is_person(nearly, nearly.joints, followed)
    assert not is_person(replace(nearly, colours=standing(12, 222, BLUE).colours), nearly.joints, followed)
    assert not is_person(nearly, nearly.joints + np.array([60.0, 0, 0]), followed)


def test_a_mixture_of_two_people_is_misread() -> None:
    readings = {frame: standing(frame, 100 + 2 * frame, RED) for frame in range(20)}
    readings[9] = standing(9, 160, RED)
    others = {frame: [standing(frame, 170, BLUE)] for frame in (8, 9)}
    assert misread(readings, others, [], FPS) == {9}
    assert misread(readings, {}, [], FPS) == set()


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
    seen = [Sighting(frame=0, box=box, colours=np.zeros((2, 64)), joints=joints) for box in boxes]
    assert [s.box[4] for s in one_a_person(seen)] == [0.5]
    moved = joints + np.array([300, 0, 0])
    other = Sighting(frame=0, box=np.array([400, 90, 600, 300, 0.8]), colours=np.zeros((2, 64)), joints=moved)
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


def test_a_stray_box_at_the_point_is_not_who_was_pointed_at(people: list[Track]) -> None:
    followed = people[0]
    at = next(s for s in followed.sightings if s.frame == 10)
    stray = replace(followed, sightings=(at, replace(at, frame=39)))
    whole = replace(followed, sightings=tuple(s for s in followed.sightings if s is not at))
    point = PersonAt(x=float(at.centre[0]) / SIZE[0], y=float(at.centre[1]) / SIZE[1], time_s=10 / FPS)
    assert choose_person([stray, whole], point, SIZE, FPS) == 1
    assert choose_person([stray], point, SIZE, FPS) == 0


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
