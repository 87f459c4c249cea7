//! Sound: standardising a window of samples. Portable code only: compilers vectorise it, and it gives the same bits everywhere.

/// Partial sums, so that a vector of them is summed at once. Fixed, since it decides the order of the sum.
const LANES: usize = 8;

/// Subtracts the mean of the window and divides by its standard deviation (of the population, as numpy's `std`).
///
/// Mean and deviation are summed in double precision, so each result is within 2 units in the last place of the exact one, as
/// long as the mean is not much greater than the deviation. A window that varies by no more than a float's rounding is silence:
/// it becomes all zeros. A window that holds a NaN or an infinity becomes all NaN.
pub fn standardise(window: &mut [f32]) {
    let count = window.len() as f64;
    let mean = sum(window, |sample| sample) / count;
    let deviation = (sum(window, |sample| (sample - mean) * (sample - mean)) / count).sqrt();
    if deviation <= f64::from(f32::EPSILON) * mean.abs() {
        window.fill(0.0);
        return;
    }
    for sample in window {
        *sample = ((f64::from(*sample) - mean) / deviation) as f32;
    }
}

#[inline(always)]
fn sum(window: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let (blocks, left) = window.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in blocks {
        for (sum, &sample) in sums.iter_mut().zip(block) {
            *sum += of(f64::from(sample));
        }
    }
    for (sum, &sample) in sums.iter_mut().zip(left) {
        *sum += of(f64::from(sample));
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_standardised_window_has_mean_zero_and_deviation_one(
            mut window in vec(-1f32..1.0, 2..200), gain in 1e-6f32..1e6, shift in -2f32..2.0,
        ) {
            for sample in &mut window {
                *sample = (*sample + shift) * gain;
            }
            prop_assume!(window.iter().any(|&sample| (sample - window[0]).abs() > 0.01 * gain));
            standardise(&mut window);
            let count = window.len() as f64;
            let mean = window.iter().map(|&sample| f64::from(sample)).sum::<f64>() / count;
            let variance = window.iter().map(|&sample| (f64::from(sample) - mean).powi(2)).sum::<f64>() / count;
            prop_assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6, "mean {}, variance {}", mean, variance);
        }
    }

    #[test]
    fn it_is_what_numpy_gives() {
        // (x - x.mean()) / x.std() of [1, 2, 3, 4, 10] in double precision.
        let mut window = [1.0, 2.0, 3.0, 4.0, 10.0];
        standardise(&mut window);
        for (got, numpy) in window.into_iter().zip([-0.948_683_3, -0.632_455_5, -0.316_227_77, 0.0, 1.897_366_6f32]) {
            assert!((got - numpy).abs() <= 1e-7, "{got}, numpy {numpy}");
        }
    }

    #[test]
    fn silence_becomes_zeros() {
        for level in [0.0, 0.1, -3.3e7] {
            let mut window = vec![level; 1001];
            standardise(&mut window);
            assert!(window.iter().all(|&sample| sample == 0.0), "{level}");
        }
        standardise(&mut []);
    }

    #[test]
    fn a_nan_spoils_its_window_visibly() {
        let mut window = vec![0.5; 100];
        window[17] = f32::NAN;
        standardise(&mut window);
        assert!(window.iter().all(|sample| sample.is_nan()));
    }
}
