"""The tokenizer: byte-level BPE over Qwen2's words (`tokenizer.ggml.pre` = "qwen2": single digits), and the chat template.

The merges come in two parts. The first never touches a space, so that a name has the same pieces after a space and after a quotation
mark: what is copied into the answer is copied piece by piece. The second part glues the space to the most frequent pieces.
"""

import json
import random
from collections import Counter

from commands import Maker
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SIZE = 1536
SPACED = 317
"""Pieces that have a twin with a space before them."""
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


def cut() -> pre_tokenizers.PreTokenizer:
    """Text to words of byte characters."""
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


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

    after_space = Counter()
    for line in lines:
        pieces = alone.encode(line).tokens
        after_space.update(b for a, b in zip(pieces, pieces[1:]) if a == "Ġ" and b[0].isalpha())
    for piece, _ in sorted(after_space.items(), key=lambda item: (-item[1], item[0]))[:SPACED]:
        vocabulary["Ġ" + piece] = len(vocabulary)
        merges.append(("Ġ", piece))
    whole = Tokenizer(models.BPE(vocabulary, merges))
    whole.pre_tokenizer, whole.decoder = cut(), decoders.ByteLevel()
    whole.add_special_tokens(SPECIAL)
    assert whole.get_vocab_size() == SIZE
    return whole
