"""Writes the MiniLM text encoder as an ONNX graph, and checks it against the reference fixtures.

The graph maps input_ids [1, pieces] to last_hidden_state [1, pieces, 384]. There is no attention mask: the batch is one
sentence, so nothing is padded. With --fused, attention is onnxruntime's own operator, as its optimiser for
Transformers would leave it; without, it is spelt out in standard operators, as exporters do.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-3


class Graph:
    """Nodes and constants in the order in which they are added; every node has one output."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, op, *inputs, domain="", name=None, **attributes):
        output = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attributes))
        return output


class Encoder:
    def __init__(self, config, weights, fused):
        self.weights, self.fused, self.graph = weights, fused, Graph()
        self.width, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.epsilon, self.layers = config["layer_norm_eps"], config["num_hidden_layers"]
        if config["hidden_act"] != "gelu":
            raise SystemExit(f"only gelu is known, not {config['hidden_act']}")
        constant = self.graph.constant
        if not fused:
            self.by_head = constant("by_head", np.array([0, 0, self.heads, self.width // self.heads], np.int64))
            self.joined = constant("joined", np.array([0, 0, self.width], np.int64))
            self.scale = constant("scale", np.float32((self.width // self.heads) ** -0.5))
        self.root2, self.one, self.half = (constant(n, np.float32(v)) for n, v in (("root2", 2**0.5), ("one", 1), ("half", 0.5)))

    def linear(self, x, name):
        weight = self.graph.constant(f"{name}.weight", self.weights[f"{name}.weight"].T)
        bias = self.graph.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.graph.add("Add", self.graph.add("MatMul", x, weight), bias)

    def norm(self, x, name, output=None):
        parts = [self.graph.constant(f"{name}.{p}", self.weights[f"{name}.{p}"]) for p in ("weight", "bias")]
        return self.graph.add("LayerNormalization", x, *parts, name=output, axis=-1, epsilon=self.epsilon)

    def embed(self, ids):
        graph = self.graph
        words = graph.constant("words", self.weights["embeddings.word_embeddings.weight"])
        # Every piece is of the first segment, so that its vector can be part of the positions.
        positions = graph.constant(
            "positions",
            self.weights["embeddings.position_embeddings.weight"] + self.weights["embeddings.token_type_embeddings.weight"][0],
        )
        zero, first = (graph.constant(f"at_{i}", np.array([i], np.int64)) for i in (0, 1))
        pieces = graph.add("Slice", graph.add("Shape", ids), first, graph.constant("at_2", np.array([2], np.int64)))
        here = graph.add("Slice", positions, zero, pieces, zero)
        return self.norm(graph.add("Add", graph.add("Gather", words, ids), here), "embeddings.LayerNorm")

    def attention(self, x, name):
        add = self.graph.add
        if self.fused:
            join = lambda part, axis: np.concatenate(
                [self.weights[f"{name}.{p}.{part}"].T for p in ("query", "key", "value")], axis=axis
            )
            weight = self.graph.constant(f"{name}.weight", join("weight", 1))
            bias = self.graph.constant(f"{name}.bias", join("bias", 0))
            return add("Attention", x, weight, bias, domain="com.microsoft", num_heads=self.heads)
        split = lambda part, order: add("Transpose", add("Reshape", self.linear(x, f"{name}.{part}"), self.by_head), perm=order)
        query, key, value = (split(p, o) for p, o in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])))
        share = add("Softmax", add("Mul", add("MatMul", query, key), self.scale), axis=-1)
        return add("Reshape", add("Transpose", add("MatMul", share, value), perm=[0, 2, 1, 3]), self.joined)

    def gelu(self, x):
        add = self.graph.add
        rise = add("Add", add("Erf", add("Div", x, self.root2)), self.one)
        return add("Mul", add("Mul", x, rise), self.half)

    def layer(self, x, name, output):
        add = self.graph.add
        seen = self.linear(self.attention(x, f"{name}.attention.self"), f"{name}.attention.output.dense")
        x = self.norm(add("Add", seen, x), f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(add("Add", self.linear(inner, f"{name}.output.dense"), x), f"{name}.output.LayerNorm", output)

    def model(self):
        x = self.embed("input_ids")
        for i in range(self.layers):
            x = self.layer(x, f"encoder.layer.{i}", "last_hidden_state" if i == self.layers - 1 else None)
        graph = helper.make_graph(
            self.graph.nodes,
            "minilm",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "pieces"])],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, "pieces", self.width])],
            list(self.graph.constants.values()),
        )
        opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid("com.microsoft", 1)] * self.fused
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def check(path, fixture):
    """The largest difference of the graph's output from the fixture's, over its sentences without their padding."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    golden, apart = load_file(fixture), []
    for i, ids in enumerate(golden["input.input_ids"]):
        pieces = int(golden["input.attention_mask"][i].sum())
        (state,) = session.run(None, {"input_ids": ids[None, :pieces]})
        for ours, name in ((state[0, :, :8], "last_hidden_state_first8"), (state[0, :, -4:], "last_hidden_state_last4")):
            apart.append(np.abs(ours - golden[f"output.{name}"][i, :pieces]).max())
        apart.append(np.abs(state[0, 0] - golden["output.hidden_states_cls"][-1, i]).max())
    return np.max(apart)  # unlike Python's own max, it keeps a NaN


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("out", type=Path, help="the ONNX file to write")
    options.add_argument("--weights", type=Path, default=ROOT / "weights/all-MiniLM-L6-v2")
    options.add_argument("--fused", action="store_true")
    options = options.parse_args()
    config = json.loads((options.weights / "config.json").read_text())
    model = Encoder(config, load_file(options.weights / "model.safetensors"), options.fused).model()
    onnx.checker.check_model(model)
    onnx.save(model, options.out)
    worst = check(options.out, ROOT / "tests/fixtures/minilm.safetensors")
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, largest difference from the reference {worst:.1e}")
    if not worst < TOLERANCE:
        raise SystemExit(f"the graph is not the encoder: over {TOLERANCE}")


if __name__ == "__main__":
    main()
