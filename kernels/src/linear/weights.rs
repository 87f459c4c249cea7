//! Weights in the order in which the inner loop of an instruction set reads them.

use super::rows::Aligned;
use super::{Kernel, Panel, Visit, with_kernel};
use crate::InstructionSet;

/// The weights of a matrix product or of one group of a convolution, packed once at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    set: InstructionSet,
    outputs: usize,
    depth: usize,
    /// Panels of `[depth / run][columns][run]`, zeros after the last output and the last of the depth.
    packed: Aligned,
    /// Empty, or one an output.
    zero_points: Vec<i32>,
    sums: Vec<i32>,
    /// As `sums`, zero points not subtracted.
    plain_sums: Vec<i32>,
    extreme: bool,
    /// See [`Panel::limits`]: those of a panel together.
    limits: Vec<u8>,
}

/// The constants of a [`Kernel`].
struct Layout {
    columns: usize,
    step: usize,
    run: usize,
    limits: bool,
}

struct LayoutOf;

impl Visit for LayoutOf {
    type Output = Layout;

    fn visit<K: Kernel>(self) -> Layout {
        Layout { columns: K::COLUMNS, step: K::STEP, run: K::RUN, limits: K::LIMITS }
    }
}

impl Weights {
    /// Packs `weights[output][depth]` for `set`. `zero_points` is empty for symmetric weights, or holds one for all outputs, or
    /// one for each.
    ///
    /// # Panics
    /// If there are not `outputs * depth` weights, or another number of zero points.
    pub fn pack(set: InstructionSet, weights: &[i8], outputs: usize, depth: usize, zero_points: &[i8]) -> Weights {
        assert_eq!(weights.len(), outputs * depth, "linear: weights are outputs x depth");
        assert!([0, 1, outputs].contains(&zero_points.len()), "linear: {} zero points for {outputs} outputs", zero_points.len());
        let zero_point = |output: usize| match zero_points {
            [] => 0,
            &[one] => i32::from(one),
            each => i32::from(each[output]),
        };
        let Layout { columns, step, run, limits } = with_kernel(set, LayoutOf);
        let packed_depth = depth.next_multiple_of(step);
        let mut packed = Aligned::zeros(outputs.next_multiple_of(columns) * packed_depth);
        let (mut sums, mut plain_sums) = (Vec::with_capacity(outputs), Vec::with_capacity(outputs));
        let mut extreme = false;
        for output in 0..outputs {
            let weights = &weights[output * depth..][..depth];
            let start = output / columns * columns * packed_depth + output % columns * run;
            for (index, run_weights) in weights.chunks(run).enumerate() {
                packed[start + index * columns * run..][..run_weights.len()].copy_from_slice(run_weights);
                // See `neon`: 16-bit sums hold a weight and the one half a run later.
                let pair = |at: usize| run_weights[at] == -128 && run_weights.get(at + run / 2) == Some(&-128);
                extreme |= (0..(run / 2).min(run_weights.len())).any(pair);
            }
            plain_sums.push(weights.iter().map(|&weight| i32::from(weight)).sum::<i32>());
            sums.push(plain_sums[output] - zero_point(output) * depth as i32);
        }
        let limits = if limits { packed.chunks_exact(columns * step).map(limit).collect() } else { Vec::new() };
        let zero_points =
            if zero_points.iter().all(|&zero_point| zero_point == 0) { Vec::new() } else { (0..outputs).map(zero_point).collect() };
        Weights { set, outputs, depth, packed, zero_points, sums, plain_sums, extreme, limits }
    }

    /// Sum over the depth of `weight - zero point`, for each output. Rows with a zero point of their own need `-sums * zero point`
    /// in the bias.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// The instruction set that these weights are packed for.
    pub fn set(&self) -> InstructionSet {
        self.set
    }

    /// Columns of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Products in a sum.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The greatest activation with which products are as quick as they can be, whatever the weights: -1 where larger ones may
    /// saturate pairs of products, so that those are computed on a slower path (AVX2 without VNNI), else 127.
    pub fn quickest(&self) -> i8 {
        if with_kernel(self.set, LayoutOf).limits { -1 } else { i8::MAX }
    }

    /// Memory that the weights take.
    pub fn bytes(&self) -> usize {
        let words = self.zero_points.len() + self.sums.len() + self.plain_sums.len();
        self.packed.len() + self.limits.len() + words * size_of::<i32>()
    }

    /// The packed weights, the limits, and whether they are extreme.
    pub(crate) fn into_parts(self) -> (Aligned, Vec<u8>, bool) {
        (self.packed, self.limits, self.extreme)
    }

    pub(super) fn has_zero_points(&self) -> bool {
        !self.zero_points.is_empty()
    }

    /// The panel that begins with output `column`, a multiple of its width.
    #[inline(always)]
    pub(super) fn panel<K: Kernel>(&self, column: usize) -> Panel<'_> {
        let packed_depth = self.depth.next_multiple_of(K::STEP);
        let steps = packed_depth / K::STEP;
        let outputs = column..(column + K::COLUMNS).min(self.outputs);
        Panel {
            weights: &self.packed[column * packed_depth..][..K::COLUMNS * packed_depth],
            zero_points: if self.zero_points.is_empty() { &[] } else { &self.zero_points[outputs.clone()] },
            extreme: self.extreme,
            sums: &self.plain_sums[outputs],
            limits: if K::LIMITS { &self.limits[column / K::COLUMNS * steps..][..steps] } else { &[] },
            column,
        }
    }
}

/// The largest unsigned value whose products with two neighbours of `weights` never leave 16 bits when added.
fn limit(weights: &[i8]) -> u8 {
    let most = weights.as_chunks::<2>().0.iter().map(|&[a, b]| {
        let (a, b) = (i32::from(a), i32::from(b));
        // One of the values may be 0.
        (a.max(0) + b.max(0)).max(-(a.min(0) + b.min(0)))
    });
    (i32::from(i16::MAX) / most.max().unwrap_or(0).max(1)).min(255) as u8
}
