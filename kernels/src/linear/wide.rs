//! The products with AVX512-VNNI: the 16 outputs of a panel are one register, in which VPDPBUSD adds the products of four unsigned
//! activations with four weights of each, exactly. Sums are finished as on AVX2.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::arch::x86_64::*;

/// Rows of a full tile: as many sums as keep both multipliers busy, an addition taking five cycles.
const ROWS: usize = 12;

/// Outputs of a panel.
const COLUMNS: usize = 16;

/// Neighbours along the depth: two quads.
const STEP: usize = 8;

pub(super) struct Wide;

impl Kernel for Wide {
    type Value = u8;
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const STEP: usize = STEP;
    const RUN: usize = 4;

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn panel<F: Finish>(block: &Block<'_, u8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        let outputs = Outputs::of(panel, finish);
        let mut start = 0;
        // SAFETY: by the contract of the trait; the tiles are those that the rows are packed in.
        unsafe {
            while block.rows - start >= ROWS {
                tile::<ROWS, 1, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += ROWS;
            }
            if block.rows - start >= 8 {
                tile::<8, 2, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 8;
            }
            if block.rows - start >= 4 {
                tile::<4, 2, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 4;
            }
            if block.rows - start >= 2 {
                tile::<2, 4, F>(*block, *panel, &outputs, start, *finish, out, stride);
                start += 2;
            }
            if block.rows > start {
                tile::<1, 4, F>(*block, *panel, &outputs, start, *finish, out, stride);
            }
        }
    }
}

/// What the outputs of a panel need, loaded once a panel.
struct Outputs<F: Finish> {
    bias: __m512i,
    zero_points: __m512i,
    columns: F::Columns,
}

impl<F: Finish> Outputs<F> {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of(panel: &Panel<'_>, finish: &F) -> Outputs<F> {
        let (bias, sums) = (integers(lanes(finish.bias(), panel.column, 0)), integers(lanes(panel.sums, 0, 0)));
        Outputs {
            bias: _mm512_sub_epi32(bias, _mm512_slli_epi32::<7>(sums)),
            zero_points: integers(lanes(panel.zero_points, 0, 0)),
            // SAFETY: what has AVX512 has AVX2.
            columns: unsafe { finish.columns(panel.column) },
        }
    }
}

/// `R` rows from `start` on. Of few rows each has `CHAINS` sums, which take turns.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are a tile of the block.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tile<const R: usize, const CHAINS: usize, F: Finish>(
    block: Block<'_, u8>,
    panel: Panel<'_>,
    outputs: &Outputs<F>,
    start: usize,
    finish: F,
    out: *mut F::Output,
    stride: usize,
) {
    debug_assert!((start + R) * block.steps * STEP <= block.values.len());
    debug_assert_eq!(panel.weights.len(), block.steps * STEP * COLUMNS);
    let mut sums = [[_mm512_setzero_si512(); CHAINS]; R];
    for (row, sums) in sums.iter_mut().enumerate() {
        sums[0] = outputs.bias;
        if let Some(&row_sum) = block.sums.get(start + row) {
            sums[0] = _mm512_sub_epi32(sums[0], _mm512_mullo_epi32(outputs.zero_points, _mm512_set1_epi32(row_sum)));
        }
    }
    // SAFETY: the tile is in the block.
    let mut value = unsafe { block.values.as_ptr().add(start * block.steps * STEP) };
    let mut weight = panel.weights.as_ptr();
    let mut left = block.steps;
    // SAFETY: there are so many steps of values and weights; the pointers go at most one beyond the last.
    unsafe {
        while left >= 2 {
            products::<R, CHAINS, 0>(&mut sums, value, weight);
            products::<R, CHAINS, 1>(&mut sums, value.add(R * STEP), weight.add(STEP * COLUMNS));
            (value, weight, left) = (value.add(2 * R * STEP), weight.add(2 * STEP * COLUMNS), left - 2);
        }
        if left > 0 {
            products::<R, CHAINS, 0>(&mut sums, value, weight);
        }
    }
    // Loops, not closures, which the compiler would leave calls.
    let mut halves = [[_mm256_setzero_si256(); 2]; R];
    for (halves, chains) in halves.iter_mut().zip(&sums) {
        let mut sum = chains[0];
        for chain in &chains[1..] {
            sum = _mm512_add_epi32(sum, *chain);
        }
        *halves = [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)];
    }
    // SAFETY: what has AVX512 has AVX2; each row has room for as many results as the vector holds.
    unsafe {
        let mut to = out.add(start * stride);
        let (pairs, single) = halves.as_chunks::<2>();
        for (pair, &sums) in pairs.iter().enumerate() {
            let [one, two] = finish.finish_two(outputs.columns, block.first + start + 2 * pair, sums);
            to.cast::<F::Results>().write_unaligned(one);
            to.add(stride).cast::<F::Results>().write_unaligned(two);
            to = to.add(2 * stride);
        }
        if let &[sums] = single {
            to.cast::<F::Results>().write_unaligned(finish.finish(outputs.columns, block.first + start + R - 1, sums));
        }
    }
}

/// Adds the products of a step, even or odd.
///
/// # Safety
/// There is a step of the rows' values and of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn products<const R: usize, const CHAINS: usize, const ODD: usize>(
    sums: &mut [[__m512i; CHAINS]; R],
    value: *const u8,
    weight: *const i8,
) {
    for quad in 0..STEP / 4 {
        // SAFETY: by the contract.
        unsafe {
            let weights = _mm512_loadu_si512(weight.add(quad * 4 * COLUMNS).cast());
            for (row, sums) in sums.iter_mut().enumerate() {
                let four = _mm512_set1_epi32(value.add(row * STEP + quad * 4).cast::<i32>().read_unaligned());
                let sum = &mut sums[(2 * ODD + quad) % CHAINS];
                *sum = _mm512_dpbusd_epi32(*sum, four, weights);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn integers(values: [i32; 16]) -> __m512i {
    // SAFETY: 16 integers.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}
