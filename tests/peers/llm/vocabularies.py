"""Compares our tokens with those that llama.cpp's own tests expect, for each of its vocabularies of a kind that we support.

usage: vocabularies.py DIRECTORY PROGRAM
DIRECTORY is llama.cpp's `models/`, with `ggml-vocab-*.gguf` and their `.inp` and `.out`; PROGRAM is the example `vocabulary`.
Besides, texts that cost the most are timed with each vocabulary.
"""
import json
import pathlib
import subprocess
import sys

from gguf_head import metadata

SEPARATOR = "\n__ggml_vocab_test__\n"
WIDE = [
    "a" * 1_000_000,
    " " * 1_000_000,
    " " * 999_999 + "x",
    "aB1 \n" * 200_000,
    "é\u0301漢\u1f600" * 100_000,
    "The quick brown fox jumps over the lazy dog, and it's 42 degrees outside.\n" * 14_000,
]


def run(program, fields, texts):
    names = {
        "model": "model", "pre": "pre", "tokens": "tokens", "scores": "scores", "token_type": "types", "merges": "merges",
        "bos_token_id": "bos", "eos_token_id": "eos", "unknown_token_id": "unk", "add_space_prefix": "add_space_prefix",
    }
    own = {ours: fields[f"tokenizer.ggml.{theirs}"] for theirs, ours in names.items() if f"tokenizer.ggml.{theirs}" in fields}
    done = subprocess.run([program], input=json.dumps({**own, "texts": texts}), capture_output=True, text=True)
    if done.returncode:
        return None, done.stderr.strip()
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.strip()


def main():
    directory, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    failed = 0
    for path in sorted(directory.glob("ggml-vocab-*.gguf")):
        name = path.stem.removeprefix("ggml-vocab-")
        inputs = path.with_name(path.name + ".inp")
        fields = metadata(path)
        texts = inputs.read_bytes().decode().split(SEPARATOR) if inputs.exists() else []
        if texts and texts[-1] in ("", "\n"):
            texts.pop()
        tokens, said = run(program, fields, texts + WIDE)
        if tokens is None:
            print(f"{name}: refused: {said}")
            continue
        if not texts:
            print(f"{name}: llama.cpp has no expectations")
        else:
            lines = path.with_name(path.name + ".out").read_text().splitlines()
            expected = [[int(id) for id in line.split()] for line in lines]
            wrong = [i for i, (ours, theirs) in enumerate(zip(tokens, expected, strict=False)) if ours != theirs]
            print(f"{name}: {len(texts) - len(wrong)} of {len(texts)} texts agree ({len(expected)} expected)")
            for i in wrong[:5]:
                print(f"  {texts[i]!r}\n    ours   {tokens[i]}\n    theirs {expected[i]}")
            failed += len(wrong) + (len(expected) != len(texts))
        print("  " + said.replace("\n", "\n  "))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
