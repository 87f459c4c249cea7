"""Makes the models of this comparison, each in every form that onnxruntime's own tools give, as <folder>/<model>/<form>.onnx.

    models.py FOLDER [--only MODEL/FORM] [--again]

Seeds and random weights only; see `networks.py`. Files that are there already are kept, unless --again. A symbolic first axis
`batch` (and `sequence` for encoders) throughout.
"""

import argparse
import fnmatch
import io
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process

import inputs

MODELS = ("mobilenet_v2", "resnet18", "detector", "encoder", "encoder_opset13", "cnn1d", "autoencoder", "gru", "lstm")
OUTPUTS = {"mobilenet_v2": "logits", "resnet18": "logits", "cnn1d": "logits", "gru": "logits", "lstm": "logits"} | {
    "detector": "output0",
    "encoder": "last_hidden_state",
    "encoder_opset13": "last_hidden_state",
    "minilm": "last_hidden_state",
    "autoencoder": "reconstruction",
}
CLASSIFIERS = ("mobilenet_v2", "resnet18", "cnn1d", "gru", "lstm")
ENCODERS = ("encoder", "encoder_opset13", "minilm")
HALF_DOORS = ("mobilenet_v2", "resnet18", "detector")
"""Models whose fp16 form takes and gives float16, as exporters of vision models write them; the rest keep float32 at their doors."""
CALIBRATION_ROWS = {"mobilenet_v2": 16, "resnet18": 16, "detector": 12, "encoder": 16, "encoder_opset13": 16}
SMALL_CALIBRATION_ROWS = 96

STATIC = {  # form -> (format, activations, weights, per channel)
    "qdq-u8s8-tensor": (QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8, False),
    "qdq-u8s8-channel": (QuantFormat.QDQ, QuantType.QUInt8, QuantType.QInt8, True),
    "qdq-s8s8-tensor": (QuantFormat.QDQ, QuantType.QInt8, QuantType.QInt8, False),
    "qdq-s8s8-channel": (QuantFormat.QDQ, QuantType.QInt8, QuantType.QInt8, True),
    "qoperator-u8s8": (QuantFormat.QOperator, QuantType.QUInt8, QuantType.QInt8, True),
    "qoperator-u8u8": (QuantFormat.QOperator, QuantType.QUInt8, QuantType.QUInt8, False),
    "qoperator-s8s8": (QuantFormat.QOperator, QuantType.QInt8, QuantType.QInt8, True),
}
DYNAMIC = {  # form -> (weights, per channel)
    "dynamic-s8": (QuantType.QInt8, False),
    "dynamic-s8-channel": (QuantType.QInt8, True),
    "dynamic-u8": (QuantType.QUInt8, False),
}
BLOCKWISE = {  # form -> (bits, block, symmetric, accuracy level)
    "int4-symmetric": (4, 32, True, 4),
    "int4-asymmetric": (4, 128, False, 4),
    "int4-asymmetric-f32": (4, 16, False, None),
    "int8-block": (8, 64, True, 4),
}
FORMS = ("fp32", "fp16", *STATIC, *DYNAMIC, *BLOCKWISE)


def forms_of(model: str) -> list[str]:
    """The forms that exist for a model: block-wise weights need a matrix product; the old encoder has a few."""
    if model == "encoder_opset13":
        return ["fp32", "fp16", "qdq-u8s8-tensor", "qdq-s8s8-channel", "qoperator-u8s8", "dynamic-s8", "int4-symmetric"]
    if model == "detector":
        return [form for form in FORMS if form not in BLOCKWISE]
    if model in ("encoder", "autoencoder"):
        return list(FORMS)
    return [form for form in FORMS if form not in ("int4-asymmetric-f32", "int8-block")]


def is_quantized(form: str) -> bool:
    return form not in ("fp32", "fp16")


def make(folder: Path, only: str = "*/*", again: bool = False, say=print) -> list[tuple[str, str, Path]]:
    """Makes what is missing and returns (model, form, file) of all that `only` names (shell pattern MODEL/FORM)."""
    wanted = [(model, form) for model in MODELS for form in forms_of(model) if fnmatch.fnmatch(f"{model}/{form}", only)]
    for model in dict.fromkeys(model for model, _ in wanted):
        directory = folder / model
        directory.mkdir(parents=True, exist_ok=True)
        missing = [form for m, form in wanted if m == model and (again or not (directory / f"{form}.onnx").exists())]
        if missing:
            started = time.monotonic()
            if "fp32" in missing or not (directory / "fp32.onnx").exists():
                export(model, directory / "fp32.onnx")
            make_forms(model, missing, directory, inputs.draw(model, CALIBRATION_ROWS.get(model, SMALL_CALIBRATION_ROWS), seed=103))
            say(f"made {model}: {len(missing)} forms in {time.monotonic() - started:.1f} s")
    return [(model, form, folder / model / f"{form}.onnx") for model, form in wanted]


def make_forms(model: str, forms: list[str], directory: Path, calibration: dict[str, np.ndarray]) -> None:
    """Makes forms of directory/fp32.onnx beside it; `calibration` gives the ranges of static quantization."""
    base = directory / "fp32.onnx"
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        if any(form in STATIC or form in DYNAMIC for form in forms):
            quant_pre_process(base, prepared, skip_symbolic_shape=True)  # it gives up on symbolic axes in views
        for form in forms:
            if form == "fp32":
                continue
            draft = Path(scratch) / f"{form}.onnx"
            if form == "fp16":
                half(model, base, draft)
            elif form in STATIC:
                static(model, form, prepared, draft, calibration)
            elif form in DYNAMIC:
                weights, per_channel = DYNAMIC[form]
                quantize_dynamic(prepared, draft, weight_type=weights, per_channel=per_channel)
            else:
                blockwise(form, base, draft)
            draft.rename(directory / draft.name)


def export(model: str, file: Path) -> None:
    import networks

    export_network(networks.build(model), model, inputs.draw(model, 2, seed=100), file)


def export_network(network, model: str, rows: dict[str, np.ndarray], file: Path) -> None:
    """PyTorch's exporter folds BatchNorm into convolutions; opset 17 has LayerNormalization, 13 spells it out."""
    import torch

    sequence = {1: "sequence"} if model in ENCODERS else {}
    names, output = list(rows), OUTPUTS[model]
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(row) for row in rows.values()),
            buffer,
            opset_version=13 if model == "encoder_opset13" else 17,
            input_names=names,
            output_names=[output],
            dynamic_axes={name: {0: "batch"} | sequence for name in [*names, output]},
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(graph)
    onnx.save(graph, file)


class Calibration(CalibrationDataReader):
    """Hands the calibration inputs to onnxruntime, 4 rows at a time."""

    def __init__(self, rows: dict[str, np.ndarray]):
        count = len(next(iter(rows.values())))
        self.rows = iter([{name: row[i : i + 4] for name, row in rows.items()} for i in range(0, count, 4)])

    def get_next(self):
        return next(self.rows, None)


def static(model: str, form: str, source: Path, file: Path, calibration: dict[str, np.ndarray]) -> None:
    format, activations, weights, per_channel = STATIC[form]
    quantize_static(
        source,
        file,
        Calibration(calibration),
        quant_format=format,
        activation_type=activations,
        weight_type=weights,
        per_channel=per_channel,
        nodes_to_exclude=left_in_float(model, onnx.load(source).graph),
    )


def left_in_float(model: str, graph: onnx.GraphProto) -> list[str]:
    """Nodes that no one quantizes who wants a working model, as the guides of both exporters say.

    Detectors: box decoding after the distribution layer, and the last Concat (pixels and scores would share one scale).
    Encoders: the attention mask (its least float32 would be the scale of everything) and the softmax over masked scores.
    """
    makers = {name: node for node in graph.node for name in node.output}
    users = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def reach(starts, onward):
        found, queue = {}, list(starts)
        while queue:
            node = queue.pop()
            if node.name not in found:
                found[node.name] = node
                queue += onward(node)
        return found

    if model == "detector":
        start = [node for node in graph.node if node.op_type == "Conv" and "dfl" in node.name]
        down = reach(start, lambda node: [user for name in node.output for user in users.get(name, [])])
        return [name for name in down if name != start[0].name]
    if model in ENCODERS:
        mask = reach(users["attention_mask"], lambda node: [u for name in node.output for u in users.get(name, []) if node.op_type != "Add"])
        return [*mask, *(node.name for node in graph.node if node.op_type == "Softmax")]
    return []


def half(model: str, source: Path, file: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=model not in HALF_DOORS), file)


def blockwise(form: str, source: Path, file: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    bits, block, symmetric, level = BLOCKWISE[form]
    model = ONNXModel(onnx.load(source))
    model.replace_gemm_with_matmul()
    quantizer = MatMulNBitsQuantizer(model.model, bits=bits, block_size=block, is_symmetric=symmetric, accuracy_level=level)
    quantizer.process()
    quantizer.model.save_model_to_file(str(file), False)


def quiet() -> None:
    """The quantizers log each node."""
    for name in (None, "onnxruntime.quantization.matmul_nbits_quantizer", "onnxruntime.transformers.float16"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*/*", metavar="MODEL/FORM", help="shell pattern")
    parser.add_argument("--again", action="store_true", help="make files anew that are there")
    arguments = parser.parse_args()
    quiet()
    made = make(arguments.folder, arguments.only, arguments.again)
    if not made:
        sys.exit(f"nothing is called {arguments.only}; models: {', '.join(MODELS)}; forms: {', '.join(FORMS)}")


if __name__ == "__main__":
    main()
