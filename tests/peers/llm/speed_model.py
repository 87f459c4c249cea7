"""A GGUF file of Qwen2.5-0.5B's shape with random weights, as `llama-quantize` would leave it in Q4_0: embeddings, the tied head, in Q8_0.

Blocks are drawn as they are, codes and scales, for nothing here depends on where they come from. The vocabulary is byte-level BPE of
151,936 words with one merge, so that an engine that reads it has the real one's size to read.
"""

from pathlib import Path

import gguf
import numpy as np

import vocabulary

LAYERS, WIDTH, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY = 24, 896, 14, 2, 4864, 151_936
HEAD = WIDTH // HEADS
MATRICES = {  # name -> rows, row length
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (KV_HEADS * HEAD, WIDTH),
    "attn_v": (KV_HEADS * HEAD, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_gate": (FEED_FORWARD, WIDTH),
    "ffn_up": (FEED_FORWARD, WIDTH),
    "ffn_down": (WIDTH, FEED_FORWARD),
}

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def blocks(random: np.random.Generator, rows: int, length: int, format: str) -> np.ndarray:
    """Raw Q4_0 or Q8_0 rows whose values have a deviation of one over the root of the row's length."""
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]][1]
    raw = random.integers(0, 256, (rows * length // 32, size), np.uint8)
    deviation = {"Q4_0": 4.6, "Q8_0": 73.9}[format]  # of evenly drawn codes
    scale = random.uniform(0.8, 1.2, len(raw)) / deviation / length**0.5
    raw[:, :2] = scale.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return raw.reshape(rows, -1)


def make(file: Path) -> None:
    random = np.random.default_rng(25)
    draft = file.with_name(file.name + ".part")
    writer = gguf.GGUFWriter(draft, "qwen2")
    writer.add_name("Qwen2.5-0.5B's shape, random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(2)
    writer.add_context_length(32768)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    words = sorted(vocabulary.byte_letters())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pair = words[0] + words[1]
    made = [pair, *(f"word{i}" for i in range(VOCABULARY - len(words) - len(specials) - 1))]
    writer.add_token_list(words + made + specials)
    writer.add_token_types([vocabulary.NORMAL] * (VOCABULARY - len(specials)) + [vocabulary.CONTROL] * len(specials))
    writer.add_token_merges([f"{words[0]} {words[1]}"])
    writer.add_eos_token_id(VOCABULARY - 1)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    add(writer, "token_embd.weight", blocks(random, VOCABULARY, WIDTH, "Q8_0"), "Q8_0")
    for layer in range(LAYERS):
        for name, (rows, length) in MATRICES.items():
            add(writer, f"blk.{layer}.{name}.weight", blocks(random, rows, length, "Q4_0"), "Q4_0")
        for name, length in (("attn_q", WIDTH), ("attn_k", KV_HEADS * HEAD), ("attn_v", KV_HEADS * HEAD)):
            add(writer, f"blk.{layer}.{name}.bias", random.normal(0, 0.2, length).astype(np.float32), "F32")
        for name in ("attn_norm", "ffn_norm"):
            add(writer, f"blk.{layer}.{name}.weight", random.uniform(0.5, 1.5, WIDTH).astype(np.float32), "F32")
    add(writer, "output_norm.weight", random.uniform(0.5, 1.5, WIDTH).astype(np.float32), "F32")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.rename(file)


def add(writer: gguf.GGUFWriter, name: str, values: np.ndarray, format: str) -> None:
    writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType[format])
