"""Starts engines that speak the protocol of README.md. Knows no model and judges nothing."""

import array
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PATIENCE = 600
"""Seconds for one answer, a load included."""


class Refused(Exception):
    """The engine did not load or run the model; holds its last words."""


@dataclass
class Engine:
    name: str
    command: list[str]

    def ask(self, arguments: list, given: str = "") -> bytes:
        try:
            done = subprocess.run([*self.command, *map(str, arguments)], input=given.encode(), capture_output=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Refused(f"no answer in {PATIENCE} s") from None
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise Refused(lines[-1][-160:] if lines else f"exit status {done.returncode}")
        return done.stdout

    def logits(self, file: Path, tokens: list[int], kv: str = "f32") -> array.array:
        """Of every position, one after another."""
        raw = self.ask(["logits", file, "--kv", kv], json.dumps(tokens))
        if not raw or len(raw) % (4 * len(tokens)):
            raise Refused(f"{len(raw)} bytes of logits for {len(tokens)} tokens: 4 for each word of the vocabulary and token expected")
        return little_endian("f", raw)

    def greedy(self, file: Path, tokens: list[int], steps: int, kv: str = "f32") -> list[int]:
        return json.loads(self.ask(["greedy", file, steps, "--kv", kv], json.dumps(tokens)))

    def speed(self, file: Path, threads: int, prefill: int, decode: int, batch: int) -> dict[str, float]:
        return json.loads(self.ask(["speed", file, "--threads", threads, "--prefill", prefill, "--decode", decode, "--batch", batch]))


def little_endian(kind: str, raw: bytes) -> array.array:
    values = array.array(kind, raw)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def llama_cpp() -> Engine:
    return Engine("llama.cpp", [sys.executable, str(HERE / "engine_llama_cpp.py")])


def find(name: str) -> Engine:
    """The engine called `name`: llama.cpp, a path, or hearthd: the release build, or else another one."""
    if name == "llama.cpp":
        return llama_cpp()
    if name != "hearthd":
        return Engine(Path(name).name, [str(Path(name).resolve())])
    built = [*ROOT.glob("target/*/run_gguf"), *ROOT.glob("target/*/examples/run_gguf")]
    if not built:
        sys.exit("target/ holds no run_gguf: build it (cargo build --release --example run_gguf), or give --engine a path or llama.cpp")
    # A development build is slower several times: what is measured is the release build, wherever there is one.
    file = max(built, key=lambda file: ("release" in file.parts, file.stat().st_mtime))
    print(f"engine: {file}, built {time.ctime(file.stat().st_mtime)}", file=sys.stderr)
    return Engine("hearthd", [str(file)])
