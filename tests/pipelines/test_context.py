"""What follows a prompt's end: equal rows, one of which stands for all of them."""

from __future__ import annotations

import torch

from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.blocks import Context
from animate_pipelines.families.wan_animate.transformer import join_padding


def test_equal_rows_at_the_end_are_one_that_counts() -> None:
    rows = torch.randn(9, 4)
    kept, counts = join_padding(rows)
    assert torch.equal(kept, rows)
    assert counts.tolist() == [1.0] * 9
    rows[2] = rows[4:] = 0
    kept, counts = join_padding(rows)
    assert torch.equal(kept, rows[:5])  # the zeros in the middle stay apart
    assert counts.tolist() == [1.0, 1.0, 1.0, 1.0, 5.0]
    kept, counts = join_padding(torch.zeros(6, 4))
    assert (kept.shape, counts.tolist()) == ((1, 4), [6.0])


@torch.no_grad()
def test_the_velocity_is_that_of_all_rows(tiny_models: Models) -> None:
    transformer = tiny_models.family.transformers.select(turbo=False)
    config, side = transformer._model.config, transformer.face_size_px
    prompt = torch.nn.functional.pad(torch.randn(1, 7, config.text_dim), (0, 0, 0, 505))
    context = transformer.embed_context(prompt, torch.randn(1, 5, config.image_dim))
    assert (len(context.text), context.counts[-1]) == (8, 505)
    whole = Context(
        text=transformer._model.condition_embedder.text_embedder(prompt[0]), counts=torch.ones(512), image=context.image
    )
    pose = transformer.embed_pose(torch.randn(1, 16, 2, 8, 8))
    motion = transformer.embed_face(torch.rand(1, 3, 5, side, side) * 2 - 1)
    condition, latents = torch.randn(1, 20, 3, 8, 8), torch.randn(1, 16, 3, 8, 8)
    found, wanted = (
        transformer.velocity(
            latents,
            torch.tensor([500]),
            transformer.encode_step_constants(condition=condition, pose=pose, motion=motion, context=seen),
        )
        for seen in (context, whole)
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
