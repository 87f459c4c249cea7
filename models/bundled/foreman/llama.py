"""A decoder of the Llama architecture in plain torch.

RMSNorm before each half, rotary positions on neighbouring pairs (as GGUF has them), grouped queries, SwiGLU.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    vocabulary: int
    width: int = 192
    layers: int = 4
    heads: int = 3
    kv_heads: int = 1
    hidden: int = 512
    context: int = 512
    theta: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        return self.width // self.heads


class Norm(nn.Module):
    """x / sqrt(mean(x²) + epsilon) · weight"""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Block(nn.Module):
    """Attention and feed-forward."""

    def __init__(self, shape: Shape):
        super().__init__()
        linear = lambda into, out: nn.Linear(into, out, bias=False)  # noqa: E731
        self.shape = shape
        self.attn_norm, self.ffn_norm = Norm(shape.width, shape.epsilon), Norm(shape.width, shape.epsilon)
        self.attn_q = linear(shape.width, shape.heads * shape.head)
        self.attn_k, self.attn_v = (linear(shape.width, shape.kv_heads * shape.head) for _ in range(2))
        self.attn_output = linear(shape.heads * shape.head, shape.width)
        self.ffn_gate, self.ffn_up = (linear(shape.width, shape.hidden) for _ in range(2))
        self.ffn_down = linear(shape.hidden, shape.width)

    def mixed(self, x, turn, cache: list | None):
        """What attention hands to its output matrix. `cache`: keys and values of the positions before, to which these are added."""
        batch, length, _ = x.shape
        shape, x = self.shape, self.attn_norm(x)
        split = lambda y, heads: y.view(batch, length, heads, shape.head).transpose(1, 2)  # noqa: E731
        q, k, v = (
            rotated(split(self.attn_q(x), shape.heads), turn),
            rotated(split(self.attn_k(x), shape.kv_heads), turn),
            split(self.attn_v(x), shape.kv_heads),
        )
        if cache is not None:
            cache.append((k, v))
            k, v = (torch.cat(parts, 2) for parts in zip(*cache))
            cache[:] = [(k, v)]
        # Query heads that share a key head lie side by side.
        group = shape.heads // shape.kv_heads
        q = q.reshape(batch, shape.kv_heads, group * length, shape.head)
        scores = (q @ k.transpose(2, 3)).view(batch, shape.heads, length, -1) / math.sqrt(shape.head)
        hidden = torch.ones(length, k.shape[2], dtype=torch.bool).triu(k.shape[2] - length + 1)
        weights = scores.masked_fill(hidden, -math.inf).softmax(-1)
        mixed = weights.view(batch, shape.kv_heads, group * length, -1) @ v
        return mixed.reshape(batch, shape.heads, length, shape.head).transpose(1, 2).reshape(batch, length, -1)

    def finished(self, x, mixed):
        """The residual stream after this block."""
        x = x + self.attn_output(mixed)
        y = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y))


def rotated(x, turn):
    """Rotary positions: pairs (2i, 2i + 1) of each head, turned by position · theta^(-2i / head)."""
    cos, sin = turn
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Llama(nn.Module):
    """Tokens [batch, length] to logits; the head is the embedding again."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.epsilon)
        # Blocks begin by adding nothing. Embeddings begin large: small ones, all pushed the same way by the first steps, come to be
        # alike, and names are copied only once tokens can be told apart. The last norm makes up for it in the logits.
        for name, parameter in self.named_parameters():
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.5 if "embd" in name else parameter.shape[1] ** -0.5)
        nn.init.constant_(self.output_norm.weight, 0.08)
        angles = torch.outer(torch.arange(shape.context).double(), shape.theta ** (-torch.arange(0, shape.head, 2).double() / shape.head))
        self.turns = angles.cos().float(), angles.sin().float()

    def forward(self, tokens, keep=None, caches: list | None = None):
        """Logits [batch, length, vocabulary], or [kept, vocabulary] at the flat positions `keep`.

        The last block's second half is computed for those alone.
        """
        past = caches[0][0][0].shape[2] if caches and caches[0] else 0
        turn = tuple(part[past : past + tokens.shape[1]] for part in self.turns)
        x = self.token_embd(tokens)
        for i, block in enumerate(self.blk):
            mixed = block.mixed(x, turn, caches[i] if caches is not None else None)
            if keep is not None and i + 1 == len(self.blk):
                x, mixed = x.flatten(0, 1)[keep], mixed.flatten(0, 1)[keep]
            x = block.finished(x, mixed)
        return self.output_norm(x) @ self.token_embd.weight.T

    @torch.no_grad()
    def answers(self, prompts: list[list[int]], end: int, most: int = 96) -> list[list[int]]:
        """Greedy answers to prompts of one length, without the end token."""
        caches = [[] for _ in self.blk]
        tokens, given = torch.tensor(prompts), []
        open_ = torch.ones(len(prompts), dtype=torch.bool)
        for _ in range(most):
            chosen = self(tokens, caches=caches)[:, -1].argmax(-1)
            given.append(chosen)
            open_ &= chosen != end
            if not open_.any():
                break
            tokens = chosen[:, None]
        rows = torch.stack(given, 1).tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]
