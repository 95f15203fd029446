"""Measures muse's inference natively beside ONNX Runtime's, by turns, and prints a table of medians and their ratios. See README.md."""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic

ROOT = Path(__file__).resolve().parents[2]
PIECES = (16, 32, 64)


def build():
    """The bench's program."""
    command = ["cargo", "bench", "--workspace", "--bench", "inference", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return next(m["executable"] for m in found if m.get("target", {}).get("name") == "inference" and m.get("executable"))


class Muse:
    """The program, which runs a pass when it is asked to."""

    def __init__(self, program, threads):
        env = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def __call__(self, wish):
        return self.answer(wish)[0]

    def answer(self, wish):
        """The milliseconds, and the mean of what was given."""
        self.process.stdin.write(wish + "\n")
        self.process.stdin.flush()
        return [float(number) for number in self.process.stdout.readline().split()]


class Peer:
    """An ONNX graph in a session of so many threads."""

    def __init__(self, graph, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])

    def run(self, value):
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: value})[0]

    def __call__(self, value):
        began = time.perf_counter()
        self.run(value)
        return (time.perf_counter() - began) * 1e3


def ids(pieces):
    """[CLS], "a" as often as needed, [SEP]."""
    return np.array([[101] + [1037] * (pieces - 2) + [102]], np.int64)


BLOCK = 8


def by_turns(subjects, runs):
    """The median of each, block by block of passes, who goes first taking turns."""
    times = {name: [] for name in subjects}
    for turn in range(max(runs // BLOCK, 1)):
        for name in sorted(subjects, reverse=turn % 2 == 0):
            # ONNX Runtime's threads go on spinning for a while after a pass, on the cores that the next subject needs.
            time.sleep(0.3)
            times[name] += [subjects[name]() for _ in range(BLOCK + 2)][2:]
    return {name: statistics.median(some) for name, some in times.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("onnx", type=Path, help="MiniLM's graph, as onnx_minilm.py writes it")
    options.add_argument("--photo", type=Path, help="EfficientNet-Lite0's graph, as onnx_lite0.py writes it")
    options.add_argument("--runs", type=int, default=60)
    options = options.parse_args()
    whole = options.onnx.with_suffix(".int8.onnx")
    # Shapes are not inferred through onnxruntime's own operators.
    extra = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(options.onnx, whole, weight_type=QuantType.QInt8, extra_options=extra)
    state = [Peer(graph, 1).run(ids(32))[0] for graph in (options.onnx, whole)]
    cosine = (state[0] * state[1]).sum(1) / np.linalg.norm(state[0], axis=1) / np.linalg.norm(state[1], axis=1)
    print(f"onnxruntime {onnxruntime.__version__}; its int8 differs by {np.abs(state[0] - state[1]).max():.2g}, 1 - cos {1 - cosine.min():.1g}\n")
    program = build()
    print("| | threads | ONNX Runtime f32, ms | int8, ms | muse, ms | : f32 | : int8 |\n| --- | --- | --- | --- | --- | --- | --- |")
    for threads in (1, 2):
        muse, floats, ints = Muse(program, threads), Peer(options.onnx, threads), Peer(whole, threads)
        rows = {}
        for pieces in PIECES:
            peers = {"f32": lambda: floats(ids(pieces)), "int8": lambda: ints(ids(pieces))}
            for what in ("encoder", "tag"):
                rows[f"{what}, {pieces} pieces"] = peers | {"muse": lambda: muse(f"{what} {pieces}")}
                print_row(f"{what}, {pieces} pieces", threads, by_turns(rows[f"{what}, {pieces} pieces"], options.runs))
        if options.photo:
            photo = Peer(options.photo, threads)
            pixels = np.sin(np.arange(3 * 256 * 256, dtype=np.float32) * np.float32(1e-3)).reshape(1, 3, 256, 256)
            means = photo.run(pixels).mean(), muse.answer("photo")[1]
            if not np.isclose(*means, rtol=1e-3):
                raise SystemExit(f"not the same network: its map's mean is {means[0]}, muse's {means[1]}")
            print_row("photo's CNN", threads, by_turns({"f32": lambda: photo(pixels), "muse": lambda: muse("photo")}, options.runs))


def print_row(name, threads, times):
    ours, floats, ints = times["muse"], times["f32"], times.get("int8")
    ratio = lambda peer: f"{ours / peer:.2f}" if peer else ""
    print(f"| {name} | {threads} | {floats:.2f} | {f'{ints:.2f}' if ints else ''} | {ours:.2f} | {ratio(floats)} | {ratio(ints)} |", flush=True)


if __name__ == "__main__":
    main()
