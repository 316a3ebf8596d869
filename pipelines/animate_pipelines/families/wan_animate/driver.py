"""`Driver`: the driving video of one job, looked through once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from animate_pipelines.families.wan_animate.conditioning import Conditioning
from animate_pipelines.families.wan_animate.masking import find_masks
from animate_pipelines.families.wan_animate.report import write_report
from animate_pipelines.job.cache import cache_key
from animate_pipelines.job.given_masks import given_masks
from animate_pipelines.job.keys import found_by
from animate_pipelines.job.performance import PerformanceNotes
from animate_pipelines.job.plan import RenderPlan, plan_warnings
from animate_pipelines.job.reference import Reference
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.conversions import describe_conversions
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.perception.detection_report import ReportFiles
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.following import Following, check_followed, find_driver
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.given import MaskVideo
from animate_pipelines.perception.keypoint_track import read_track
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.legibility import Legibility
from animate_pipelines.preflight.pair import check_followed_pair
from animate_pipelines.preflight.report import PreflightReport
from animate_pipelines.progress.stopwatch import Stopwatch

PARTS = ("preflight", "detect", "pose", "mask")  # of preprocessing, whose seconds are counted


@dataclass(kw_only=True)
class Driver:
    """The driving video of one job, and everybody and every mask found in it.

    The findings are kept in the job's workspace and in the cache.

    masks: finds the person to replace where the job brings no masks of its own.
    readers_hash: changes with the networks.
    legibility: whether the networks read the pair.
    watch: counts the seconds of `PARTS`.
    """

    job: RenderJob
    readers: Readers
    masks: MaskSource
    readers_hash: str
    clip: Clip
    plan: RenderPlan
    legibility: Legibility
    watch: Stopwatch
    cached: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.frames = DrivingFrames(self.clip, self.job.params.mode, self.plan.render_size)
        self.mask_file = MaskFile(self.job.workspace.masks, self.frames.size[0])
        self.mask_source = self._mask_source()
        self._masked_pictures: dict[int, np.ndarray] = {}

    @cached_property
    def people(self) -> FoundPeople:
        """Return everybody in the driving video, found in the one pass over it that all else rests on."""
        job = self.job
        if not job.workspace.people.is_file():
            keypoints, num_frames = job.inputs.keypoints, self.clip.mezzanine.num_frames
            track = None if keypoints is None else read_track(keypoints, num_frames)
            following = Following.of(job.params, self.frames)
            people = find_driver(self.readers, self.frames, following, track, self.watch, job.tracker.advance)
            people.save(job.workspace.people)
        return FoundPeople.load(job.workspace.people)

    def check(self, character: Reference) -> tuple[PreflightReport | None, np.ndarray]:
        """Find everything that is needed, and hold the pair to the limits of the job.

        Returns the preflight report, None where the job wants none, and the reference picture, aligned where the job
        wants that.
        Raises `NoPersonFound`, `PersonLost` and `PairRefused`; findings are kept all the same.
        """
        self._restore()
        try:
            people = self.people
            self._keep()
            with self.watch("preflight"):
                checked = check_followed_pair(
                    self.readers,
                    character.picture,
                    people,
                    self.frames,
                    self.job.params,
                    self.plan.render_size,
                    self.legibility,
                )
            check_followed(people, self.frames, self.job.params.max_gap_s)
            self._find_masks()
        finally:
            if self.job.workspace.people.is_file():
                self._write_report()
        self._keep()
        return checked

    def notes(
        self,
        source: VideoInfo,
        character: Reference,
        conditioning: Conditioning,
        report: PreflightReport | None,
        missing: Sequence[str],
    ) -> PerformanceNotes:
        """Return the notes of the result on the driving video, the reference and the people.

        missing: sentences on pictures that lack something.
        """
        return PerformanceNotes(
            warnings=(*missing, *self._warnings(source, character, conditioning)),
            mask_source=self.mask_source,
            reference_taken_at_s=character.taken_at_s,
            repeated_frames=self.clip.repeats,
            frames_without_person=self.people.num_without,
            preprocess_seconds={part: round(seconds, 3) for part, seconds in self.watch.seconds.items()},
            preprocess_cached=self.cached,
            preflight=None if report is None else report.to_json(),
        )

    def _write_report(self) -> None:
        write_report(
            ReportFiles.beside(self.job.destination),
            self.people,
            self.frames,
            self.mask_file,
            self.mask_source,
            self.job.params.mask_fit,
            self._masked_pictures,
        )

    def _warnings(self, source: VideoInfo, character: Reference, conditioning: Conditioning) -> Iterator[str]:
        params, clip = self.job.params, self.clip
        if character.taken_at_s is not None:
            yield f"the reference is the frame at {character.taken_at_s} s of the character's video"
        yield from describe_conversions(source, wants_sound=params.keep_audio)
        if clip.size != (source.width, source.height):
            fitted = {"pad": "set on black", "crop": "cut"}[params.fit]
            yield f"the driving video was {fitted} from {source.width}x{source.height} to {clip.size[0]}x{clip.size[1]}"
        yield from plan_warnings(self.plan, self.job.maker.manifest, params)
        yield from self._people_warnings(conditioning)
        if clip.repeats:
            yield f"{clip.repeats} frames repeat the face and background of the frame before"

    def _people_warnings(self, conditioning: Conditioning) -> Iterator[str]:
        people = self.people
        if self.legibility.foreign:
            yield f"{self.legibility.note}: whom they show was not judged"
        if not self.legibility.is_judged:
            return
        if people.num_without:
            yield f"the person was not found in {people.num_without} of {len(people.frames)} frames"
        if people.num_people > 1:
            yield f"{people.num_people} people were found; number {people.chosen} is followed"
        if (conditioning.face_frames < 0).all():
            yield "no frame shows a face: the expression is not followed"

    def _mask_source(self) -> str | None:
        """Return the name of the mask source; None to animate."""
        if self.job.params.mode != "replace":
            return None
        return self.masks.name if self.job.inputs.mask_video is None else MaskVideo.name

    def _find_masks(self) -> None:
        job = self.job
        own = given_masks(job.inputs.mask_video, job.workspace, job.params, job.limits, self.frames)
        if self.mask_source is None or self.mask_file.is_there():
            return
        with self.watch("mask"):
            source_frames = self.people.frames.tolist()
            source = self.masks if own is None else MaskVideo(own.read(source_frames))
            self._masked_pictures = find_masks(source, self.people, self.frames, self.mask_file)

    @cached_property
    def _key(self) -> str:
        job = self.job
        return cache_key(found_by(job.params, job.inputs, self.frames.size, self.readers_hash, self.masks.name))

    def _restore(self) -> None:
        job = self.job
        if job.cache is not None and not job.workspace.found_files():
            self.cached = job.cache.restore(self._key, job.workspace.folder)

    def _keep(self) -> None:
        if self.job.cache is not None:
            self.job.cache.keep(self._key, self.job.workspace.found_files())
