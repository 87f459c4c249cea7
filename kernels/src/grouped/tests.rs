use super::*;
use crate::{InstructionSet, Pool};
use proptest::prelude::*;

fn layouts() -> impl Strategy<Value = Layout> {
    let codes = prop_oneof![Just(Codes::Signed), Just(Codes::Unsigned), Just(Codes::Iq4), Just(Codes::Mxfp4), Just(Codes::Eight)];
    let scales = prop_oneof![Just(Scales::Halves), Just(Scales::Products), Just(Scales::Singles)];
    let grouped = (codes, scales, any::<bool>(), any::<bool>()).prop_map(|(codes, scales, minima, narrow)| Layout::Grouped {
        codes,
        group: if narrow && codes == Codes::Eight { 16 } else { 32 },
        scales,
        minima: minima && scales != Scales::Singles,
    });
    let plain = prop_oneof![Just(Element::Single), Just(Element::Half), Just(Element::Brain)];
    prop_oneof![4 => grouped, 1 => plain.prop_map(Layout::Plain)]
}

/// Numbers from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn float(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }

    /// A half between 2^-7 and 2^-4, of either sign.
    fn half(&mut self) -> u16 {
        let exponent = 8 + (self.next() % 4) as u16;
        (self.next() as u16 & 0x83ff) | exponent << 10
    }
}

/// A row taken apart, owned.
#[derive(Default)]
struct Owned {
    floats: Vec<u8>,
    codes: Vec<i8>,
    scales: Vec<u16>,
    factors: Vec<i8>,
    singles: Vec<f32>,
    minima: Vec<u16>,
    minimum_factors: Vec<i8>,
}

impl Owned {
    fn random(layout: Layout, depth: usize, random: &mut Random) -> Owned {
        let mut row = Owned::default();
        match layout {
            Layout::Plain(element) => {
                for _ in 0..depth {
                    match element {
                        Element::Single => row.floats.extend(random.float().to_le_bytes()),
                        Element::Half => row.floats.extend(random.half().to_le_bytes()),
                        Element::Brain => row.floats.extend(&random.float().to_le_bytes()[2..]),
                    }
                }
            }
            Layout::Grouped { codes, group, scales, minima } => {
                let bits = if codes == Codes::Eight { 256 } else { 16 };
                row.codes = (0..depth).map(|_| (random.next() % bits) as u8 as i8).collect();
                let groups = depth.div_ceil(group);
                let halves = if scales == Scales::Products { depth.div_ceil(256) } else { groups };
                row.scales = (0..halves).map(|_| random.half()).collect();
                row.factors = (0..groups).map(|_| random.next() as i8).collect();
                row.singles = (0..groups).map(|_| random.float()).collect();
                if minima {
                    row.minima = (0..halves).map(|_| random.half()).collect();
                    row.minimum_factors = (0..groups).map(|_| (random.next() % 64) as i8).collect();
                }
            }
        }
        row
    }

    fn row(&self) -> Row<'_> {
        let Owned { floats, codes, scales, factors, singles, minima, minimum_factors } = self;
        Row { floats, codes, scales, factors, singles, minima, minimum_factors }
    }

    /// What the row stands for, by the definition of its layout.
    fn value(&self, layout: Layout, at: usize) -> f32 {
        match layout {
            Layout::Plain(Element::Single) => f32::from_le_bytes(self.floats[4 * at..][..4].try_into().unwrap()),
            Layout::Plain(Element::Half) => crate::half::to_f32(u16::from_le_bytes([self.floats[2 * at], self.floats[2 * at + 1]])),
            Layout::Plain(Element::Brain) => f32::from_le_bytes([0, 0, self.floats[2 * at], self.floats[2 * at + 1]]),
            Layout::Grouped { codes, group, scales, .. } => {
                let number = codes.table().map_or(self.codes[at], |table| table[self.codes[at] as usize]);
                let scale = |halves: &[u16], factors: &[i8]| match scales {
                    Scales::Halves => crate::half::to_f32(halves[at / group]),
                    Scales::Products => crate::half::to_f32(halves[at / 256]) * f32::from(factors[at / group]),
                    Scales::Singles => self.singles[at / group],
                };
                let product = f32::from(number) * scale(&self.scales, &self.factors);
                if self.minima.is_empty() { product } else { product - scale(&self.minima, &self.minimum_factors) }
            }
        }
    }
}

fn matrix(layout: Layout, outputs: usize, depth: usize, random: &mut Random) -> (Weights, Vec<Owned>) {
    let rows: Vec<Owned> = (0..outputs).map(|_| Owned::random(layout, depth, random)).collect();
    let mut packer = Packer::new(layout, depth);
    let mut bytes = Vec::new();
    for rows in rows.chunks(PANEL) {
        bytes.extend(packer.pack(&rows.iter().map(Owned::row).collect::<Vec<_>>()));
    }
    (Weights::new(layout, outputs, depth, bytes.into()), rows)
}

fn product(set: InstructionSet, threads: usize, parts: &[Part<'_>], x: &[f32]) -> Vec<f32> {
    let width: usize = parts.iter().map(|part| part.weights.outputs()).sum();
    let mut out = vec![0.25; x.len() / parts[0].weights.depth() * width];
    multiply_side_by_side(set, &Pool::new(threads), threads, parts, x, true, &mut out, &mut Scratch::default());
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn each_layout_has_a_number_of_its_own() {
    let mut seen = std::collections::HashSet::new();
    for number in 0..1 << 16 {
        if let Some(layout) = Layout::from_number(number) {
            assert_eq!(layout.number(), number);
            assert!(seen.insert(layout));
        }
    }
    assert_eq!(seen.len(), 3 + 4 * 3 * 2 + 3 * 4);
}

#[test]
fn sums_that_would_saturate_are_exact() {
    for (codes, extreme, number) in
        [(Codes::Unsigned, 15, 15.0), (Codes::Signed, 0, -8.0), (Codes::Eight, -128, -128.0), (Codes::Iq4, 0, -127.0)]
    {
        let layout = Layout::Grouped { codes, group: 32, scales: Scales::Halves, minima: false };
        // 0x3c00 is 1.
        let row = Owned { codes: vec![extreme; 64], scales: vec![0x3c00; 2], ..Owned::default() };
        let bytes = Packer::new(layout, 64).pack(&[row.row()]).to_vec();
        let weights = Weights::new(layout, 1, 64, bytes.into());
        for set in InstructionSet::available() {
            for sign in [1.0, -1.0] {
                let out = product(set, 1, &[Part { weights: &weights, bias: &[] }], &[sign * 127.0; 64]);
                assert_eq!(out, [0.25 + sign * 127.0 * 64.0 * number], "{codes:?} {set}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("HEARTH_EMULATED").is_some() { 12 } else { 96 }, ..ProptestConfig::default() })]

    #[test]
    fn a_row_is_what_its_layout_says(layout in layouts(), outputs in 1usize..40, depth in 1usize..600, seed in any::<u64>()) {
        let (weights, rows) = matrix(layout, outputs, depth, &mut Random(seed));
        prop_assert_eq!(Some(weights.bytes()), layout.bytes(outputs, depth));
        let mut out = vec![0.0; depth];
        for (index, row) in rows.iter().enumerate() {
            weights.row(index, &mut out);
            let wanted: Vec<f32> = (0..depth).map(|at| row.value(layout, at)).collect();
            prop_assert_eq!(bits(&out), bits(&wanted));
        }
    }

    #[test]
    fn products_are_the_same_everywhere(
        layout in layouts(), other in layouts(), outputs in 1usize..70, depth in 1usize..600, count in 1usize..12, seed in any::<u64>()
    ) {
        let mut random = Random(seed);
        let (first, _) = matrix(layout, outputs, depth, &mut random);
        let (second, rows) = matrix(other, 9, depth, &mut random);
        let bias: Vec<f32> = (0..9).map(|_| random.float()).collect();
        let x: Vec<f32> = (0..count * depth).map(|_| random.float()).collect();
        let parts = [Part { weights: &first, bias: &[] }, Part { weights: &second, bias: &bias }];
        let reference = product(InstructionSet::SCALAR, 1, &parts, &x);
        let floats = |layout: Layout| matches!(layout, Layout::Plain(_));
        let width = outputs + 9;
        for set in InstructionSet::available() {
            let all = product(set, 1, &parts, &x);
            for (at, (value, wanted)) in all.iter().zip(&reference).enumerate() {
                let exact = !floats(if at % width < outputs { layout } else { other });
                prop_assert!(value.to_bits() == wanted.to_bits() || !exact && (value - wanted).abs() < 1e-3, "{} {}: {} for {}", set, at, value, wanted);
            }
            // Neither on neighbours nor on threads.
            prop_assert_eq!(bits(&product(set, 3, &parts, &x)), bits(&all));
            let last = product(set, 1, &parts, &x[(count - 1) * depth..]);
            prop_assert_eq!(bits(&last), bits(&all[(count - 1) * width..]));
        }
        // And they are products: by the definition, within what quantizing the rows costs.
        for row in 0..count {
            let x = &x[row * depth..][..depth];
            for output in 0..9 {
                let terms = || x.iter().enumerate().map(|(at, x)| f64::from(*x) * f64::from(rows[output].value(other, at)));
                let exact: f64 = terms().sum::<f64>() + f64::from(bias[output]) + 0.25;
                let largest = (0..depth).map(|at| rows[output].value(other, at).abs()).fold(0.0, f32::max);
                let error = (f64::from(reference[row * width + outputs + output]) - exact).abs();
                prop_assert!(error <= 1e-5 + f64::from(largest) * depth as f64 / 254.0, "{} off by {}", exact, error);
            }
        }
    }
}
