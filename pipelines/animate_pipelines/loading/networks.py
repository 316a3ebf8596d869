"""The four networks of a bundle: built empty from either layout, and filled strictly from its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from animate_pipelines.errors import BundleError
from animate_pipelines.memory.fp8_linear import Fp8Linear, keep_in_fp8
from animate_weights import architecture, encoder_names
from animate_weights.checkpoint import Checkpoint
from animate_weights.layouts import Component, component_files, find_layout, read_config
from animate_weights.lora import Lora
from animate_weights.matching import Matching, Rename, match_tensors, read_tensors
from animate_weights.names import diffusers_names

_HOST = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFiles:
    """A network's tensors on the disk, and its constructor.

    build: makes the network, without values when called under `init_empty_weights`.
    """

    component: Component
    checkpoint: Checkpoint
    build: Callable[[], nn.Module]
    rename: Rename

    def build_empty(self) -> nn.Module:
        """Return the network with its parameters on the meta device; constant buffers, such as RoPE's, are real."""
        try:
            with init_empty_weights(include_buffers=False):
                network = self.build()
            return _tied(network)
        except (TypeError, ValueError, KeyError, RuntimeError, ArithmeticError) as error:  # a damaged configuration
            raise BundleError(f"{self.component} cannot be built: {error}", field="bundle") from error

    def match(self) -> Matching:
        """Match every tensor with every parameter; no values are read."""
        return match_tensors(self.checkpoint, network_shapes(self.build_empty()), self.rename)

    def load(
        self,
        dtype: torch.dtype,
        device: torch.device,
        loras: Sequence[Lora] = (),
        *,
        fp8: bool = False,
        on_host: str | None = None,
    ) -> Any:
        """Return the network with its values.

        It holds one copy: a tensor is read, converted, moved and assigned at a time.

        fp8: keep a transformer's matrices in 8 bits.
        on_host: the name of the part that ends in host memory instead.
        Raises `BundleError` with the first tensor that is missing, extra or of the wrong shape.
        """
        network = self.build_empty()
        if fp8:
            keep_in_fp8(network)
        expected = network_shapes(network)
        tensors = read_tensors(self.checkpoint, expected, self.rename, dtype=dtype, device=device, loras=loras)
        try:
            for name, tensor in tensors:
                home = _HOST if name.partition(".")[0] == on_host else device
                _assign(network, name, tensor, home)
        except BundleError as error:
            raise BundleError(f"{self.component}: {error.message}", field=error.field, value=error.value) from None
        for name, part in _tied(network).named_children():
            part.to(_HOST if name == on_host else device)  # the constant buffers; parameters are there
        return network.eval().requires_grad_(False)


def open_network(bundle: Path, component: Component, *, chosen: str | None = None) -> NetworkFiles:
    """Return one network of a bundle of either layout.

    chosen: the transformer's file where the manifest names one.
    Raises `BundleError` for missing or unreadable files.
    """
    checkpoint = Checkpoint(component_files(bundle, component, chosen))
    if (content := architecture.recognise(checkpoint.tensors)) not in (component, None):
        names = ", ".join(path.name for path in checkpoint.files.files)
        raise BundleError(f"{names} holds a {content}, not the {component}", field="bundle", value=str(bundle))
    layout = find_layout(bundle)
    try:
        if layout == "original":
            build, rename = _original(bundle, component, checkpoint)
        else:
            build, rename = _saved(bundle / component, component)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{component} cannot be built: {error}", field="bundle", value=str(bundle)) from error
    if component == "transformer" and "patch_embedding.weight" in checkpoint.tensors:
        rename = diffusers_names if _has_original_names(checkpoint) else _unchanged
    return NetworkFiles(component=component, checkpoint=checkpoint, build=build, rename=rename)


def load_saved(model_class: Any, folder: Path, **options: Any) -> Any:
    """Return the result of `kind.from_pretrained` for a folder of a bundle.

    Raises `BundleError` where it fails.
    """
    if not folder.is_dir():
        raise BundleError(f"the bundle lacks {folder.name}/", field="bundle", value=str(folder))
    try:
        return model_class.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"{folder.name}/ cannot be loaded: {error}", field="bundle", value=str(folder)) from error


def _original(bundle: Path, component: Component, checkpoint: Checkpoint) -> tuple[Callable[[], nn.Module], Rename]:
    tensors = checkpoint.tensors
    if component == "transformer":
        transformer = architecture.transformer_options(tensors, read_config(bundle))
        return lambda: WanAnimateTransformer3DModel(**transformer), diffusers_names
    if component == "vae":
        vae = architecture.vae_options(tensors)
        return lambda: AutoencoderKLWan(**vae), encoder_names.vae_names
    if component == "text_encoder":
        text = architecture.text_encoder_options(tensors)
        return lambda: UMT5EncoderModel(UMT5Config(**text)), encoder_names.text_encoder_names
    image = architecture.image_encoder_options(tensors)
    return lambda: CLIPVisionModel(CLIPVisionConfig(**image)), encoder_names.image_encoder_names


def _saved(folder: Path, component: Component) -> tuple[Callable[[], nn.Module], Rename]:
    if component == "transformer":
        options = WanAnimateTransformer3DModel.load_config(folder)
        return lambda: WanAnimateTransformer3DModel.from_config(options), _unchanged
    if component == "vae":
        vae = AutoencoderKLWan.load_config(folder)
        return lambda: AutoencoderKLWan.from_config(vae), _unchanged
    if component == "text_encoder":
        text = UMT5Config.from_pretrained(folder, local_files_only=True)
        return lambda: UMT5EncoderModel(text), encoder_names.saved_text_encoder_names
    image = CLIPVisionConfig.from_pretrained(folder, local_files_only=True)
    return lambda: CLIPVisionModel(image), encoder_names.saved_image_encoder_names


def _has_original_names(checkpoint: Checkpoint) -> bool:
    return any(name.startswith(("time_embedding.", "head.")) for name in checkpoint.tensors)


def _unchanged(name: str) -> tuple[str, ...]:
    return (name,)


def _assign(network: nn.Module, name: str, tensor: torch.Tensor, home: torch.device) -> None:
    """Put the tensor itself in the place of a parameter; matrices are quantised to fp8 before they go home."""
    layer, _, parameter = name.rpartition(".")
    owner = network.get_submodule(layer)
    if isinstance(owner, Fp8Linear) and parameter == "weight":
        owner.fill(tensor, home)
    else:
        setattr(owner, parameter, nn.Parameter(tensor.to(home), requires_grad=False))


def _tied(network: nn.Module) -> nn.Module:
    """Tie the two names of the text encoder's embedding again: assigning parts them."""
    if isinstance(network, UMT5EncoderModel):
        network.tie_weights()
    return network


def network_shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters by name; shared ones once, under the first name."""
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
