"""Loads the networks that read pictures: detector, pose network, masks."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import torch
from transformers import Sam2VideoModel

from animate_pipelines.loading.networks import load_saved
from animate_pipelines.loading.threads import threads_for
from animate_pipelines.perception.masks import KeypointBoxes, MaskSource
from animate_pipelines.perception.readers import AbsentNetwork, Readers
from animate_pipelines.perception.sam2 import Sam2Masks
from animate_pipelines.perception.sam2_files import CHECKPOINT_NAME, load_original
from animate_weights.manifest import DETECTOR_PATH, POSE_PATH, SAM2_PATH


def load_readers(bundle: Path, *, device: str = "cpu") -> Readers:
    """Load detector and pose network; one that the bundle lacks fails when it is used."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads_for(bundle) or 0  # 0: as many as it thinks fit
    return Readers(
        detector=_session(bundle / DETECTOR_PATH, device, options), pose=_session(bundle / POSE_PATH, device, options)
    )


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


def _session(path: Path, device: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    if not path.is_file():
        return AbsentNetwork(path.name)
    preferred = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in [*preferred, "CPUExecutionProvider"] if name in available]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)
