"""Writes boxes.json: what onnxruntime and a suppression in numpy find in samples of the bundled model `parts`. A hand tool.

python3 tests/mqtt/boxes.py, with models/bundled/requirements.txt. The network runs with every Q and DQ computed as ONNX defines it.
"""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
import PIL
from PIL import Image

HERE = Path(__file__).resolve().parent
BUNDLED = HERE.parents[1] / "models" / "bundled"
sys.dont_write_bytecode = True
sys.path.insert(0, str(BUNDLED))

import boxes
import common

manifest = common.read_manifest(BUNDLED / "parts")
run = common.Runner(BUNDLED / "parts" / manifest["file"])
samples = {}
for sample in manifest["samples"][:6]:
    picture = Image.open(BUNDLED / "parts" / sample["file"])
    output = run(common.picture_row(picture, manifest["image"])[None])[0]
    found = boxes.detected(output, picture.size, manifest["task"], manifest["image"])
    described = [
        {"label": label, "score": round(score, 4), "x": round(x, 2), "y": round(y, 2), "width": round(right - x, 2), "height": round(bottom - y, 2)}
        for label, score, (x, y, right, bottom) in found
    ]
    samples[sample["file"]] = {"boxes": described, "image": dict(zip(("width", "height"), picture.size))}
made = {"onnxruntime": onnxruntime.__version__, "numpy": numpy.__version__, "pillow": PIL.__version__, "parts": manifest["version"]}
(HERE / "boxes.json").write_text(json.dumps({"made_with": made, "samples": samples}, indent=1) + "\n")
