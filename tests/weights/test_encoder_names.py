"""Original names of the VAE's and the text encoder's tensors map onto diffusers' and transformers'."""

from __future__ import annotations

from golden_weights import read_json

from animate_weights.encoder_names import image_encoder_names, text_encoder_names, vae_names


def test_every_tensor_of_the_vae_is_named() -> None:
    golden = read_json("vae_original_to_diffusers.json")
    assert {name: vae_names(name) for name in golden} == {name: (renamed,) for name, (renamed, _) in golden.items()}


def test_what_is_not_used_and_what_is_not_known() -> None:
    assert image_encoder_names("textual.token_embedding.weight") == ()
    assert image_encoder_names("log_scale") == image_encoder_names("visual.head") == ()
    assert image_encoder_names("visual.extra") == ("visual.extra",)
    assert text_encoder_names("blocks.3.attn.extra.weight") == ("blocks.3.attn.extra.weight",)
    assert vae_names("decoder.extra.weight") == ("decoder.extra.weight",)
