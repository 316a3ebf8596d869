"""`Execution`: how a process runs its networks. Results record it, because it decides speed and last digits.

The choices of one job, steps and density and the like, are its `Recipe`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Types, residency and backend. Types are names as torch writes them: "float32", "bfloat16".

    dtype: of the transformer's and the text encoder's weights and products. Modulation, time embedding and head are
        fp32 whatever it is, as in the official code.
    residual_dtype: of the tokens at every sum in the blocks. fp32 as in the official code; bf16 halves that memory
        traffic. Relative L2 of the recorded small network's velocity to fp32 products of the same bf16 weights:
        0.52 % with fp32, 0.90 % with bf16 (official code 0.54 %, diffusers in bf16 0.94 %).
    vae_dtype: fp32, because its errors are seen as colour drift.
    image_dtype: of the image encoder; the official one runs it in fp16.
    pixel_dtype: what the pixels of the conditions are rounded to before they are encoded; the official code's bf16 is
        what the model was trained on.
    transformers_kept: how many variants of the transformer (plain, few-step, relighting) stay in memory.
    text_on_cpu: run the text encoder on the CPU, and keep its states of the last prompts.
    park_transformer: let the transformer leave the device while the VAE works.
    fp8_weights: keep the blocks' matrices in e4m3 with a scale a row, and make them whole for each product. Of the
        recorded small network's velocity, as above: 3.6 %. Of a video: not measured.
    stream_blocks: keep the transformer's blocks in host memory; each comes to the device one ahead of its use.
    decode_strips: parts of the picture that the VAE decodes one after the other; the pixels are the same.
    attention: a name of `animate_kernels.attention.BACKENDS`; "auto" becomes the first usable 16-bit one when the
        networks are loaded. "fp8" and "fa3-fp8" multiply in 8 bits, in self-attention alone.
    fp8_products: multiply the blocks' matrices in e4m3, activations rounded with a scale a token. Needs, and is meant
        for, `fp8_weights`.
    """

    device: str
    dtype: str
    vae_dtype: str = "float32"
    image_dtype: str = "float32"
    pixel_dtype: str = "float32"
    residual_dtype: str = "float32"
    transformers_kept: int = 2
    text_on_cpu: bool = False
    park_transformer: bool = False
    fp8_weights: bool = False
    stream_blocks: bool = False
    decode_strips: int = 1
    attention: str = "auto"
    fp8_products: bool = False

    def __post_init__(self) -> None:
        if self.fp8_products and not self.fp8_weights:
            raise ValueError("fp8_products needs fp8_weights: products in e4m3 have weights in e4m3")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def default_execution(device: str, **changes: Any) -> Execution:
    """Return the official types on CUDA devices; on the CPU fp32, whose bf16 is slower and no truer.

    changes: fields with other values.
    """
    official = {"dtype": "bfloat16", "image_dtype": "float16", "pixel_dtype": "bfloat16"}
    types = {"dtype": "float32"} if torch.device(device).type == "cpu" else official
    return Execution(**{"device": device} | types | changes)
