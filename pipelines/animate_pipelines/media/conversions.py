"""Says what reading a video changes or leaves out, for the result's warnings."""

from __future__ import annotations

from collections.abc import Iterator

from animate_pipelines.media.video_info import WIDE_PRIMARIES, VideoInfo


def describe_conversions(info: VideoInfo, *, wants_sound: bool) -> Iterator[str]:
    """Yield a sentence for each conversion that reading this video takes.

    wants_sound: whether its sound is taken too.
    """
    if info.missing_frames:
        yield (
            f"the first {info.missing_frames} frames of the driving video cannot be decoded (it was cut between key "
            "frames): the first one that can be stands in their place"
        )
    if info.stored_fps > info.fps:
        yield f"the driving video has {float(info.stored_fps):g} frames a second: {float(info.fps):g} were taken"
    if info.is_interlaced:
        yield "the driving video is interlaced: it was deinterlaced"
    if info.is_hdr:
        yield f"the driving video is HDR ({info.transfer}): it was mapped to SDR"
    if info.is_wide:
        yield f"the driving video has {WIDE_PRIMARIES[str(info.primaries)]} colours: they were converted to BT.709"
    if wants_sound:
        yield from _describe_track(info)


def _describe_track(info: VideoInfo) -> Iterator[str]:
    if info.audio is None:
        if info.tracks:
            yield f"no audio track of the driving video can be decoded ({', '.join(info.tracks)}): the result is silent"
    elif not info.audio.is_preferred:
        taken = f"another one ({info.audio.codec}) was taken"
        yield f"the driving video's audio track ({info.tracks[0]}) cannot be decoded: {taken}"
    elif len(info.tracks) > 1:
        yield f"the driving video has {len(info.tracks)} audio tracks: the default one was taken"
