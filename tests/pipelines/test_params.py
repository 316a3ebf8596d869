"""The canonical request: JSON both ways, and every refusal names field, value and limit."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.params import MAX_SEED, RenderParams

PAIR = {"reference_image": "who.png", "driving_video": "what.mp4"}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "mode": st.sampled_from(["animate", "replace"]),
            "prompt": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50),
            "resolution": st.sampled_from(["480p", "580p", "720p", "1080p"]),
            "render_area": st.tuples(st.integers(16, 2048), st.integers(16, 2048)),
            "fps": st.just("source") | st.integers(1, 120),
            "seed": st.integers(0, MAX_SEED),
            "steps": st.none() | st.integers(1, 100),
            "shift": st.none() | st.floats(0.1, 20),
            "guidance_scale": st.floats(1, 20),
            "turbo": st.booleans(),
            "overlap": st.sampled_from([1, 5]),
            "output_size": st.tuples(*[st.integers(32, 2048).map(lambda half: 2 * half)] * 2),
            "fit": st.sampled_from(["pad", "crop"]),
            "output_format": st.sampled_from(["mp4", "mov", "webm"]),
            "quality": st.integers(20, 99),
            "num_results": st.integers(1, 4),
            "start": st.floats(0, 600),
            "duration": st.none() | st.floats(0.1, 600),
            "person": st.sampled_from(["largest", "center", 1, "3", "0.25,.5@1.5"]),
            "max_gap_s": st.floats(0, 60),
            "smoothing": st.booleans(),
        },
    )
)
def test_json_both_ways(fields: dict[str, Any]) -> None:
    params = RenderParams(**PAIR, **fields)
    assert RenderParams.from_json(json.loads(json.dumps(params.to_json()))) == params


def test_a_seed_is_always_known() -> None:
    seeds = {RenderParams.from_json(PAIR).seed for _ in range(4)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("mode", "move", "animate, replace, image-to-video, speak"),
        ("resolution", "999p", "480p, 580p, 720p, 1080p"),
        ("resolution", 720, "480p, 580p, 720p, 1080p"),
        ("fps", 121, "whole number from 1 to 120"),
        ("fps", 29.97, "whole number from 1 to 120"),
        ("fps", "24", "whole number from 1 to 120"),
        ("seed", -1, f"whole number from 0 to {MAX_SEED}"),
        ("seed", True, f"whole number from 0 to {MAX_SEED}"),
        ("steps", 0, "whole number from 1 to 100"),
        ("shift", float("nan"), "number from 0.1 to 20"),
        ("guidance_scale", 0.5, "number from 1 to 20"),
        ("overlap", 2, "1, 5"),
        ("num_frames", 0, "whole number from 1 to 1000000"),
        ("render_area", [1280], "WIDTHxHEIGHT, each 16 to 2048 px"),
        ("render_area", [8, 720], "WIDTHxHEIGHT, each 16 to 2048 px"),
        ("render_area", "1280x720", "WIDTHxHEIGHT, each 16 to 2048 px"),
        ("output_size", [1280, 721], "WIDTHxHEIGHT, each 64 to 4096 px and even"),
        ("fit", "stretch", "pad, crop"),
        ("output_format", "gif", "mp4, mov, webm"),
        ("quality", 100, "whole number from 20 to 99"),
        ("num_results", 5, "whole number from 1 to 4"),
    ],
)
def test_refusals_name_field_value_and_limit(field: str, value: object, limit: str) -> None:
    with pytest.raises(InvalidField) as caught:
        RenderParams.from_json(PAIR | {field: value})
    error = caught.value.to_json()
    assert (error["code"], error["field"], error["limit"]) == ("invalid_field", field, limit)
    assert str(value).lower() in str(error["message"]).lower()


@pytest.mark.parametrize(("fields", "field"), [({"src": "x"}, "src"), ({"driving_video": 7}, "driving_video")])
def test_unknown_and_mistyped_fields(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        RenderParams.from_json(PAIR | fields)
    assert caught.value.field == field


def test_the_takes_of_several_results_count_their_seeds_up() -> None:
    params = RenderParams(**PAIR, seed=MAX_SEED - 1, num_results=3)
    assert [take.seed for take in params.takes()] == [MAX_SEED - 1, MAX_SEED, 0]
    assert {take.num_results for take in params.takes()} == {1}
    assert RenderParams(**PAIR, seed=3).takes() == (RenderParams(**PAIR, seed=3),)


def test_retargeting_is_for_animating() -> None:
    assert RenderParams(**PAIR, retarget=True).retarget
    with pytest.raises(InvalidField, match="retarget is for the mode animate"):
        RenderParams.from_json(PAIR | {"retarget": True, "mode": "replace"})


def test_missing_inputs() -> None:
    with pytest.raises(InvalidField, match="driving_video is required"):
        RenderParams.from_json({"reference_image": "who.png"})


def test_an_over_long_reference_is_not_repeated() -> None:
    with pytest.raises(InvalidField) as caught:
        RenderParams.from_json(PAIR | {"driving_video": "https://host/v.mp4?signature=secret" + "x" * 9000})
    assert "secret" not in json.dumps(caught.value.to_json())
    assert caught.value.value == 9035


def test_the_prompts_are_the_official_defaults() -> None:
    params = RenderParams.from_json({"reference_image": "a", "driving_video": "b"})
    assert params.prompt == "视频中的人在做动作"
    assert params.negative_prompt.startswith("色调艳丽，过曝，静态，细节模糊不清，字幕，")
    assert hashlib.sha256(params.negative_prompt.encode()).hexdigest() == (
        "ce96e0324e4b54ce4b6e867f669ca520952e1a34cc116543516b1897f0d3c47e"
    )


NEUTRAL = {"neutral_reference": "c", "neutral_driver": "d"}


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, "neutral_reference", "neutral_reference is for retarget"),
        ({"retarget": True, "neutral_driver": None}, "neutral_driver", "neutral_driver is required with neutral_ref"),
        ({"retarget": True, "neutral_reference": None}, "neutral_reference", "is required with neutral_driver"),
    ],
)
def test_neutral_pictures_come_in_pairs_and_for_retarget(fields: dict[str, Any], field: str, said: str) -> None:
    assert RenderParams.from_json(PAIR | NEUTRAL | {"retarget": True}).neutral_driver == "d"
    with pytest.raises(InvalidField, match=said) as caught:
        RenderParams.from_json(PAIR | NEUTRAL | fields)
    assert caught.value.field == field
