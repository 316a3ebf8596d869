"""The times of a stream's packets, and the constant rate that they amount to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from animate_pipelines.errors import MediaError

# Rates that cameras and editors use; a measured rate this close to one is that one.
_STANDARD = sorted(
    {Fraction(n) for n in (*range(1, 31), 48, 50, 60, 72, 90, 96, 100, 120)}
    | {Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)}
    | {Fraction(25, 2), Fraction(15000, 1001)}
)
# A frame this far (in frames) from where a constant rate would put it is still that frame: the times of a container
# are rounded to its clock (1 ms in Matroska, 0.12 frames at 120 fps), and below 0.5 no frame can take another's place.
_MAX_JITTER = Fraction(3, 10)
_ANY_RATE = Fraction(25)  # of a single frame that does not say how long it lasts
_DISCARD = 4  # AV_PKT_FLAG_DISCARD: decoded for the sake of others, hidden by an edit list


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """One stream's packets, in order of time.

    tick_s: the seconds of a tick.
    times: of presentation, in ticks.
    durations: in ticks.
    """

    tick_s: Fraction
    times: tuple[int, ...]
    durations: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The rate of a video stream.

    fps: the rate to resample to, which changes nothing for a constant rate that is not too fast.
    stored_fps: the rate of the packets, or for a variable one that of most of them.
    mean_fps: the number of frames over the duration.
    """

    fps: Fraction
    stored_fps: Fraction
    mean_fps: Fraction
    is_variable: bool
    num_frames: int
    start_s: Fraction
    duration_s: Fraction


def ticks_per_second(fps: Fraction) -> int:
    """Return a clock for MP4 in which a frame lasts a whole number of ticks, and a second at least 10 000."""
    return fps.numerator * -(-10_000 // fps.numerator)


def packets_of(text: str, stream: int) -> Packets:
    """Read the visible packets of output `stream` from the text of FFmpeg's framecrc muxer."""
    tick_s, rows = Fraction(1), []
    for line in text.splitlines():
        if line.startswith(f"#tb {stream}:"):
            tick_s = Fraction(line.partition(":")[2].strip())
        elif line.startswith(f"{stream},"):
            _, _, time, duration, _, _, *more = line.split(",")
            if not any(int(part[3:], 16) & _DISCARD for part in more if part.startswith(" F=")):
                rows.append((int(time), int(duration)))
    rows.sort()
    return Packets(tick_s=tick_s, times=tuple(row[0] for row in rows), durations=tuple(row[1] for row in rows))


def timing_of(packets: Packets, max_fps: int, *, stated_fps: float | None, field: str) -> Timing:
    """Return the rate of `packets`.

    max_fps: the most that is used; faster ones are resampled, see `slower_rate`.
    stated_fps: the header's rate, rounded; it decides between rates that a short clip cannot tell apart.
    Raises `MediaError` on `field` when there is no packet.
    """
    if not packets.times:
        raise MediaError("{field} has no frames", field=field, value=0)
    steps = sorted(after - before for before, after in pairwise(packets.times))
    median = steps[len(steps) // 2] if steps else packets.durations[0]
    last = packets.durations[-1] or median or 1
    duration_s = (packets.times[-1] - packets.times[0] + last) * packets.tick_s
    mean = len(packets.times) / duration_s
    constant = _constant_rate(packets, stated_fps)
    stored = constant or _nominal_rate(mean, median * packets.tick_s)
    return Timing(
        fps=slower_rate(stored, max_fps),
        stored_fps=stored,
        mean_fps=mean,
        is_variable=constant is None,
        num_frames=len(packets.times),
        start_s=packets.times[0] * packets.tick_s,
        duration_s=len(packets.times) / constant if constant else duration_s,
    )


def slower_rate(fps: Fraction, max_fps: int) -> Fraction:
    """Return a rate of at most `max_fps`: the same, or every second, third, ... frame of it.

    A camera's 120.1 or 240.3 is taken for the round rate that it means, so that it is not halved once too often.
    """
    every = math.ceil(fps / (max_fps * Fraction(101, 100)))
    return min(fps / every, Fraction(max_fps))


def _constant_rate(packets: Packets, stated_fps: float | None) -> Fraction | None:
    """Return the constant rate that would put every packet at its place, or None."""
    measured = _least_squares_rate(packets)
    candidates = [rate for rate in _STANDARD if abs(rate / measured - 1) < Fraction(1, 50)]
    candidates.sort(key=lambda rate: (stated_fps is None or abs(rate - stated_fps) > 0.006, abs(rate - measured)))
    for rate in (*candidates, _short(measured)):
        if _fits(packets, rate):
            return rate
    return None


def _least_squares_rate(packets: Packets) -> Fraction:
    """Return the slope of frame numbers over times; unlike last minus first, it is not moved by jitter at the ends."""
    n, times = len(packets.times), packets.times
    numbers, squares = n * (n - 1) // 2, (n - 1) * n * (2 * n - 1) // 6
    step = n * sum(i * time for i, time in enumerate(times)) - numbers * sum(times)
    if step <= 0:
        return 1 / (packets.durations[0] * packets.tick_s) if packets.durations[0] else _ANY_RATE
    return Fraction(n * squares - numbers**2, step) / packets.tick_s


def _fits(packets: Packets, rate: Fraction) -> bool:
    # Whole numbers only: a ten-minute clip has 72 000 packets at most, and fractions are slow.
    per_tick = packets.tick_s * rate
    over, under = per_tick.numerator, per_tick.denominator
    slack = under * _MAX_JITTER
    first = packets.times[0]
    return all(abs((time - first) * over - i * under) <= slack for i, time in enumerate(packets.times))


def _nominal_rate(mean: Fraction, step_s: Fraction) -> Fraction:
    """Return a rate for a variable one: that of most of its frames, unless a quarter of those are missing."""
    usual = _nearest_standard(1 / step_s) if step_s else mean
    if Fraction(3, 4) <= mean / usual <= Fraction(5, 4):
        return usual
    return _nearest_standard(mean)


def _nearest_standard(rate: Fraction) -> Fraction:
    nearest = min(_STANDARD, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest / rate - 1) < Fraction(1, 20) else _short(rate)


def _short(rate: Fraction) -> Fraction:
    return max(rate.limit_denominator(1001), Fraction(1, 1001))
