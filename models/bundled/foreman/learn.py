"""Training: batches of talks, loss on the answers alone, Muon for matrices and AdamW for the rest, a warm-up and a cosine, checkpoints to resume from."""

import math
import random
import time
from pathlib import Path

import torch
from commands import Maker
from llama import Llama
from tokens import END, asked
from torch.nn import functional as F

AGAIN = 0.1
"""Share of talks that hold a second command, which has nothing to do with the first."""


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
    """Momentum whose matrices are made orthogonal by a Newton-Schulz iteration (K. Jordan, 2024): few steps go far."""

    def __init__(self, parameters, rate: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(parameters, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                mean.mul_(group["momentum"]).add_(parameter.grad)
                update = orthogonal(parameter.grad + group["momentum"] * mean)
                rate = group["lr"] * max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-rate)


def orthogonal(x: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with singular values about 1; odd polynomials of degree 5."""
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if wide else x.T


def fit(net: Llama, talks: Talks, steps: int, rates: tuple[float, float], file: Path) -> None:
    """Trains `net`; `rates` are those of the matrices and of the rest. Every 100 steps all goes into `file`, from which a broken run goes on."""
    matrices = [p for name, p in net.named_parameters() if p.dim() == 2 and "embd" not in name]
    others = [p for name, p in net.named_parameters() if p.dim() != 2 or "embd" in name]
    optimisers = [Muon(matrices, rates[0]), torch.optim.AdamW(others, lr=rates[1], betas=(0.9, 0.98), weight_decay=0.0)]
    curve = lambda step: min(1.0, (step + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))  # noqa: E731
    begin = 0
    if file.exists():
        saved = torch.load(file)
        begin = saved["step"]
        net.load_state_dict(saved["net"])
        for optimiser, state in zip(optimisers, saved["optimisers"]):
            optimiser.load_state_dict(state)
        talks.rng.setstate(saved["rng"])
        talks.ready = saved["ready"]
    recent, clock = [], time.time()
    for step in range(begin, steps):
        tokens, keep, next_tokens = talks.next()
        loss = F.cross_entropy(net(tokens, keep=keep), next_tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser, rate in zip(optimisers, rates):
            optimiser.param_groups[0]["lr"] = rate * curve(step)
            optimiser.step()
            optimiser.zero_grad()
        recent.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps}: loss {sum(recent) / len(recent):.4f}, {time.time() - clock:.0f} s", flush=True)
            recent = []
            state = {"step": step + 1, "net": net.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "rng": talks.rng.getstate(), "ready": talks.ready}
            torch.save(state, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
