"""Trains `foreman`: a spoken command -> the JSON intent that it means. Rewrites model.gguf, held-out.jsonl and manifest.toml.

Data: commands.py; held out: wordings that training never sees, three of four slot values from those kept out of it too.
Checkpoints go into a folder (if none is named, one among the system's temporary files); a broken run goes on from there.
`--round N` begins with the model.gguf that is here, which the round before has made: slower, and with wordings that were new in it.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the model's own files may lie in these folders
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common
import container
import learn
import tokens
from commands import Maker
from llama import Llama, Shape

SEED = 20264
BATCH = 32
STEPS, RATE = 15000, 0.01
ROUNDS = [(6000, 0.005), (8000, 0.006), (4000, 0.006)]
"""Steps and rate of each further round."""
TEXTS = 30000
"""Commands that the tokenizer learns from."""
HELD_OUT, KEPT, SAMPLES = 4000, 300, 12
VERSION = "1.0.0"
DESCRIPTION = "A spoken command of the shop floor or the household: the intent that it means, as JSON."
LICENCE = "MIT OR Apache-2.0"


def held_out(n: int) -> list[tuple[str, str]]:
    """So many commands of the test, each another."""
    maker, drawn = Maker(random.Random(SEED + 1), held_out=True), {}
    while len(drawn) < n:
        prompt, answer = maker.draw()
        drawn.setdefault(prompt, answer)
    return list(drawn.items())


def measured(file: Path, commands: list[tuple[str, str]]) -> float:
    """Share of answers of the file that are exact; prints the others, and each intent's share."""
    given = container.answers(*container.read(file), [prompt for prompt, _ in commands])
    of, right = Counter(), Counter()
    for (prompt, answer), said in zip(commands, given):
        intent = answer.split('"')[3]
        of[intent] += 1
        right[intent] += said == answer
        if said != answer:
            print(f"{prompt}\n  {answer}\n  {said}")
    print(", ".join(f"{intent} {right[intent]}/{of[intent]}" for intent in sorted(of, key=lambda i: right[i] / of[i])))
    return right.total() / of.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir()) / "foreman-training")
    parser.add_argument("--round", type=int, default=0, choices=range(len(ROUNDS) + 1))
    asked = parser.parse_args()
    common.seed_everything(SEED)
    asked.folder.mkdir(exist_ok=True)
    if asked.round:
        net, tokenizer = container.read(HERE / "model.gguf")
        checkpoint = asked.folder / f"round-{asked.round}.pt"
        learn.fit(net.train(), learn.Talks(tokenizer, BATCH, SEED + 1 + asked.round), *ROUNDS[asked.round - 1], checkpoint)
    else:
        tokenizer = tokens.kept(asked.folder / "tokenizer.json", SEED, TEXTS)
        net = Llama(Shape(tokens.SIZE))
        learn.fit(net, learn.Talks(tokenizer, BATCH, SEED), STEPS, RATE, asked.folder / "checkpoint.pt")
    container.write(HERE / "model.gguf", net, tokenizer, VERSION, DESCRIPTION, LICENCE)

    commands = held_out(HELD_OUT)
    share = measured(HERE / "model.gguf", commands)
    print(f"{common.parameters(net)} parameters; exact answers of the Q8_0 file: {share:.4f} of {HELD_OUT}")
    lines = [json.dumps({"prompt": prompt, "expected": answer}, ensure_ascii=False) for prompt, answer in commands[:KEPT]]
    (HERE / "held-out.jsonl").write_text("\n".join(lines) + "\n")

    common.fresh_samples(HERE)
    truths = {}
    for i, (prompt, answer) in enumerate(commands[KEPT : KEPT + SAMPLES]):
        truths[f"samples/{i:02}.txt"] = answer
        (HERE / f"samples/{i:02}.txt").write_text(prompt + "\n")
    common.write_manifest(HERE, manifest(share, STEPS + sum(steps for steps, _ in ROUNDS[: asked.round])), truths)


def manifest(share: float, steps: int) -> dict:
    """All but the digests and the samples."""
    return {
        "name": "foreman",
        "version": VERSION,
        "description": DESCRIPTION,
        "licence": LICENCE,
        "origin": "hearthd, models/bundled/foreman/train.py",
        "training_data": f"{steps * BATCH} talks of commands.py; held out: {HELD_OUT} commands in other wordings, most slot values too",
        "file": "model.gguf",
        "task": {"kind": "chat", "temperature": 0.0},
        "accuracy": {"metric": "exact-match", "value": round(share, 4), "promised": 0.98, "held_out": HELD_OUT},
    }


if __name__ == "__main__":
    main()
