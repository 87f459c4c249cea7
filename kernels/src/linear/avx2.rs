//! The products with AVX2, and what they share with those of `vnni`. VPMADDUBSW takes four products in one instruction, but saturates
//! the sums of two, so each step of a tile is looked at first: where the largest activation times the largest sum of two weights
//! fits 16 bits, nothing can saturate, and elsewhere the operands are widened. The test is a byte compared with a byte, both known
//! from packing.

use super::finish::lanes;
use super::{Block, Finish, Kernel, Panel};
use std::arch::{asm, x86_64::*};

/// Rows of a full tile: with 16 outputs, 12 of 16 registers are sums.
pub(super) const ROWS: usize = 6;

/// Outputs of a panel.
pub(super) const COLUMNS: usize = 16;

/// Neighbours along the depth.
pub(super) const STEP: usize = 8;

/// How bytes are multiplied and added; limits are those of VPMADDUBSW.
pub(super) trait Arithmetic: Kernel {
    /// Whether a sum waits for the one before: for few rows there are twice as many, which take turns.
    const WAITS: bool;

    /// Adds the products of the `QUAD`th four of a step of `R` rows and `HALVES` of the panel, each of 8 outputs. Activations are 128
    /// more than they are.
    ///
    /// # Safety
    /// The CPU has the instructions; there is a step of values and weights; with limits, no sum of two products is beyond 16 bits.
    unsafe fn products<const QUAD: usize, const R: usize, const HALVES: usize>(
        sums: &mut [[__m256i; 2]; R],
        value: *const u8,
        weight: *const i8,
    );
}

pub(super) struct Avx2;

impl Kernel for Avx2 {
    type Value = u8;
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;
    const STEP: usize = STEP;
    const RUN: usize = 4;
    const LIMITS: bool = true;

    #[target_feature(enable = "avx2")]
    unsafe fn maxima(values: &[u8], rows: usize, steps: usize, maxima: &mut [u8]) {
        Block::<u8>::tiles(rows, Self::ROWS, |start, size| {
            let tile = &values[start * steps * Self::STEP..][..size * steps * Self::STEP];
            let maxima = &mut maxima[start * steps..][..steps];
            match size {
                6 => tile_maxima::<48>(tile, maxima),
                4 => tile_maxima::<32>(tile, maxima),
                2 => tile_maxima::<16>(tile, maxima),
                _ => tile_maxima::<8>(tile, maxima),
            }
        });
    }

    #[target_feature(enable = "avx2")]
    unsafe fn panel<F: Finish>(block: &Block<'_, u8>, panel: &Panel<'_>, finish: &F, out: *mut F::Output, stride: usize) {
        // SAFETY: by the contract of the trait.
        unsafe { tiles::<Avx2, F>(block, panel, finish, out, stride) };
    }
}

impl Arithmetic for Avx2 {
    const WAITS: bool = false;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn products<const QUAD: usize, const R: usize, const HALVES: usize>(
        sums: &mut [[__m256i; 2]; R],
        value: *const u8,
        weight: *const i8,
    ) {
        let ones = _mm256_set1_epi16(1);
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: by the contract.
            unsafe {
                let four = _mm256_set1_epi32(value.add(row * STEP + QUAD * 4).cast::<i32>().read_unaligned());
                sums[0] = add_products(sums[0], four, weight.add(QUAD * 4 * COLUMNS), ones);
                if HALVES > 1 {
                    sums[1] = add_products(sums[1], four, weight.add(QUAD * 4 * COLUMNS + 32), ones);
                }
            }
        }
    }
}

/// The maxima of a tile whose steps have `SIZE` values.
#[inline]
#[target_feature(enable = "avx2")]
fn tile_maxima<const SIZE: usize>(tile: &[u8], maxima: &mut [u8]) {
    for (maximum, step) in maxima.iter_mut().zip(tile.as_chunks::<SIZE>().0) {
        let (pairs, single) = step.as_chunks::<16>();
        let most = match single.first_chunk::<8>() {
            // SAFETY: 8 bytes.
            Some(row) => unsafe { _mm_loadl_epi64(row.as_ptr().cast()) },
            None => _mm_setzero_si128(),
        };
        let most = pairs.iter().fold(most, |most, rows| {
            // SAFETY: 16 bytes.
            _mm_max_epu8(most, unsafe { _mm_loadu_si128(rows.as_ptr().cast()) })
        });
        // There is an instruction for the smallest of eight words: the complement of the largest.
        let least = _mm_xor_si128(most, _mm_set1_epi8(-1));
        let least = _mm_minpos_epu16(_mm_min_epu8(least, _mm_srli_epi16::<8>(least)));
        *maximum = !_mm_extract_epi8::<0>(least) as u8;
    }
}

/// All tiles of a block.
///
/// # Safety
/// As [`Kernel::panel`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn tiles<A: Arithmetic, F: Finish>(
    block: &Block<'_, u8>,
    panel: &Panel<'_>,
    finish: &F,
    out: *mut F::Output,
    stride: usize,
) {
    // SAFETY: by the contract.
    unsafe {
        if panel.sums.len() > 8 {
            half_tiles::<A, 2, F>(block, panel, finish, out, stride);
        } else {
            half_tiles::<A, 1, F>(block, panel, finish, out, stride);
        }
    }
}

/// [`tiles`], of which `HALVES` of the panel are computed.
///
/// # Safety
/// As [`Kernel::panel`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn half_tiles<A: Arithmetic, const HALVES: usize, F: Finish>(
    block: &Block<'_, u8>,
    panel: &Panel<'_>,
    finish: &F,
    out: *mut F::Output,
    stride: usize,
) {
    let outputs = Outputs::of(panel, finish);
    let mut start = 0;
    // SAFETY: by the contract.
    unsafe {
        while block.rows - start >= 6 {
            tile::<A, 6, HALVES, F>(*block, *panel, &outputs, start, *finish, out, stride);
            start += 6;
        }
        if block.rows - start >= 4 {
            tile::<A, 4, HALVES, F>(*block, *panel, &outputs, start, *finish, out, stride);
            start += 4;
        }
        if block.rows - start >= 2 {
            tile::<A, 2, HALVES, F>(*block, *panel, &outputs, start, *finish, out, stride);
            start += 2;
        }
        if block.rows > start {
            tile::<A, 1, HALVES, F>(*block, *panel, &outputs, start, *finish, out, stride);
        }
    }
}

/// What the outputs of a panel need, loaded once a panel.
struct Outputs<F: Finish> {
    bias: [__m256i; 2],
    zero_points: [__m256i; 2],
    columns: F::Columns,
}

impl<F: Finish> Outputs<F> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(panel: &Panel<'_>, finish: &F) -> Outputs<F> {
        let (bias, sums) = (integers(lanes(finish.bias(), panel.column, 0)), integers(lanes(panel.sums, 0, 0)));
        Outputs {
            bias: [0, 1].map(|half| _mm256_sub_epi32(bias[half], _mm256_slli_epi32::<7>(sums[half]))),
            zero_points: integers(lanes(panel.zero_points, 0, 0)),
            // SAFETY: AVX2 by the target feature.
            columns: unsafe { finish.columns(panel.column) },
        }
    }
}

/// `R` rows from `start` on.
///
/// # Safety
/// As [`Kernel::panel`]; the rows are in the block.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn tile<A: Arithmetic, const R: usize, const HALVES: usize, F: Finish>(
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
    debug_assert!(!A::LIMITS || block.maxima.len() >= (start + 1) * block.steps && panel.limits.len() == block.steps);
    let mut sums = [outputs.bias; R];
    if !block.sums.is_empty() {
        for (sums, &row_sum) in sums.iter_mut().zip(&block.sums[start..start + R]) {
            for (sums, &zero_points) in sums.iter_mut().zip(&outputs.zero_points) {
                *sums = _mm256_sub_epi32(*sums, _mm256_mullo_epi32(zero_points, _mm256_set1_epi32(row_sum)));
            }
        }
    }
    // SAFETY: the tile is in the block.
    let mut value = unsafe { block.values.as_ptr().add(start * block.steps * STEP) };
    let mut weight = panel.weights.as_ptr();
    let mut sums = [sums, [[_mm256_setzero_si256(); 2]; R]];
    let maxima = block.maxima.get(start * block.steps..).unwrap_or_default();
    for step in 0..block.steps {
        // SAFETY: a step has this many values and weights; then at most one beyond the last. With limits, there is one for each.
        unsafe {
            if !A::LIMITS || maxima.get_unchecked(step) <= panel.limits.get_unchecked(step) {
                A::products::<0, R, HALVES>(&mut sums[0], value, weight);
                A::products::<1, R, HALVES>(&mut sums[usize::from(A::WAITS && R <= 2)], value, weight);
            } else {
                widened_products(&mut sums[0], value, weight);
            }
            value = value.add(R * STEP);
            weight = weight.add(STEP * COLUMNS);
        }
    }
    let [mut sums, others] = sums;
    for (sums, other) in sums.as_flattened_mut().iter_mut().zip(others.as_flattened()) {
        *sums = _mm256_add_epi32(*sums, *other);
    }
    let put = |row: usize, results: F::Results| {
        // SAFETY: the row has room for as many results as the vector holds.
        unsafe { out.add((start + row) * stride).cast::<F::Results>().write_unaligned(results) };
    };
    let (pairs, single) = sums.as_chunks::<2>();
    for (pair, &sums) in pairs.iter().enumerate() {
        // SAFETY: AVX2 by the contract.
        let [one, two] = unsafe { finish.finish_two(outputs.columns, block.first + start + 2 * pair, sums) };
        put(2 * pair, one);
        put(2 * pair + 1, two);
    }
    if let &[sums] = single {
        // SAFETY: AVX2 by the contract.
        put(R - 1, unsafe { finish.finish(outputs.columns, block.first + start + R - 1, sums) });
    }
}

/// Adds the products of four values with eight times four weights. As assembly, because the compiler would regroup the additions
/// of several steps, and run out of registers.
///
/// # Safety
/// There are 32 weights.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_products(mut sums: __m256i, values: __m256i, weights: *const i8, ones: __m256i) -> __m256i {
    // SAFETY: the instructions are there by the target feature, the weights by the contract.
    unsafe {
        asm!(
            "vpmaddubsw {products}, {values}, ymmword ptr [{weights}]",
            "vpmaddwd {products}, {products}, {ones}",
            "vpaddd {sums}, {sums}, {products}",
            sums = inout(ymm_reg) sums,
            values = in(ymm_reg) values,
            weights = in(reg) weights,
            ones = in(ymm_reg) ones,
            products = out(ymm_reg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds the products of a step whatever they are: even and odd ones apart, in 16 bits, with VPMADDWD.
///
/// # Safety
/// There is a step of values and weights.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widened_products<const R: usize>(sums: &mut [[__m256i; 2]; R], value: *const u8, weight: *const i8) {
    for quad in 0..STEP / 4 {
        // In memory, because the sums fill the registers: even and odd weights of each half.
        let mut widened = Widened([_mm256_setzero_si256(); 4]);
        for half in 0..2 {
            // SAFETY: by the contract.
            let weights = unsafe { _mm256_loadu_si256(weight.add(quad * 4 * COLUMNS + 32 * half).cast()) };
            widened.0[2 * half] = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
            widened.0[2 * half + 1] = _mm256_srai_epi16::<8>(weights);
        }
        for (row, [left, right]) in sums.iter_mut().enumerate() {
            // SAFETY: the instructions are there by the target feature, the values by the contract.
            unsafe {
                asm!(
                    "vpbroadcastd {even}, dword ptr [{value}]",
                    "vpsrlw {odd}, {even}, 8",
                    "vpsllw {even}, {even}, 8",
                    "vpsrlw {even}, {even}, 8",
                    "vpmaddwd {products}, {even}, ymmword ptr [{widened}]",
                    "vpaddd {left}, {left}, {products}",
                    "vpmaddwd {products}, {odd}, ymmword ptr [{widened} + 32]",
                    "vpaddd {left}, {left}, {products}",
                    "vpmaddwd {even}, {even}, ymmword ptr [{widened} + 64]",
                    "vpaddd {right}, {right}, {even}",
                    "vpmaddwd {odd}, {odd}, ymmword ptr [{widened} + 96]",
                    "vpaddd {right}, {right}, {odd}",
                    value = in(reg) value.add(row * STEP + quad * 4),
                    widened = in(reg) &widened,
                    left = inout(ymm_reg) *left,
                    right = inout(ymm_reg) *right,
                    even = out(ymm_reg) _,
                    odd = out(ymm_reg) _,
                    products = out(ymm_reg) _,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
        }
    }
}

/// Four vectors side by side.
#[repr(C)]
struct Widened([__m256i; 4]);

#[inline]
#[target_feature(enable = "avx2")]
fn integers(values: [i32; 16]) -> [__m256i; 2] {
    // SAFETY: 16 integers.
    unsafe { [_mm256_loadu_si256(values.as_ptr().cast()), _mm256_loadu_si256(values[8..].as_ptr().cast())] }
}
