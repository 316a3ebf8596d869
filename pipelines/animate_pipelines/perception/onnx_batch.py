"""Runs an ONNX network on many pictures a call, where its graph allows that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

MAX_BATCH = 16


def run_batched(session: onnxruntime.InferenceSession, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return the network's first output for `n` inputs `c h w`.

    It takes `MAX_BATCH` inputs a call, or one where the graph is fixed to one.
    """
    source = session.get_inputs()[0]
    step = 1 if isinstance(source.shape[0], int) else MAX_BATCH
    chunks = [np.stack(pictures[start : start + step]) for start in range(0, len(pictures), step)]
    return np.concatenate([session.run(None, {source.name: chunk})[0] for chunk in chunks])
