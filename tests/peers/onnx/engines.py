"""Starts engines that speak the protocol of README.md and asks them for answers and times. Knows no model and judges nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
PATIENCE = 300
"""Seconds for one answer, a load included."""


class Refused(Exception):
    """The engine did not load or run the model; holds its last words."""

    def __init__(self, engine: str, why: str):
        super().__init__(why)
        self.engine = engine


@dataclass
class Engine:
    name: str
    command: list[str]

    def arguments(self, model: Path, inputs: Path, batch: int, threads: int) -> list[str]:
        return [*self.command, str(model), "--inputs", str(inputs), "--batch", str(batch), "--threads", str(threads)]

    def answers(self, model: Path, inputs: Path, outputs: Path, batch: int, threads: int) -> tuple[dict[str, np.ndarray], dict]:
        """Outputs by file name, for all items, and the engine's own report."""
        shutil.rmtree(outputs, ignore_errors=True)
        command = [*self.arguments(model, inputs, batch, threads), "--outputs", str(outputs), "--repeat", "0"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment())
        except subprocess.TimeoutExpired:
            raise Refused(self.name, f"no answer in {PATIENCE} s") from None
        if done.returncode != 0:
            raise Refused(self.name, last_words(done.stderr) or f"exit status {done.returncode}")
        report = json.loads(done.stdout.splitlines()[-1])
        return {Path(file).name: np.load(file) for file in report["outputs"]}, report

    def listen(self, model: Path, inputs: Path) -> "Listening":
        return Listening(self, model, inputs)


class Listening:
    """One engine process with one loaded model, measured as often as asked."""

    def __init__(self, engine: Engine, model: Path, inputs: Path):
        command = [*engine.arguments(model, inputs, 1, 1), "--repeat", "0", "--listen"]
        self.engine = engine
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
        self.loaded = self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.stdin.close()
            raise Refused(self.engine.name, last_words(self.process.stderr.read()) or f"exit status {self.process.wait()}")
        return json.loads(line)

    def stay_on(self, cpus: set[int]) -> None:
        """Holds all its threads on these CPUs."""
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cpus)

    def measure(self, batch: int, threads: int, repeat: int) -> dict[str, float]:
        self.ask(batch, threads, repeat)
        return self.answer()

    def ask(self, batch: int, threads: int, repeat: int) -> None:
        try:
            self.process.stdin.write(json.dumps({"batch": batch, "threads": threads, "repeat": repeat}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words are in `answer`

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None and not self.process.stdin.closed:
            self.close()


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-160:] if lines else ""


def onnxruntime(*options: str) -> Engine:
    name = "-".join(["onnxruntime", *(option.lstrip("-") for option in options)])
    return Engine(name, [sys.executable, str(HERE / "engine_onnxruntime.py"), *options])


def find(name: str, root: Path) -> Engine:
    """The engine called `name`: onnxruntime, onnxruntime-disable-all, onnxruntime-exact, onnxruntime-integers, a path, or hearthd: the release build, or else another one."""
    known = {"onnxruntime": (), "onnxruntime-disable-all": ("--plain",), "onnxruntime-exact": ("--exact",), "onnxruntime-integers": ("--integers",)}
    if name in known:
        return onnxruntime(*known[name])
    if name != "hearthd":
        return Engine(Path(name).name, [str(Path(name).resolve())])
    built = [*root.glob("target/*/run_onnx"), *root.glob("target/*/examples/run_onnx")]
    if not built:
        sys.exit("target/ holds no run_onnx: build it, or give --engine a path or onnxruntime-disable-all")
    # A development build is slower several times: what is measured is the release build, wherever there is one.
    file = max(built, key=lambda file: ("release" in file.parts, file.stat().st_mtime))
    print(f"engine: {file}, built {time.ctime(file.stat().st_mtime)}", file=sys.stderr)
    return Engine("hearthd", [str(file)])
