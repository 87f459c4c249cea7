"""Trains `bearing`: a second of vibration -> how surely a bearing is damaged. Rewrites model.onnx, samples/ and manifest.toml beside it.

Supervised on synthetic signals (signals.py): healthy windows against inner-race, outer-race and ball defects at random signal-to-noise
ratios, on random bearings and machines. Held out: machines with the SKF 6205, other seeds, defects at 0 dB.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the model's own files may lie in these folders
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common
import numpy as np
import signals
import torch
from torch import nn

SEED = 20262
TRAINED, VALIDATED, HELD_OUT = 10_000, 4_000, 4_000
FALSE_ALARMS = 0.01
SOUND = {"sample_rate": signals.RATE, "window": signals.WINDOW, "hop": signals.WINDOW, "standardise": True}


def network() -> nn.Module:
    """[batch, 1, 12000] -> [batch, 1] logit. Band filters, rectified; then the rhythm of their envelopes over about 60 ms; then the mean."""
    return nn.Sequential(
        nn.Conv1d(1, 16, 48, stride=4, padding=22), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(16, 24, 9, stride=2, padding=4), nn.BatchNorm1d(24), nn.ReLU(),
        nn.Conv1d(24, 32, 9, stride=2, padding=4), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Conv1d(32, 32, 9, stride=2, padding=4), nn.BatchNorm1d(32), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 1),
    )  # fmt: skip


def trained_window(rng: np.random.Generator, damaged: bool) -> np.ndarray:
    """A recorded window of some machine."""
    machine = signals.Machine.draw(rng, signals.any_bearing(rng))
    fault = rng.choice(signals.FAULTS) if damaged else None
    return signals.recorded(rng, signals.window(rng, machine, fault, rng.uniform(-8, 8)))


def rows(recordings: list[np.ndarray]) -> np.ndarray:
    """Recordings as the daemon gives them to the graph."""
    return np.stack([common.sound_row(recording, SOUND) for recording in recordings])


def held_out_window(rng: np.random.Generator, fault: str | None, snr_db: float) -> np.ndarray:
    """A recorded window of a machine with the SKF 6205."""
    machine = signals.Machine.draw(rng, signals.SKF_6205)
    return signals.recorded(rng, signals.window(rng, machine, fault, snr_db))


def main() -> None:
    rng = common.seed_everything(SEED)
    truth = np.arange(TRAINED) % 2
    known = np.stack([trained_window(rng, bool(damaged)) for damaged in truth])
    target = torch.from_numpy(truth.astype(np.float32))[:, None]

    def draw():
        batch = rng.integers(0, TRAINED, 48)
        # A machine sounds as well turned upside down, or begun later; the seam costs one false click.
        turned = [np.roll(known[i], rng.integers(signals.WINDOW)) * rng.choice([-1.0, 1.0]) for i in batch]
        return torch.from_numpy(rows(turned)), target[batch]

    net = network()
    common.fit(net, draw, nn.BCEWithLogitsLoss(), steps=3000, rate=4e-3)
    common.export_int8(net, "vibration", "score", rows(known[:512]), HERE / "model.onnx", float_tail=1)
    run = common.Runner(HERE / "model.onnx")

    healthy = run(rows([trained_window(rng, False) for _ in range(VALIDATED)]))
    threshold = round(float(np.quantile(healthy, 1 - FALSE_ALARMS)), 3)

    normal = run(rows([held_out_window(rng, None, 0) for _ in range(HELD_OUT // 2)]))[:, 0]
    print(f"{common.parameters(net)} parameters; threshold {threshold}; false alarms held out {(normal >= threshold).mean():.4f}")
    at_0_db = None
    for snr in (-6, -3, 0, 3, 6):
        kinds = {fault: run(rows([held_out_window(rng, fault, snr) for _ in range(HELD_OUT // 6)]))[:, 0] for fault in signals.FAULTS}
        scores = np.concatenate(list(kinds.values()))
        if snr == 0:
            at_0_db = common.area_under_curve(normal, scores), len(normal) + len(scores)
        by_kind = ", ".join(f"{kind} {common.area_under_curve(normal, score):.4f}" for kind, score in kinds.items())
        print(f"{snr:+} dB: AUC {common.area_under_curve(normal, scores):.4f} ({by_kind}); found {(scores >= threshold).mean():.3f}")

    common.fresh_samples(HERE)
    truths = {}
    for kind in (None, *signals.FAULTS):
        for i in range(6 if kind is None else 3):
            name = f"samples/{kind or 'healthy'}-{i}.wav"
            common.write_wav(HERE / name, held_out_window(rng, kind, 0), signals.RATE)
            truths[name] = "anomalous" if kind else "normal"
    manifest = {
        "name": "bearing",
        "version": "1.0.0",
        "description": "One second of a ball bearing's vibration (accelerometer, 12 kHz, any gain): whether a race or a ball is damaged. "
        "A tensor must be standardised: less its mean, over its standard deviation.",
        "licence": "MIT OR Apache-2.0",
        "origin": "hearthd, models/bundled/bearing/train.py",
        "training_data": "Simulated by models/bundled/bearing/signals.py: 10,000 windows of random bearings, half with a defect at -8 to 8 dB; "
        "held out: the SKF 6205, defects at 0 dB. The threshold gives 1 % false alarms on 4,000 further healthy windows",
        "file": "model.onnx",
        "inputs": [{"name": "vibration", "datatype": "FP32", "shape": [-1, 1, signals.WINDOW]}],
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}],
        "batch": {"max": 32, "max_delay_ms": 5.0},
        "task": {"kind": "anomaly", "score": "output", "threshold": threshold},
        "sound": SOUND,
        "accuracy": {"metric": "auc", "value": round(at_0_db[0], 4), "promised": 0.97, "held_out": at_0_db[1]},
    }
    common.write_manifest(HERE, manifest, truths)


if __name__ == "__main__":
    main()
