//! Weights of a depthwise convolution, packed for an instruction set.

use super::LANES;
use crate::InstructionSet;
use crate::cpu::Kind;

/// Weights of each tap and channel, in blocks of [`LANES`] channels; the last block overlaps the one before.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Of the caller; the scalar code's weights may be packed for another one.
    pub(super) set: InstructionSet,
    pub(super) taps: usize,
    pub(super) channels: usize,
    /// Of a pixel's channels; for the scalar code, if they are too few for vectors.
    pub(super) packed: Packed,
    /// So many pixels side by side, and the weights of their channels: where that makes blocks that are better filled.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(dead_code, reason = "only vectors have blocks to fill"))]
    pub(super) repeated: Option<(usize, Packed)>,
    sums: Vec<i32>,
}

#[derive(Debug, Clone)]
pub(super) enum Packed {
    /// For the scalar code: `[block][tap][lane]`, less the zero point.
    Plain(Vec<i16>),
    /// `[block][tap][lane]`, such that the products of two neighbouring taps with any input sum up in 16 bits.
    #[cfg(target_arch = "aarch64")]
    Bytes(Vec<i8>),
    /// `[block][tap][lane]`, less the zero point.
    #[cfg(target_arch = "aarch64")]
    Words(Vec<i16>),
    /// `[block][tap / 2][lane of `PAIRED_LANES`][tap % 2]`, less the zero point.
    #[cfg(target_arch = "x86_64")]
    Pairs(Vec<i16>),
}

/// The order in which AVX2 interleaves 16 words with another 16.
#[cfg(target_arch = "x86_64")]
const PAIRED_LANES: [usize; LANES] = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15];

impl Weights {
    /// Packs `weights`, of `taps x channels` (a tap is a row of the kernel and a column in it), for the best instruction set.
    /// `zero_points` is empty, or holds one for all channels or one for each.
    ///
    /// # Panics
    /// If a length is another.
    pub fn pack(weights: &[i8], taps: usize, channels: usize, zero_points: &[i8]) -> Weights {
        Weights::pack_on(InstructionSet::best(), weights, taps, channels, zero_points)
    }

    /// [`Weights::pack`] for a given instruction set.
    pub fn pack_on(set: InstructionSet, weights: &[i8], taps: usize, channels: usize, zero_points: &[i8]) -> Weights {
        assert!(taps > 0 && channels > 0, "depthwise: at least one tap and one channel");
        assert_eq!(weights.len(), taps * channels, "depthwise: a weight for each of {taps} taps and {channels} channels");
        assert!([0, 1, channels].contains(&zero_points.len()), "depthwise: {} zero points for {channels} channels", zero_points.len());
        let zero_point = |channel| zero_points.get(channel).or(zero_points.first()).copied().unwrap_or(0);
        let weight = |tap: usize, channel: usize| i16::from(weights[tap * channels + channel]) - i16::from(zero_point(channel));
        let sums = (0..channels).map(|channel| (0..taps).map(|tap| i32::from(weight(tap, channel))).sum()).collect();

        // A single pixel with fewer channels than lanes is the scalar code's.
        let packed = pack(if channels < LANES { Kind::Scalar } else { set.0 }, &weight, taps, channels);
        let pixels = pixels_of_blocks(channels);
        let repeated = (set.0 != Kind::Scalar && pixels > 1)
            .then(|| (pixels, pack(set.0, &|tap, channel| weight(tap, channel % channels), taps, pixels * channels)));
        Weights { set, taps, channels, packed, repeated, sums }
    }

    /// For each channel the sum of its weights less their zero point: times the input's zero point, it is to be subtracted from
    /// the bias.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }
}

/// In blocks, for one kind of code.
fn pack(kind: Kind, weight: &impl Fn(usize, usize) -> i16, taps: usize, channels: usize) -> Packed {
    let lanes = LANES.min(channels);
    let lane = |start: usize, tap: usize, lane: usize| if lane < lanes { weight(tap, start + lane) } else { 0 };
    let words = || block_starts(channels).flat_map(|start| (0..taps * LANES).map(move |at| lane(start, at / LANES, at % LANES)));
    match kind {
        Kind::Scalar => Packed::Plain(words().collect()),
        #[cfg(target_arch = "aarch64")]
        Kind::Neon(_) => {
            // An input is at least -128: the products of both stay over -32768 and under 32768.
            let fits = |tap, channel| weight(tap, channel).abs() + if tap + 1 < taps { weight(tap + 1, channel).abs() } else { 0 } <= 255;
            let narrow = words().all(|weight| i8::try_from(weight).is_ok());
            if narrow && (0..taps).step_by(2).all(|tap| (0..channels).all(|channel| fits(tap, channel))) {
                Packed::Bytes(words().map(|weight| weight as i8).collect())
            } else {
                Packed::Words(words().collect())
            }
        }
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(_) => {
            let pair = |start, pair, at: usize| {
                let tap = 2 * pair + at % 2;
                if tap < taps { lane(start, tap, PAIRED_LANES[at / 2]) } else { 0 }
            };
            let pairs = |start| (0..taps.div_ceil(2) * 2 * LANES).map(move |at| pair(start, at / (2 * LANES), at % (2 * LANES)));
            Packed::Pairs(block_starts(channels).flat_map(pairs).collect())
        }
    }
}

/// How many pixels have whole blocks together; 1, where a pixel has blocks of its own that are filled to nine tenths.
fn pixels_of_blocks(channels: usize) -> usize {
    let lanes = channels.next_multiple_of(LANES);
    if channels > LANES && 10 * channels > 9 * lanes { 1 } else { LANES >> channels.trailing_zeros().min(LANES.ilog2()) }
}

/// The values of [`LANES`] channels from `start` on, after the last of which comes the first, of a slice that is empty, holds one
/// for all, or one for each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn cyclic<T: Copy + Default>(values: &[T], start: usize, channels: usize) -> [T; LANES] {
    match values {
        [] => [T::default(); LANES],
        &[one] => [one; LANES],
        each => match each.get(start..).and_then(|each| each.first_chunk()) {
            Some(all) => *all,
            None => std::array::from_fn(|lane| each[(start + lane) % channels]),
        },
    }
}

/// First channels of the blocks: a block has [`LANES`] channels, or all that there are.
pub(crate) fn block_starts(channels: usize) -> impl Iterator<Item = usize> {
    (0..channels).step_by(LANES).map(move |start| start.min(channels.saturating_sub(LANES)))
}
