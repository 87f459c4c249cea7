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


WARM_UP, FALL = 100, 0.3
"""Steps until the full rate, and the share of all steps over which it falls."""


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


def fit(net: Llama, talks: Talks, steps: int, rate: float, file: Path) -> None:
    """Trains `net` with AdamW: a warm-up, a constant rate, and over the last 30 % a fall to nothing.

    Every 50 steps all goes into `file`, from which a broken run goes on.
    """
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    begin = 0
    if file.exists():
        saved = torch.load(file)
        begin = saved["step"]
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        talks.rng.setstate(saved["rng"])
        talks.ready = saved["ready"]
    torch.set_flush_denormal(True)
    recent, clock = [], time.time()
    for step in range(begin, steps):
        tokens, keep, next_tokens = talks.next()
        loss = F.cross_entropy(net(tokens, keep=keep), next_tokens)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARM_UP, (steps - step) / (FALL * steps))
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1}/{steps}: loss {sum(recent) / len(recent):.4f}, {time.time() - clock:.0f} s", flush=True)
            recent = []
            state = {
                "step": step + 1,
                "net": net.state_dict(),
                "optimiser": optimiser.state_dict(),
                "rng": talks.rng.getstate(),
                "ready": talks.ready,
            }
            torch.save(state, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
