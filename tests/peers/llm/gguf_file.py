"""Writes a decoder of transformers as a GGUF file, and copies of a GGUF file with its matrices in other formats."""

from pathlib import Path

import gguf
import numpy as np

import vocabulary

NAMES = {  # of a layer: transformers' to GGUF's
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tensor_name(name: str, architecture: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in OUTER:
        return f"{OUTER[stem]}.{kind}"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    if part == "post_attention_layernorm":  # before the feed-forward block in Llama and Qwen, after attention in OLMo 2
        return f"blk.{layer}.{'post_attention_norm' if architecture == 'olmo2' else 'ffn_norm'}.{kind}"
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def interleaved(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection for RoPE on neighbours (2i, 2i + 1), from rows for RoPE on halves (i, i + size / 2)."""
    half = weights.shape[0] // heads // 2
    return weights.reshape(heads, 2, half, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def rope_factors(rope: dict, head_size: int) -> np.ndarray:
    """What the wavelengths of Llama 3.1 are stretched by (Llama 3.1's `apply_scaling`; transformers' `rope_type: llama3`)."""
    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head_size, 2, dtype=np.float64) / head_size)
    turns = rope["original_max_position_embeddings"] / wavelengths
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)  # of the frequency as it was
    return (1 / ((1 - share) / factor + share)).astype(np.float32)


def write(file: Path, name: str, architecture: str, config, tensors: dict[str, np.ndarray], kind: vocabulary.Kind) -> None:
    """`tensors` as transformers names them, float32; the head is left out when it is tied."""
    writer = gguf.GGUFWriter(file, architecture)
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name(f"{name}, random weights")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if architecture == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_size)
    if head_size * config.num_attention_heads != config.hidden_size:
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
    add_tokenizer(writer, kind)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(config.rope_parameters, head_size))
    for tensor, values in tensors.items():
        if tensor == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if architecture == "llama" and ".q_proj." in tensor:
            values = interleaved(values, config.num_attention_heads)
        if architecture == "llama" and ".k_proj." in tensor:
            values = interleaved(values, config.num_key_value_heads)
        writer.add_tensor(tensor_name(tensor, architecture), np.ascontiguousarray(values, dtype=np.float32))
    finish(writer)


def add_tokenizer(writer: gguf.GGUFWriter, kind: vocabulary.Kind) -> None:
    tokens, types, merges = vocabulary.tokens(kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(kind.pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    if kind.begin:
        writer.add_bos_token_id(tokens.index(kind.begin))
    writer.add_eos_token_id(tokens.index(kind.end))
    if kind.pad:
        writer.add_pad_token_id(tokens.index(kind.pad))
    writer.add_add_bos_token(kind.add_begin)
    writer.add_chat_template(kind.template)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def recode(source: Path, file: Path, format_of) -> None:
    """A copy of a GGUF file with its matrices in the formats that `format_of(tensor name)` tells; vectors stay as they are."""
    import ggml  # not where the files of transformers are made

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(file, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(name, field.contents(), kind, sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.GUESSED)
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, np.array(tensor.data))
            continue
        format = gguf.GGMLQuantizationType[format_of(tensor.name)]
        rows = np.ascontiguousarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)
        raw = rows if format == gguf.GGMLQuantizationType.F32 else ggml.quantize(rows, format.name)
        writer.add_tensor(tensor.name, raw, raw_dtype=format)
    finish(writer)
