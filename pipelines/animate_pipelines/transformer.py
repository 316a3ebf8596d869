"""A thin face over diffusers' `WanAnimateTransformer3DModel` that computes at every step only what the step changes.

diffusers' own forward runs the motion encoder, the pose patches and the text and image projections again at each step;
here they are computed once for a segment or for the whole job. The precision is the official code's (see `blocks`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanAnimateTransformer3DModel

from animate_pipelines.blocks import linear_fp32, modulate, run_block, run_face_block
from animate_pipelines.face_motion import encode_face, encode_motion
from animate_pipelines.parking import Parking


class AnimateTransformer:
    """Velocity of the latents. Tensors go in and out in fp32; products are of the weights' type.

    residual_dtype: what the tokens are rounded to after every block; see `Recipe`.
    parking: where the network leaves the device for others; None when it stays.
    blocks: gives the model's blocks at every step, where they do not stay on the device.
    """

    def __init__(
        self,
        model: WanAnimateTransformer3DModel,
        residual_dtype: torch.dtype = torch.float32,
        parking: Parking | None = None,
        blocks: Iterable[Any] | None = None,
    ) -> None:
        self._model = model
        self._blocks: Iterable[Any] = model.blocks if blocks is None else blocks
        self._residual_dtype = residual_dtype
        self._parking = parking

    @property
    def face_size_px(self) -> int:
        """Side of the square face crops the motion encoder reads."""
        return int(self._model.config.motion_encoder_size)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._model.patch_embedding.weight.dtype
        return dtype

    def embed_context(self, prompt_embeds: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
        """`1 image+text d`: what the cross-attention reads, from states of the two encoders. Once a job."""
        self._arrive()
        embedder = self._model.condition_embedder
        image = embedder.image_embedder(image_embeds.to(self.dtype))
        return torch.cat([image, embedder.text_embedder(prompt_embeds.to(image.device, self.dtype))], dim=1)

    def embed_pose(self, pose_latents: torch.Tensor) -> torch.Tensor:
        """`1 d t' h/2 w/2` patches of the pose latents `1 16 t' h w`. Once a segment."""
        self._arrive()
        embedded: torch.Tensor = self._model.pose_patch_embedding(pose_latents.to(self.dtype))
        return embedded

    def embed_face(self, face_pixel_values: torch.Tensor) -> torch.Tensor:
        """`1 t'+1 5 d` motion tokens of face crops `1 3 t s s` in -1..1; the first, zero, is the reference's."""
        self._arrive()
        crops = face_pixel_values[0].transpose(0, 1).to(self.dtype)
        batch_size = self._model.config.motion_encoder_batch_size
        motion = encode_motion(self._model.motion_encoder, crops, batch_size)
        tokens = encode_face(self._model.face_encoder, motion[None])
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
        self._arrive()
        model = self._model
        inputs = torch.cat([latents, condition], dim=1).to(self.dtype)
        rotary = model.rope(inputs)
        patches = model.patch_embedding(inputs)
        patches[:, :, 1:] += pose
        grid = patches.shape[2:]
        tokens = patches.flatten(2).transpose(1, 2).contiguous()
        time, modulation = self._embed_time(timestep)
        spacing = model.config.inject_face_latents_blocks
        for index, block in enumerate(self._blocks):
            tokens = run_block(block, tokens, context, modulation, rotary).to(self._residual_dtype)
            if index % spacing == 0:
                tokens = tokens + run_face_block(model.face_adapter[index // spacing], tokens, motion)
        return self._project_out(tokens, time, grid)

    def _arrive(self) -> None:
        if self._parking is not None:
            self._parking.arrive(self._model)

    def _embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`1 d` and `1 6 d`, fp32."""
        embedder = self._model.condition_embedder
        sinusoid = time_sinusoid(timestep, self._model.config.freq_dim)
        hidden = F.silu(linear_fp32(embedder.time_embedder.linear_1, sinusoid))
        time = linear_fp32(embedder.time_embedder.linear_2, hidden)
        return time, linear_fp32(embedder.time_proj, F.silu(time)).unflatten(1, (6, -1))

    def _project_out(self, tokens: torch.Tensor, time: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        model = self._model
        shift, scale = (model.scale_shift_table.float() + time[:, None]).chunk(2, dim=1)
        patch = model.config.patch_size
        projected = linear_fp32(model.proj_out, modulate(tokens, shift, scale))
        patches = projected.unflatten(2, (*patch, -1)).unflatten(1, tuple(grid))
        # 1 t h w pt ph pw c -> 1 c (t pt) (h ph) (w pw)
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def time_sinusoid(timestep: torch.Tensor, width: int) -> torch.Tensor:
    """`n width` fp32, cosines and then sines, of timesteps `n`. In fp64, as 1000 radians in fp32 are off by 6e-5."""
    half = width // 2
    frequencies = 10000 ** -(torch.arange(half, dtype=torch.float64, device=timestep.device) / half)
    angles = timestep.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()
