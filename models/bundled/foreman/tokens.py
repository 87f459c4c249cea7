"""The tokenizer: byte-level BPE over Qwen2's words (`tokenizer.ggml.pre` = "qwen2": single digits), and the chat template.

The merges come in two parts. The first never touches a space, so that a name has the same pieces after a space and after a quotation
mark: what is copied into the answer is copied piece by piece. The second part glues the space to words of everyday.
"""

import json
import random
from collections import Counter
from pathlib import Path

from commands import Maker
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 1536
SPACED = 317
"""Words that have a twin with a space before them."""
END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [END_OF_TEXT, START, END]

PRE = "qwen2"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def asked(prompt: str) -> str:
    """One turn as the template writes it, up to where the answer begins."""
    return f"{START}user\n{prompt}{END}\n{START}assistant\n"


def latin(piece: str) -> bool:
    """Whether a piece is of letters; byte characters beyond ASCII stand for spaces and the like."""
    return piece.isascii() and piece.isalpha()


def cut() -> pre_tokenizers.PreTokenizer:
    """Text to words of byte characters."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def kept(file: Path, seed: int, texts: int) -> Tokenizer:
    """The tokenizer in `file`; if there is none, one that is trained now and put there: a run that goes on needs the one it began with."""
    if not file.exists():
        trained(seed, texts).save(str(file))
    return Tokenizer.from_file(str(file))


def trained(seed: int, texts: int) -> Tokenizer:
    """A tokenizer of SIZE entries, learned from so many commands and answers."""
    maker = Maker(random.Random(seed))
    lines = [text for _ in range(texts) for text in (*maker.draw(), "user\n", "assistant\n")]
    alone = Tokenizer(models.BPE())
    alone.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "isolated"), cut()])
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE - SPACED - len(SPECIAL), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    alone.train_from_iterator(lines, trainer)
    model = json.loads(alone.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]

    # Words of everyday: pieces that after a space are nearly always a whole word, and no beginning of a name.
    whole, begun = Counter(), Counter()
    for line in lines:
        pieces = [*alone.encode(line).tokens, "Ġ"]
        for space, piece, after in zip(pieces, pieces[1:], pieces[2:]):
            if space == "Ġ" and latin(piece):
                (begun if latin(after) else whole)[piece] += 1
    everyday = [piece for piece in whole if begun[piece] < 0.05 * whole[piece]]
    for piece in sorted(everyday, key=lambda piece: (-whole[piece], piece))[:SPACED]:
        vocabulary["Ġ" + piece] = len(vocabulary)
        merges.append(("Ġ", piece))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut(), decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    assert tokenizer.get_vocab_size() == SIZE
    return tokenizer
