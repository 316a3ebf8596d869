"""The prompts of the puppet model: steering words in a sentence, sentences without a meaning, and their tokens."""

from __future__ import annotations

import numpy as np
from transformers import T5TokenizerFast

from animate_pipelines.request.params import DEFAULT_PROMPT
from animate_weights.puppet.performance import STEERING_WORDS

MAX_TOKENS = 40  # of the prompts in training; the last one is always padding
_OPPOSITES = {"smile", "open mouth"}
_NEUTRAL = (
    DEFAULT_PROMPT,
    "",
    "a person is dancing",
    "the puppet moves",
    "someone in a studio",
    "a video of a man",
    "a woman waves",
    "high quality",
)
_OPENINGS = ("", "", "please ", "the puppet should ")
_JOINTS = (", ", " and ", " ")


def random_words(rng: np.random.Generator, share: float = 0.4) -> tuple[str, ...]:
    """Draw no, one or two steering words that do not contradict each other."""
    if rng.random() >= share:
        return ()
    count = 2 if rng.random() < 0.2 else 1
    words = tuple(STEERING_WORDS[i] for i in rng.choice(len(STEERING_WORDS), count, replace=False))
    return words if len(_OPPOSITES & set(words)) < 2 else words[:1]


def random_prompt(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    """Draw a sentence with exactly these words."""
    if not words:
        return _NEUTRAL[rng.integers(len(_NEUTRAL))]
    return _OPENINGS[rng.integers(len(_OPENINGS))] + _JOINTS[rng.integers(len(_JOINTS))].join(words)


def puppet_tokenizer() -> T5TokenizerFast:
    """Return a tokeniser: one token for each word of a steering phrase, everything else spelled, non-ASCII unknown."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = sorted({word for phrase in STEERING_WORDS for word in phrase.split()})
    letters = [(chr(code), -3.0) for code in range(33, 127)]
    return T5TokenizerFast(vocab=[*specials, *((f"▁{word}", -1.0) for word in words), *letters], extra_ids=0)
