"""`WanAnimate`: the loaded networks of the family, see `Family`."""

from __future__ import annotations

from dataclasses import dataclass

from animate_pipelines.diffusion.image_encoder import ImageEncoder
from animate_pipelines.diffusion.text import PromptEncoder
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.families.wan_animate.encode import Encoders, encode_constants
from animate_pipelines.families.wan_animate.perform import perform
from animate_pipelines.families.wan_animate.performance import SkeletonPerformance
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.families.wan_animate.transformers import Transformers
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.loading.admission import DeviceMemory
from animate_pipelines.loading.execution import Execution
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.readers import Readers
from animate_weights.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class WanAnimate:
    """The loaded networks.

    readers, masks: read pictures; they know nothing of this model.
    readers_hash: changes with the networks that read driving videos.
    memory: the memory that jobs are held to; None on the CPU, whose memory is not planned, and where it is ignored.
    """

    manifest: Manifest
    execution: Execution
    readers: Readers
    masks: MaskSource
    readers_hash: str
    prompt_encoder: PromptEncoder
    image_encoder: ImageEncoder
    vae: VideoVae
    transformers: Transformers
    memory: DeviceMemory | None = None

    @property
    def encoders(self) -> Encoders:
        """Return the networks that turn pictures and words into conditions."""
        return Encoders(vae=self.vae, prompt=self.prompt_encoder, image=self.image_encoder)

    def perform(self, job: RenderJob) -> SkeletonPerformance:
        """Read the driving video and the reference, and plan the render."""
        return perform(job, self.readers, self.masks, self.readers_hash, face_size_px=self.transformers.face_size_px)

    def begin(self, job: RenderJob, performance: SkeletonPerformance) -> AnimateSegmentModel:
        """Return the model with prompt and reference."""
        transformer = self._transformer(job)
        constants = encode_constants(self.encoders, self.readers, transformer, performance.reference, job.params)
        return AnimateSegmentModel(transformer, self.vae, constants, performance.plan.recipe)

    def loras(self, job: RenderJob) -> tuple[tuple[str, float], ...]:
        """Return the few-step and the relighting LoRA where the job has them."""
        return self.transformers.loras(turbo=job.params.turbo, relight=job.params.mode == "replace")

    def _transformer(self, job: RenderJob) -> AnimateTransformer:
        return self.transformers.select(turbo=job.params.turbo, relight=job.params.mode == "replace")
