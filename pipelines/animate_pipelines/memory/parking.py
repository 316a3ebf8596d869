"""Keeps the transformer in host memory while the VAE works, where the device cannot hold both and their work."""

from __future__ import annotations

import torch
from torch import nn


class Parking:
    """A place on the device for one network at a time. Each user announces itself before it computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._here: nn.Module | None = None

    def arrive(self, network: nn.Module) -> None:
        """Move the network to the device, unless it is there."""
        if self._here is not network:
            self.make_room()
            network.to(self._device)
            self._here = network

    def make_room(self) -> None:
        """Move the network on the device to the host."""
        if self._here is not None:
            self._here.to("cpu")
            self._here = None
