//! Fixed-point weights of a bilinear (triangle) filter along one axis.

/// Binary digits after the point of a weight, the least: a weight of one fits an `i16`.
const LEAST_BITS: u32 = 14;
/// And the most: the sum of 15-bit values by weights fits an `i32`.
const MOST_BITS: u32 = 16;

/// Columns are summed this many at a time: see [`Weights::padded`].
pub(super) const STEP: usize = 4;

/// For each target position, the first source position it reads and the weights from there on.
///
/// Weights are integers that sum to `1 << bits` exactly, so that a flat picture stays flat. A position has as many weights as
/// it needs, and at least one.
pub(super) struct Weights {
    /// Binary digits after the point of each weight.
    pub(super) bits: u32,
    spans: Vec<Span>,
    values: Vec<i16>,
}

/// What one target position reads.
struct Span {
    /// First source position.
    start: usize,
    /// Where its weights begin in `values`; they end, padded with zeros, at a multiple of [`STEP`].
    first: usize,
    /// How many weights it has.
    count: usize,
}

impl Weights {
    /// Weights that take `source` positions to `target`.
    ///
    /// Position `x` of the target has its centre at `(x + 0.5) * source / target` (half-pixel centres, ONNX Resize's
    /// `half_pixel`, `align_corners=False`). Upscaling interpolates between the two nearest centres. Downscaling widens the
    /// triangle by the scale, so that every source position counts: PIL's `BILINEAR`, `antialias=True` elsewhere. At the
    /// borders the weights that fall outside go to those inside. Source: Pillow, `src/libImaging/Resample.c`.
    ///
    /// The arithmetic is IEEE double precision without fusing, so that the weights are the same on every CPU. The largest
    /// number of bits is taken with which each weight fits.
    pub(super) fn new(source: usize, target: usize) -> Weights {
        let scale = source as f64 / target as f64;
        let stretch = scale.max(1.0);
        let mut exact = Vec::new();
        let spans: Vec<Span> = (0..target)
            .map(|position| {
                let centre = (position as f64 + 0.5) * scale;
                let start = (centre - stretch + 0.5).max(0.0) as usize;
                let end = ((centre + stretch + 0.5) as usize).min(source);
                let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / stretch).abs()).max(0.0);
                // The outermost may be zero: reading them would be waste.
                let start = (start..end).find(|&x| triangle(x) > 0.0).unwrap_or(start);
                let end = (start..end).rfind(|&x| triangle(x) > 0.0).map_or(end, |last| last + 1);
                let sum: f64 = (start..end).map(triangle).sum();
                let first = exact.len();
                exact.extend((start..end).map(|x| triangle(x) / sum));
                exact.resize(exact.len().next_multiple_of(STEP), 0.0);
                Span { start, first, count: end - start }
            })
            .collect();
        let largest = exact.iter().copied().fold(0.0, f64::max);
        let fits = |bits: u32| largest * f64::from(1u32 << bits) + 1.0 <= f64::from(i16::MAX);
        let bits = (LEAST_BITS..=MOST_BITS).rfind(|&bits| fits(bits)).unwrap_or(LEAST_BITS);
        let unit = f64::from(1u32 << bits);
        let mut values = vec![0; exact.len()];
        for span in &spans {
            // Rounding the running sum, not each weight, makes the weights add up to the unit.
            let (mut sum, mut before) = (0.0, 0.0);
            for tap in 0..span.count {
                sum += exact[span.first + tap];
                let now = if tap + 1 == span.count { unit } else { (sum * unit).round() };
                values[span.first + tap] = (now - before) as i16;
                before = now;
            }
        }
        Weights { bits, spans, values }
    }

    /// Number of target positions.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// First source position that a target position reads, and the weights from there on.
    #[inline]
    pub(super) fn at(&self, position: usize) -> (usize, &[i16]) {
        let span = &self.spans[position];
        (span.start, &self.values[span.first..][..span.count])
    }

    /// As [`Weights::at`], with zeros behind the weights up to a multiple of [`STEP`], which may reach `STEP - 1` positions
    /// beyond the source: for vectors, which then have no remainder to handle.
    #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
    #[inline]
    pub(super) fn padded(&self, position: usize) -> (usize, &[[i16; STEP]]) {
        let span = &self.spans[position];
        (span.start, self.values[span.first..][..span.count.next_multiple_of(STEP)].as_chunks().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stay_inside_the_source_and_sum_to_one_exactly() {
        for (source, target) in [(1, 1), (1, 9), (9, 1), (7, 7), (3, 5), (5, 3), (640, 224), (224, 640), (4000, 28), (65_000, 1), (2, 2000)]
        {
            let weights = Weights::new(source, target);
            assert_eq!(weights.len(), target);
            for position in 0..target {
                let (start, values) = weights.at(position);
                assert!(!values.is_empty() && start + values.len() <= source, "{source} -> {target} at {position}");
                assert_eq!(values.iter().map(|&w| i32::from(w)).sum::<i32>(), 1 << weights.bits, "{source} -> {target} at {position}");
                assert!(values.iter().all(|&w| w >= 0), "{source} -> {target} at {position}");
            }
        }
    }

    #[test]
    fn the_same_size_reads_each_position_alone() {
        let weights = Weights::new(5, 5);
        for position in 0..5 {
            assert_eq!(weights.at(position), (position, &[1i16 << weights.bits][..]));
        }
    }

    #[test]
    fn many_taps_get_more_bits() {
        assert_eq!(Weights::new(2, 4).bits, 14);
        assert_eq!(Weights::new(1000, 10).bits, 16);
    }
}
