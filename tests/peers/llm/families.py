"""Tiny random decoders of every family, in transformers: configurations, seeded weights, their tokenizers' peculiarities.

Weights are scaled so that each part tells in the logits: norms away from one, biases away from zero, logits some units apart, RoPE of
Llama 3 bent inside 48 tokens. Embeddings are large and attention mild, since random layers make much of small errors otherwise: Q8_0 alone
would cost more than it does in a trained model.
"""

from dataclasses import dataclass, field

import torch
import transformers

import vocabulary

LLAMA3_ROPE = {  # wavelengths of head size 16 and base 500,000: 6, 32, 167, ...; below 16 as they are, above 64 stretched, blended between
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@dataclass
class Family:
    architecture: str  # general.architecture of GGUF
    classes: tuple  # transformers' configuration and model
    vocabulary: vocabulary.Kind
    shape: dict = field(default_factory=dict)  # what differs from SHAPE

    def config(self):
        return self.classes[0](**{**SHAPE, "vocab_size": vocabulary.SIZE, **self.shape})


SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-2,  # more than is usual, so that it tells
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "attn_implementation": "eager",
}
LLAMA = (transformers.LlamaConfig, transformers.LlamaForCausalLM)
QWEN2 = (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)
QWEN3 = (transformers.Qwen3Config, transformers.Qwen3ForCausalLM)
OLMO2 = (transformers.Olmo2Config, transformers.Olmo2ForCausalLM)


def rope(base: float) -> dict:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": base}}


FAMILIES = {
    "llama3-tied": Family("llama", LLAMA, vocabulary.LLAMA3, {"tie_word_embeddings": True, "rope_parameters": LLAMA3_ROPE}),
    "llama3": Family("llama", LLAMA, vocabulary.LLAMA3, {"num_key_value_heads": 1, "rope_parameters": LLAMA3_ROPE}),
    # groups of 3 heads, as 14 / 2 in the 0.5B model
    "qwen2.5": Family(
        "qwen2",
        QWEN2,
        vocabulary.QWEN,
        {
            "hidden_size": 96,
            "intermediate_size": 64,
            "num_attention_heads": 6,
            "tie_word_embeddings": True,
            **rope(1e6),
        },
    ),
    # heads of 32 that make 128 out of a width of 64
    "qwen3": Family("qwen3", QWEN3, vocabulary.QWEN3, {"head_dim": 32, "tie_word_embeddings": True, **rope(1e6)}),
    "olmo2": Family("olmo2", OLMO2, vocabulary.OLMO2, rope(5e5)),
    "r1-distill-qwen": Family("qwen2", QWEN2, vocabulary.R1_QWEN, {"num_hidden_layers": 1, "intermediate_size": 64, **rope(1e4)}),
    "r1-distill-llama": Family(
        "llama", LLAMA, vocabulary.R1_LLAMA, {"num_hidden_layers": 1, "intermediate_size": 64, "rope_parameters": LLAMA3_ROPE}
    ),
}
"""Rows of 64 and 96: the formats of 32 weights a block."""

WIDE_SHAPE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
WIDE = {
    "llama3-wide": Family("llama", LLAMA, vocabulary.LLAMA3, {**WIDE_SHAPE, "rope_parameters": LLAMA3_ROPE}),
    "qwen2.5-wide": Family("qwen2", QWEN2, vocabulary.QWEN, {**WIDE_SHAPE, **rope(1e6)}),
}
"""Rows of 256, for the formats of super-blocks; head size 64."""


def build(name: str) -> torch.nn.Module:
    """The model with its seeded weights, float32, for inference."""
    family = (FAMILIES | WIDE)[name]
    model = family.classes[1](family.config()).float().eval()
    random = torch.Generator().manual_seed(sum(name.encode()))
    with torch.no_grad():
        for tensor_name, tensor in model.named_parameters():
            fill(tensor_name, tensor, random, model.config.tie_word_embeddings)
    return model


def fill(name: str, tensor: torch.Tensor, random: torch.Generator, tied: bool) -> None:
    if tensor.dim() == 1 and name.endswith("bias"):
        tensor.normal_(0, 0.4, generator=random)
    elif tensor.dim() == 1:  # RMSNorm
        tensor.uniform_(0.5, 1.5, generator=random)
        if tied and name == "model.norm.weight":  # signs, or else a tied head would only name the last token again
            tensor.mul_(torch.randint(0, 2, tensor.shape, generator=random) - 0.5)  # half, for logits as large as the others'
    elif "embed_tokens" in name:
        tensor.normal_(0, 0.8, generator=random)
    else:
        gain = 0.75 if "q_proj" in name or "k_proj" in name else 3.0 if "lm_head" in name else 1.0
        tensor.normal_(0, gain / tensor.shape[1] ** 0.5, generator=random)
