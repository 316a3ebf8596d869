"""`Readers`: the two networks that look at pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import onnxruntime

from animate_pipelines.errors import BundleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """The detector (`preprocess/detector.py`) and the pose network (`preprocess/pose.py`)."""

    detector: onnxruntime.InferenceSession
    pose: onnxruntime.InferenceSession

    @property
    def are_there(self) -> bool:
        """Whether the bundle has them."""
        return not any(isinstance(network, AbsentNetwork) for network in (self.detector, self.pose))


class AbsentNetwork:
    """Stands where the bundle has no such network, which only matters when it is asked: keypoints can be given."""

    def __init__(self, name: str) -> None:
        self._name = name

    def get_inputs(self) -> NoReturn:
        """Raises `BundleError`."""
        raise BundleError(
            f"the bundle lacks {self._name}; without it keypoints must be given", field="bundle", value=self._name
        )
