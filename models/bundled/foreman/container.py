"""The model as GGUF: architecture `llama`, matrices in Q8_0, norms in f32, tokenizer and chat template inside; and back again."""

import json
from pathlib import Path

import gguf
import numpy as np
import tokens
import torch
from llama import Llama, Shape
from tokenizers import Tokenizer, decoders, models


def write(file: Path, net: Llama, tokenizer: Tokenizer, version: str, description: str, licence: str) -> None:
    """Writes the file."""
    shape = net.shape
    out = gguf.GGUFWriter(file, "llama")
    out.add_name("foreman")
    out.add_basename("foreman")
    out.add_version(version)
    out.add_description(description)
    out.add_author("hearthd")
    out.add_license(licence)
    out.add_size_label(f"{sum(p.numel() for p in net.parameters()) / 1e6:.1f}M")
    out.add_languages(["en"])
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    out.add_context_length(shape.context)
    out.add_embedding_length(shape.width)
    out.add_block_count(shape.layers)
    out.add_feed_forward_length(shape.hidden)
    out.add_head_count(shape.heads)
    out.add_head_count_kv(shape.kv_heads)
    out.add_key_length(shape.head)
    out.add_value_length(shape.head)
    out.add_rope_dimension_count(shape.head)
    out.add_rope_freq_base(shape.theta)
    out.add_layer_norm_rms_eps(shape.epsilon)
    out.add_vocab_size(shape.vocabulary)
    words(out, tokenizer)
    for name, parameter in net.named_parameters():
        weights = parameter.detach().numpy()
        if weights.ndim == 1:
            out.add_tensor(name, weights)
        else:
            kind = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def words(out: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """The tokenizer's part of the metadata."""
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(tokens.PRE)
    out.add_token_list([piece for piece, _ in vocabulary])
    out.add_token_types([gguf.TokenType.CONTROL if piece in tokens.SPECIAL else gguf.TokenType.NORMAL for piece, _ in vocabulary])
    out.add_token_merges([" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]])
    number = tokenizer.token_to_id
    out.add_bos_token_id(number(tokens.END_OF_TEXT))
    out.add_eos_token_id(number(tokens.END))
    out.add_eot_token_id(number(tokens.END))
    out.add_pad_token_id(number(tokens.END_OF_TEXT))
    out.add_add_bos_token(False)
    out.add_add_eos_token(False)
    out.add_chat_template(tokens.TEMPLATE)


def read(file: Path) -> tuple[Llama, Tokenizer]:
    """The network with the file's quantized weights, widened to f32, and the tokenizer, both from the file alone."""
    reader = gguf.GGUFReader(file)
    field = lambda name: reader.get_field(name).contents()  # noqa: E731
    vocabulary = {piece: number for number, piece in enumerate(field("tokenizer.ggml.tokens"))}
    shape = Shape(
        len(vocabulary),
        field("llama.embedding_length"),
        field("llama.block_count"),
        field("llama.attention.head_count"),
        field("llama.attention.head_count_kv"),
        field("llama.feed_forward_length"),
        field("llama.context_length"),
        field("llama.rope.freq_base"),
        field("llama.attention.layer_norm_rms_epsilon"),
    )
    net = Llama(shape)
    net.load_state_dict(
        {t.name: torch.from_numpy(np.array(gguf.quants.dequantize(t.data, t.tensor_type), np.float32)) for t in reader.tensors}
    )
    special = [piece for piece, kind in zip(vocabulary, field("tokenizer.ggml.token_type")) if kind == gguf.TokenType.CONTROL]
    tokenizer = Tokenizer(
        models.BPE({p: n for p, n in vocabulary.items() if p not in special}, [tuple(m.split(" ")) for m in field("tokenizer.ggml.merges")])
    )
    tokenizer.pre_tokenizer, tokenizer.decoder = tokens.cut(), decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    assert tokenizer.get_vocab() == vocabulary
    return net.eval(), tokenizer


def answers(net: Llama, tokenizer: Tokenizer, prompts: list[str], batch: int = 64) -> list[str]:
    """Greedy answers through the chat template, prompts of one length at a time."""
    asked = [tokenizer.encode(tokens.asked(prompt)).ids for prompt in prompts]
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
    given = [""] * len(prompts)
    while order:
        like = [i for i in order[:batch] if len(asked[i]) == len(asked[order[0]])]
        order = order[len(like) :]
        for i, answer in zip(like, net.answers([asked[i] for i in like], tokenizer.token_to_id(tokens.END))):
            given[i] = tokenizer.decode(answer, skip_special_tokens=False)
    return given
