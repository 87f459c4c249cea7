"""Training: batches of talks, loss on the answers alone, checkpoints to resume from."""

import random
import time
from pathlib import Path

import torch
from commands import Maker
from llama import Llama
from tokens import END, asked
from torch.nn import functional as F

AGAIN = 0.05
"""Share of talks that hold a second command, which has nothing to do with the first."""


WARM_UP, FALL = 100, 0.8
"""Steps until the full rate, and the share of all steps over which it falls."""

EMBEDDING_SHARE = 0.3
"""Rate of embeddings and norms, as a share of that of the matrices."""


class Talks:
    """Batches without end: talks of like length side by side, so that little is padding."""

    def __init__(self, tokenizer, batch: int, seed: int):
        self.tokenizer, self.batch = tokenizer, batch
        self.rng = random.Random(seed)
        self.maker = Maker(self.rng)
        self.ready: list = []

    def talk(self) -> tuple[list[int], list[int]]:
        """Tokens, and the positions whose next token is part of an answer."""
        tokens, answers = [], []
        while not tokens or self.rng.random() < AGAIN:
            prompt, answer = self.maker.draw()
            # The answer is cut apart from the question, as it is when a model gives it.
            before = ("\n" if tokens else "") + asked(prompt)
            tokens += self.tokenizer.encode(before).ids
            begin = len(tokens)
            tokens += self.tokenizer.encode(answer + END).ids
            answers += range(begin - 1, len(tokens) - 1)
        return tokens, answers

    def next(self):
        """Tokens [batch, length], flat positions to keep, the tokens that follow those."""
        if not self.ready:
            talks = sorted((self.talk() for _ in range(24 * self.batch)), key=lambda talk: len(talk[0]))
            self.ready = [talks[i : i + self.batch] for i in range(0, len(talks), self.batch)]
            self.rng.shuffle(self.ready)
        talks = self.ready.pop()
        length = max(len(tokens) for tokens, _ in talks) - 1
        rows = torch.zeros(len(talks), length + 1, dtype=torch.long)
        for row, (tokens, _) in zip(rows, talks):
            row[: len(tokens)] = torch.tensor(tokens)
        keep = torch.tensor([i * length + at for i, (_, answers) in enumerate(talks) for at in answers])
        return rows[:, :-1], keep, rows[:, 1:].flatten()[keep]


class Muon(torch.optim.Optimizer):
    """Steps whose every direction is as long as the others: momentum, made orthogonal (K. Jordan, 2024). For matrices.

    Learns from half as many talks as AdamW does.
    """

    def __init__(self, matrices, rate: float, momentum: float = 0.95):
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                mean = state.setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                step = orthogonal(matrix.grad.lerp(mean, group["momentum"]))
                rows, columns = matrix.shape
                matrix.sub_(step, alpha=group["lr"] * max(1, rows / columns) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U Vᵀ of its singular value decomposition U S Vᵀ, by five steps of a Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def fit(net: Llama, talks: Talks, steps: int, rate: float, file: Path) -> None:
    """Trains `net`, its matrices by Muon, embeddings and norms by AdamW, over a warm-up, a constant rate, and a fall to nothing.

    Every 50 steps all goes into `file`, from which a broken run goes on.
    """
    inner = [p for name, p in net.named_parameters() if p.dim() == 2 and "embd" not in name]
    outer = [p for name, p in net.named_parameters() if p.dim() == 1 or "embd" in name]
    optimisers = [Muon(inner, rate), torch.optim.AdamW(outer, lr=EMBEDDING_SHARE * rate, betas=(0.9, 0.98), weight_decay=0.0)]
    rates = [rate, EMBEDDING_SHARE * rate]
    begin = 0
    if file.exists():
        saved = torch.load(file)
        begin = saved["step"]
        net.load_state_dict(saved["net"])
        for optimiser, state in zip(optimisers, saved["optimisers"]):
            optimiser.load_state_dict(state)
        talks.rng.setstate(saved["rng"])
        talks.ready = saved["ready"]
    torch.set_flush_denormal(True)
    recent, clock = [], time.time()
    for step in range(begin, steps):
        tokens, keep, next_tokens = talks.next()
        loss = F.cross_entropy(net(tokens, keep=keep), next_tokens)
        net.zero_grad()
        loss.backward()
        for optimiser, full in zip(optimisers, rates):
            optimiser.param_groups[0]["lr"] = full * min(1.0, (step + 1) / WARM_UP, (steps - step) / (FALL * steps))
            optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps}: loss {sum(recent) / len(recent):.4f}, {time.time() - clock:.0f} s", flush=True)
            recent = []
            state = {
                "step": step + 1,
                "net": net.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                "rng": talks.rng.getstate(),
                "ready": talks.ready,
            }
            torch.save(state, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
