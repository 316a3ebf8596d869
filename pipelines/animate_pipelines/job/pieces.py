"""The finished segments of a render, on the disk: written one by one, resumed from, and joined at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.diffusion.state import LoopState, first_state
from animate_pipelines.diffusion.vae import to_frames
from animate_pipelines.job.performance import Performance
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.loading.safety import sample
from animate_pipelines.media.join import Joined, join_pieces
from animate_pipelines.media.sound import MIXES
from animate_pipelines.media.writer import VideoWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """The pieces of one job, which `performance` drives."""

    job: RenderJob
    performance: Performance

    @property
    def unfinished(self) -> Sequence[Segment]:
        """Return the segments that are not on the disk yet."""
        return self.performance.plan.segments[self.job.workspace.count_done() :]

    def state(self, device: torch.device) -> LoopState:
        """Return the state at the beginning of the first unfinished segment."""
        num_done = self.job.workspace.count_done()
        if not num_done:
            return first_state(self.job.params.seed)
        return LoopState.load(self.job.workspace.state(num_done - 1), device)

    def add(self, segment: Segment, pixels: torch.Tensor, state: LoopState) -> None:
        """Write a segment's new pixels `1 3 t h w` in -1..1, then the state after it.

        Raises `ContentRefused` where the job wants the safety check and they do not pass.
        """
        left, top, width, height = self.performance.plan.picture_box
        frames = to_frames(pixels[:, :, : segment.num_new_frames, top : top + height, left : left + width])
        self.job.check_safety(sample(frames), field="output")
        self._writer().write_segment(segment.index, frames)
        state.save(self.job.workspace.state(segment.index))

    def join(self, metadata: dict[str, str]) -> Joined:
        """Write the job's destination from all pieces and the performance's sound.

        Returns what became of the sound.
        """
        job, performance, writer = self.job, self.performance, self._writer()
        sound = performance.sound
        return join_pieces(
            [writer.path(segment.index) for segment in performance.plan.segments],
            job.destination,
            audio_source=None if sound is None else sound.path,
            source_info=None if sound is None else sound.info,
            mix=MIXES[0] if sound is None else sound.mix,
            num_frames=performance.num_frames,
            fps=performance.fps,
            metadata=metadata,
            output_format=job.params.output_format,
            quality=job.params.quality,
            limits=job.limits,
        )

    def _writer(self) -> VideoWriter:
        plan, params = self.performance.plan, self.job.params
        return VideoWriter(
            self.job.workspace.folder,
            render_size=plan.picture_box[2:],
            output_size=plan.output_size,
            fps=self.performance.fps,
            quality=params.quality,
            limits=self.job.limits,
        )
