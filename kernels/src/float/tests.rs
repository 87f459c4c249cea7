//! The products against `f64`, within the stated bound, on every instruction set; and that a result has the same bits whatever is
//! computed beside it.

use super::*;
use proptest::prelude::*;

/// A product with all that belongs to it, drawn from a seed.
#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    outputs: usize,
    depth: usize,
    /// Of the rows, and of the target.
    strides: [usize; 2],
    values: Vec<f32>,
    /// `[output][depth]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// Where sums may start.
    before: Vec<f32>,
    accumulate: bool,
}

/// Numbers without a pattern.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn floats(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next() as f32 / (1u32 << 30) as f32 - 1.0).collect()
    }
}

fn case(rows: usize, outputs: usize, depth: usize, seed: u64) -> Case {
    let mut noise = Noise(seed);
    let strides = [depth + noise.next() as usize % 3, outputs + noise.next() as usize % 3];
    let biases = if noise.next().is_multiple_of(2) { outputs } else { 0 };
    Case {
        rows,
        outputs,
        depth,
        strides,
        values: noise.floats(rows * strides[0]),
        weights: noise.floats(outputs * depth),
        bias: noise.floats(biases),
        before: noise.floats(rows * strides[1]),
        accumulate: noise.next().is_multiple_of(2),
    }
}

impl Case {
    fn finish(&self) -> Finish<'_> {
        Finish { bias: &self.bias, accumulate: self.accumulate }
    }

    fn matrix(&self, rows: Range<usize>) -> Matrix<'_> {
        let start = (rows.start * self.strides[0]).min(self.values.len());
        Matrix::new(&self.values[start..], rows.len(), self.depth, self.strides[0])
    }

    /// Some rows of the product with `weights`, and what lies between them in the target.
    fn product(&self, weights: &Weights, rows: Range<usize>) -> Vec<f32> {
        let mut out = self.before[rows.start * self.strides[1]..rows.end * self.strides[1]].to_vec();
        multiply(weights, 0..self.outputs, &self.matrix(rows), &self.finish(), &mut out, self.strides[1]);
        out
    }

    fn pair(&self, set: InstructionSet, transposed: bool) -> Vec<f32> {
        let mut out = self.before.clone();
        let columns_first: Vec<f32> =
            (0..self.depth * self.outputs).map(|i| self.weights[i % self.outputs * self.depth + i / self.outputs]).collect();
        let right = if transposed {
            Right::transposed(&self.weights, self.depth, self.outputs, self.depth)
        } else {
            Right::new(&columns_first, self.depth, self.outputs, self.outputs)
        };
        let rows = self.matrix(0..self.rows);
        multiply_pair(set, &rows, &right, &self.finish(), &mut out, self.strides[1], &mut Scratch::new());
        out
    }

    /// Fails where a result is out of its bound, or something between the rows has changed.
    fn check(&self, found: &[f32], set: InstructionSet) {
        for (row, (found, before)) in found.chunks(self.strides[1]).zip(self.before.chunks(self.strides[1])).enumerate() {
            for (output, (&found, &before)) in found.iter().zip(before).enumerate() {
                if output >= self.outputs {
                    assert_eq!(found, before, "{set}: between rows");
                    continue;
                }
                let bias = self.bias.get(output).copied().unwrap_or(0.0);
                let start = f64::from(bias) + if self.accumulate { f64::from(before) } else { 0.0 };
                let (mut exact, mut size) = (start, start.abs());
                for index in 0..self.depth {
                    let product =
                        f64::from(self.values[row * self.strides[0] + index]) * f64::from(self.weights[output * self.depth + index]);
                    exact += product;
                    size += product.abs();
                }
                let bound = (2 * self.depth + 2) as f64 * f64::from(f32::EPSILON / 2.0) * size;
                assert!((f64::from(found) - exact).abs() <= bound, "{set}: {found}, exactly {exact} for row {row}, output {output}");
            }
        }
    }

    /// All promises on every instruction set.
    fn check_all(&self) {
        for set in InstructionSet::available() {
            let weights = Weights::pack(set, &self.weights, self.outputs, self.depth);
            let all = self.product(&weights, 0..self.rows);
            self.check(&all, set);
            for count in [1, 2, 3, 5, 11] {
                let apart: Vec<f32> =
                    (0..self.rows).step_by(count).flat_map(|row| self.product(&weights, row..self.rows.min(row + count))).collect();
                assert!(bits(&apart) == bits(&all), "{set}: {count} rows at a time");
            }
            let mut divided = self.before.clone();
            for start in (0..self.outputs).step_by(PANEL) {
                let outputs = start..self.outputs.min(start + PANEL);
                multiply(&weights, outputs, &self.matrix(0..self.rows), &self.finish(), &mut divided[start..], self.strides[1]);
            }
            assert!(bits(&divided) == bits(&all), "{set}: outputs divided");
            assert!(bits(&self.pair(set, false)) == bits(&all), "{set}: two activations");
            assert!(bits(&self.pair(set, true)) == bits(&all), "{set}: two activations, one transposed");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #[test]
    fn every_instruction_set_keeps_its_bound_and_rows_apart(rows in 1usize..20, outputs in 1usize..90, depth in 0usize..40, seed: u64) {
        case(rows, outputs, depth, seed).check_all();
    }
}

#[test]
fn blocks_fit_together() {
    // Emulators compute floats slowly.
    let rows: &[usize] = if std::env::var_os("HEARTH_EMULATED").is_some() { &[9] } else { &[9, 127, 250] };
    for (seed, &rows) in rows.iter().enumerate() {
        case(rows, 19, 2 * DEPTH + 7, seed as u64).check_all();
    }
}

#[test]
fn interleaved_heads_are_multiplied_where_they_are() {
    let (heads, width, sequence) = (3, 10, 7);
    let mut noise = Noise(3);
    let [queries, keys] = [(); 2].map(|()| noise.floats(sequence * heads * width));
    for head in 0..heads {
        let (queries, keys) = (&queries[head * width..], &keys[head * width..]);
        let mut scores = vec![0.0; sequence * sequence];
        let rows = Matrix::new(queries, sequence, width, heads * width);
        let right = Right::transposed(keys, width, sequence, heads * width);
        multiply_pair(InstructionSet::best(), &rows, &right, &Finish::default(), &mut scores, sequence, &mut Scratch::new());
        for (index, score) in scores.iter().enumerate() {
            let [query, key] = [(queries, index / sequence), (keys, index % sequence)].map(|(all, at)| &all[at * heads * width..][..width]);
            let exact: f64 = query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(*score) - exact).abs() < 1e-5);
        }
    }
}

#[test]
#[should_panic(expected = "float: 3 biases for 2 outputs")]
fn a_wrong_number_of_biases_is_refused() {
    let weights = Weights::pack(InstructionSet::SCALAR, &[0.0; 4], 2, 2);
    let finish = Finish { bias: &[0.0; 3], ..Finish::default() };
    multiply(&weights, 0..2, &Matrix::new(&[0.0; 2], 1, 2, 2), &finish, &mut [0.0; 2], 2);
}

#[test]
#[should_panic(expected = "float: the target is too short")]
fn a_short_target_is_refused() {
    let weights = Weights::pack(InstructionSet::SCALAR, &[0.0; 4], 2, 2);
    multiply(&weights, 0..2, &Matrix::new(&[0.0; 4], 2, 2, 2), &Finish::default(), &mut [0.0; 3], 2);
}

#[test]
#[should_panic(expected = "float: the matrix is too short")]
fn a_short_matrix_is_refused() {
    Matrix::new(&[0.0; 5], 2, 3, 3);
}
