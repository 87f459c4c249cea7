//! The board as two thermal stages: the chip, with little capacity, on the board or heat sink, with much; that one in the air.
//! C1 dT1/dt = P - (T1 - T2) / R1;  C2 dT2/dt = (T1 - T2) / R1 - (T2 - Ta) / R2  (a Cauer ladder).

/// One stage: to what it gives its heat, through what, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Resistance to the next stage, in K/W.
    pub resistance: f64,
    /// Heat it holds, in J/K.
    pub capacity: f64,
}

/// Both stages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stages {
    /// The chip.
    pub fast: Stage,
    /// The board, or the heat sink.
    pub slow: Stage,
    /// How far each of the four may be off: one sigma of its logarithm. No more than two and a half times that is believed.
    pub doubt: f64,
}

/// Where the two stages stand, in °C.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Warmth {
    pub(super) chip: f64,
    pub(super) board: f64,
}

/// How far the stages come in one stride: the exponentials, worked out once for many strides of the same length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stride {
    stages: Stages,
    /// What is left of a difference at the end, and of it on average.
    chip: (f64, f64),
    board: f64,
}

impl Stride {
    /// So many seconds of these stages. Exact for each stage while the other one stands still, and stable at any length.
    pub(super) fn new(stages: Stages, seconds: f64) -> Stride {
        let chip = (seconds / (stages.fast.resistance * stages.fast.capacity)).max(1e-12);
        let board = seconds / (stages.slow.resistance * stages.slow.capacity);
        Stride { stages, chip: ((-chip).exp(), -(-chip).exp_m1() / chip), board: (-board).exp() }
    }

    /// One stride at a power, in W, in air of a temperature, in °C.
    pub(super) fn from(&self, warmth: Warmth, power: f64, air: f64) -> Warmth {
        let Stages { fast, slow, .. } = self.stages;
        let chip_ends = warmth.board + fast.resistance * power;
        let off = warmth.chip - chip_ends;
        let inward = (chip_ends + off * self.chip.1 - warmth.board) / fast.resistance;
        let board_ends = air + slow.resistance * inward;
        Warmth { chip: chip_ends + off * self.chip.0, board: board_ends + (warmth.board - board_ends) * self.board }
    }
}
