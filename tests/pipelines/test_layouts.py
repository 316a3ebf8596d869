"""One set of weights in both layouts becomes the same networks, bit for bit, and renders without a network."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_weights import golden_vae
from original_bundle import write_renamed_bundle
from safetensors.torch import load_file, save_file

from animate_pipelines.families.registry import load_models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_weights.bundles import find_bundle
from animate_weights.manifest import read_manifest


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny bundle with a VAE of the published depth, in the Diffusers and in the original layout."""
    folder = tmp_path_factory.mktemp("layouts")
    saved = Path(shutil.copytree(tiny_bundle, folder / "diffusers"))
    shutil.rmtree(saved / "vae")
    golden_vae().save_pretrained(saved / "vae")
    return saved, write_renamed_bundle(saved, folder / "original")


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets and name look-ups to anything but loopback are refused."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"the network was touched: {address}")
        connect(self, address)

    def refuse_name(host: str, *rest: Any, **options: Any) -> Any:
        raise AssertionError(f"a name was looked up: {host}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_name)


@pytest.mark.usefixtures("loopback_only")
def test_both_layouts_hold_the_same_networks(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    saved, original = (load_models(find_bundle(str(folder), tmp_path)) for folder in bundles)
    for turbo in (False, True):
        ours, theirs = (models.family.transformers.select(turbo=turbo)._model for models in (saved, original))
        wanted = dict(ours.named_parameters())
        given = dict(theirs.named_parameters())
        assert wanted.keys() == given.keys()
        assert [name for name in wanted if not torch.equal(wanted[name], given[name])] == []
    assert saved.manifest == original.manifest
    prompt, picture = "a puppet waves", torch.rand(1, 3, 40, 30)
    assert torch.equal(saved.family.prompt_encoder.encode(prompt), original.family.prompt_encoder.encode(prompt))
    assert torch.equal(saved.family.image_encoder.encode(picture), original.family.image_encoder.encode(picture))
    assert torch.equal(
        saved.family.vae.encode(picture[:, :, None, :32, :24]),
        original.family.vae.encode(picture[:, :, None, :32, :24]),
    )


@pytest.mark.usefixtures("loopback_only")
def test_a_whole_render_from_the_original_layout_stays_on_this_machine(
    bundles: tuple[Path, Path], media: InputFiles, tmp_path: Path
) -> None:
    params = RenderParams(reference_image="-", driving_video="-", seed=3, resolution="480p", num_frames=17)
    models = load_models(bundles[1])
    result = render_video(models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert (result.num_frames, result.path.is_file()) == (17, True)


def test_an_original_download_without_manifest_is_described(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundles[1], tmp_path / "download"))
    (folder / "manifest.json").unlink()
    manifest = read_manifest(find_bundle(str(folder), tmp_path))
    assert (manifest.name, manifest.segment_frames, manifest.relighting_lora) == ("wan2.2-animate-14b", 77, None)
    (folder / "relighting_lora.ckpt").write_bytes(b"")
    assert read_manifest(folder).relighting_lora == "relighting_lora.ckpt"


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_a_single_fp8_file_takes_the_transformers_place(
    layout: str, bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    """As published for ComfyUI: original names with a prefix, one scale a matrix; the manifest names the file."""
    folder = Path(shutil.copytree(bundles[layout == "original"], tmp_path / "bundle"))
    tensors: dict[str, torch.Tensor] = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    for shard in sorted(bundles[1].glob("*.safetensors")):
        for name, tensor in load_file(shard).items():
            is_matrix = tensor.dim() == 2 and ("attn" in name or ".ffn." in name)
            tensors[f"diffusion_model.{name}"] = (tensor * 2).to(torch.float8_e4m3fn) if is_matrix else tensor
            if is_matrix:
                tensors[f"diffusion_model.{name.removesuffix('weight')}scale_weight"] = torch.tensor(0.5)
    save_file(tensors, folder / "animate_fp8_scaled.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"transformer": "animate_fp8_scaled.safetensors"}))
    given, plain = (
        dict(load_models(path).family.transformers.select(turbo=False)._model.named_parameters())
        for path in (folder, bundles[0])
    )
    assert given.keys() == plain.keys()
    differing = {name for name in plain if not torch.equal(given[name], plain[name])}
    assert len(differing) == 50  # five blocks of twelve matrices, three of them joined
    for name in differing:
        assert torch.equal(given[name], (plain[name] * 2).to(torch.float8_e4m3fn).float() / 2)
