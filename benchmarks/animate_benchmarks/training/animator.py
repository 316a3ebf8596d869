"""The networks that are trained together, on whole batches: transformer, text encoder and image encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from diffusers import WanAnimateTransformer3DModel
from einops import rearrange
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from animate_benchmarks.puppet.clips import FACE_PX
from animate_benchmarks.puppet.prompts import MAX_TOKENS
from animate_benchmarks.training.batches import Batch
from animate_pipelines.diffusion.image_encoder import ImageEncoder

HEADS, HEAD_WIDTH, LAYERS = 5, 32, 6
WIDTH = HEADS * HEAD_WIDTH
TEXT_TOKENS = 512  # of the pipeline's padded prompt
TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": HEADS,
    "attention_head_dim": HEAD_WIDTH,
    "text_dim": 64,
    "freq_dim": 64,
    "ffn_dim": 448,
    "num_layers": LAYERS,
    "image_dim": 64,
    "added_kv_proj_dim": WIDTH,
    "motion_encoder_size": FACE_PX,
    "motion_encoder_channel_sizes": {"4": 64, "8": 64, "16": 32, "32": 16},
    "motion_style_dim": 64,
    "motion_dim": 20,
    "motion_encoder_dim": 64,
    "face_encoder_hidden_dim": 64,
    "face_encoder_num_heads": 4,
    "inject_face_latents_blocks": 2,
    "motion_encoder_batch_size": 8,
}
TEXT: dict[str, Any] = {
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_heads": 4,
    "num_layers": 1,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "hidden_act": "gelu",
}


class ShortTextAttention:
    """Cross-attention to `MAX_TOKENS` text rows with the result of 512, whose rows after a prompt's end are all equal.

    The last of the short rows stands for the 512 - MAX_TOKENS + 1 rows of padding: its logit grows by the log of that.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        image, text = encoder_hidden_states[:, :-MAX_TOKENS], encoder_hidden_states[:, -MAX_TOKENS:]
        query = _heads(attn, attn.norm_q(attn.to_q(hidden_states)))
        bias = torch.zeros(MAX_TOKENS, device=text.device, dtype=query.dtype)
        bias[-1] = math.log(TEXT_TOKENS - MAX_TOKENS + 1)
        key, value = _heads(attn, attn.norm_k(attn.to_k(text))), _heads(attn, attn.to_v(text))
        read = attend(query, key, value, bias)
        key, value = _heads(attn, attn.norm_added_k(attn.add_k_proj(image))), _heads(attn, attn.add_v_proj(image))
        read = read + attend(query, key, value)
        out: torch.Tensor = attn.to_out[0](read.transpose(1, 2).flatten(2))
        return out


class SelfAttention:
    """Self-attention with rotary positions, as diffusers', through `attend`."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        assert rotary_emb is not None
        query, key = (
            _heads(attn, norm(project(hidden_states)))
            for norm, project in ((attn.norm_q, attn.to_q), (attn.norm_k, attn.to_k))
        )
        value = _heads(attn, attn.to_v(hidden_states))
        read = attend(_rotate(query, *rotary_emb), _rotate(key, *rotary_emb), value)
        out: torch.Tensor = attn.to_out[0](read.transpose(1, 2).flatten(2))
        return out


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend over `b heads l d` by two plain products.

    The fused CPU kernel's backward pass is 2 to 15 times slower at these few tokens (AMD EPYC, one core, bf16: 92 ms
    against 50 for 216 tokens, 76 against 5 for the face tokens).
    """
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return torch.softmax(logits if bias is None else logits + bias, dim=-1).to(value.dtype) @ value


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs of neighbouring channels; the tables are `1 l 1 d`, each value twice."""
    real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.transpose(1, 2)[..., 0::2], sin.transpose(1, 2)[..., 1::2]
    turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    return turned.flatten(-2).type_as(x)


def _heads(attn: Any, x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(2, (attn.heads, -1)).transpose(1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The conditions of `b` clips, read once for all steps on them."""

    condition: torch.Tensor  # b 20 t+1 h w
    pose: torch.Tensor  # b d t h/2 w/2
    context: torch.Tensor  # b image+MAX_TOKENS d
    motion: torch.Tensor  # b t+1 n d, the first of zeros

    def only(self, rows: torch.Tensor) -> Known:
        """Return the conditions of the clips where `rows` (`b`, bool) is true."""
        return Known(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class Animator(nn.Module):
    """The networks trained in stage 5. The VAE is not one of them: it is finished before.

    Its forward is diffusers' in two parts, `read` and `velocity`, because a training step takes up to three steps on
    the same clips, and the motion encoder is two fifths of one.
    """

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.transformer = WanAnimateTransformer3DModel(**TRANSFORMER)
        self.text_encoder = UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, **TEXT))
        self.image_encoder = CLIPVisionModel(CLIPVisionConfig(**IMAGE))
        for block in self.transformer.blocks:
            block.attn1.set_processor(SelfAttention())
            block.attn2.set_processor(ShortTextAttention())
        for adapter in self.transformer.face_adapter:
            adapter.processor._attention_backend = "_native_math"

    def compile(self) -> None:
        """Compile the layers of every step, each kind once for all of its kind, and for every shape."""
        torch._dynamo.config.recompile_limit = 32
        for layer in (*self.transformer.blocks, *self.transformer.face_adapter):
            layer.compile(dynamic=False)

    def read(self, batch: Batch) -> Known:
        """Read the clips' pictures, prompts, skeletons and faces."""
        text, image = self.context(batch.tokens, batch.picture)
        embedder = self.transformer.condition_embedder
        motion = self.transformer.face_encoder(self.read_motion(batch.face) if batch.face.ndim == 5 else batch.face)
        return Known(
            condition=batch.condition,
            pose=self.transformer.pose_patch_embedding(batch.pose),
            context=torch.cat([embedder.image_embedder(image), embedder.text_embedder(text)], dim=1),
            motion=torch.cat([torch.zeros_like(motion[:, :1]), motion], dim=1),
        )

    def context(self, tokens: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return text states `b MAX_TOKENS d`, zero after the prompt's end, and image states, in fp32.

        tokens: `b MAX_TOKENS`, 0 is padding.
        picture: the letter-boxed reference, `b 3 h w` in -1..1.
        """
        mask = (tokens != 0).long()
        states = self.text_encoder(tokens, mask).last_hidden_state
        return (states * mask[..., None]).float(), ImageEncoder(self.image_encoder).encode(picture).float()

    def read_motion(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the motion vectors `b n d` of face crops `b 3 n s s` in -1..1."""
        vectors = self.transformer.motion_encoder(crops.transpose(1, 2).flatten(0, 1))
        return vectors.unflatten(0, (len(crops), -1))

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, known: Known) -> torch.Tensor:
        """Return the velocity noise - clean in fp32.

        latents: noisy, `b 16 t+1 h w`.
        timestep: `b`, 0..1000.
        known: the clips' conditions.
        """
        model, embedder = self.transformer, self.transformer.condition_embedder
        states = torch.cat([latents, known.condition], dim=1)
        patches = model.patch_embedding(states)
        grid = patches.shape[2:]
        patches = torch.cat([patches[:, :, :1], patches[:, :, 1:] + known.pose], dim=2)
        tokens, rotary = patches.flatten(2).transpose(1, 2).contiguous(), model.rope(states)
        time = embedder.time_embedder(embedder.timesteps_proj(timestep))
        modulation = embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))
        spacing = model.config.inject_face_latents_blocks
        for index, block in enumerate(model.blocks):
            tokens = block(tokens, known.context, modulation, rotary)
            if index % spacing == 0:
                tokens = tokens + model.face_adapter[index // spacing](tokens, known.motion)
        shift, scale = (model.scale_shift_table + time[:, None]).chunk(2, dim=1)
        out = model.proj_out(model.norm_out(tokens.float()) * (1 + scale) + shift)
        _, p, q = model.config.patch_size
        return rearrange(out.float(), "b (t h w) (p q c) -> b c t (h p) (w q)", t=grid[0], h=grid[1], p=p, q=q)
