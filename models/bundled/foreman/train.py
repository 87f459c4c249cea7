"""Trains `foreman`: a spoken command -> the JSON intent that it means. Rewrites model.gguf, held-out.jsonl, samples and manifest.toml.

Data: commands.py; held out: wordings that training never sees, three of four slot values from those kept out of it too.
Training goes in rounds, each of which begins with the quantized file of the one before; model.gguf holds the mean of the
weights of the last three. Each round breaks some of the held-out wordings that the others answer; the mean breaks few of them
(model soups: Wortsman et al., 2022). The files of the rounds are kept in a folder (if none is named, one among the system's
temporary files), with the checkpoint from which a broken run goes on.

The file that is here grew with its word lists: wordings came between the rounds, and the last began on a longer schedule
(600 steps of 6000). A run anew will be like it, not equal to it.
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
from tokenizers import Tokenizer

SEED = 20264
BATCH = 32
ROUNDS = [(15000, 0.01), (6000, 0.005), (8000, 0.006), (4000, 0.006)]
"""Steps and rate of each round."""
MEAN = 3
"""Rounds, the last, whose weights are averaged."""
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


def trained(folder: Path) -> list[Path]:
    """The files of the rounds, made where they are not in the folder."""
    files = [folder / f"round-{number}.gguf" for number in range(len(ROUNDS))]
    for number, (file, (steps, rate)) in enumerate(zip(files, ROUNDS)):
        if file.exists():
            continue
        if number:
            net, tokenizer = container.read(files[number - 1])
        else:
            tokenizer = tokens.kept(folder / "tokenizer.json", SEED, TEXTS)
            net = Llama(Shape(tokens.SIZE))
        # SEED + 1 draws the held-out commands.
        talks = learn.Talks(tokenizer, BATCH, SEED + 1 + number if number else SEED)
        learn.fit(net.train(), talks, steps, rate, file.with_suffix(".pt"))
        container.write(file, net, tokenizer, VERSION, DESCRIPTION, LICENCE)
    return files


def mean(files: list[Path]) -> tuple[Llama, Tokenizer]:
    """A network whose weights are the mean of those in the files, all of one shape and one tokenizer."""
    nets, tokenizers = zip(*map(container.read, files))
    assert len({tokenizer.to_str() for tokenizer in tokenizers}) == 1, "files of several tokenizers"
    states = [net.state_dict() for net in nets]
    nets[0].load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[0]})
    return nets[0], tokenizers[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(tempfile.gettempdir()) / "foreman-training")
    asked = parser.parse_args()
    common.seed_everything(SEED)
    asked.folder.mkdir(exist_ok=True)
    net, tokenizer = mean(trained(asked.folder)[-MEAN:])
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
    common.write_manifest(HERE, manifest(share), truths)


def manifest(share: float) -> dict:
    """All but the digests and the samples."""
    return {
        "name": "foreman",
        "version": VERSION,
        "description": DESCRIPTION,
        "licence": LICENCE,
        "origin": "hearthd, models/bundled/foreman/train.py",
        "training_data": f"{sum(steps for steps, _ in ROUNDS) * BATCH} talks of commands.py; held out: {HELD_OUT} commands in other wordings, most slot values too",
        "file": "model.gguf",
        "task": {"kind": "chat", "temperature": 0.0},
        "accuracy": {"metric": "exact-match", "value": round(share, 4), "promised": 0.98, "held_out": HELD_OUT},
    }


if __name__ == "__main__":
    main()
