"""The one place that runs FFmpeg: arguments that keep it on one file, and its failures as errors of ours.

Rival: ffmpeg-python and PyAV; the first starts unbounded processes, the second decodes foreign bytes in our process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

from animate_pipelines.errors import MediaError, MediaTooLarge, RequestError, ServerError
from animate_pipelines.media.child import Bounds, OnTick, Outcome, run_child
from animate_pipelines.media.container import Container
from animate_pipelines.media.limits import MediaLimits

# Two: decoding and encoding of one clip side by side, whatever the machine. More threads cost memory per frame, and
# x264 gives other bytes for another number of threads.
THREADS = 2

_TAGGED = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(error|fatal|panic)\] (.*)$")
_NO_REASON = re.compile(r"Conversion failed|Terminating thread|Task finished|Error opening input files?:?$")
_MEMORY = re.compile(r"Cannot allocate memory|malloc of size|Resource temporarily unavailable|memory allocation", re.I)
_ABORT_SIGNALS = (-6, -11)  # how programs end that do not check an allocation


def header_bounds(limits: MediaLimits) -> Bounds:
    """Return the bounds of a child that reads headers or packets and writes nothing."""
    return Bounds(memory_bytes=limits.memory_bytes, cpu_s=limits.header_cpu_s, wall_s=limits.header_wall_s)


def decode_bounds(limits: MediaLimits) -> Bounds:
    """Return the bounds of a child that decodes a whole video and writes one."""
    return Bounds(
        memory_bytes=limits.memory_bytes,
        cpu_s=limits.decode_cpu_s,
        wall_s=limits.decode_wall_s,
        file_bytes=limits.max_mezzanine_bytes,
    )


def file_url(path: Path) -> str:
    """Return a URL that FFmpeg reads as the file at `path`, whatever characters its name has."""
    return f"file:{path.resolve()}"


def input_arguments(path: Path, container: Container) -> list[str]:
    """Return the arguments that open `path` with the demuxer of its sniffed `container`, and no other file."""
    return ["-protocol_whitelist", "file,pipe", "-f", container, "-i", file_url(path)]


def run_ffmpeg(
    arguments: Sequence[str],
    bounds: Bounds,
    *,
    field: str | None,
    stdin: memoryview | None = None,
    on_tick: OnTick | None = None,
) -> Outcome:
    """Run FFmpeg to its end. Lines of stderr are tagged with their level, `[info]` and up.

    field: the request field whose bytes are read; None where all files are ours.
    Raises `MediaError` or `MediaTooLarge` on `field`, or `ServerError` where all files are ours.
    """
    program = imageio_ffmpeg.get_ffmpeg_exe()
    common = ["-hide_banner", "-loglevel", "level+info", "-nostats", "-filter_threads", "1"]
    quiet = [] if stdin is not None else ["-nostdin"]
    outcome = run_child([program, *common, *quiet, *arguments], bounds, stdin=stdin, on_tick=on_tick)
    if outcome.returncode != 0 or outcome.stopped is not None:
        raise child_error(outcome, bounds, field=field, reason=last_error(outcome.stderr))
    return outcome


def child_error(outcome: Outcome, bounds: Bounds, *, field: str | None, reason: str) -> RequestError | ServerError:
    """Return the error for a child that failed.

    reason: the child's own message.
    """
    if field is None or "No space left on device" in outcome.stderr:
        return ServerError(f"media child failed ({outcome.returncode}): {reason or outcome.stopped or 'no reason'}")
    too_much = _used_up(outcome, bounds)
    if too_much is not None:
        what, limit = too_much
        return MediaTooLarge(
            f"reading {{field}} takes more than {limit} of {what}", field=field, value=what, limit=limit
        )
    return MediaError(f"{{field}} cannot be read: {reason or 'the decoder failed'}", field=field, value=reason or None)


def last_error(stderr: str) -> str:
    """Return the last line of FFmpeg's stderr that gives a reason, without addresses and without our file names."""
    reasons = [match[2] for line in stderr.splitlines() if (match := _TAGGED.match(line.rstrip()))]
    useful = [reason for reason in reasons if not _NO_REASON.search(reason)]
    line = (useful or reasons or [""])[-1]
    return re.sub(r"file:/\S*[^\s.:]", "the file", line)[:300]


def _used_up(outcome: Outcome, bounds: Bounds) -> tuple[str, str] | None:
    memory = "memory", f"{bounds.memory_bytes} bytes"
    if outcome.stopped == "wall":
        return "time", f"{bounds.wall_s:g} s"
    if outcome.stopped == "cpu" or "received signal 24" in outcome.stderr:  # FFmpeg ends in order on SIGXCPU
        return "processor time", f"{bounds.cpu_s} s"
    if outcome.stopped == "stdout":
        return "description", f"{bounds.stdout_bytes} bytes"
    if "File too large" in outcome.stderr or outcome.returncode == -25:  # SIGXFSZ
        return "disk", f"{bounds.file_bytes} bytes"
    if _MEMORY.search(outcome.stderr) or outcome.returncode in _ABORT_SIGNALS:
        return memory
    return None
