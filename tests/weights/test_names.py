"""Original tensor names map onto Diffusers' (recorded from the published shapes, all 1441 of them)."""

from __future__ import annotations

from golden_weights import read_json

from animate_weights.names import diffusers_names


def test_every_tensor_of_the_real_checkpoint_is_named() -> None:
    golden = read_json("transformer_original_to_diffusers.json")
    assert len(golden) == 1441
    assert {name: list(diffusers_names(name)) for name in golden} == golden


def test_layer_names_map_without_a_parameter() -> None:
    assert diffusers_names("blocks.3.self_attn.o") == ("blocks.3.attn1.to_out.0",)
    assert diffusers_names("blocks.3.ffn.2") == ("blocks.3.ffn.net.2",)
    assert diffusers_names("time_projection.1") == ("condition_embedder.time_proj",)
