"""The two readers as ONNX graphs with the real ones' inputs and outputs: weights in fp16, arithmetic in fp32.

A graph is a walk over the network; the same walk reads the weights back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from animate_benchmarks.training.networks import (
    GRID,
    NARROW,
    NUM_BOXES,
    NUM_KEYPOINTS,
    NUM_VIEWS,
    SHRINK,
    WIDE,
    WIDENING,
    BoxOutput,
    ConvBlock,
    Detector,
    PoseNetwork,
    Pyramid,
)
from animate_weights.stand_ins import IR_VERSION, OPSET

Value = tuple[str, list[int | str]]  # name and shape


class Graph:
    """An ONNX graph in order; every method adds one operation and returns the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: list[str], *, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"{operator}_{len(self._nodes)}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.node(operator, list(inputs), **attributes)[0]

    def constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, tensor: torch.Tensor) -> str:
        """Add a weight that is kept as fp16 and read as fp32."""
        return self.op("Cast", self.constant(tensor.detach().cpu().numpy().astype(np.float16)), to=TensorProto.FLOAT)

    def conv(self, x: str, layer: nn.Conv2d) -> str:
        assert layer.bias is not None
        weights = self.weight(layer.weight), self.weight(layer.bias)
        return self.op("Conv", x, *weights, pads=[int(side) for side in layer.padding] * 2, strides=list(layer.stride))

    def norm(self, x: str, layer: nn.BatchNorm2d) -> str:
        """Add a norm's running statistics as one multiplication and one addition."""
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
        shift = layer.bias - layer.running_mean * scale
        scaled = self.op("Mul", x, self.weight(scale.view(1, -1, 1, 1)))
        return self.op("Add", scaled, self.weight(shift.view(1, -1, 1, 1)))

    def block(self, x: str, block: ConvBlock) -> str:
        inner = self.conv(self.op("Relu", self.norm(x, block.norm)), block.first)
        return self.op("Add", x, self.conv(self.op("Relu", inner), block.second))

    def double(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.op(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    def pyramid(self, x: str, pyramid: Pyramid) -> list[str]:
        levels = []
        for index, level in enumerate(pyramid.blocks):
            assert isinstance(level, nn.Sequential)
            for block in level:
                assert isinstance(block, ConvBlock)
                x = self.block(x, block)
            levels.append(x)
            if index < len(pyramid.downs):
                x = self.conv(x, _conv(pyramid.downs[index]))
        for index in reversed(range(len(pyramid.ups))):
            merge = pyramid.merges[index]
            assert isinstance(merge, ConvBlock)
            coarser = self.double(self.conv(levels[index + 1], _conv(pyramid.ups[index])))
            levels[index] = self.block(self.op("Add", levels[index], coarser), merge)
        return levels

    def save(
        self, path: Path, name: str, source: tuple[str, list[int | str]], result: tuple[str, list[int | str]]
    ) -> None:
        """Save the graph; the last node's result becomes the output `result`."""
        self._nodes[-1].output[0] = result[0]
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
            [helper.make_tensor_value_info(result[0], TensorProto.FLOAT, result[1])],
            self._constants,
        )
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        onnx.checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


class WeightReader(Graph):
    """A reader that gives each layer the next weights of a file that the same walk has written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        kept = (numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
        self._kept = (torch.from_numpy(array.astype(np.float32)) for array in kept if array.dtype == np.float16)

    @torch.no_grad()
    def conv(self, x: str, layer: nn.Conv2d) -> str:
        assert layer.bias is not None
        layer.weight.copy_(next(self._kept))
        layer.bias.copy_(next(self._kept))
        return super().conv(x, layer)

    @torch.no_grad()
    def norm(self, x: str, layer: nn.BatchNorm2d) -> str:
        """Read a norm whose statistics went into the weights when they were written: mean 0 and variance 1 are left."""
        layer.reset_running_stats()
        layer.running_var.sub_(layer.eps)  # type: ignore[union-attr]
        layer.weight.copy_(next(self._kept).flatten())
        layer.bias.copy_(next(self._kept).flatten())
        return super().norm(x, layer)


def write_pose_network(network: PoseNetwork, path: Path) -> None:
    """Write the pose network: `input` n 3 256 192 -> `output` n 133 64 48."""
    graph = Graph()
    _walk_pose_network(graph, network)
    graph.save(path, "pose", ("input", ["n", 3, 256, 192]), ("output", ["n", NUM_KEYPOINTS, 64, 48]))


def read_pose_network(network: PoseNetwork, path: Path) -> None:
    """Give the network the weights that `write_pose_network` wrote."""
    _walk_pose_network(WeightReader(path), network)


def write_detector(detector: Detector, path: Path) -> None:
    """Write the detector: `images` 1 3 640 640 -> `output0` 1 300 6."""
    graph = Graph()
    _list_boxes(graph, _walk_detector(graph, detector), BoxOutput(detector))
    graph.save(path, "detector", ("images", [1, 3, 640, 640]), ("output0", [1, NUM_BOXES, 6]))


def read_detector(detector: Detector, path: Path) -> None:
    """Give the network the weights that `write_detector` wrote."""
    _walk_detector(WeightReader(path), detector)


def _walk_pose_network(graph: Graph, network: PoseNetwork) -> None:
    x = graph.op("Relu", graph.conv("input", network.stem))
    finest, *coarser = graph.pyramid(graph.conv(x, network.stem_down), network.pyramid)[:NUM_VIEWS]
    levels = [graph.op("Relu", graph.norm(finest, network.norm)), *coarser]
    views = [graph.conv(level, _conv(view)) for level, view in zip(levels, network.views, strict=True)]
    hidden, *finer = reversed(views)
    for view in finer:
        hidden = graph.op("Add", graph.double(hidden), view)
    graph.conv(graph.op("Relu", hidden), network.head)


def _walk_detector(graph: Graph, detector: Detector) -> str:
    x = graph.op("AveragePool", "images", kernel_shape=[SHRINK] * 2, strides=[SHRINK] * 2)
    x = graph.op("Relu", graph.conv(x, detector.stem))
    return graph.conv(graph.pyramid(graph.conv(x, detector.stem_down), detector.pyramid)[0], detector.head)


def _list_boxes(graph: Graph, cells: str, centres: BoxOutput) -> None:
    parts = graph.node("Split", [cells, graph.constant(np.array([1, 1, 1, 1, 1], np.int64))], outputs=5, axis=1)
    flat = graph.constant(np.array([1, GRID * GRID], np.int64))
    score = graph.op("Sigmoid", parts[0])
    highest = graph.op("MaxPool", score, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    peak = graph.op("Cast", graph.op("Equal", highest, score), to=TensorProto.FLOAT)
    peaks = graph.op("Reshape", graph.op("Mul", score, peak), flat)
    top, order = graph.node("TopK", [peaks, graph.constant(np.array([NUM_BOXES], np.int64))], outputs=2, axis=1)
    left, up, right, down = (_distance(graph, graph.op("Reshape", part, flat)) for part in parts[1:])
    stretch = _stretch(graph, graph.op("Div", graph.op("Add", left, right), graph.op("Add", up, down)))
    left, right = (graph.op("Mul", distance, stretch) for distance in (left, right))
    x, y = (
        graph.constant(centre.numpy()[None].astype(np.float32)) for centre in (centres.centres_x, centres.centres_y)
    )
    edges = (graph.op("Sub", x, left), graph.op("Sub", y, up), graph.op("Add", x, right), graph.op("Add", y, down))
    bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, 640)]
    columns = [graph.op("GatherElements", graph.op("Clip", edge, *bounds), order, axis=1) for edge in edges]
    columns += [top, graph.op("Mul", top, graph.constant(np.zeros(1, np.float32)))]
    last = graph.constant(np.array([2], np.int64))
    graph.op("Concat", *(graph.op("Unsqueeze", column, last) for column in columns), axis=2)


def _distance(graph: Graph, log_cells: str) -> str:
    """Add the conversion of log1p distances in cells to pixels of 640-space."""
    cells = graph.op("Sub", graph.op("Exp", log_cells), graph.constant(np.ones(1, np.float32)))
    return graph.op("Mul", cells, graph.constant(np.array([640 / GRID], np.float32)))


def _stretch(graph: Graph, ratio: str) -> str:
    """Add the factor by which a box of this width over height is widened: 1 to 1 + `WIDENING`."""
    slope = WIDENING / (WIDE - NARROW)
    above = graph.op("Sub", ratio, graph.constant(np.array([NARROW], np.float32)))
    wider = graph.op("Mul", above, graph.constant(np.array([slope], np.float32)))
    bounds = [graph.constant(np.array(bound, np.float32)) for bound in (0, WIDENING)]
    return graph.op("Add", graph.op("Clip", wider, *bounds), graph.constant(np.ones(1, np.float32)))


def _conv(layer: nn.Module) -> nn.Conv2d:
    assert isinstance(layer, nn.Conv2d)
    return layer
