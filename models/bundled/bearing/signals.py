"""Vibration of a rolling bearing, healthy or with a local defect, as an accelerometer on its housing sees it. No learning here.

The model is the usual one: a defect strikes once a rolling element passes it; the strikes come at the kinematic rate, jittered
by slip, are weighted by the load at the place of contact, and ring the structure's resonances.
Sources: P. D. McFadden, J. D. Smith, "Model for the vibration produced by a single point defect in a rolling element bearing",
J. Sound and Vibration 96(1), 1984; R. B. Randall, J. Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 25(2), 2011.
"""

from dataclasses import dataclass

import numpy as np

RATE = 12_000
"""Samples a second."""
WINDOW = 12_000
"""Samples of a window: one second."""
FAULTS = ("inner", "outer", "ball")


@dataclass(frozen=True)
class Bearing:
    """Geometry of a bearing whose outer ring stands still; diameters in one unit, contact angle in radians."""

    balls: int
    ball_diameter: float
    pitch_diameter: float
    contact_angle: float = 0.0

    def orders(self) -> dict[str, float]:
        """Strikes in a turn of the shaft: BPFI, BPFO, twice BSF (a ball's spot meets both rings in a turn of it); and the cage's turns."""
        ratio = self.ball_diameter / self.pitch_diameter * np.cos(self.contact_angle)
        return {
            "inner": self.balls / 2 * (1 + ratio),
            "outer": self.balls / 2 * (1 - ratio),
            "ball": self.pitch_diameter / self.ball_diameter * (1 - ratio**2),
            "cage": (1 - ratio) / 2,
        }


SKF_6205 = Bearing(balls=9, ball_diameter=7.94, pitch_diameter=39.04)
"""The deep-groove bearing of the Case Western Reserve test rig (diameters in mm)."""


def any_bearing(rng: np.random.Generator) -> Bearing:
    """A plausible ball bearing."""
    return Bearing(int(rng.integers(7, 14)), rng.uniform(0.16, 0.28), 1.0, rng.uniform(0, 0.35))


@dataclass(frozen=True)
class Machine:
    """What stays the same on a machine from one window to the next."""

    bearing: Bearing
    shaft_hz: float
    resonances: np.ndarray
    """[n, 3]: frequency in Hz, damping ratio, weight."""

    @staticmethod
    def draw(rng: np.random.Generator, bearing: Bearing) -> "Machine":
        """A machine of random speed and structure."""
        n = int(rng.integers(1, 4))
        resonances = np.stack([rng.uniform(1200, 5400, n), rng.uniform(0.01, 0.06, n), rng.uniform(0.3, 1, n)], 1)
        return Machine(bearing, rng.uniform(15, 40), resonances)

    def response(self) -> np.ndarray:
        """Frequency response from a blow to acceleration, for `rfft` bins of a window: damped second-order resonances."""
        hz = np.fft.rfftfreq(WINDOW, 1 / RATE)[None]
        natural, damping, weight = (column[:, None] for column in self.resonances.T)
        return (weight * -(hz**2) / (natural**2 - hz**2 + 2j * damping * natural * hz)).sum(0)


def window(rng: np.random.Generator, machine: Machine, fault: str | None = None, snr_db: float = 0.0) -> np.ndarray:
    """One second of acceleration [12000] in arbitrary units; noise has power 1.

    `snr_db`: power of the fault's ringing over the power of all broadband noise. Tones and stray knocks, which any machine has,
    count in neither.
    """
    signal = noise(rng, machine) + tones(rng, machine)
    if rng.random() < 0.4:
        signal += stray_knocks(rng, machine)
    if fault is not None:
        signal += unit_power(ringing(machine, strikes(rng, machine, fault))) * 10 ** (snr_db / 20)
    return signal


def strikes(rng: np.random.Generator, machine: Machine, fault: str) -> np.ndarray:
    """The blows of a defect as a sampled pulse train [12000]."""
    orders = machine.bearing.orders()
    period = 1 / (machine.shaft_hz * orders[fault])
    count = int(1.2 / period) + 2
    slip = rng.uniform(0.002, 0.02)
    times = rng.uniform(-period, 0) + np.cumsum(period * (1 + slip * rng.standard_normal(count)))
    force = 1 + 0.15 * rng.standard_normal(count)
    if fault == "outer":
        # The defect stands still in the load zone; imbalance turns the load a little.
        force *= 1 + rng.uniform(0, 0.4) * np.cos(2 * np.pi * machine.shaft_hz * times + rng.uniform(0, 2 * np.pi))
    else:
        # It passes through the load zone with the shaft, or the cage (Stribeck's distribution; exponent 3/2 for point contact).
        turns = machine.shaft_hz * (1 if fault == "inner" else orders["cage"])
        angle = 2 * np.pi * turns * times + rng.uniform(0, 2 * np.pi)
        spread = rng.uniform(0.4, 1.2)
        force *= np.clip(1 - (1 - np.cos(angle)) / (2 * spread), 0, None) ** 1.5
    if fault == "ball":
        # Blows on the outer ring, which is nearer the sensor, and the inner alternate.
        force[::2] *= rng.uniform(0.4, 1)
    return pulses(times, force)


def stray_knocks(rng: np.random.Generator, machine: Machine) -> np.ndarray:
    """A few blows without a period, such as a passing cart or a loose guard gives: no fault of the bearing."""
    count = int(rng.integers(1, 4))
    train = pulses(rng.uniform(0, 1, count), np.exp(rng.uniform(0, 1, count)))
    rung = ringing(machine, train)
    return rung / np.abs(rung).max() * rng.uniform(2, 7)


def pulses(times: np.ndarray, force: np.ndarray) -> np.ndarray:
    """A pulse train with fractional places shared between the two samples around; times in seconds outside the window drop out."""
    place = times * RATE
    whole = np.floor(place).astype(int)
    part = place - whole
    train = np.zeros(WINDOW + 1)
    inside = (whole >= 0) & (whole < WINDOW)
    np.add.at(train, whole[inside], (force * (1 - part))[inside])
    np.add.at(train, whole[inside] + 1, (force * part)[inside])
    return train[:WINDOW]


def ringing(machine: Machine, blows: np.ndarray) -> np.ndarray:
    """What the structure makes of blows or of noise."""
    return np.fft.irfft(np.fft.rfft(blows) * machine.response(), WINDOW)


def noise(rng: np.random.Generator, machine: Machine) -> np.ndarray:
    """Broadband noise of power 1: white, falling with frequency, and the resonances rung by steady random forces.

    The last has the spectrum of a fault without its rhythm, so that a spectrum alone tells nothing.
    """
    hz = np.maximum(np.fft.rfftfreq(WINDOW, 1 / RATE), 5)
    coloured = np.fft.irfft(np.fft.rfft(rng.standard_normal(WINDOW)) * hz ** -rng.uniform(0.3, 1), WINDOW)
    parts = [rng.standard_normal(WINDOW), coloured, ringing(machine, rng.standard_normal(WINDOW))]
    shares = rng.dirichlet([2, 1, 1])
    return unit_power(sum(unit_power(part) * np.sqrt(share) for part, share in zip(parts, shares)))


def tones(rng: np.random.Generator, machine: Machine) -> np.ndarray:
    """Harmonics of the shaft and a gear mesh with sidebands at the shaft's rate, from 12 dB under the noise to 6 dB over it."""
    t = np.arange(WINDOW) / RATE
    # A drive holds its speed to some tenths of a percent, so tones are not quite lines.
    wander = rng.uniform(0, 0.003) * np.sin(2 * np.pi * rng.uniform(0.3, 2) * t + rng.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * machine.shaft_hz * np.cumsum(1 + wander) / RATE
    total = np.zeros(WINDOW)
    for harmonic in range(1, 6):
        total += rng.exponential(1 / harmonic) * np.cos(harmonic * phase + rng.uniform(0, 2 * np.pi))
    teeth = int(rng.integers(15, 60))
    swing = 1 + rng.uniform(0, 0.5) * np.cos(phase + rng.uniform(0, 2 * np.pi))
    for harmonic in (1, 2):
        if harmonic * teeth * machine.shaft_hz < RATE / 2:
            total += rng.exponential(0.7 / harmonic) * swing * np.cos(harmonic * teeth * phase + rng.uniform(0, 2 * np.pi))
    return unit_power(total) * 10 ** (rng.uniform(-12, 6) / 20)


def unit_power(signal: np.ndarray) -> np.ndarray:
    """The signal with mean square 1."""
    return signal / np.sqrt(np.mean(signal**2))


def recorded(rng: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """The signal as a 16-bit recorder of random gain writes it."""
    gain = 10 ** rng.uniform(-2.2, -1.1) * 32767 / np.sqrt(np.mean(signal**2))
    return np.clip(np.round(signal * gain), -32768, 32767).astype(np.int16)
