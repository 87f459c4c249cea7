"""The wide models wholly in one format each, made on demand under target/ from the committed mixed files' values.

The values are those of the mixed files, so that nothing but ggml is needed: quantised anew, they are weights as good as any.
"""

import json
from pathlib import Path

import engines
import gguf_file

FIXTURES = Path(__file__).resolve().parent / "fixtures"
WORK = engines.ROOT / "target" / "peers" / "llm"
FORMATS = "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K Q2_K Q3_K IQ4_NL IQ4_XS MXFP4".split()
ROWS = [(name, format) for name in ("llama3-wide", "qwen2.5-wide") for format in FORMATS]


def make(name: str, format: str, exact: bool = False) -> tuple[Path, list[int]]:
    """The file and its prompt; `exact` gives the same values in F32."""
    WORK.mkdir(parents=True, exist_ok=True)
    mixed = FIXTURES / f"{name}-mixed.gguf"
    file = WORK / f"{name}-{format}.gguf"
    made = file
    if not newer(file, mixed):
        gguf_file.recode(mixed, file, lambda tensor: format)
    if exact:
        made = WORK / f"{name}-{format}-f32.gguf"
        if not newer(made, file):
            gguf_file.recode(file, made, lambda tensor: "F32")
    return made, json.loads((FIXTURES / f"{name}-mixed.json").read_text())["prompt"]


def newer(file: Path, source: Path) -> bool:
    return file.exists() and file.stat().st_mtime > source.stat().st_mtime
