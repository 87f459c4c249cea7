"""A byte-level BPE vocabulary of 304 tokens, and what the families' tokenizers put around it, as metadata of a GGUF file.

The merges are learnt from TEXT by the usual rule (most frequent pair first, ties by their order), so that no library is needed.
"""

from collections import Counter
from dataclasses import dataclass

SIZE = 304
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # tokenizer.ggml.token_type
TEXT = """Turn on the light in the workshop and set the heater to twenty degrees. The pump in the hall is too hot and the valve of the
boiler is open. Start the conveyor at ten in the morning, then tell the foreman that the third machine is standing. What is the
temperature of the bearing on the left motor? Stop the fan in the kitchen, and the one in the other room as well. When the tank is
full, close the inlet. The pressure on the line is more than it was an hour ago; there is something in the filter again."""


@dataclass(frozen=True)
class Kind:
    pre: str  # tokenizer.ggml.pre: how text is cut before merging
    specials: tuple  # (token, type)
    begin: str | None
    end: str
    pad: str | None
    add_begin: bool
    template: str


def _chatml(begin: str, finish: str) -> str:
    return (
        "{% for message in messages %}" + begin + "{{ message.role }}\n{{ message.content }}" + finish + "\n{% endfor %}"
        "{% if add_generation_prompt %}" + begin + "assistant\n{% endif %}"
    )


_LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
    "{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_R1_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}<｜User｜>{{ message.content }}"
    "{% elif message.role == 'assistant' %}<｜Assistant｜>{{ message.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>"
    "{% else %}{{ message.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
_OLMO_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}"
    "{{ eos_token if message.role == 'assistant' }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_QWEN_SPECIALS = (("<|endoftext|>", CONTROL), ("<|im_start|>", CONTROL), ("<|im_end|>", CONTROL))
_THINK = (("<think>", USER_DEFINED), ("</think>", USER_DEFINED))
_R1_SPECIALS = tuple((f"<｜{name}｜>", CONTROL) for name in ("begin▁of▁sentence", "end▁of▁sentence", "User", "Assistant")) + _THINK

LLAMA3 = Kind(
    "llama-bpe",
    tuple((f"<|{name}|>", CONTROL) for name in ("begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id")),
    "<|begin_of_text|>",
    "<|eot_id|>",
    None,
    True,
    _LLAMA_TEMPLATE,
)
QWEN = Kind("qwen2", _QWEN_SPECIALS, "<|endoftext|>", "<|im_end|>", "<|endoftext|>", False, _chatml("<|im_start|>", "<|im_end|>"))
QWEN3 = Kind("qwen2", (*_QWEN_SPECIALS, *_THINK), "<|endoftext|>", "<|im_end|>", "<|endoftext|>", False, QWEN.template)
R1_QWEN = Kind(
    "deepseek-r1-qwen", _R1_SPECIALS, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>", True, _R1_TEMPLATE
)
R1_LLAMA = Kind("llama-bpe", _R1_SPECIALS, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>", True, _R1_TEMPLATE)
OLMO2 = Kind("dbrx", (("<|endoftext|>", CONTROL), ("<|pad|>", CONTROL)), "<|endoftext|>", "<|endoftext|>", "<|pad|>", False, _OLMO_TEMPLATE)


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte in byte-level BPE (GPT-2's alphabet)."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def learn_merges(count: int) -> list[tuple[str, str]]:
    letters = byte_letters()
    words = Counter(" " + word for word in TEXT.split())
    pieces = {word: [letters[byte] for byte in word.encode()] for word in words}
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, times in words.items():
            for pair in zip(pieces[word], pieces[word][1:]):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            joined, i = [], 0
            while i < len(parts):
                taken = 2 if tuple(parts[i : i + 2]) == best else 1
                joined.append("".join(parts[i : i + taken]))
                i += taken
            pieces[word] = joined
    return merges


def tokens(kind: Kind) -> tuple[list[str], list[int], list[str]]:
    """Tokens in the order of their numbers, their types, and the merges as GGUF writes them."""
    merges = learn_merges(SIZE - 256 - len(kind.specials))
    normal = sorted(byte_letters()) + ["".join(pair) for pair in merges]
    assert len(set(normal)) == len(normal)
    types = [NORMAL] * len(normal) + [type for _, type in kind.specials]
    return normal + [token for token, _ in kind.specials], types, [" ".join(pair) for pair in merges]
