"""Writes the shipped model's EfficientNet-Lite0 as an ONNX graph: pixels [1, 3, 256, 256] to its last feature map [1, 1280, 8, 8].

Batch normalisation is folded into the convolutions, as exporters do. native.py checks that it gives what muse gives.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
SIDE = 256
# One row for each stage: repeats, kernel, stride of the first repeat.
STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))


class Graph:
    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], []

    def add(self, op, *inputs, **attributes):
        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def tensor(self, name):
        value = self.weights[name].astype(np.float32)
        return value * self.weights.get(f"{name}.scale", np.float32(1))

    def conv(self, x, name, side, stride, activated=True):
        """The layer `name` of a square map, and its new side. Padding is TensorFlow's SAME."""
        weight = self.tensor(f"{name}.weight")
        norm = {part: self.tensor(f"{name}.norm.{part}") for part in ("gamma", "beta", "running_mean", "running_var")}
        scale = norm["gamma"] / np.sqrt(norm["running_var"] + 1e-3)
        bias = norm["beta"] - norm["running_mean"] * scale
        outputs, inputs, kernel, _ = weight.shape
        out = -(-side // stride)
        missing = max((out - 1) * stride + kernel - side, 0)
        pads = [missing // 2] * 2 + [missing - missing // 2] * 2
        group = outputs if inputs == 1 else 1
        names = self.constant(f"{name}.w", weight * scale[:, None, None, None]), self.constant(f"{name}.b", bias)
        x = self.add("Conv", x, *names, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group)
        return (self.add("Clip", x, "zero", "six") if activated else x), out


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("out", type=Path, help="the ONNX file to write")
    options.add_argument("--model", type=Path, default=ROOT / "models/muse-small.muse")
    options = options.parse_args()
    graph = Graph(load_file(options.model))
    graph.constant("zero", 0.0)
    graph.constant("six", 6.0)
    x, side = graph.conv("pixels", "image.stem", SIDE, 2)
    block = 0
    for repeats, _, first in STAGES:
        for repeat in range(repeats):
            name, stride, before = f"image.blocks.{block}", first if repeat == 0 else 1, x
            if f"{name}.expand.weight" in graph.weights:
                x, side = graph.conv(x, f"{name}.expand", side, 1)
            x, side = graph.conv(x, f"{name}.depthwise", side, stride)
            x, side = graph.conv(x, f"{name}.project", side, 1, activated=False)
            if repeat > 0:
                x = graph.add("Add", x, before)
            block += 1
    x, side = graph.conv(x, "image.head", side, 1)
    model = helper.make_graph(
        graph.nodes,
        "lite0",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 1280, side, side])],
        graph.constants,
    )
    model = helper.make_model(model, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, options.out)


if __name__ == "__main__":
    main()
