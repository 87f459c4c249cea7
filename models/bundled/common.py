"""What the training scripts share: a seed, a training loop, int8 export, preprocessing as the daemon does it, the manifest.

It knows no model. `train.py` in each folder holds the data, the network and the measure of one.
"""

import hashlib
import io
import json
import logging
import random
import tomllib
import wave
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image

OPSET = 13
"""First opset whose DequantizeLinear takes a scale for each channel."""


def seed_everything(seed: int) -> np.random.Generator:
    """One seed, one thread: the same bytes come out of the same machine."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    return np.random.default_rng(seed)


def fit(network: torch.nn.Module, draw, loss, steps: int, rate: float, decay: float = 1e-4) -> None:
    """Trains with AdamW under a one-cycle schedule; `draw()` gives a batch (inputs, targets), `loss(outputs, targets)` a scalar."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps)
    network.train()
    recent = []
    for step in range(1, steps + 1):
        inputs, targets = draw()
        value = loss(network(inputs), targets)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        recent.append(value.item())
        if step % 200 == 0 or step == steps:
            print(f"step {step}/{steps}: loss {np.mean(recent):.4f}", flush=True)
            recent = []
    network.eval()


def export_int8(network: torch.nn.Module, input: str, output: str, calibration: np.ndarray, file: Path, float_tail: int = 0) -> None:
    """Writes `network` (one input, one output, batch first) as an int8 QDQ graph with a symbolic first axis named `batch`.

    Activations: int8 a tensor; weights: int8, symmetric, a scale for each output channel. `calibration` [n, ...] f32 gives the
    activations' ranges (least and greatest seen). The last `float_tail` operators stay f32: heads whose output must be fine.
    """
    buffer = io.BytesIO()
    example = torch.from_numpy(calibration[:2])
    axes = {input: {0: "batch"}, output: {0: "batch"}}
    torch.onnx.export(network, example, buffer, opset_version=OPSET, input_names=[input], output_names=[output], dynamic_axes=axes)
    graph = onnx.load_from_string(buffer.getvalue())
    logging.getLogger().setLevel(logging.ERROR)  # it advises a preprocessing whose one gain here, folded BatchNorm, the export gives
    exact = [node.name for node in graph.graph.node][len(graph.graph.node) - float_tail :]
    quantize_static(
        graph,
        file,
        Calibration(input, calibration),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        nodes_to_exclude=exact,
    )
    quantized = onnx.load(file)
    # Intermediate shapes hold symbols of their own, which pin loaders to one batch size; provenance is the manifest's to tell.
    del quantized.graph.value_info[:]
    del quantized.metadata_props[:]
    quantized.ir_version = 8
    quantized.producer_name, quantized.producer_version = "hearthd", ""
    quantized.graph.name = file.parent.name
    quantized.graph.doc_string = ""
    onnx.checker.check_model(quantized, full_check=True)
    file.write_bytes(quantized.SerializeToString(deterministic=True))


class Calibration(CalibrationDataReader):
    """Hands the calibration inputs to onnxruntime, 64 rows at a time."""

    def __init__(self, name: str, rows: np.ndarray):
        self.batches = iter([{name: rows[i : i + 64]} for i in range(0, len(rows), 64)])

    def get_next(self):
        return next(self.batches, None)


class Runner:
    """The exported file in onnxruntime, one thread: rows in, first output out.

    Every Q and DQ is computed as ONNX defines it, on any CPU alike. With its optimisations on, onnxruntime fuses them into int8 kernels
    that saturate on x86-64 without VNNI, which moves some readings by a tenth of full scale.
    """

    def __init__(self, file: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        parts = [self.session.run(None, {self.input: rows[i : i + 64]})[0] for i in range(0, len(rows), 64)]
        return np.concatenate(parts)


LETTERBOX_GREY = 114
"""What is left around a picture that is scaled to fit inside."""


def picture_row(picture: Image.Image, settings: dict) -> np.ndarray:
    """A picture as an input row [channels, height, width] by the `[image]` section of a manifest (grey or rgb)."""
    width, height = settings["width"], settings["height"]
    picture = picture.convert("L" if settings["colour"] == "grey" else "RGB")
    if settings.get("fit") == "letterbox":
        picture = letterboxed(picture, width, height)
    elif settings.get("fit") == "crop":
        picture = cropped(picture, width, height)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR), np.float32)
    pixels = pixels.reshape(height, width, -1).transpose(2, 0, 1)
    if settings.get("invert", False):
        pixels = 255 - pixels
    channels = len(pixels)
    mean, std = (np.array(settings.get(key, [usual] * channels), np.float64)[:, None, None] for key, usual in (("mean", 0.0), ("std", 1.0)))
    return ((pixels / 255 - mean) / std).astype(np.float32)


def letterbox(size: tuple[int, int], width: int, height: int) -> tuple[float, int, int, int, int]:
    """How a picture of this size (width, height) comes to lie inside: scale, left, top, and its width and height there.

    As Ultralytics' LetterBox: sides rounded half to even, a odd pixel of the border on the right and below.
    """
    scale = min(width / size[0], height / size[1])
    inner = round(size[0] * scale), round(size[1] * scale)
    left, top = round((width - inner[0]) / 2 - 0.1), round((height - inner[1]) / 2 - 0.1)
    return scale, left, top, *inner


def letterboxed(picture: Image.Image, width: int, height: int) -> Image.Image:
    """All of it, in the middle of grey."""
    _, left, top, *inner = letterbox(picture.size, width, height)
    whole = Image.new(picture.mode, (width, height), (LETTERBOX_GREY,) * len(picture.getbands()))
    whole.paste(picture.resize(tuple(inner), Image.Resampling.BILINEAR), (left, top))
    return whole


def cropped(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The largest part of this shape, in the middle."""
    keep = min(picture.width, max(1, picture.height * width // height)), min(picture.height, max(1, picture.width * height // width))
    left, top = (picture.width - keep[0]) // 2, (picture.height - keep[1]) // 2
    return picture.crop((left, top, left + keep[0], top + keep[1]))


def sound_row(samples: np.ndarray, settings: dict) -> np.ndarray:
    """One window of samples as an input row [1, window] by the `[sound]` section of a manifest."""
    window = samples.astype(np.float32)
    assert window.shape == (settings["window"],), "one window, no more"
    if settings["standardise"]:
        window = (window - window.mean()) / window.std()
    return window[None].astype(np.float32)


def write_wav(file: Path, samples: np.ndarray, rate: int) -> None:
    """16-bit samples, one channel."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())


def read_wav(file: Path) -> np.ndarray:
    """The 16-bit samples of a file of one channel."""
    with wave.open(str(file), "rb") as source:
        return np.frombuffer(source.readframes(source.getnframes()), "<i2")


def sample_row(file: Path, manifest: dict) -> np.ndarray:
    """A sample file as an input row, by its manifest."""
    if file.suffix == ".wav":
        return sound_row(read_wav(file), manifest["sound"])
    return picture_row(Image.open(file), manifest["image"])


def fresh_samples(folder: Path) -> Path:
    """An empty `samples` folder."""
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    for old in samples.iterdir():
        old.unlink()
    return samples


def area_under_curve(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Probability that an anomalous score exceeds a normal one (ties count half): the area under the ROC curve."""
    order = np.sort(normal)
    below = np.searchsorted(order, anomalous, "left")
    equal = np.searchsorted(order, anomalous, "right") - below
    return float((below + equal / 2).mean() / len(normal))


def write_manifest(folder: Path, manifest: dict, truths: dict) -> None:
    """Writes `manifest.toml`: `manifest` in the order of `models/src/manifest.rs`, the digests of the files, the samples' truths."""
    files = [manifest["file"], *truths]
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    plain = {key: value for key, value in manifest.items() if not isinstance(value, dict)}
    tables = {"sha256": digests} | {key: value for key, value in manifest.items() if isinstance(value, dict)}
    text = "# Written by train.py: change it there.\n" + pairs(plain)
    for name, table in tables.items():
        text += f"\n[{name}]\n" + pairs(table)
    for file, truth in truths.items():
        text += "\n[[samples]]\n" + pairs({"file": file, "truth": truth})
    tomllib.loads(text)
    (folder / "manifest.toml").write_text(text)


def pairs(table: dict) -> str:
    """`key = value` lines."""
    return "".join(f"{key if key.replace('_', '').isalnum() else json.dumps(key)} = {literal(value)}\n" for key, value in table.items())


def literal(value) -> str:
    """A value in TOML's notation; dictionaries as inline tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {literal(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def read_manifest(folder: Path) -> dict:
    """The manifest of a model folder."""
    return tomllib.loads((folder / "manifest.toml").read_text())


def parameters(network: torch.nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
