"""Links what is seen in single frames into people: who is who through the whole clip, however long somebody was away.

First stretches in which a person can be followed from frame to frame, by posture, place and colours, cheapest pairs
first; then stretches of the same colours that are never seen together are one person's. At a cut every stretch ends,
because places mean nothing there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from animate_pipelines.preprocess.sightings import Sighting, box_overlap, look_distance, posture_similarity

_PLACE_S = 0.5  # for so long after a person was last seen does its place tell where to look
_MAX_STEP = 0.6  # of a box's mean side, from the expected place
_LOOK_WEIGHT = 1.5
_GOES_ON, _SAME_LOOK = 0.8, 0.35  # largest distances of looks: at the expected place, and anywhere
_IN_PLACE = 0.5  # overlap from which on nobody is too strange: light and posture change looks
_LOOK_RATE = 0.1  # share of a new look in what is remembered
_VELOCITY_S = 0.25
_MAX_PLACE = 0.3  # what a far place adds to the distance of two stretches' looks, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One person's sightings, in order of time, and what the person looks like (`2 64`)."""

    sightings: tuple[Sighting, ...]
    look: np.ndarray


class _Stretch:
    """A track that is still growing."""

    def __init__(self, first: Sighting) -> None:
        self.sightings = [first]
        self.look = first.look

    def add(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self.look = (1 - _LOOK_RATE) * self.look + _LOOK_RATE * sighting.look

    def expected(self, frame: int, fps: float) -> Sighting:
        """The last sighting, moved to where the person should be by then."""
        last = self.sightings[-1]
        recent = [s for s in self.sightings[-9:] if last.frame - s.frame <= _VELOCITY_S * fps]
        elapsed = max(last.frame - recent[0].frame, 1)
        return last.moved((last.centre - recent[0].centre) / elapsed * (frame - last.frame))


def link_tracks(frames: Iterable[Sequence[Sighting]], cuts: Collection[int], fps: float) -> list[Track]:
    """All tracks, in the order in which they begin, and from left to right.

    frames: the sightings of one frame each, without doubles. cuts: frames before which the scene changes.
    """
    ended: list[_Stretch] = []
    going: list[_Stretch] = []
    for sightings in frames:
        if not sightings:
            continue
        frame = sightings[0].frame
        lost = [s for s in going if _is_over(s.sightings[-1].frame, frame, cuts, fps)]
        ended += lost
        going = [s for s in going if s not in lost]
        matched = _match(going, sightings, fps)
        for index, sighting in enumerate(sightings):
            if index in matched:
                going[matched[index]].add(sighting)
            else:
                going.append(_Stretch(sighting))
    tracks = _join([_track(stretch.sightings) for stretch in ended + going], fps)
    return sorted(tracks, key=lambda track: (track.sightings[0].frame, track.sightings[0].centre[0]))


def _is_over(last: int, frame: int, cuts: Collection[int], fps: float) -> bool:
    return (frame - last) / fps > _PLACE_S or any(last < cut <= frame for cut in cuts)


def _match(stretches: Sequence[_Stretch], sightings: Sequence[Sighting], fps: float) -> dict[int, int]:
    """Sighting index to stretch index, cheapest pairs first."""
    expected = [stretch.expected(sightings[0].frame, fps) for stretch in stretches]
    costs = [
        (cost, i, j)
        for i, sighting in enumerate(sightings)
        for j, stretch in enumerate(stretches)
        if (cost := _cost(expected[j], stretch.look, sighting)) is not None
    ]
    matched: dict[int, int] = {}
    for _, i, j in sorted(costs):
        if i not in matched and j not in matched.values():
            matched[i] = j
    return matched


def _cost(expected: Sighting, look: np.ndarray, sighting: Sighting) -> float | None:
    """Of taking the sighting for the expected one; None where that cannot be."""
    strange = look_distance(look, sighting.look)
    overlap = box_overlap(expected.box, sighting.box)
    if (strange > _GOES_ON and overlap < _IN_PLACE) or _steps(expected, sighting) > _MAX_STEP:
        return None
    posture = posture_similarity(expected, sighting)
    alike = overlap if posture is None else posture
    return 1 - alike + _LOOK_WEIGHT * strange


def _steps(a: Sighting, b: Sighting) -> float:
    """The way between two sightings' middles, in mean sides of the first one's box."""
    return float(np.hypot(*(a.centre - b.centre)) / np.sqrt(max(a.area, 1.0)))


def _track(sightings: Iterable[Sighting]) -> Track:
    ordered = sorted(sightings, key=lambda s: s.frame)
    return Track(sightings=tuple(ordered), look=np.mean([s.look for s in ordered], axis=0))


def _join(stretches: Sequence[Track], fps: float) -> list[Track]:
    """Put together what looks alike and is never seen at the same time, the most alike first."""
    groups = {index: (stretch, {s.frame for s in stretch.sightings}) for index, stretch in enumerate(stretches)}
    group_of = list(range(len(stretches)))
    pairs = [
        (distance, i, j)
        for i, j in combinations(range(len(stretches)), 2)
        if (distance := _strangeness(stretches[i], stretches[j], fps)) is not None
    ]
    for _, i, j in sorted(pairs):
        a, b = group_of[i], group_of[j]
        if a == b or groups[a][1] & groups[b][1] or look_distance(groups[a][0].look, groups[b][0].look) > _SAME_LOOK:
            continue
        groups[a] = _track(groups[a][0].sightings + groups[b][0].sightings), groups[a][1] | groups[b][1]
        del groups[b]
        group_of = [a if group == b else group for group in group_of]
    return [track for track, _ in groups.values()]


def _strangeness(a: Track, b: Track, fps: float) -> float | None:
    """How unlike two stretches are; among people dressed alike the place decides, less the longer nobody was seen."""
    before, after = sorted((a, b), key=lambda track: track.sightings[0].frame)
    distance = look_distance(a.look, b.look)
    if distance > _SAME_LOOK:
        return None
    away_s = max(after.sightings[0].frame - before.sightings[-1].frame, 0) / fps
    step = min(_steps(before.sightings[-1], after.sightings[0]), 1.0)
    return distance + _MAX_PLACE * step * float(np.exp(-away_s / _PLACE_S))
