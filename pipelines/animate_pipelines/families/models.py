"""Loads a bundle into the networks of the render path."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from transformers import Sam2VideoModel, T5TokenizerFast
from transformers.utils import logging as hub_logging

from animate_kernels.dispatch import Choice, choose, probe_fp8_linear
from animate_kernels.self_attention import SelfAttention
from animate_pipelines.diffusion.image_encoder import ImageEncoder
from animate_pipelines.diffusion.text import PromptEncoder
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.errors import BundleError, DeviceError
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.loading.admission import DeviceMemory, cuda_memory
from animate_pipelines.loading.execution import Recipe, default_recipe
from animate_pipelines.loading.networks import open_network
from animate_pipelines.loading.residency import RESIDENCIES, NetworkSizes, fit_recipe, read_sizes, with_residency
from animate_pipelines.loading.safety import SafetyChecker, load_safety_checker
from animate_pipelines.loading.shortcuts import recipe_changes
from animate_pipelines.memory.fp8_linear import multiply_in_fp8
from animate_pipelines.memory.parking import Parking
from animate_pipelines.perception.masks import KeypointBoxes, MaskSource
from animate_pipelines.perception.readers import AbsentNetwork, Readers
from animate_pipelines.perception.sam2 import Sam2Masks
from animate_pipelines.perception.sam2_files import CHECKPOINT_NAME, load_original
from animate_pipelines.request.availability import check_turbo
from animate_weights.hashes import hash_sample
from animate_weights.layouts import Component, tokenizer_folder
from animate_weights.lora import read_lora
from animate_weights.manifest import (
    DETECTOR_PATH,
    POSE_PATH,
    READERS_PATH,
    SAFETY_PATH,
    SAM2_PATH,
    Manifest,
    fingerprint,
    read_manifest,
)


class Transformers:
    """The transformer plain and with LoRAs merged in: few-step, relighting, both. Each is loaded on first use.

    The `recipe.transformers_kept` last used ones stay in memory.
    """

    def __init__(
        self, bundle: Path, manifest: Manifest, recipe: Recipe, attend: SelfAttention, parking: Parking | None = None
    ) -> None:
        self._bundle, self._manifest, self._recipe, self._parking = bundle, manifest, recipe, parking
        self._attend = attend
        self._loaded: OrderedDict[tuple[bool, bool], AnimateTransformer] = OrderedDict()
        self.select(turbo=False)

    def select(self, *, turbo: bool, relight: bool = False) -> AnimateTransformer:
        """`InvalidField` when few steps are asked of a bundle without a few-step LoRA.

        relight: whether the relighting LoRA is merged in, where the bundle has one.
        """
        check_turbo(turbo, bundle=self._manifest.name, lora=self._manifest.turbo_lora)
        key = (turbo, relight and self._manifest.relighting_lora is not None)
        if key not in self._loaded:
            while len(self._loaded) >= self._recipe.transformers_kept:
                self._loaded.popitem(last=False)
            if self._parking is not None:
                self._parking.make_room()
            self._loaded[key] = self._load(turbo=key[0], relight=key[1])
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def loras(self, *, turbo: bool, relight: bool) -> tuple[tuple[str, float], ...]:
        """Paths in the bundle and strengths of the LoRAs that `select` merges in."""
        manifest = self._manifest
        wanted = (
            (manifest.relighting_lora if relight else None, manifest.relighting_strength),
            (manifest.turbo_lora if turbo else None, manifest.turbo_strength),
        )
        return tuple((path, strength) for path, strength in wanted if path is not None)

    def _load(self, *, turbo: bool, relight: bool) -> AnimateTransformer:
        network = open_network(self._bundle, "transformer", chosen=self._manifest.transformer)
        wanted = self.loras(turbo=turbo, relight=relight)
        loras = [read_lora(self._bundle / path, strength=strength) for path, strength in wanted]
        recipe, device = self._recipe, torch.device(self._recipe.device)
        on_host = "blocks" if recipe.stream_blocks else None
        model = network.load(getattr(torch, recipe.dtype), device, loras, fp8=recipe.fp8_weights, on_host=on_host)
        if recipe.fp8_products:
            multiply_in_fp8(model)
        residual_dtype, stream_to = getattr(torch, recipe.residual_dtype), device if recipe.stream_blocks else None
        return AnimateTransformer(model, residual_dtype, self._parking, stream_to, self._attend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The loaded networks of one bundle on one device.

    readers_hash: changes with the networks that read driving videos: detector, pose, masks.
    safety: what looks at pictures when a job asks for it; None when the bundle has no checker.
    memory: what jobs are held to; None on the CPU, whose memory is not planned, and where that is not wanted.
    """

    bundle: Path
    manifest: Manifest
    bundle_hash: str
    readers_hash: str
    recipe: Recipe
    detector: onnxruntime.InferenceSession
    pose: onnxruntime.InferenceSession
    masks: MaskSource
    prompt_encoder: PromptEncoder
    image_encoder: ImageEncoder
    vae: VideoVae
    transformers: Transformers
    memory: DeviceMemory | None = None
    safety: SafetyChecker | None = None

    @property
    def device(self) -> torch.device:
        return torch.device(self.recipe.device)

    @property
    def readers(self) -> Readers:
        return Readers(detector=self.detector, pose=self.pose)


def load_models(
    bundle: Path,
    *,
    device: str = "cpu",
    shortcuts: Sequence[str] = (),
    recipe: Recipe | None = None,
    ignore_memory: bool = False,
) -> Models:
    """Load every network of a bundle. Reads local files only.

    recipe: the official types with the shortcuts (`animate_pipelines.loading.shortcuts`) taken, and on a GPU what its
    free memory allows, when none is given. ignore_memory: whether to try what is predicted not to fit. `BundleError`
    names what is missing or unreadable; `DeviceError` when memory is too small or a shortcut does not work on the
    device.
    """
    manifest = read_manifest(bundle)
    sizes = read_sizes(bundle, manifest) if torch.device(device).type == "cuda" else None
    if recipe is None:
        wanted = replace(default_recipe(device), **recipe_changes(shortcuts))
        recipe = wanted if sizes is None else _fitted(wanted, manifest, sizes, ignore_memory=ignore_memory)
    choice = _choose(recipe, bundle, manifest)
    recipe = replace(recipe, attention=choice.backend.name)
    parking = Parking(torch.device(device)) if recipe.park_transformer else None
    hub_logging.disable_progress_bar()
    return Models(
        bundle=bundle,
        manifest=manifest,
        bundle_hash=fingerprint(bundle),
        readers_hash=hash_sample(bundle / READERS_PATH),
        recipe=recipe,
        detector=_session(bundle / DETECTOR_PATH, device),
        pose=_session(bundle / POSE_PATH, device),
        masks=load_mask_source(bundle, device=device),
        prompt_encoder=PromptEncoder(
            _tokenizer(bundle),
            _network(bundle, "text_encoder", recipe.dtype, "cpu" if recipe.text_on_cpu else device),
        ),
        image_encoder=ImageEncoder(_network(bundle, "image_encoder", recipe.image_dtype, device)),
        vae=VideoVae(
            _network(bundle, "vae", recipe.vae_dtype, device),
            getattr(torch, recipe.pixel_dtype),
            parking,
            recipe.decode_strips,
        ),
        transformers=Transformers(bundle, manifest, recipe, SelfAttention.of(choice, recipe.sparsity), parking),
        memory=None if sizes is None or ignore_memory else cuda_memory(sizes, recipe),
        safety=load_safety_checker(bundle / SAFETY_PATH, device),
    )


def load_readers(bundle: Path, *, device: str = "cpu") -> Readers:
    """Only the two networks that preflight needs. `BundleError` names what is missing."""
    return Readers(detector=_session(bundle / DETECTOR_PATH, device), pose=_session(bundle / POSE_PATH, device))


def load_mask_source(bundle: Path, *, device: str = "cpu") -> MaskSource:
    """SAM 2 where the bundle has it, in transformers' layout or the original one, else boxes around the keypoints."""
    folder = bundle / SAM2_PATH
    if (folder / "config.json").is_file():
        model = _load(Sam2VideoModel, folder, torch_dtype=torch.float32)
    elif (folder / CHECKPOINT_NAME).is_file():
        model = load_original(folder / CHECKPOINT_NAME)
    else:
        return KeypointBoxes()
    return Sam2Masks(model.to(device).eval().requires_grad_(False))


def _fitted(recipe: Recipe, manifest: Manifest, sizes: NetworkSizes, *, ignore_memory: bool) -> Recipe:
    try:
        return fit_recipe(sizes, manifest, recipe, torch.cuda.mem_get_info(recipe.device)[0])
    except DeviceError:
        if ignore_memory:
            return with_residency(recipe, RESIDENCIES[-1])
        raise


def _choose(recipe: Recipe, bundle: Path, manifest: Manifest) -> Choice:
    """What computes the recipe on its device. `DeviceError` when it cannot be done there."""
    device, dtype = torch.device(recipe.device), getattr(torch, recipe.dtype)
    options: dict[str, Any] = {"dtype": dtype}
    if device.type == "cuda":  # elsewhere every width will do
        transformer: Any = open_network(bundle, "transformer", chosen=manifest.transformer).build_empty()
        options["head_width"] = transformer.config.attention_head_dim
    if recipe.fp8_products and not (finding := probe_fp8_linear(device)).usable:
        raise DeviceError(f"{device} does not multiply e4m3: {finding.reason}", field="recipe", value="fp8_products")
    try:
        return choose(device, recipe.attention, **options)
    except ValueError as error:
        raise DeviceError(str(error), field="recipe", value=recipe.attention) from error


def _network(bundle: Path, component: Component, dtype: str, device: str) -> Any:
    return open_network(bundle, component).load(getattr(torch, dtype), torch.device(device))


def _tokenizer(bundle: Path) -> T5TokenizerFast:
    return _load(T5TokenizerFast, tokenizer_folder(bundle))


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    if not folder.is_dir():
        raise BundleError(f"the bundle lacks {folder.name}/", field="bundle", value=str(folder))
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"{folder.name}/ cannot be loaded: {error}", field="bundle", value=str(folder)) from error


def _session(path: Path, device: str) -> onnxruntime.InferenceSession:
    if not path.is_file():
        return AbsentNetwork(path.name)
    wanted = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in [*wanted, "CPUExecutionProvider"] if name in available]
    return onnxruntime.InferenceSession(str(path), providers=providers)
