"""Runs an ONNX network on many pictures a call, where its graph allows that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnxruntime

MAX_BATCH = 16


def run_batched(session: onnxruntime.InferenceSession, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return the network's first output for `n` inputs `c h w`.

    It takes `MAX_BATCH` inputs a call, or one where the graph is fixed to one.
    """
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: chunk})[0] for chunk in _chunks(session, pictures)])


def run_each(
    session: onnxruntime.InferenceSession,
    pictures: Sequence[np.ndarray],
    more: Callable[[int], dict[str, np.ndarray]] = lambda count: {},
) -> Iterator[list[np.ndarray]]:
    """Yield all outputs of the network for each of `n` inputs `c h w`, as many a call as `run_batched` takes.

    more: inputs beside the pictures, for so many of them.
    """
    name = session.get_inputs()[0].name
    for chunk in _chunks(session, pictures):
        outputs = session.run(None, {name: chunk} | more(len(chunk)))
        for index in range(len(chunk)):
            yield [output[index] for output in outputs]


def _chunks(session: onnxruntime.InferenceSession, pictures: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    step = 1 if isinstance(session.get_inputs()[0].shape[0], int) else MAX_BATCH
    for start in range(0, len(pictures), step):
        yield np.stack(pictures[start : start + step])
