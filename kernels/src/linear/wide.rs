//! The products with AVX512-VNNI: the 16 outputs of a panel are one register, in which VPDPBUSD adds the products of four unsigned
//! activations with four weights of each, exactly. Where there are two panels, both take the activations from one register, so
//! that the multipliers are the limit and not the loads. Sums are finished as on AVX2.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::arch::x86_64::*;
use std::array;

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
    const PAIRS: bool = true;

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn panel<F: Finish>(block: &Block<'_, u8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { tiles(block, &[*panel], &[Outputs::of(panel, finish)], finish, out, stride) };
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn pair<F: Finish>(block: &Block<'_, u8>, panels: &[Panel<'_>; 2], finish: &F, out: *mut F::Output, stride: usize) {
        // No closure, which the compiler would leave a call.
        let outputs = [Outputs::of(&panels[0], finish), Outputs::of(&panels[1], finish)];
        // SAFETY: by the contract of the trait.
        unsafe { tiles(block, panels, &outputs, finish, out, stride) };
    }
}

/// `P` neighbouring panels.
///
/// # Safety
/// As [`Kernel::panel`], with room for all panels at `out`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn tiles<const P: usize, F: Finish>(
    block: &Block<'_, u8>,
    panels: &[Panel<'_>; P],
    outputs: &[Outputs<F>; P],
    finish: &F,
    out: *mut F::Output,
    stride: usize,
) {
    let run = Run { block, panels, outputs, finish, out, stride };
    let mut start = 0;
    // SAFETY: by the contract; the tiles are those that the rows are packed in.
    unsafe {
        while block.rows - start >= ROWS {
            if P == 1 {
                run.rows::<ROWS, 1>(start, 0, ROWS);
            } else {
                // As many sums at a time as with one panel: of twice as many the compiler would keep some in memory.
                run.rows::<{ ROWS / 2 }, 1>(start, 0, ROWS);
                run.rows::<{ ROWS / 2 }, 1>(start, ROWS / 2, ROWS);
            }
            start += ROWS;
        }
        if block.rows - start >= 8 {
            if P == 1 {
                run.rows::<8, 2>(start, 0, 8);
            } else {
                run.rows::<8, 1>(start, 0, 8);
            }
            start += 8;
        }
        if block.rows - start >= 4 {
            run.rows::<4, 2>(start, 0, 4);
            start += 4;
        }
        if block.rows - start >= 2 {
            run.rows::<2, 4>(start, 0, 2);
            start += 2;
        }
        if block.rows > start {
            run.rows::<1, 4>(start, 0, 1);
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

/// `P` panels times the rows of a block.
struct Run<'a, const P: usize, F: Finish> {
    block: &'a Block<'a, u8>,
    panels: &'a [Panel<'a>; P],
    outputs: &'a [Outputs<F>; P],
    finish: &'a F,
    out: *mut F::Output,
    stride: usize,
}

impl<const P: usize, F: Finish> Run<'_, P, F> {
    /// `R` rows of the tile of `size` rows that begins with row `start`, from its row `skip` on. Of few rows each has `CHAINS` sums a
    /// panel, which take turns.
    ///
    /// # Safety
    /// As [`tiles`]; there is such a tile in the block, with so many rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn rows<const R: usize, const CHAINS: usize>(&self, start: usize, skip: usize, size: usize) {
        let &Run { block: &block, panels, outputs, finish: &finish, out, stride } = self;
        debug_assert!(skip + R <= size && (start + size) * block.steps * STEP <= block.values.len());
        debug_assert!(panels.iter().all(|panel| panel.weights.len() == block.steps * STEP * COLUMNS));
        let first = start + skip;
        let mut sums = [[[_mm512_setzero_si512(); CHAINS]; P]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (sums, outputs) in sums.iter_mut().zip(outputs) {
                sums[0] = outputs.bias;
                if let Some(&row_sum) = block.sums.get(first + row) {
                    sums[0] = _mm512_sub_epi32(sums[0], _mm512_mullo_epi32(outputs.zero_points, _mm512_set1_epi32(row_sum)));
                }
            }
        }
        // SAFETY: the rows are in the block.
        let mut value = unsafe { block.values.as_ptr().add(start * block.steps * STEP + skip * STEP) };
        let mut weights: [*const i8; P] = array::from_fn(|at| panels[at].weights.as_ptr());
        let mut left = block.steps;
        // SAFETY: there are so many steps of values and weights; the pointers are not read beyond the last.
        unsafe {
            while left >= 2 {
                products::<R, CHAINS, P, 0>(&mut sums, value, weights);
                products::<R, CHAINS, P, 1>(&mut sums, value.add(size * STEP), weights.map(|weights| weights.add(STEP * COLUMNS)));
                (value, weights) = (value.wrapping_add(2 * size * STEP), weights.map(|weights| weights.add(2 * STEP * COLUMNS)));
                left -= 2;
            }
            if left > 0 {
                products::<R, CHAINS, P, 0>(&mut sums, value, weights);
            }
        }
        for (at, outputs) in outputs.iter().enumerate() {
            // Loops, not closures, which the compiler would leave calls.
            let mut halves = [[_mm256_setzero_si256(); 2]; R];
            for (halves, sums) in halves.iter_mut().zip(&sums) {
                let mut sum = sums[at][0];
                for chain in &sums[at][1..] {
                    sum = _mm512_add_epi32(sum, *chain);
                }
                *halves = [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)];
            }
            // SAFETY: what has AVX512 has AVX2; each row has room for as many results as the vectors hold.
            unsafe {
                let mut to = out.add(first * stride + at * COLUMNS);
                let (pairs, single) = halves.as_chunks::<2>();
                for (pair, &sums) in pairs.iter().enumerate() {
                    let [one, two] = finish.finish_two(outputs.columns, block.first + first + 2 * pair, sums);
                    to.cast::<F::Results>().write_unaligned(one);
                    to.add(stride).cast::<F::Results>().write_unaligned(two);
                    to = to.add(2 * stride);
                }
                if let &[sums] = single {
                    to.cast::<F::Results>().write_unaligned(finish.finish(outputs.columns, block.first + first + R - 1, sums));
                }
            }
        }
    }
}

/// Adds the products of a step, even or odd.
///
/// # Safety
/// There is a step of the rows' values and of each panel's weights.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn products<const R: usize, const CHAINS: usize, const P: usize, const ODD: usize>(
    sums: &mut [[[__m512i; CHAINS]; P]; R],
    value: *const u8,
    weights: [*const i8; P],
) {
    for quad in 0..STEP / 4 {
        // SAFETY: by the contract.
        unsafe {
            let weights = weights.map(|weights| _mm512_loadu_si512(weights.add(quad * 4 * COLUMNS).cast()));
            for (row, sums) in sums.iter_mut().enumerate() {
                let four = _mm512_set1_epi32(value.add(row * STEP + quad * 4).cast::<i32>().read_unaligned());
                for (sums, weights) in sums.iter_mut().zip(weights) {
                    let sum = &mut sums[(2 * ODD + quad) % CHAINS];
                    *sum = _mm512_dpbusd_epi32(*sum, four, weights);
                }
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
