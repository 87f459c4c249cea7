"""onnxruntime behind the engine protocol of README.md: the peer for speed, and the reference for answers.

    engine_onnxruntime.py MODEL.onnx --inputs DIR [--outputs DIR] --batch N --threads T --repeat R [--listen]
                          [--plain] [--exact] [--integers]

--plain: ORT_DISABLE_ALL, so that QDQ graphs run as written, in f32. --exact: --plain, and the int8 weights of integer
operators become uint8 (zero point + 128, the same numbers): on CPUs without VNNI, onnxruntime's u8 x s8 kernels add pairs of
products in saturating 16 bits and give other answers than the specification; its u8 x u8 kernels do not.
--integers: QDQ graphs of int8 activations on integers, too, which onnxruntime by itself does on ARM alone
(session.qdqisint8allowed).
"""

import argparse
import json
import re
import resource
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

CONTRIBUTED = "com.microsoft"
SIGNED_WEIGHTS = {  # operator -> places of (weights, their zero point) among its inputs
    "QLinearConv": [(3, 5)],
    "QLinearMatMul": [(3, 5)],
    "MatMulInteger": [(1, 3)],
    "ConvInteger": [(1, 3)],
    "QGemm": [(3, 5)],
    "DynamicQuantizeLSTM": [(1, 9), (2, 11)],
}
UNSIGNED_DATA = {"QLinearConv": 2, "QLinearMatMul": 2, "QGemm": 2}
"""Operators that take uint8 weights only with uint8 data, and where its zero point tells the type."""


def file_name(name: str) -> str:
    """A tensor's name as a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name) + ".npy"


def exact(file: Path) -> bytes:
    """The model with uint8 weights in its integer operators."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(file)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made = {}

    def unsigned(name: str) -> str:
        if name not in made:
            values = numpy_helper.to_array(constants[name])
            made[name] = numpy_helper.from_array((values.astype(np.int16) + 128).astype(np.uint8), name + "_u8")
        return made[name].name

    def signed(name: str) -> bool:
        return name in constants and constants[name].data_type == onnx.TensorProto.INT8

    for node in model.graph.node:
        point = UNSIGNED_DATA.get(node.op_type)
        if point is not None and signed(node.input[point]):
            continue
        for weights, zero in SIGNED_WEIGHTS.get(node.op_type, []):
            if len(node.input) > zero and signed(node.input[weights]) and signed(node.input[zero]):
                node.input[weights], node.input[zero] = unsigned(node.input[weights]), unsigned(node.input[zero])
    model.graph.initializer.extend(made.values())
    return model.SerializeToString()


def resident() -> int:
    """Anonymous resident memory of this process, bytes."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Engine:
    def __init__(self, model: str | bytes, inputs: Path, plain: bool, integers: bool):
        self.model, self.plain, self.integers, self.sessions = model, plain, integers, {}
        onnxruntime.set_default_logger_severity(3)
        self.inputs_folder = inputs

    def session(self, threads: int) -> onnxruntime.InferenceSession:
        if threads not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # Spinning threads would burn CPU time that no work needs: the comparison is of CPU time, so it is off, in the peer's favour.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            if self.integers:
                options.add_session_config_entry("session.qdqisint8allowed", "1")
            if self.plain:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self.sessions = {threads: onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])}
            self.inputs = {i.name: np.load(self.inputs_folder / file_name(i.name)) for i in self.sessions[threads].get_inputs()}
        return self.sessions[threads]

    def batch(self, at: int, size: int) -> dict[str, np.ndarray]:
        """`size` items from `at` on, cyclically; size 0: the inputs as they are."""
        if size == 0:
            return self.inputs
        return {name: np.take(rows, range(at, at + size), axis=0, mode="wrap") for name, rows in self.inputs.items()}

    def answers(self, batch: int, threads: int) -> dict[str, np.ndarray]:
        session = self.session(threads)
        names = [output.name for output in session.get_outputs()]
        if batch == 0:
            return dict(zip(names, session.run(None, self.inputs)))
        items = len(next(iter(self.inputs.values())))
        parts = [session.run(None, {name: rows[i : i + batch] for name, rows in self.inputs.items()}) for i in range(0, items, batch)]
        return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}

    def measure(self, batch: int, threads: int, repeat: int) -> dict[str, float]:
        session = self.session(threads)
        batches = [self.batch(i * batch, batch) for i in range(min(repeat, 8))]
        session.run(None, batches[0])
        wall, used = time.perf_counter(), cpu()
        for i in range(repeat):
            session.run(None, batches[i % len(batches)])
        used, wall = cpu() - used, time.perf_counter() - wall
        items = repeat * max(batch, 1)
        return {"cpu_us_per_item": used * 1e6 / items, "wall_us_per_item": wall * 1e6 / items}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--outputs", type=Path)
    for option, value in (("--batch", 1), ("--threads", 1), ("--repeat", 0)):
        parser.add_argument(option, type=int, default=value)
    for option in ("--listen", "--plain", "--exact", "--integers"):
        parser.add_argument(option, action="store_true")
    asked = parser.parse_args()

    model = exact(asked.model) if asked.exact else str(asked.model)
    before = resident()
    started = time.perf_counter()
    engine = Engine(model, asked.inputs, asked.plain or asked.exact, asked.integers)
    engine.session(asked.threads)
    answer = {"load_ms": (time.perf_counter() - started) * 1e3, "memory": resident() - before}
    if asked.outputs:
        asked.outputs.mkdir(parents=True, exist_ok=True)
        answer["outputs"] = []
        for name, rows in engine.answers(asked.batch, asked.threads).items():
            np.save(asked.outputs / file_name(name), rows)
            answer["outputs"].append(str(asked.outputs / file_name(name)))
    if asked.repeat:
        answer |= engine.measure(asked.batch, asked.threads, asked.repeat)
    print(json.dumps(answer), flush=True)
    if asked.listen:
        for line in sys.stdin:
            print(json.dumps(engine.measure(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
