"""Stage 8: writes the trained parts as one bundle: Diffusers layout, `process_checkpoint`, LoRA, manifest.

python -m animate_benchmarks.training.write_bundle --out /tmp/puppet --bundle weights/animate_weights/puppet/bundle
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from animate_benchmarks.puppet.clips import RENDER_PX, SEGMENT_FRAMES
from animate_benchmarks.puppet.prompts import puppet_tokenizer
from animate_benchmarks.training.animator import IMAGE
from animate_benchmarks.training.loop import load_average
from animate_benchmarks.training.networks import Detector, PoseNetwork
from animate_benchmarks.training.onnx_files import read_pose_network, write_detector, write_pose_network
from animate_benchmarks.training.train_animator import SHIFT, new_animator
from animate_benchmarks.training.train_decoder import freeze_encoder
from animate_benchmarks.training.train_readers import to_confidences
from animate_benchmarks.training.train_turbo import LORA_FILE, STEPS, add_low_rank, write_lora
from animate_weights.manifest import DETECTOR_PATH, MANIFEST_NAME, POSE_PATH, Manifest
from animate_weights.tiny import image_processor_config, model_index, scheduler, write_json

_LORA_PATH = f"loras/{LORA_FILE}"


def write_bundle(out: Path, folder: Path, pose_share: float = 1.0) -> None:
    """Put the trained parts into a bundle; a part that was not trained stays as the bundle has it.

    out: the folder of the training.
    folder: the bundle.
    pose_share: share of the trained pose network in the weights; the rest are those that the bundle has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "model_index.json", model_index())
    write_json(folder / "image_processor/preprocessor_config.json", image_processor_config(IMAGE["image_size"]))
    puppet_tokenizer().save_pretrained(folder / "tokenizer")
    scheduler(SHIFT).save_pretrained(folder / "scheduler")
    parts: dict[str, Callable[[Path, Path], None]] = {
        "vae": _write_vae,
        "decoder": _write_decoder,
        "animator": _write_animator,
        "pose": partial(_write_pose_network, share=pose_share),
        "detector": _write_detector,
        "turbo": _write_turbo,
    }
    for part, write in parts.items():
        if (out / part).is_dir():
            write(out, folder)
    turbo = (folder / _LORA_PATH).is_file()
    manifest = Manifest(
        name="puppet",
        render_areas=((RENDER_PX, RENDER_PX),),
        segment_frames=SEGMENT_FRAMES,
        steps=20,
        shift=SHIFT,
        turbo_lora=_LORA_PATH if turbo else None,
        turbo_steps=STEPS if turbo else None,
        reads="puppets",
    )
    write_json(folder / MANIFEST_NAME, manifest.to_json())


def _write_vae(out: Path, folder: Path) -> None:
    _save_vae(AutoencoderKLWan.from_pretrained(out / "vae" / "model"), folder)


def _save_vae(vae: AutoencoderKLWan, folder: Path) -> None:
    vae.register_to_config(_name_or_path="puppet")
    _save_half(vae, folder / "vae")


def _write_decoder(out: Path, folder: Path) -> None:
    vae = AutoencoderKLWan.from_pretrained(folder / "vae")
    freeze_encoder(vae)
    load_average(vae, out / "decoder")
    _save_vae(vae, folder)


def _write_animator(out: Path, folder: Path) -> None:
    animator = new_animator("cpu")
    load_average(animator, out / "animator")
    _save_half(animator.transformer, folder / "transformer")
    _save_half(animator.text_encoder, folder / "text_encoder")
    _save_half(animator.image_encoder, folder / "image_encoder")


def _write_pose_network(out: Path, folder: Path, *, share: float) -> None:
    network = PoseNetwork()
    load_average(network, out / "pose")
    to_confidences(network.head)
    kept = _read_pose_network(folder) if share < 1 else None
    write_pose_network(network.eval(), folder / POSE_PATH)
    if kept is not None:  # the mean is of what stands in files: there the norms' statistics are part of the weights
        network = _read_pose_network(folder)
        for parameter, before in zip(network.parameters(), kept.parameters(), strict=True):
            parameter.data.lerp_(before.data, 1 - share)
        write_pose_network(network, folder / POSE_PATH)


def _read_pose_network(folder: Path) -> PoseNetwork:
    network = PoseNetwork().eval()
    read_pose_network(network, folder / POSE_PATH)
    return network


def _write_detector(out: Path, folder: Path) -> None:
    network = Detector()
    load_average(network, out / "detector")
    write_detector(network.eval(), folder / DETECTOR_PATH)


def _write_turbo(out: Path, folder: Path) -> None:
    layers = add_low_rank(new_animator("cpu"))
    trained = torch.nn.ModuleDict({name.replace(".", "/"): layer for name, layer in layers.items()})
    load_average(trained, out / "turbo")
    write_lora(layers, folder / _LORA_PATH)


def _save_half(model: Any, folder: Path) -> None:
    model.half().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--pose-share", type=float, default=1.0, help="of the trained pose network; the rest is kept")
    arguments = parser.parse_args()
    write_bundle(arguments.out, arguments.bundle, arguments.pose_share)
    size = sum(path.stat().st_size for path in arguments.bundle.rglob("*") if path.is_file())
    print(f"{arguments.bundle}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
