"""Streamed blocks: the same values and the same video as blocks that stay, and the order that makes two places do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from animate_pipelines.loading.networks import open_network
from animate_pipelines.memory.block_stream import BlockStream
from animate_pipelines.memory.fp8_linear import Fp8Linear

CPU = torch.device("cpu")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def _blocks(number: int) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for value in range(number):
        block = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), Fp8Linear(nn.Linear(5, 2)))
        block[2].fill(torch.full((2, 5), float(value + 1)), CPU)
        nn.init.constant_(block[0].weight, value)
        blocks.append(block.requires_grad_(False))
    return blocks


def _state(block: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in block.state_dict().items()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_each_block_has_its_own_values_when_it_is_given_and_afterwards(number: int, device: str) -> None:
    blocks = _blocks(number)
    wanted = [_state(block) for block in blocks]
    stream = BlockStream(blocks, torch.device(device))
    for _ in range(2):
        seen = list(stream)
        assert [id(block) for block in seen] == [id(block) for block in blocks]
        for block, values in zip(stream, wanted, strict=True):
            state = block.state_dict()
            assert state.keys() == values.keys()
            assert {tensor.device.type for tensor in state.values()} == {device}
            assert all(torch.equal(state[name].cpu().float(), values[name].float()) for name in values)
            assert {name: tensor.dtype for name, tensor in state.items()} == {n: t.dtype for n, t in values.items()}
    for block, values in zip(blocks, wanted, strict=True):
        assert all(torch.equal(tensor.float(), values[name].float()) for name, tensor in block.state_dict().items())


def test_a_block_is_one_piece_of_memory_wherever_it_is() -> None:
    blocks = _blocks(3)
    stream = BlockStream(blocks, CPU)
    at_home = {tensor.untyped_storage().data_ptr() for block in blocks for tensor in block.state_dict().values()}
    assert len(at_home) == 3
    given = []
    for block in stream:
        (memory,) = {tensor.untyped_storage().data_ptr() for tensor in block.state_dict().values()}
        given.append(memory)
    assert given[0] == given[2] != given[1]
    assert not at_home & set(given)


class _Lanes:
    """A device's streams as `torch.cuda` has them: copies are made as late, or as early, as the waits allow."""

    def __init__(self, *, late: bool) -> None:
        self._late = late
        self.computing, self.copying = _Lane(), _Lane()

    def Stream(self, device: torch.device) -> _Lane:  # noqa: N802 (torch's name)
        return self.copying

    def current_stream(self, device: torch.device) -> _Lane:
        return self.computing

    def stream(self, lane: _Lane) -> _Deferred:
        return _Deferred(lane if self._late else None)


class _Lane:
    def __init__(self) -> None:
        self.waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.has_waited = False

    def wait_stream(self, other: _Lane) -> None:
        self.has_waited = True
        for destination, source in other.waiting:
            destination.copy_(source)
        other.waiting.clear()


class _Deferred(torch.overrides.TorchFunctionMode):
    def __init__(self, lane: _Lane | None) -> None:
        super().__init__()
        self._lane = lane

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.copy_ and self._lane is not None:
            assert self._lane.has_waited, "the place may still be computed with"
            self._lane.has_waited = False
            self._lane.waiting.append((args[0], args[1]))
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("late", [False, True])
def test_a_copy_may_end_as_late_as_its_stream_is_waited_for(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = _Lanes(late=late)
    blocks = _blocks(5)
    wanted = [_state(block) for block in blocks]
    monkeypatch.setattr(torch, "get_device_module", lambda device: lanes)
    stream = BlockStream(blocks, CPU)
    for block, values in zip(stream, wanted, strict=True):
        assert all(torch.equal(tensor.float(), values[name].float()) for name, tensor in block.state_dict().items())
        # the next block is on its way while this one computes, but for the last
        assert len(lanes.copying.waiting) == (late and block is not blocks[-1])


def test_an_abandoned_iteration_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = _Lanes(late=True)
    monkeypatch.setattr(torch, "get_device_module", lambda device: lanes)
    blocks = iter(BlockStream(_blocks(4), CPU))
    next(blocks)
    assert len(lanes.copying.waiting) == 1
    blocks.close()  # type: ignore[attr-defined]
    assert lanes.copying.waiting == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_streamed_transformer_is_loaded_apart(tiny_bundle: Path) -> None:
    network = open_network(tiny_bundle, "transformer")
    model = network.load(torch.bfloat16, torch.device("cuda"), fp8=True, on_host="blocks")
    devices = {(name.partition(".")[0] == "blocks", tensor.device.type) for name, tensor in model.named_parameters()}
    assert devices == {(True, "cpu"), (False, "cuda")}
    for block in BlockStream(model.blocks, torch.device("cuda")):
        assert {tensor.device.type for tensor in block.state_dict().values()} == {"cuda"}
