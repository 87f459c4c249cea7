"""Runs the bundled models on their samples, by their manifests alone, and prints right and wrong. A hand tool.

Through onnxruntime, the language model through torch.
"""

import hashlib
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the models' own files may lie in these folders
sys.path[:0] = [str(HERE), str(HERE / "foreman")]

import boxes
import common
import container
import numpy as np
from PIL import Image


def judge(output: np.ndarray, truth: str, manifest: dict, sample: Path) -> tuple[str, bool]:
    """The answer that a row of output means, and whether it is right; a reading within three times the promised mean error is, and boxes
    are if each is on a part of its label and none is missing."""
    task = manifest["task"]
    if task["kind"] == "classify":
        answer = task["labels"][int(output.argmax())]
        return answer, answer == truth
    if task["kind"] == "regress":
        value = float(np.clip(output.item() * task.get("scale", 1) + task.get("offset", 0), task["minimum"], task["maximum"]))
        return f"{value:.2f} {task['unit']}", abs(value - float(truth)) <= 3 * manifest["accuracy"]["promised"] * (task["maximum"] - task["minimum"])
    if task["kind"] == "detect":
        found = boxes.detected(output, Image.open(sample).size, task, manifest["image"])
        return ", ".join(sorted(label for label, *_ in found)), boxes.all_right(found, boxes.read(truth))
    answer = "anomalous" if output.item() >= task["threshold"] else "normal"
    return f"{answer} ({output.item():.2f})", answer == truth


def told(truth: str, manifest: dict) -> str:
    """A truth as answers are told."""
    return ", ".join(sorted(label for label, _ in boxes.read(truth))) if manifest["task"]["kind"] == "detect" else truth


def talk(folder: Path, manifest: dict) -> None:
    """Asks a language model its samples."""
    prompts = [(folder / sample["file"]).read_text().strip() for sample in manifest["samples"]]
    begin = time.perf_counter()
    given = container.answers(*container.read(folder / manifest["file"]), prompts)
    each = (time.perf_counter() - begin) * 1000 / len(prompts)
    right = 0
    for sample, prompt, answer in zip(manifest["samples"], prompts, given):
        good = answer == sample["truth"]
        right += good
        print(f"{manifest['name']:8} {sample['file']:28} {prompt}")
        print(f"{'':9}truth  {sample['truth']}\n{'':9}answer {answer} {'right' if good else 'WRONG'}")
    print(f"{manifest['name']:8} {right} of {len(prompts)} right; {each:.0f} ms an answer with loading, torch, 1 thread\n")


def main() -> None:
    for folder in sorted(file.parent for file in HERE.glob("*/manifest.toml")):
        manifest = common.read_manifest(folder)
        for name, digest in manifest["sha256"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                sys.exit(f"{folder.name}/{name} is not what the manifest says: run {folder.name}/train.py again")
        if manifest["task"]["kind"] == "chat":
            talk(folder, manifest)
            continue
        run = common.Runner(folder / manifest["file"])
        right = 0
        for sample in manifest["samples"]:
            row = common.sample_row(folder / sample["file"], manifest)[None]
            answer, good = judge(run(row)[0], sample["truth"], manifest, folder / sample["file"])
            right += good
            print(f"{manifest['name']:8} {sample['file']:28} truth {told(sample['truth'], manifest):10} answer {answer:20} {'right' if good else 'WRONG'}")
        begin = time.perf_counter()
        for _ in range(100):
            run(row)
        each = (time.perf_counter() - begin) * 10
        print(f"{manifest['name']:8} {right} of {len(manifest['samples'])} right; {each:.2f} ms an inference at batch 1, onnxruntime, 1 thread\n")


if __name__ == "__main__":
    main()
