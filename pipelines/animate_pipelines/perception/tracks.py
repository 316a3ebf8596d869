"""Links the sightings of single frames into people: who is who through the whole clip, however long somebody was away.

First stretches in which a person can surely be followed from frame to frame, by posture, place and colours, cheapest
pairs first. Where people are in each other's way a stretch ends rather than pass to another person. Then stretches of
the same colours become one person's, where nobody would be in two places at once, or faster than people are; sightings
that look more like somebody else are taken out. At a cut every stretch ends, because places mean nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise

import numpy as np

from animate_pipelines.perception.sightings import Sighting, box_overlap, colour_distance, posture_similarity

_PLACE_S = 0.5  # after a person's last sighting, for which its place tells where to look
_MAX_STEP, _IN_STEP = 0.6, 0.3  # of a box's mean side: from the expected place, and from the last one
_MAX_SPEED = 3.0  # such sides a second, by which the reach grows without a sighting
_COLOURS_WEIGHT = 1.5
_GOES_ON, SAME_COLOURS = 0.8, 0.35  # largest distances of colours: at the expected place, and anywhere
_SAME_POSTURE = 0.3  # least similarity to the expected one
_IN_PLACE = 0.5  # overlap from which on nobody is too strange: light and posture change colours
_COLOURS_RATE = 0.1  # share of new colours in a track's colours
_VELOCITY_S = 0.25
_KNOWN, _CLEARLY = 5, 0.1  # sightings from which on a look is known; by so much nearer is clearly somebody else
_MOST_ODD = 0.15  # share of the shorter of two tracks that may be left out for them to be one person's; or one sighting
_MAX_PLACE = 0.3  # what a far place adds to the distance of two stretches' colours, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One person's sightings.

    sightings: in order of time.
    colours: the person's, `2 64`.
    """

    sightings: tuple[Sighting, ...]
    colours: np.ndarray


class _Stretch:
    """A track that is still growing."""

    def __init__(self, first: Sighting) -> None:
        self.sightings = [first]
        self.colours = first.colours

    def add(self, sighting: Sighting) -> None:
        self.sightings.append(sighting)
        self.colours = (1 - _COLOURS_RATE) * self.colours + _COLOURS_RATE * sighting.colours

    def expected(self, frame: int, fps: float) -> Sighting:
        """Return the last sighting, moved to where the person should be by `frame`."""
        last = self.sightings[-1]
        recent = [s for s in self.sightings[-9:] if last.frame - s.frame <= _VELOCITY_S * fps]
        elapsed = max(last.frame - recent[0].frame, 1)
        return last.moved((last.centre - recent[0].centre) / elapsed * (frame - last.frame))


def link_tracks(frames: Iterable[Sequence[Sighting]], cuts: Collection[int], fps: float) -> list[Track]:
    """Return all tracks, in the order in which they begin, and from left to right.

    frames: the sightings of one frame each, without doubles.
    cuts: frames before which the scene changes.
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
    stretches = [_track(stretch.sightings) for stretch in ended + going]
    alike = _join(stretches, partial(_strangeness, fps=fps), cuts, fps)
    alike = _join(_without_strangers(alike), partial(_strangeness, fps=fps), cuts, fps)
    tracks = _join(alike, partial(_break, everybody=alike, cuts=cuts, fps=fps), cuts, fps)
    return sorted(tracks, key=lambda track: (track.sightings[0].frame, track.sightings[0].centre[0]))


def _is_over(last: int, frame: int, cuts: Collection[int], fps: float) -> bool:
    return (frame - last) / fps > _PLACE_S or _parted(last, frame, cuts)


def _parted(before: int, after: int, cuts: Collection[int]) -> bool:
    return any(before < cut <= after for cut in cuts)


def _match(stretches: Sequence[_Stretch], sightings: Sequence[Sighting], fps: float) -> dict[int, int]:
    """Match sightings to stretches, cheapest pairs first; returns sighting index to stretch index."""
    expected = [stretch.expected(sightings[0].frame, fps) for stretch in stretches]
    costs = [
        (cost, i, j)
        for i, sighting in enumerate(sightings)
        for j, stretch in enumerate(stretches)
        if (cost := _cost(expected[j], stretch.colours, sighting)) is not None
    ]
    matched: dict[int, int] = {}
    for _, i, j in sorted(costs):
        if i not in matched and j not in matched.values():
            matched[i] = j
    return matched


def _cost(expected: Sighting, colours: np.ndarray, sighting: Sighting) -> float | None:
    """Return the cost of taking the sighting for the expected one; None where that cannot be.

    Known joints mean that there are several people: nobody is taken for somebody else who is in front.
    """
    strange, posture = colour_distance(colours, sighting.colours), posture_similarity(expected, sighting)
    overlap = box_overlap(expected.box, sighting.box)
    if posture is not None:
        refused = strange > SAME_COLOURS or posture < _SAME_POSTURE
    else:
        refused = strange > _GOES_ON and overlap < _IN_PLACE
    if refused or _steps(expected, sighting) > _MAX_STEP:
        return None
    return 1 - (overlap if posture is None else posture) + _COLOURS_WEIGHT * strange


def _steps(a: Sighting, b: Sighting) -> float:
    """Return the distance between two sightings' middles, in mean sides of the first one's box."""
    return float(np.hypot(*(a.centre - b.centre)) / np.sqrt(max(a.area, 1.0)))


def _track(sightings: Iterable[Sighting]) -> Track:
    ordered = sorted(sightings, key=lambda s: s.frame)
    return Track(sightings=tuple(ordered), colours=np.mean([s.colours for s in ordered], axis=0))


def _join(
    stretches: Sequence[Track], distance: Callable[[Track, Track], float | None], cuts: Collection[int], fps: float
) -> list[Track]:
    """Join the tracks that are near and can be one person, the nearest first.

    distance: returns None for tracks that are not near.
    """
    groups, loose = dict(enumerate(stretches)), list[Sighting]()
    group_of = list(range(len(stretches)))
    pairs = [
        (apart, i, j)
        for i, j in combinations(range(len(stretches)), 2)
        if (apart := distance(stretches[i], stretches[j])) is not None
    ]
    for _, i, j in sorted(pairs):
        a, b = group_of[i], group_of[j]
        if a == b or distance(groups[a], groups[b]) is None:
            continue
        whole = _track(groups[a].sightings + groups[b].sightings)
        kept, odd = _possible(whole, cuts, fps)
        shorter = min(len(groups[a].sightings), len(groups[b].sightings))
        if len(odd) > max(_MOST_ODD * shorter, 1) or len(odd) > shorter / 2:
            continue
        groups[a] = _track(kept)
        loose += odd
        del groups[b]
        group_of = [a if group == b else group for group in group_of]
    return [*groups.values(), *(_track([sighting]) for sighting in loose)]


def _without_strangers(tracks: Sequence[Track]) -> list[Track]:
    """Move sightings that look more like somebody else into tracks of their own.

    They are of somebody who came into the way unnoticed.
    """
    if not tracks:
        return []
    colours = np.array([track.colours for track in tracks]).reshape(len(tracks), -1)
    unknown = np.array([2.0 if len(track.sightings) < _KNOWN else 0.0 for track in tracks])  # more than any distance
    parts: dict[tuple[int, int], list[Sighting]] = {}
    for own, track in enumerate(tracks):
        for sighting in track.sightings:
            distances = 1 - colours @ sighting.colours.ravel() / 2 + unknown
            distances[own] = colour_distance(track.colours, sighting.colours) - _CLEARLY
            parts.setdefault((own, int(distances.argmin())), []).append(sighting)
    return [_track(sightings) for sightings in parts.values()]


def _break(a: Track, b: Track, *, everybody: Sequence[Track], cuts: Collection[int], fps: float) -> float | None:
    """Return the longest pause, in seconds, between one track and another that goes on in its place.

    Returns None where it does not go on there, and where one of them looks like somebody else.
    """
    if _pause_s(a, b, fps) > _PLACE_S:
        return None
    owned = sorted([(s.frame, 0, s) for s in a.sightings] + [(s.frame, 1, s) for s in b.sightings], key=lambda o: o[:2])
    seams = [(x, y) for (_, of_x, x), (_, of_y, y) in pairwise(owned) if of_x != of_y]
    away_s = max((y.frame - x.frame) / fps for x, y in seams)
    in_place = all(_steps(x, y) <= _IN_STEP and not _parted(x.frame, y.frame, cuts) for x, y in seams)
    if away_s > _PLACE_S or not in_place:
        return None
    own_ids = {id(sighting) for sighting in a.sightings + b.sightings}
    others = [track for track in everybody if id(track.sightings[0]) not in own_ids]
    like_others = any(
        colour_distance(track.colours, other.colours) <= SAME_COLOURS for track in (a, b) for other in others
    )
    return None if like_others else away_s


def _pause_s(a: Track, b: Track, fps: float) -> float:
    """Return the seconds from the earlier track's end to the later one's beginning; negative where they overlap."""
    return (max(a.sightings[0].frame, b.sightings[0].frame) - min(a.sightings[-1].frame, b.sightings[-1].frame)) / fps


def _strangeness(a: Track, b: Track, *, fps: float) -> float | None:
    """Return how unlike two stretches are, or None for different people.

    Among people dressed alike the place decides, less the longer nobody was visible.
    """
    before, after = sorted((a, b), key=lambda track: track.sightings[0].frame)
    distance = colour_distance(a.colours, b.colours)
    if distance > SAME_COLOURS:
        return None
    away_s = max(after.sightings[0].frame - before.sightings[-1].frame, 0) / fps
    step = min(_steps(before.sightings[-1], after.sightings[0]), 1.0)
    return distance + _MAX_PLACE * step * float(np.exp(-away_s / _PLACE_S))


def _possible(track: Track, cuts: Collection[int], fps: float) -> tuple[list[Sighting], list[Sighting]]:
    """Split a track into the sightings that one person can have, and the rest: of each two the less alike.

    Nobody is in a frame twice, or in a place that is too far to reach in the time.
    """

    def follows(a: Sighting, b: Sighting) -> bool:
        if _parted(a.frame, b.frame, cuts):
            return True
        return a.frame < b.frame and _steps(a, b) <= _MAX_STEP + _MAX_SPEED * (b.frame - a.frame) / fps

    kept, odd = list[Sighting](), list[Sighting]()
    for sighting in track.sightings:
        strange = colour_distance(track.colours, sighting.colours)
        while kept and not follows(kept[-1], sighting) and colour_distance(track.colours, kept[-1].colours) > strange:
            odd.append(kept.pop())
        (odd if kept and not follows(kept[-1], sighting) else kept).append(sighting)
    return kept, odd
