"""Turns frames and words into the tensors that condition the transformer.

By type: `JobConstants` are computed once a job, `SegmentInputs` once a segment. Nothing here is computed at a step.
Axes are `b c t h w`; `t'`, `h/8`, `w/8` are the VAE's latent axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from animate_pipelines.diffusion.image_encoder import ImageEncoder
from animate_pipelines.diffusion.text import PromptEncoder
from animate_pipelines.diffusion.vae import VideoVae, to_pixels
from animate_pipelines.errors import NoPersonFound
from animate_pipelines.families.wan_animate.blocks import Context
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer, Expression
from animate_pipelines.perception.face import crop_face, face_box
from animate_pipelines.perception.observation import require_pose
from animate_pipelines.perception.readers import Readers
from animate_pipelines.request.params import AS_PERFORMED, RenderParams

_FRAMES_PER_LATENT = 4
_GAIN_A_LEVEL = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class JobConstants:
    """The conditions that a job shares.

    context: image and prompt.
    negative_context: the same for guidance; None without guidance.
    expression: scales the face's motion; None leaves it as performed.
    reference_latents: `1 20 1 h/8 w/8`, a mask of ones and the letter-boxed reference image's latents.
    """

    context: Context
    negative_context: Context | None
    reference_latents: torch.Tensor
    expression: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentInputs:
    """The conditions of one segment.

    condition: `1 20 t'+1 h/8 w/8`, a mask of the known pixels and their latents; its first frame is the reference.
    pose_latents: `1 16 t' h/8 w/8`.
    motion: `1 t'+1 5 d` tokens.
    negative_motion: `1 t'+1 5 d` tokens of a black face.
    """

    condition: torch.Tensor
    pose_latents: torch.Tensor
    motion: torch.Tensor
    negative_motion: torch.Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """The networks that turn pictures and words into conditions."""

    vae: VideoVae
    prompt: PromptEncoder
    image: ImageEncoder


def encode_constants(
    encoders: Encoders,
    readers: Readers,
    transformer: AnimateTransformer,
    reference: np.ndarray,
    params: RenderParams,
) -> JobConstants:
    """Return the conditions that depend on the job alone.

    readers: find the face in the reference, where `params` scale its expression.
    reference: letter-boxed to the render size, `h w 3` uint8.
    """
    pixels = encoders.vae.round_pixels(to_pixels(reference[None], encoders.vae.device))
    image_embeds = encoders.image.encode(pixels[:, :, 0])
    latents = encoders.vae.encode(pixels)
    negative = None
    if params.guidance_scale > 1:
        negative = transformer.embed_context(encoders.prompt.encode(params.negative_prompt), image_embeds)
    return JobConstants(
        context=transformer.embed_context(encoders.prompt.encode(params.prompt), image_embeds),
        negative_context=negative,
        reference_latents=torch.cat([torch.ones_like(latents[:, :_FRAMES_PER_LATENT]), latents], dim=1),
        expression=None
        if params.expression == AS_PERFORMED
        else _expression(readers, encoders.vae.device, transformer, reference, params.expression),
    )


def _expression(
    readers: Readers, device: torch.device, transformer: AnimateTransformer, reference: np.ndarray, level: int
) -> Expression:
    """Return the scaling of an expression level about the reference's face.

    level: 1 halves the distance of every motion vector from that of the reference's face, 5 adds half of it.
    """
    height, width = reference.shape[:2]
    box = face_box(require_pose(readers, reference, field="reference_image"), width, height)
    crop = crop_face(reference, box, transformer.face_size_px)
    if crop is None:
        raise NoPersonFound(
            "the reference image shows no face to scale expressions from", field="reference_image", value=0, limit=1
        )
    neutral = transformer.read_motion(to_pixels(crop[None], device))
    return Expression(neutral=neutral, gain=1 + _GAIN_A_LEVEL * (level - AS_PERFORMED))


def encode_segment(
    vae: VideoVae,
    transformer: AnimateTransformer,
    constants: JobConstants,
    pictures: SegmentFrames,
    carried: torch.Tensor | None,
) -> SegmentInputs:
    """Return the conditions that depend on the segment.

    carried: `1 3 overlap h w` pixels, the last frames of the segment before.
    """
    known_latents = vae.encode(_known_pixels(pictures, carried, vae.device))
    pose_latents = vae.encode(to_pixels(pictures.pose, vae.device))  # the VAE's work together, before the transformer's
    mask = known_mask(
        known_latents.shape[2:],
        num_known=0 if carried is None else carried.shape[2],
        masks=None if pictures.masks is None else torch.from_numpy(pictures.masks),
    ).to(known_latents)
    face = to_pixels(pictures.face, vae.device)
    return SegmentInputs(
        condition=torch.cat([constants.reference_latents, torch.cat([mask, known_latents], dim=1)], dim=2),
        pose_latents=pose_latents,
        motion=transformer.embed_face(face, constants.expression),
        negative_motion=None
        if constants.negative_context is None
        else transformer.embed_face(torch.full_like(face, -1.0)),
    )


def _known_pixels(pictures: SegmentFrames, carried: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """Return `1 3 t h w`: background (replace) or mid-grey (animate), begun by the carried frames."""
    if pictures.background is None:
        num_frames, height, width = pictures.pose.shape[:3]
        pixels = torch.zeros(1, 3, num_frames, height, width, device=device)
    else:
        pixels = to_pixels(pictures.background, device)
    if carried is not None:
        pixels[:, :, : carried.shape[2]] = carried
    return pixels


def known_mask(latent_shape: torch.Size, *, num_known: int, masks: torch.Tensor | None) -> torch.Tensor:
    """Return the mask `1 4 t' h/8 w/8`, 1 where a pixel is known and kept, 0 where it is generated.

    latent_shape: (t', h/8, w/8).
    num_known: leading frames that are known.
    masks: `t h w`, 1 on the person to replace.

    The four channels are the four frames of a latent frame; the first latent frame is one frame, four times.
    """
    latent_frames, height, width = latent_shape
    num_frames = (latent_frames - 1) * _FRAMES_PER_LATENT + 1
    mask = torch.zeros(num_frames, height, width)
    if masks is not None:
        mask = 1 - F.interpolate(masks[:, None].float(), size=(height, width), mode="nearest")[:, 0]
    mask[:num_known] = 1
    spread = torch.cat([mask[:1].expand(_FRAMES_PER_LATENT, -1, -1), mask[1:]])
    return spread.view(latent_frames, _FRAMES_PER_LATENT, height, width).transpose(0, 1)[None]
