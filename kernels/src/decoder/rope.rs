//! Rotary position embedding (Su et al. 2021): pairs of a head's values turned by angles that grow with the position. The families'
//! variants are data: [`Frequencies`], and where a head's pairs lie.

use crate::InstructionSet;
use crate::loops::{Loop, run};
use crate::pointwise::multiply_add;
use std::f64::consts::TAU;

/// How fast each pair of a head turns.
#[derive(Debug, Clone, PartialEq)]
pub struct Frequencies {
    base: f64,
    /// Radians a position, one for each pair.
    turns: Vec<f64>,
    /// What sines and cosines are multiplied by.
    amplitude: f64,
}

/// YaRN (Peng et al. 2023): fast pairs turn as they were trained, slow ones slower, those between mixed. As llama.cpp computes it,
/// with bounds between pairs rounded outwards to whole ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Yarn {
    /// What slow pairs' frequencies are multiplied by: 1 over the factor that the context grew by.
    pub frequency_scale: f64,
    /// How much fast pairs keep of their own frequencies: 1, or 0 for none.
    pub extrapolation: f64,
    /// What the amplitude is multiplied by, beside YaRN's own `1 + 0.1 ln(1 / frequency_scale)`.
    pub attention_factor: f64,
    /// Full turns within the original context from which on a pair keeps its frequency; 32 in the paper.
    pub beta_fast: f64,
    /// Full turns within the original context up to which a pair is slowed; 1 in the paper.
    pub beta_slow: f64,
    /// Positions that the model was trained on.
    pub original_context: usize,
}

impl Frequencies {
    /// `base^(-2 pair / rotated)` radians a position, for the `rotated / 2` pairs of a head.
    ///
    /// # Panics
    /// If `rotated` is 0 or odd, or the base is not above 1.
    pub fn new(rotated: usize, base: f64) -> Frequencies {
        assert!(rotated > 0 && rotated.is_multiple_of(2), "RoPE: {rotated} values are not pairs");
        assert!(base > 1.0, "RoPE: the base {base} is not above 1");
        let turns = (0..rotated / 2).map(|pair| base.powf(-2.0 * pair as f64 / rotated as f64)).collect();
        Frequencies { base, turns, amplitude: 1.0 }
    }

    /// Frequencies divided by a factor for each pair: GGUF's `rope_freqs.weight`.
    ///
    /// # Panics
    /// If there is not one factor for each pair.
    pub fn divided_by(mut self, factors: &[f32]) -> Frequencies {
        assert_eq!(factors.len(), self.turns.len(), "RoPE: a factor for each pair");
        for (turn, &factor) in self.turns.iter_mut().zip(factors) {
            *turn /= f64::from(factor);
        }
        self
    }

    /// All frequencies multiplied by `scale`: linear scaling, 1 over the factor that the context grew by.
    pub fn scaled(mut self, scale: f64) -> Frequencies {
        self.turns.iter_mut().for_each(|turn| *turn *= scale);
        self
    }

    /// Frequencies and amplitude as YaRN changes them.
    pub fn with_yarn(mut self, yarn: &Yarn) -> Frequencies {
        let rotated = 2 * self.turns.len();
        // The pair that makes so many turns within the original context.
        let pair = |turns: f64| rotated as f64 * (yarn.original_context as f64 / (turns * TAU)).ln() / (2.0 * self.base.ln());
        let low = pair(yarn.beta_fast).floor().max(0.0);
        let high = pair(yarn.beta_slow).ceil().min((rotated - 1) as f64);
        for (index, turn) in self.turns.iter_mut().enumerate() {
            let slowed = ((index as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            let kept = (1.0 - slowed) * yarn.extrapolation;
            *turn *= yarn.frequency_scale * (1.0 - kept) + kept;
        }
        self.amplitude *= yarn.attention_factor;
        if yarn.extrapolation != 0.0 {
            self.amplitude *= 1.0 + 0.1 * (1.0 / yarn.frequency_scale).ln();
        }
        self
    }

    /// Values of a head that are rotated: two a pair.
    pub fn rotated(&self) -> usize {
        2 * self.turns.len()
    }

    /// The angles of rows at these positions. They serve all layers of a step that have these frequencies.
    pub fn angles(&self, positions: &[usize]) -> Angles {
        let pairs = self.turns.len();
        let (mut cosines, mut sines) = (Vec::with_capacity(positions.len() * pairs), Vec::with_capacity(positions.len() * pairs));
        for &position in positions {
            for turn in &self.turns {
                let (sine, cosine) = (position as f64 * turn).sin_cos();
                cosines.push((cosine * self.amplitude) as f32);
                sines.push((sine * self.amplitude) as f32);
            }
        }
        Angles { pairs, cosines, sines }
    }
}

/// Cosines and sines of rows: each within 1e-7 of the exact one times the amplitude, at positions up to a million.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    pairs: usize,
    /// `[rows][pairs]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// Which values of a head make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// `2 i` and `2 i + 1`: GGUF's Llama, DeepSeek, GLM-4.
    Interleaved,
    /// `i` and `i + rotated / 2`: NeoX, Qwen, Gemma.
    HalfSplit,
}

/// Where the heads of a row lie, and what of them is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Of a row.
    pub count: usize,
    /// Values of a head.
    pub width: usize,
    /// The first value of a head that is rotated; those before it and behind the last pair are left alone.
    pub offset: usize,
    /// How the rotated values are paired.
    pub pairs: Pairs,
}

/// Rotates the heads of rows `[rows][heads][width]` in place. A result is within `3e-7 * amplitude * |pair|` of the exact one.
///
/// # Panics
/// If there are not as many rows as in `angles`, or the rotated values leave the heads.
pub fn rotate(set: InstructionSet, values: &mut [f32], heads: &Heads, angles: &Angles) {
    struct Rotate<'a>(&'a mut [f32], &'a Heads, &'a Angles);
    impl Loop for Rotate<'_> {
        #[inline(always)]
        fn run<const FUSED: bool>(self) {
            let Rotate(values, heads, angles) = self;
            let angles = angles.cosines.chunks_exact(angles.pairs).zip(angles.sines.chunks_exact(angles.pairs));
            for (row, (cosines, sines)) in values.chunks_exact_mut(heads.count * heads.width).zip(angles) {
                for head in row.chunks_exact_mut(heads.width) {
                    let rotated = &mut head[heads.offset..][..2 * cosines.len()];
                    match heads.pairs {
                        Pairs::Interleaved => {
                            for ((pair, &cosine), &sine) in rotated.as_chunks_mut::<2>().0.iter_mut().zip(cosines).zip(sines) {
                                *pair = turn::<FUSED>(*pair, cosine, sine);
                            }
                        }
                        Pairs::HalfSplit => {
                            let (first, second) = rotated.split_at_mut(cosines.len());
                            for (((first, second), &cosine), &sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                                [*first, *second] = turn::<FUSED>([*first, *second], cosine, sine);
                            }
                        }
                    }
                }
            }
        }
    }
    let row = heads.count * heads.width;
    assert!(heads.offset + 2 * angles.pairs <= heads.width, "RoPE: {} pairs leave heads of {}", angles.pairs, heads.width);
    assert_eq!(values.len() * angles.pairs, row * angles.cosines.len(), "RoPE: as many rows as positions");
    if row > 0 {
        run(set, Rotate(values, heads, angles));
    }
}

#[inline(always)]
fn turn<const FUSED: bool>([x, y]: [f32; 2], cosine: f32, sine: f32) -> [f32; 2] {
    [multiply_add::<FUSED>(x, cosine, -(y * sine)), multiply_add::<FUSED>(x, sine, y * cosine)]
}
