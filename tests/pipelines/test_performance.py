"""What a request may change about the performance, and who may refuse it: held body, expression, safety checker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from animate_pipelines.errors import BundleError, ContentRefused
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.held_body import hold_body
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.loading.safety import SafetyChecker, load_safety_checker, sample
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams

PARAMS = RenderParams(reference_image="-", driving_video="-", seed=3, resolution="480p")


def _write_checker(folder: Path, labels: list[str], *, bias: float) -> None:
    """A classifier that gives its last label a logit of `bias`, whatever it sees, and all others 0."""
    config = ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        image_size=16,
        patch_size=8,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = ViTForImageClassification(config)
    torch.nn.init.zeros_(model.classifier.weight)
    model.classifier.bias.data = torch.tensor([0.0] * (len(labels) - 1) + [bias])
    model.save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)


def _load(folder: Path, labels: list[str], *, bias: float) -> SafetyChecker:
    _write_checker(folder, labels, bias=bias)
    checker = load_safety_checker(folder, "cpu")
    assert checker is not None
    return checker


def test_a_checker_refuses_by_its_labels_and_scores(tmp_path: Path) -> None:
    picture = np.zeros((1, 20, 30, 3), np.uint8)
    _load(tmp_path / "a", ["normal", "nsfw"], bias=-1.0).check(picture, field="output")
    _load(tmp_path / "b", ["nsfw", "Safe"], bias=1.0).check(picture, field="output")
    with pytest.raises(ContentRefused, match="the safety checker finds nsfw in reference_image") as refused:
        _load(tmp_path / "c", ["normal", "nsfw"], bias=2.0).check(picture, field="reference_image")
    assert (refused.value.field, refused.value.value) == ("reference_image", 0.881)  # the logistic function of 2
    with pytest.raises(BundleError, match="none of its labels harmless: cat, dog"):
        _load(tmp_path / "d", ["cat", "dog"], bias=0.0)
    assert load_safety_checker(tmp_path / "none", "cpu") is None
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="safety_checker/ cannot be loaded"):
        load_safety_checker(tmp_path / "empty", "cpu")


def test_samples_are_the_first_the_middle_and_the_last() -> None:
    frames = np.arange(9)[:, None, None, None]
    assert sample(frames).ravel().tolist() == [0, 4, 8]
    assert sample(frames[:1]).ravel().tolist() == [0]


class Recorder:
    """A checker that passes everything but the picture whose number it is given."""

    def __init__(self, refuse: int) -> None:
        self.fields: list[str] = []
        self._refuse = refuse

    def check(self, pictures: np.ndarray, *, field: str) -> None:
        self.fields.append(field)
        if len(self.fields) == self._refuse:
            raise ContentRefused("no", field=field)


def test_the_image_is_checked_first_and_then_each_segment(
    short_models: Models, media: InputFiles, tmp_path: Path
) -> None:
    for refuse, seen in ((1, ["reference_image"]), (3, ["reference_image", "output", "output"])):
        checker = Recorder(refuse)
        models = dataclasses.replace(short_models, safety=checker)
        checked = dataclasses.replace(PARAMS, safety_check=True, num_frames=9, steps=1)
        out = tmp_path / f"{refuse}.mp4"
        with pytest.raises(ContentRefused):
            render_video(models, checked, media, out, workspace=tmp_path / str(refuse))
        assert (checker.fields, out.exists()) == (seen, False)


def test_a_render_with_a_held_body_and_more_expression(short_models: Models, media: InputFiles, tmp_path: Path) -> None:
    asked = dataclasses.replace(PARAMS, body_control=False, expression=5, safety_check=True, num_frames=5, steps=1)
    result = render_video(short_models, asked, media, tmp_path / "out.mp4", workspace=tmp_path / "w")
    assert result.safety == "not_checked"
    assert "not checked for safety: the bundle has no safety checker" in result.warnings
    assert result.num_frames == 5


def test_expression_scales_motion_about_the_reference(tiny_models: Models) -> None:
    transformer = tiny_models.family.transformers.select(turbo=False)
    encoders, readers = tiny_models.family.encoders, tiny_models.family.readers
    generator = np.random.default_rng(0)
    reference = generator.integers(0, 256, (64, 112, 3), np.uint8)
    plain = encode_constants(encoders, readers, transformer, reference, PARAMS)
    assert plain.expression is None
    side = transformer.face_size_px
    faces = torch.from_numpy(generator.uniform(-1, 1, (1, 3, 5, side, side)).astype(np.float32))
    with torch.no_grad():
        motion = transformer.read_motion(faces)
        for level, gain in ((1, 0.5), (2, 0.75), (4, 1.25), (5, 1.5)):
            params = dataclasses.replace(PARAMS, expression=level)
            scaled = encode_constants(encoders, readers, transformer, reference, params).expression
            assert scaled is not None
            assert scaled.gain == gain
            assert scaled.neutral.shape == (1, motion.shape[1])
        # a face that does what the reference's does is not changed, by any gain
        still = dataclasses.replace(scaled, neutral=motion[:1])
        same = faces[:, :, :1].expand(-1, -1, 5, -1, -1)
        torch.testing.assert_close(transformer.embed_face(same, still), transformer.embed_face(same))
        assert not torch.allclose(transformer.embed_face(faces, scaled), transformer.embed_face(faces))


def test_a_held_body_keeps_the_reference_but_for_the_head() -> None:
    generator = np.random.default_rng(1)
    reference = generator.uniform(0.2, 0.8, (133, 3))
    poses = generator.uniform(0.2, 0.8, (4, 133, 3))
    poses[..., 2] = 1.0
    reference[5, :2], reference[6, :2] = (0.6, 0.5), (0.4, 0.5)  # shoulders 20 px apart, of 100
    poses[:, 5, :2], poses[:, 6, :2] = (0.7, 0.4), (0.3, 0.4)  # 80 px apart, of 200: four times as wide
    poses[2, [0, 5, 6], 0] = poses[0, [0, 5, 6], 0] + 0.1  # the whole driver steps aside
    poses[2, [0, 5, 6], 1] = poses[0, [0, 5, 6], 1]
    poses[3, 0, :2] = poses[0, 0, :2] + [0.2, 0.0]  # the nose goes 40 px to the side
    held = hold_body(poses, (200, 200), reference, (100, 100))
    np.testing.assert_array_equal(held[:, 5:], np.repeat(reference[None, 5:], 4, axis=0))
    np.testing.assert_allclose(held[0, :5, :2], reference[:5, :2])
    np.testing.assert_allclose(held[2, 0, :2], reference[0, :2])
    np.testing.assert_allclose(held[3, 0, :2] - reference[0, :2], [0.1, 0.0], atol=1e-12)
