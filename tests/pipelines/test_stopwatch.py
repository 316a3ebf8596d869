"""What the stopwatch counts."""

from __future__ import annotations

from animate_pipelines.progress.stopwatch import Stopwatch


def test_a_part_inside_another_is_not_counted_in_it() -> None:
    now = [0.0]
    watch = Stopwatch(("outer", "inner", "never"), clock=lambda: now[0])
    with watch("outer"):
        now[0] += 1
        with watch("inner"):
            now[0] += 2
        now[0] += 4
        with watch("inner"):
            now[0] += 8
    with watch("inner"):
        now[0] += 16
    assert watch.seconds == {"outer": 5, "inner": 26, "never": 0}
