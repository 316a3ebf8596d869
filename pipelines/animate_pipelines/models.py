"""Loads a bundle into the networks of the render path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from transformers import CLIPVisionModel, Sam2VideoModel, T5TokenizerFast, UMT5EncoderModel
from transformers.utils import logging as hub_logging

from animate_pipelines.errors import BundleError, InvalidField
from animate_pipelines.image_encoder import ImageEncoder
from animate_pipelines.preprocess.masks import KeypointBoxes, MaskSource
from animate_pipelines.preprocess.sam2 import Sam2Masks
from animate_pipelines.recipe import Recipe, default_recipe
from animate_pipelines.text import PromptEncoder
from animate_pipelines.transformer import AnimateTransformer
from animate_pipelines.vae import VideoVae
from animate_weights.bundles import DETECTOR_PATH, POSE_PATH, SAM2_PATH, Manifest, fingerprint, read_manifest
from animate_weights.lora import merge_lora, read_lora


class Transformers:
    """The transformer for full and for few steps. The few-step one is loaded on first use and kept beside the other."""

    def __init__(self, bundle: Path, manifest: Manifest, recipe: Recipe) -> None:
        self._bundle, self._manifest, self._recipe = bundle, manifest, recipe
        self._full = AnimateTransformer(_load_transformer(bundle, recipe))
        self._turbo: AnimateTransformer | None = None

    def select(self, *, turbo: bool) -> AnimateTransformer:
        """`InvalidField` when few steps are asked of a bundle without a few-step LoRA."""
        if not turbo:
            return self._full
        if self._turbo is None:
            self._turbo = self._load_turbo()
        return self._turbo

    def _load_turbo(self) -> AnimateTransformer:
        name, lora = self._manifest.name, self._manifest.turbo_lora
        if lora is None:
            raise InvalidField(f"the bundle {name!r} has no few-step LoRA", field="turbo", value=True, limit=False)
        model = _load_transformer(self._bundle, self._recipe)
        merge_lora(dict(model.named_parameters()), read_lora(self._bundle / lora))
        return AnimateTransformer(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The loaded networks of one bundle on one device."""

    bundle: Path
    manifest: Manifest
    bundle_hash: str
    recipe: Recipe
    detector: onnxruntime.InferenceSession
    pose: onnxruntime.InferenceSession
    masks: MaskSource
    prompt_encoder: PromptEncoder
    image_encoder: ImageEncoder
    vae: VideoVae
    transformers: Transformers

    @property
    def device(self) -> torch.device:
        return torch.device(self.recipe.device)


def load_models(bundle: Path, *, device: str = "cpu", recipe: Recipe | None = None) -> Models:
    """Load every network of a bundle. `BundleError` names what is missing or unreadable. Reads local files only."""
    recipe = recipe or default_recipe(device)
    manifest = read_manifest(bundle)
    hub_logging.disable_progress_bar()
    return Models(
        bundle=bundle,
        manifest=manifest,
        bundle_hash=fingerprint(bundle),
        recipe=recipe,
        detector=_session(bundle / DETECTOR_PATH, device),
        pose=_session(bundle / POSE_PATH, device),
        masks=_mask_source(bundle / SAM2_PATH, device),
        prompt_encoder=PromptEncoder(
            _load(T5TokenizerFast, bundle / "tokenizer"),
            _network(UMT5EncoderModel, bundle / "text_encoder", recipe.dtype, device),
        ),
        image_encoder=ImageEncoder(_network(CLIPVisionModel, bundle / "image_encoder", recipe.dtype, device)),
        vae=VideoVae(_network(AutoencoderKLWan, bundle / "vae", recipe.vae_dtype, device)),
        transformers=Transformers(bundle, manifest, recipe),
    )


def _mask_source(folder: Path, device: str) -> MaskSource:
    """SAM 2 where the bundle has it in transformers' layout, else boxes around the keypoints."""
    if not (folder / "config.json").is_file():
        return KeypointBoxes()
    return Sam2Masks(_network(Sam2VideoModel, folder, "float32", device))


def _load_transformer(bundle: Path, recipe: Recipe) -> WanAnimateTransformer3DModel:
    return _network(WanAnimateTransformer3DModel, bundle / "transformer", recipe.dtype, recipe.device)


def _network(kind: Any, folder: Path, dtype: str, device: str) -> Any:
    return _load(kind, folder, torch_dtype=getattr(torch, dtype)).to(device).eval().requires_grad_(False)


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    if not folder.is_dir():
        raise BundleError(f"the bundle lacks {folder.name}/", field="bundle", value=str(folder))
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"{folder.name}/ cannot be loaded: {error}", field="bundle", value=str(folder)) from error


def _session(path: Path, device: str) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise BundleError(f"the bundle lacks {path.name}", field="bundle", value=str(path))
    wanted = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in [*wanted, "CPUExecutionProvider"] if name in available]
    return onnxruntime.InferenceSession(str(path), providers=providers)
