"""`Readers`: the two networks that read people in pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import onnxruntime

from animate_pipelines.errors import BundleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """The detector (`perception/detector.py`) and the pose network (`perception/pose.py`)."""

    detector: onnxruntime.InferenceSession
    pose: onnxruntime.InferenceSession

    @property
    def are_there(self) -> bool:
        """Return whether the bundle has both networks."""
        return not any(isinstance(network, AbsentNetwork) for network in (self.detector, self.pose))


class AbsentNetwork:
    """A network that the bundle lacks. It fails only when it is used: keypoints may come from the caller."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_outputs(self) -> NoReturn:
        """Raise `BundleError`: what reads a network asks first what it answers."""
        raise BundleError(
            f"the bundle lacks {self._name}; without it keypoints must be given", field="bundle", value=self._name
        )
