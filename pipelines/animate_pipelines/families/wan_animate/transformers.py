"""The transformer in its variants: plain, few-step, relighting, both."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

from animate_kernels.self_attention import SelfAttention
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.networks import open_network
from animate_pipelines.memory.fp8_linear import multiply_in_fp8
from animate_pipelines.memory.parking import Parking
from animate_pipelines.request.availability import check_turbo
from animate_weights.lora import read_lora
from animate_weights.manifest import Manifest


class Transformers:
    """The transformer plain and with LoRAs merged in. Each variant is loaded on first use.

    The `execution.transformers_kept` last used ones stay in memory.
    """

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        execution: Execution,
        attend: SelfAttention,
        parking: Parking | None = None,
    ) -> None:
        self._bundle, self._manifest, self._execution, self._parking = bundle, manifest, execution, parking
        self._attend = attend
        self._loaded: OrderedDict[tuple[bool, bool], AnimateTransformer] = OrderedDict()
        self.face_size_px = self.select(turbo=False).face_size_px

    def select(self, *, turbo: bool, relight: bool = False) -> AnimateTransformer:
        """Return a variant, loading it if need be.

        turbo: whether the few-step LoRA is merged in.
        relight: whether the relighting LoRA is merged in, where the bundle has one.
        Raises `InvalidField` for `turbo` with a bundle that has no few-step LoRA.
        """
        check_turbo(turbo, bundle=self._manifest.name, lora=self._manifest.turbo_lora)
        key = (turbo, relight and self._manifest.relighting_lora is not None)
        if key not in self._loaded:
            while len(self._loaded) >= self._execution.transformers_kept:
                self._loaded.popitem(last=False)
            if self._parking is not None:
                self._parking.make_room()
            self._loaded[key] = self._load(turbo=key[0], relight=key[1])
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def loras(self, *, turbo: bool, relight: bool) -> tuple[tuple[str, float], ...]:
        """Return path in the bundle and strength of each LoRA that `select` merges in."""
        manifest = self._manifest
        candidates = (
            (manifest.relighting_lora if relight else None, manifest.relighting_strength),
            (manifest.turbo_lora if turbo else None, manifest.turbo_strength),
        )
        return tuple((path, strength) for path, strength in candidates if path is not None)

    def _load(self, *, turbo: bool, relight: bool) -> AnimateTransformer:
        network = open_network(self._bundle, "transformer", chosen=self._manifest.transformer)
        selected = self.loras(turbo=turbo, relight=relight)
        loras = [read_lora(self._bundle / path, strength=strength) for path, strength in selected]
        execution, device = self._execution, torch.device(self._execution.device)
        on_host = "blocks" if execution.stream_blocks else None
        dtype = getattr(torch, execution.dtype)
        model = network.load(dtype, device, loras, fp8=execution.fp8_weights, on_host=on_host)
        if execution.fp8_products:
            multiply_in_fp8(model)
        residual_dtype = getattr(torch, execution.residual_dtype)
        stream_to = device if execution.stream_blocks else None
        return AnimateTransformer(model, residual_dtype, self._parking, stream_to, self._attend)
