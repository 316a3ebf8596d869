"""A thin face over diffusers' `WanAnimateTransformer3DModel` that computes at every step only what the step changes.

diffusers' own forward runs the motion encoder, the pose patches and the text and image projections again at each step;
here they are computed once for a segment or for the whole job.
"""

from __future__ import annotations

import torch
from diffusers import WanAnimateTransformer3DModel


class AnimateTransformer:
    """Velocity of the latents. Tensors go in and out in fp32; inside, the weights' type rules."""

    def __init__(self, model: WanAnimateTransformer3DModel) -> None:
        self._model = model

    @property
    def face_size_px(self) -> int:
        """Side of the square face crops the motion encoder reads."""
        return int(self._model.config.motion_encoder_size)

    @property
    def dtype(self) -> torch.dtype:
        return self._model.dtype

    def embed_context(self, prompt_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
        """`1 image+text d`: what the cross-attention reads, from states of the two encoders. Once a job."""
        embedder = self._model.condition_embedder
        image = embedder.image_embedder(image_embeds.to(self.dtype))
        return torch.cat([image, embedder.text_embedder(prompt_embeds.to(self.dtype))], dim=1)

    def embed_pose(self, pose_latents: torch.Tensor) -> torch.Tensor:
        """`1 d t' h/2 w/2` patches of the pose latents `1 16 t' h w`. Once a segment."""
        embedded: torch.Tensor = self._model.pose_patch_embedding(pose_latents.to(self.dtype))
        return embedded

    def embed_face(self, face_pixel_values: torch.Tensor) -> torch.Tensor:
        """`1 t'+1 5 d` motion tokens of face crops `1 3 t s s` in -1..1; the first, zero, is the reference's."""
        crops = face_pixel_values[0].transpose(0, 1).to(self.dtype)
        batch = self._model.config.motion_encoder_batch_size
        motion = torch.cat([self._model.motion_encoder(part) for part in crops.split(batch)])
        tokens = self._model.face_encoder(motion[None])
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)

    def velocity(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        *,
        condition: torch.Tensor,
        pose: torch.Tensor,
        motion: torch.Tensor,
        context: torch.Tensor,
    ) -> torch.Tensor:
        """The flow velocity `1 16 t h w` at noisy latents of that shape.

        timestep: `1`, 0..1000. condition: `1 20 t h w`, mask and known latents. pose, motion, context: from `embed_*`.
        """
        model = self._model
        inputs = torch.cat([latents, condition], dim=1).to(self.dtype)
        rotary = model.rope(inputs)
        patches = model.patch_embedding(inputs)
        patches[:, :, 1:] += pose
        grid = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2).contiguous()
        time, modulation = self._embed_time(timestep)
        for index, block in enumerate(model.blocks):
            tokens = block(tokens, context, modulation, rotary)
            if index % model.config.inject_face_latents_blocks == 0:
                adapter = model.face_adapter[index // model.config.inject_face_latents_blocks]
                tokens = tokens + adapter(tokens, motion)
        return self._project_out(tokens, time, grid)

    def _embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedder = self._model.condition_embedder
        sinusoid = embedder.timesteps_proj(timestep)
        time = embedder.time_embedder(sinusoid.to(embedder.time_embedder.linear_1.weight.dtype)).to(self.dtype)
        return time, embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))

    def _project_out(self, tokens: torch.Tensor, time: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        model = self._model
        shift, scale = (model.scale_shift_table + time[:, None]).chunk(2, dim=1)
        normed = (model.norm_out(tokens.float()) * (1 + scale) + shift).to(tokens.dtype)
        patch = model.config.patch_size
        patches = model.proj_out(normed).unflatten(2, (*patch, -1)).unflatten(1, tuple(grid))
        # 1 t h w pt ph pw c -> 1 c (t pt) (h ph) (w pw)
        video = patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return video.float()
