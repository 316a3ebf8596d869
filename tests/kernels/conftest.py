"""Where the kernels are tested: on the GPU, or in Triton's interpreter with torch's conversions of floats.

The interpreter of Triton 3.6 and 3.7 truncates to bf16, drops the carry when a value is rounded up to e4m3, which
halves it, and multiplies matrices of bf16 by their bits; none of it happens on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

_FLOATS = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8e4nv": torch.float8_e4m3fn,
    "fp8e5": torch.float8_e5m2,
}
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32}


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="session", autouse=True)
def _exact_interpreter() -> None:
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    interpreter._convert_float = _convert
    interpreter.InterpreterBuilder.create_dot = _dot


@pytest.fixture(autouse=True)
def _fresh_inputs() -> None:
    print("torch.manual_seed", torch.seed())


def _floats(values: np.ndarray, source: Any) -> torch.Tensor:
    """Of an array that holds floats or their bits."""
    bits = np.ascontiguousarray(values).view(_BITS[values.dtype.itemsize])
    return torch.from_numpy(bits).view(_FLOATS[source.name])


def _convert(values: np.ndarray, source: Any, target: Any, rounding_mode: object) -> np.ndarray:
    """The bits of `values` as `target`."""
    floats = _floats(values, source).to(_FLOATS[target.name])
    unsigned = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32}[floats.element_size()]
    return floats.view(unsigned).numpy()


def _dot(builder: Any, a: Any, b: Any, sums: Any, input_precision: object, max_num_imprecise_acc: object) -> Any:
    left, right = (_floats(matrix.data, matrix.dtype.scalar).float().numpy() for matrix in (a, b))
    return type(sums)(np.matmul(left, right) + sums.data, sums.dtype.scalar)
