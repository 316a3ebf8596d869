"""Loads a bundle of Wan2.2-Animate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import T5TokenizerFast
from transformers.utils import logging as hub_logging

from animate_kernels.dispatch import Choice, choose, probe_fp8_linear
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparsity import DENSE
from animate_pipelines.diffusion.image_encoder import ImageEncoder
from animate_pipelines.diffusion.text import PromptEncoder
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.errors import DeviceError
from animate_pipelines.families.wan_animate.family import WanAnimate
from animate_pipelines.families.wan_animate.transformers import Transformers
from animate_pipelines.loading.admission import cuda_memory
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.networks import load_saved, open_network
from animate_pipelines.loading.readers import load_mask_source, load_readers
from animate_pipelines.loading.residency import RESIDENCIES, fit_execution, with_residency
from animate_pipelines.loading.sizes import NetworkSizes, read_sizes
from animate_pipelines.memory.parking import Parking
from animate_weights.hashes import hash_sample
from animate_weights.layouts import Component, tokenizer_folder
from animate_weights.manifest import READERS_PATH, Manifest


def load(
    bundle: Path, manifest: Manifest, execution: Execution, *, fit_memory: bool, ignore_memory: bool
) -> WanAnimate:
    """Load every network; see `FamilyModule.load`."""
    sizes = read_sizes(bundle, manifest) if torch.device(execution.device).type == "cuda" else None
    if fit_memory and sizes is not None:
        execution = _fitted(execution, manifest, sizes, ignore_memory=ignore_memory)
    choice = _choose(execution, bundle, manifest)
    execution = replace(execution, attention=choice.backend.name)
    device = execution.device
    parking = Parking(torch.device(device)) if execution.park_transformer else None
    hub_logging.disable_progress_bar()
    return WanAnimate(
        manifest=manifest,
        execution=execution,
        readers=load_readers(bundle, device=device),
        masks=load_mask_source(bundle, device=device),
        readers_hash=hash_sample(bundle / READERS_PATH),
        prompt_encoder=PromptEncoder(
            load_saved(T5TokenizerFast, tokenizer_folder(bundle)),
            _network(bundle, "text_encoder", execution.dtype, "cpu" if execution.text_on_cpu else device),
        ),
        image_encoder=ImageEncoder(_network(bundle, "image_encoder", execution.image_dtype, device)),
        vae=VideoVae(
            _network(bundle, "vae", execution.vae_dtype, device),
            getattr(torch, execution.pixel_dtype),
            parking,
            execution.decode_strips,
        ),
        transformers=Transformers(bundle, manifest, execution, SelfAttention.of(choice, DENSE), parking),
        memory=None if sizes is None or ignore_memory else cuda_memory(sizes, execution),
    )


def _fitted(execution: Execution, manifest: Manifest, sizes: NetworkSizes, *, ignore_memory: bool) -> Execution:
    try:
        return fit_execution(sizes, manifest, execution, torch.cuda.mem_get_info(execution.device)[0])
    except DeviceError:
        if ignore_memory:
            return with_residency(execution, RESIDENCIES[-1])
        raise


def _choose(execution: Execution, bundle: Path, manifest: Manifest) -> Choice:
    """Return the attention that computes on the device.

    Raises `DeviceError` for an attention, or for products in fp8, that the device does not have.
    """
    device, dtype = torch.device(execution.device), getattr(torch, execution.dtype)
    options: dict[str, Any] = {"dtype": dtype}
    if device.type == "cuda":  # elsewhere every width will do
        transformer: Any = open_network(bundle, "transformer", chosen=manifest.transformer).build_empty()
        options["head_width"] = transformer.config.attention_head_dim
    if execution.fp8_products and not (finding := probe_fp8_linear(device)).usable:
        raise DeviceError(f"{device} does not multiply e4m3: {finding.reason}", field="recipe", value="fp8_products")
    try:
        return choose(device, execution.attention, **options)
    except ValueError as error:
        raise DeviceError(str(error), field="recipe", value=execution.attention) from error


def _network(bundle: Path, component: Component, dtype: str, device: str) -> Any:
    return open_network(bundle, component).load(getattr(torch, dtype), torch.device(device))
