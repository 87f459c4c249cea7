//! Attention against a plain softmax in `f64`, and that nothing but its own sequence decides a result.

use super::*;
use crate::decoder::kv::{Element as Held, KvShape, Page};
use proptest::collection::vec;
use proptest::prelude::*;

/// Floats without a pattern, the same for the same seed.
fn noise(seed: u32, length: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// What a layer is and holds, for a sequence whose tokens are all new.
#[derive(Debug, Clone)]
struct Case {
    kv_heads: usize,
    group: usize,
    key_width: usize,
    values: Values,
    held: Held,
    window: usize,
    softcap: f32,
    with_sinks: bool,
}

impl Case {
    fn shape(&self, pages: usize) -> KvShape {
        KvShape { layers: 1, kv_heads: self.kv_heads, key_width: self.key_width, values: self.values, pages, element: self.held }
    }

    fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    fn value_width(&self) -> usize {
        self.shape(1).value_width()
    }

    fn sinks(&self) -> Vec<f32> {
        if self.with_sinks { noise(77, self.heads()) } else { Vec::new() }
    }
}

/// A sequence's queries, keys and values.
#[derive(Debug, Clone)]
struct Tokens {
    count: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Tokens {
    fn new(case: &Case, seed: u32, count: usize) -> Tokens {
        // Queries that make some weights large.
        let queries = noise(seed, count * case.heads() * case.key_width).into_iter().map(|value| value * 4.0).collect();
        let keys = noise(seed + 1, count * case.kv_heads * case.key_width);
        let values = match case.values {
            Values::Apart(width) => noise(seed + 2, count * case.kv_heads * width),
            Values::InKeys(_) => Vec::new(),
        };
        Tokens { count, queries, keys, values }
    }

    fn rows<'a>(&self, of: &'a [f32], range: Range<usize>) -> &'a [f32] {
        let width = of.len() / self.count;
        &of[range.start * width..range.end * width]
    }
}

/// The sequences' results when each is written and attended to in steps that end at `cuts`, all sequences in the same steps.
fn run(set: InstructionSet, threads: usize, case: &Case, sequences: &[Tokens], cuts: &[usize]) -> Vec<Vec<f32>> {
    let pool = Pool::new(threads);
    let pages = sequences.iter().map(|tokens| tokens.count.div_ceil(PAGE)).sum();
    let kv = KvPool::new(case.shape(pages));
    poison(set, &kv, case);
    let tables: Vec<Vec<Page>> =
        sequences.iter().map(|tokens| (0..tokens.count.div_ceil(PAGE)).map(|_| kv.take().unwrap()).collect()).collect();
    let sinks = case.sinks();
    let scale = 1.0 / (case.key_width as f32).sqrt();
    let attention = Attention { heads: case.heads(), scale, window: case.window, softcap: case.softcap, sinks: &sinks };
    let scratch = Scratch::new();
    let mut results = vec![Vec::new(); sequences.len()];
    let mut start = 0;
    for &cut in cuts.iter().chain([&usize::MAX]) {
        let ranges: Vec<Range<usize>> = sequences.iter().map(|tokens| start.min(tokens.count)..cut.min(tokens.count)).collect();
        let batch: Vec<Sequence<'_>> =
            ranges.iter().zip(&tables).map(|(range, pages)| Sequence { pages, start: range.start, rows: range.len() }).collect();
        let join = |of: fn(&Tokens) -> &Vec<f32>| -> Vec<f32> {
            sequences.iter().zip(&ranges).flat_map(|(tokens, range)| tokens.rows(of(tokens), range.clone()).to_vec()).collect()
        };
        kv.write(set, 0, &batch, &join(|tokens| &tokens.keys), &join(|tokens| &tokens.values));
        let rows: usize = ranges.iter().map(Range::len).sum();
        let mut out = vec![f32::NAN; rows * case.heads() * case.value_width()];
        attend(set, &pool, pool.threads(), &kv, 0, &attention, &batch, &join(|tokens| &tokens.queries), &mut out, &scratch);
        let mut out = out.as_slice();
        for (range, result) in ranges.iter().zip(&mut results) {
            let (own, others) = out.split_at(range.len() * case.heads() * case.value_width());
            result.extend_from_slice(own);
            out = others;
        }
        start = cut;
    }
    results
}

/// Leaves NaN in all pages, as a sequence that failed may.
fn poison(set: InstructionSet, kv: &KvPool, case: &Case) {
    let pages: Vec<Page> = std::iter::from_fn(|| kv.take()).collect();
    let rows = pages.len() * PAGE;
    let tokens = Tokens::new(case, 0, rows);
    let batch = [Sequence { pages: &pages, start: 0, rows }];
    kv.write(set, 0, &batch, &vec![f32::NAN; tokens.keys.len()], &vec![f32::NAN; tokens.values.len()]);
}

fn assert_exact(set: InstructionSet, case: &Case, tokens: &Tokens, found: &[f32]) {
    let (width, value_width) = (case.key_width, case.value_width());
    let sinks = case.sinks();
    let held = |value: f32| match case.held {
        Held::Single => f64::from(value),
        Held::Half => {
            let (mut half, mut wide) = ([0], [0.0]);
            crate::half::narrow(InstructionSet::SCALAR, &[value], &mut half);
            crate::half::widen(InstructionSet::SCALAR, &half, &mut wide);
            f64::from(wide[0])
        }
    };
    for token in 0..tokens.count {
        let first = if case.window == 0 { 0 } else { (token + 1).saturating_sub(case.window) };
        for head in 0..case.heads() {
            let query = &tokens.queries[(token * case.heads() + head) * width..][..width];
            let key = |other: usize| &tokens.keys[(other * case.kv_heads + head / case.group) * width..][..width];
            let value = |other: usize, column: usize| match case.values {
                Values::InKeys(_) => held(key(other)[column]),
                Values::Apart(_) => held(tokens.values[(other * case.kv_heads + head / case.group) * value_width + column]),
            };
            let mut largest = 0f64;
            let scores: Vec<f64> = (first..=token)
                .map(|other| {
                    let products = || query.iter().zip(key(other)).map(|(&query, &key)| f64::from(query) * held(key));
                    largest = largest.max(products().map(f64::abs).sum::<f64>() / (width as f64).sqrt());
                    let product: f64 = products().sum();
                    let (score, cap) = (product / (width as f64).sqrt(), f64::from(case.softcap));
                    if cap == 0.0 { score } else { cap * (score / cap).tanh() }
                })
                .collect();
            let weights: Vec<f64> = scores.iter().map(|score| score.exp()).collect();
            let sum = weights.iter().sum::<f64>() + sinks.get(head).map_or(0.0, |&sink| f64::from(sink).exp());
            let unit = 2f64.powi(-24);
            let bound = ((2 * width + 8) as f64 * largest + scores.len() as f64 / 64.0 + 200.0) * unit + 1e-6 * f64::from(case.softcap);
            for column in 0..value_width {
                let exact: f64 = weights.iter().enumerate().map(|(index, weight)| weight * value(first + index, column)).sum::<f64>() / sum;
                let found = f64::from(found[(token * case.heads() + head) * value_width + column]);
                assert!((found - exact).abs() <= bound, "{case:?} on {set}: {found} for {exact}, token {token}, head {head}");
            }
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let values = prop_oneof![(1usize..40).prop_map(Values::Apart), (1usize..20).prop_map(Values::InKeys)];
    let window = prop_oneof![Just(0), 1usize..100];
    let softcap = prop_oneof![Just(0.0), 1f32..50.0];
    let held = prop_oneof![Just(Held::Half), Just(Held::Single)];
    (1usize..4, 1usize..18, 20usize..80, values, held, window, softcap, any::<bool>()).prop_map(
        |(kv_heads, group, key_width, values, held, window, softcap, with_sinks)| Case {
            kv_heads,
            group,
            key_width,
            values,
            held,
            window,
            softcap,
            with_sinks,
        },
    )
}

/// Smaller where each operation is emulated.
fn tokens(count: usize) -> usize {
    if std::env::var_os("HEARTH_EMULATED").is_some() { count / 4 } else { count }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.min(48), ..ProptestConfig::default() })]

    #[test]
    fn it_is_softmax_of_products_within_the_bound(case in cases(), count in 1usize..150, seed: u16) {
        let sequence = Tokens::new(&case, seed.into(), tokens(count).max(1));
        for set in InstructionSet::available() {
            let found = run(set, 1, &case, std::slice::from_ref(&sequence), &[]);
            assert_exact(set, &case, &sequence, &found[0]);
        }
    }

    #[test]
    fn neither_neighbours_nor_steps_nor_threads_change_a_bit(
        case in cases(), counts in vec(1usize..400, 1..4), mut cuts in vec(0usize..400, 0..6), threads in 1usize..4, seed: u16,
    ) {
        let sequences: Vec<Tokens> = (0..).zip(&counts).map(|(at, &count)| Tokens::new(&case, u32::from(seed) + at, tokens(count).max(1))).collect();
        cuts.sort_unstable();
        for set in InstructionSet::available() {
            let together = run(set, threads, &case, &sequences, &cuts);
            for (sequence, together) in sequences.iter().zip(together) {
                let alone = run(set, 1, &case, std::slice::from_ref(sequence), &[]);
                let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|value| value.to_bits()).collect() };
                prop_assert_eq!(bits(&alone[0]), bits(&together), "{}", set);
            }
        }
    }
}

#[test]
fn one_token_at_a_time_gives_the_bits_of_a_whole_prompt_over_several_segments() {
    let case = Case {
        kv_heads: 1,
        group: 2,
        key_width: 16,
        values: Values::Apart(16),
        held: Held::Half,
        window: 0,
        softcap: 0.0,
        with_sinks: true,
    };
    let count = 2 * SEGMENT * PAGE + 40;
    let sequence = Tokens::new(&case, 5, count);
    let cuts: Vec<usize> = (2 * SEGMENT * PAGE - 5..count).collect();
    for set in InstructionSet::available() {
        let whole = run(set, 1, &case, std::slice::from_ref(&sequence), &[]);
        // Several threads divide a token's segments.
        assert_eq!(whole, run(set, 3, &case, std::slice::from_ref(&sequence), &cuts), "{set}");
        assert_exact(set, &case, &sequence, &whole[0]);
    }
}

#[test]
fn a_shared_prefix_gives_the_bits_of_one_of_its_own() {
    let values = Values::Apart(12);
    let case = Case { kv_heads: 2, group: 3, key_width: 24, values, held: Held::Half, window: 0, softcap: 0.0, with_sinks: false };
    // 70 tokens in common: two whole pages and a part of a third; then each goes on by itself.
    let (common, count) = (70, 80);
    let first = Tokens::new(&case, 3, count);
    let mut second = Tokens::new(&case, 9, count);
    for (to, from) in [(&mut second.queries, &first.queries), (&mut second.keys, &first.keys), (&mut second.values, &first.values)] {
        let length = from.len() / count * common;
        to[..length].copy_from_slice(&from[..length]);
    }
    for set in InstructionSet::available() {
        let expected = run(set, 1, &case, &[first.clone(), second.clone()], &[]);
        let kv = KvPool::new(case.shape(4));
        let pages: Vec<Page> = (0..3).map(|_| kv.take().unwrap()).collect();
        let batch = [Sequence { pages: &pages, start: 0, rows: common }];
        kv.write(set, 0, &batch, first.rows(&first.keys, 0..common), first.rows(&first.values, 0..common));
        // Of the page in which they part each has its own; the whole ones are shared.
        let others = vec![pages[0].clone(), pages[1].clone(), kv.take().unwrap()];
        kv.copy(&pages[2], &others[2]);
        let batch = [&pages, &others].map(|pages| Sequence { pages, start: common, rows: count - common });
        let join = |of: fn(&Tokens) -> &Vec<f32>| [&first, &second].map(|tokens| tokens.rows(of(tokens), common..count)).concat();
        kv.write(set, 0, &batch, &join(|tokens| &tokens.keys), &join(|tokens| &tokens.values));
        let attention = Attention { heads: 6, scale: 1.0 / 24f32.sqrt(), window: 0, softcap: 0.0, sinks: &[] };
        let mut out = vec![0.0; 2 * (count - common) * 6 * 12];
        attend(set, &Pool::new(1), 1, &kv, 0, &attention, &batch, &join(|tokens| &tokens.queries), &mut out, &Scratch::new());
        let expected: Vec<f32> = expected.iter().flat_map(|result| result[common * 6 * 12..].to_vec()).collect();
        assert_eq!(out, expected, "{set}");
    }
}

#[test]
#[should_panic(expected = "attention: 3 heads over 2 of keys")]
fn heads_that_keys_cannot_be_divided_among_are_refused() {
    let values = Values::Apart(8);
    let kv = KvPool::new(KvShape { layers: 1, kv_heads: 2, key_width: 8, values, pages: 1, element: Held::Half });
    let attention = Attention { heads: 3, scale: 1.0, window: 0, softcap: 0.0, sinks: &[] };
    attend(InstructionSet::SCALAR, &Pool::new(1), 1, &kv, 0, &attention, &[], &[], &mut [], &Scratch::new());
}
