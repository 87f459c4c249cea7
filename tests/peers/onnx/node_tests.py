"""ONNX's own backend node tests of the quantized operators, written as models with .npy inputs and expected outputs.

Each in two variants: as ONNX has it, with scales and zero points as graph inputs, and `-constant`, with all but the data as
initializers, as models have them.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from engine_onnxruntime import file_name

OPERATORS = {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DynamicQuantizeLinear"}
TYPES = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32}
"""Types of 8-bit quantization. Tests with 16, 4, 2 bits or float8 are left out: no model of the comparison has them as activations."""
OPSET = 21
"""The tests name the opset under development, which runtimes refuse; these operators did not change since 21 for the types above."""


def write(folder: Path) -> list[Path]:
    """Writes folder/<test>/{model.onnx, inputs/, expected/} and returns the test folders."""
    from onnx.backend.test.case.node import collect_testcases

    written = []
    for case in collect_testcases(None):
        graph = case.model.graph
        types = {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)}
        if not any(node.op_type in OPERATORS for node in graph.node) or not types <= TYPES:
            continue
        inputs, outputs = case.data_sets[0]
        for variant, kept in (("", len(inputs)), ("-constant", 1)):
            if variant and kept == len(inputs):
                continue
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            model.opset_import[0].version = min(model.opset_import[0].version, OPSET)
            model.ir_version = 10
            given = [(value.name, np.asarray(array)) for value, array in zip(graph.input, inputs)]
            del model.graph.input[kept:]
            model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in given[kept:])
            test = folder / (case.name.removeprefix("test_") + variant)
            save(test / "inputs", given[:kept])
            save(test / "expected", [(value.name, np.asarray(array)) for value, array in zip(graph.output, outputs)])
            onnx.save(model, test / "model.onnx")
            written.append(test)
    return written


def save(folder: Path, arrays: list[tuple[str, np.ndarray]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays:
        np.save(folder / file_name(name), array)


def differences(made: Path, expected: Path) -> list[str]:
    """What differs, by ONNX's own measure for these tests: integers exactly, floats within 1e-3 of their size and 1e-7."""
    misses = []
    for file in sorted(expected.glob("*.npy")):
        theirs = np.load(file)
        if not (made / file.name).exists():
            misses.append(f"no output {file.stem}")
            continue
        ours = np.load(made / file.name)
        if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
            misses.append(f"{file.stem} is {ours.dtype}{list(ours.shape)} instead of {theirs.dtype}{list(theirs.shape)}")
        elif np.issubdtype(theirs.dtype, np.integer) and not np.array_equal(ours, theirs):
            misses.append(f"{file.stem}: {int((ours != theirs).sum())} of {theirs.size} differ")
        elif not np.allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-3, atol=1e-7):
            misses.append(f"{file.stem} differs by up to {np.abs(ours.astype(np.float64) - theirs).max():.3g}")
    return misses
