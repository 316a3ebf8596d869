"""Encodes the prompt into umT5 states."""

from __future__ import annotations

import html
import re
from collections import OrderedDict

import ftfy
import torch
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

MAX_TOKENS = 512
_KEPT_PROMPTS = 8  # 4 MB each


class PromptEncoder:
    """Tokeniser and text encoder. Padding rows are zeros and are attended to: the model was trained so."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: UMT5EncoderModel) -> None:
        self._tokenizer = tokenizer
        self._model = model
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()

    def encode(self, prompt: str) -> torch.Tensor:
        """Return the states `1 512 text_dim` of the cleaned prompt, cut at 512 tokens. The last few are kept."""
        text = clean_prompt(prompt)
        if text not in self._kept:
            self._kept[text] = self._encode(text)
        self._kept.move_to_end(text)
        while len(self._kept) > _KEPT_PROMPTS:
            self._kept.popitem(last=False)
        return self._kept[text]

    def _encode(self, text: str) -> torch.Tensor:
        tokens = self._tokenizer(
            text,
            padding="max_length",
            max_length=MAX_TOKENS,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        ).to(self._model.device)
        states = self._model(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return states * tokens.attention_mask[..., None].to(states.dtype)


def clean_prompt(prompt: str) -> str:
    """Repair mis-decoded text, undo HTML escapes (twice, as in training) and fold white space."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()
