"""Wan2.2-Animate's transformer on diffusers' weights, computing at every step only the parts that the step changes.

diffusers' own forward runs the motion encoder, the pose patches, the text and image projections and every block's keys
of them again at each step; here they are computed once for a segment or for the whole job. The precision is the
official code's (see `blocks`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanAnimateTransformer3DModel

from animate_kernels.order import TokenOrder
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparsity import Sparsity
from animate_pipelines.families.wan_animate.blocks import (
    Context,
    ResidualStream,
    StepConstants,
    encode_faces,
    encode_image,
    encode_text,
    fuse_projections,
    run_block,
    run_face_block,
)
from animate_pipelines.families.wan_animate.face_motion import encode_face, encode_motion
from animate_pipelines.families.wan_animate.fp32_layers import linear_fp32
from animate_pipelines.memory.block_stream import BlockStream
from animate_pipelines.memory.parking import Parking


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A scaling of the face's motion.

    neutral: the motion vector `1 512` of the reference's own face, about which motion is scaled.
    gain: the factor.
    """

    neutral: torch.Tensor
    gain: float


class AnimateTransformer:
    """The velocity of the latents. Tensors go in and out in fp32; products are of the weights' type.

    residual_dtype: the type that the tokens are rounded to at every sum; see `Execution`.
    parking: moves the network off the device for others; None when it stays.
    stream_to: the device that the blocks come to at every step, where they do not stay on it.
    attend: the operators, and the kernel of self-attention.
    """

    def __init__(
        self,
        model: WanAnimateTransformer3DModel,
        residual_dtype: torch.dtype = torch.float32,
        parking: Parking | None = None,
        stream_to: torch.device | None = None,
        attend: SelfAttention | None = None,
    ) -> None:
        for block in model.blocks:
            fuse_projections(block)
        self._model = model
        self._blocks: Iterable[Any] = BlockStream(model.blocks, stream_to) if stream_to else model.blocks
        self._residual_dtype = residual_dtype
        self._parking = parking
        self._attend = SelfAttention() if attend is None else attend

    @property
    def face_size_px(self) -> int:
        """Return the side of the square face crops that the motion encoder reads."""
        return int(self._model.config.motion_encoder_size)

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        dtype: torch.dtype = self._model.patch_embedding.weight.dtype
        return dtype

    def embed_context(self, prompt_embeds: torch.Tensor, image_embeds: torch.Tensor) -> Context:
        """Return the inputs of the cross-attention, from states of the two encoders, `1 n d` each. Once a job."""
        self._arrive()
        embedder = self._model.condition_embedder
        image = embedder.image_embedder(image_embeds.to(self.dtype))[0]
        rows, counts = join_padding(prompt_embeds[0].to(image.device, self.dtype))
        return Context(text=embedder.text_embedder(rows), counts=counts, image=image)

    def embed_pose(self, pose_latents: torch.Tensor) -> torch.Tensor:
        """Return the patches `1 d t' h/2 w/2` of the pose latents `1 16 t' h w`. Once a segment."""
        self._arrive()
        embedded: torch.Tensor = self._model.pose_patch_embedding(pose_latents.to(self.dtype))
        return embedded

    def read_motion(self, face_pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the motion vectors `t 512` of face crops `1 3 t s s` in -1..1: a face's movement, not its identity."""
        self._arrive()
        crops = face_pixel_values[0].transpose(0, 1).to(self.dtype)
        batch_size = self._model.config.motion_encoder_batch_size
        return encode_motion(self._model.motion_encoder, crops, batch_size)

    def embed_face(self, face_pixel_values: torch.Tensor, expression: Expression | None = None) -> torch.Tensor:
        """Return the motion tokens `1 t'+1 5 d` of face crops `1 3 t s s` in -1..1.

        expression: scales the motion; None leaves it as performed.

        The first token frame, zero, is the reference's.
        """
        motion = self.read_motion(face_pixel_values)
        if expression is not None:
            motion = expression.neutral + expression.gain * (motion - expression.neutral)
        tokens = encode_face(self._model.face_encoder, motion[None])
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], dim=1)

    def encode_step_constants(
        self,
        *,
        condition: torch.Tensor,
        pose: torch.Tensor,
        motion: torch.Tensor,
        context: Context,
        sparsity: Sparsity | None = None,
    ) -> StepConstants:
        """Return the values that all steps of a segment share.

        condition: `1 20 t h w`.
        pose, motion, context: from `embed_*`.
        sparsity: the density of self-attention; None keeps the transformer's own.
        """
        self._arrive()
        attend = self._attend if sparsity is None else replace(self._attend, sparsity=sparsity)
        order = attend.order(self._grid(condition), condition.device)
        cos, sin = (order.arrange(table[0, :, 0, ::2].float()) for table in self._model.rope(condition))
        crossing = [(encode_text(b.attn2, context), encode_image(b.attn2, context)) for b in self._blocks]
        return StepConstants(
            condition=condition.to(self.dtype),
            pose=pose,
            attend=attend,
            order=order,
            cos=cos,
            sin=sin,
            text_counts=context.counts,
            texts=tuple(text for text, _ in crossing),
            images=tuple(image for _, image in crossing),
            faces=tuple(encode_faces(block, motion) for block in self._model.face_adapter),
        )

    def velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, constants: StepConstants, progress: float = 0.0
    ) -> torch.Tensor:
        """Return the flow velocity `1 16 t h w` at noisy latents of that shape.

        timestep: `1`, 0..1000.
        progress: the share of the steps that is done, which decides how dense attention is.
        """
        self._arrive()
        time, modulation = self._embed_time(timestep)
        attend, num_blocks = constants.attend, len(self._model.blocks)
        stream = ResidualStream(self._embed_patches(latents, constants), attend.ops, self._residual_dtype)
        spacing = self._model.config.inject_face_latents_blocks
        for index, block in enumerate(self._blocks):
            density = attend.sparsity.density(progress, index, num_blocks)
            run_block(block, index, stream, modulation, constants, attend, density)
            if index % spacing == 0:
                place = index // spacing
                run_face_block(
                    self._model.face_adapter[place], stream, constants.faces[place], constants.order, attend.ops
                )
        return self._project_out(stream, time, constants.order)

    def _arrive(self) -> None:
        if self._parking is not None:
            self._parking.arrive(self._model)

    def _grid(self, latents: torch.Tensor) -> tuple[int, int, int]:
        frames, height, width = (
            size // step for size, step in zip(latents.shape[2:], self._model.config.patch_size, strict=True)
        )
        return frames, height, width

    def _embed_patches(self, latents: torch.Tensor, constants: StepConstants) -> torch.Tensor:
        """Return the tokens `l d` in their order."""
        patches = self._model.patch_embedding(torch.cat([latents.to(self.dtype), constants.condition], dim=1))
        patches[:, :, 1:].add_(constants.pose)
        return constants.order.arrange(patches[0].flatten(1).t()).contiguous()

    def _embed_time(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the time embedding `1 d`, and `6 d` for the blocks: shift, 1 + scale and gate, twice. fp32."""
        embedder = self._model.condition_embedder
        sinusoid = time_sinusoid(timestep, self._model.config.freq_dim)
        hidden = F.silu(linear_fp32(embedder.time_embedder.linear_1, sinusoid))
        time = linear_fp32(embedder.time_embedder.linear_2, hidden)
        modulation = linear_fp32(embedder.time_proj, F.silu(time)).unflatten(1, (6, -1))[0]
        modulation[[1, 4]] += 1
        return time, modulation

    def _project_out(self, stream: ResidualStream, time: torch.Tensor, order: TokenOrder) -> torch.Tensor:
        model = self._model
        shift, scale = (model.scale_shift_table[0].float() + time).unbind()
        states = stream.norm(1 + scale, shift, torch.float32)
        assert isinstance(states, torch.Tensor)
        projected = linear_fp32(model.proj_out, states)
        patches = order.restore(projected).unflatten(1, (*model.config.patch_size, -1)).unflatten(0, order.grid)
        # t h w pt ph pw c -> 1 c (t pt) (h ph) (w pw)
        return patches.permute(6, 0, 3, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4).flatten(1, 2)[None]


def join_padding(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Join the equal rows at the end of `n d` into one.

    Returns the rows, and the number of rows that each stands for, `n` fp32.
    """
    differing = (rows != rows[-1]).any(dim=1).nonzero()
    num_rows = int(differing[-1]) + 2 if len(differing) else 1
    counts = torch.ones(num_rows, device=rows.device)
    counts[-1] = len(rows) - num_rows + 1
    return rows[:num_rows], counts


def time_sinusoid(timestep: torch.Tensor, width: int) -> torch.Tensor:
    """Return `n width` fp32, cosines and then sines, of timesteps `n`.

    Computed in fp64, as 1000 radians in fp32 are off by 6e-5.
    """
    half = width // 2
    frequencies = 10000 ** -(torch.arange(half, dtype=torch.float64, device=timestep.device) / half)
    angles = timestep.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()
