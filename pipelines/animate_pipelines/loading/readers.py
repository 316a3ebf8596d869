"""Loads the networks that read pictures: detector, pose network, masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from transformers import Sam2VideoModel

from animate_pipelines.errors import BundleError
from animate_pipelines.loading.networks import load_saved
from animate_pipelines.loading.threads import threads_for
from animate_pipelines.perception.detector_kinds import detector_kind
from animate_pipelines.perception.masks import KeypointBoxes, MaskSource
from animate_pipelines.perception.pose import pose_kind
from animate_pipelines.perception.readers import AbsentNetwork, Readers
from animate_pipelines.perception.sam2 import Sam2Masks
from animate_pipelines.perception.sam2_files import CHECKPOINT_NAME, load_original
from animate_weights.manifest import SAM2_PATH, find_detector, find_pose_network


def load_readers(bundle: Path, *, device: str = "cpu") -> Readers:
    """Load detector and pose network; one that the bundle lacks fails when it is used.

    Raises `BundleError` for one that cannot be read, or is of no known kind.
    """
    return Readers(detector=load_detector(bundle, device=device), pose=load_pose_network(bundle, device=device))


def load_detector(bundle: Path, *, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Load the person detector; see `load_readers`."""
    return _load(bundle, find_detector(bundle), detector_kind, device)


def load_pose_network(bundle: Path, *, device: str = "cpu") -> onnxruntime.InferenceSession:
    """Load the pose network; see `load_readers`."""
    return _load(bundle, find_pose_network(bundle), pose_kind, device)


def load_mask_source(bundle: Path, *, device: str = "cpu") -> MaskSource:
    """Load SAM 2 where the bundle has it, in transformers' or the original layout; else take boxes around keypoints."""
    folder = bundle / SAM2_PATH
    if (folder / "config.json").is_file():
        model = load_saved(Sam2VideoModel, folder, torch_dtype=torch.float32)
    elif (folder / CHECKPOINT_NAME).is_file():
        model = load_original(folder / CHECKPOINT_NAME)
    else:
        return KeypointBoxes()
    return Sam2Masks(model.to(device).eval().requires_grad_(False))


def _load(
    bundle: Path, path: Path, kind_of: Callable[[onnxruntime.InferenceSession], object], device: str
) -> onnxruntime.InferenceSession:
    if not path.is_file():
        return AbsentNetwork(path.name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_for(bundle) or 0  # 0: as many as it thinks fit
    preferred = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in [*preferred, "CPUExecutionProvider"] if name in available]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors have no base of their own
        name = path.relative_to(bundle)
        raise BundleError(f"{name} cannot be read: {error}", field="bundle", value=str(name)) from error
    kind_of(session)
    return session
