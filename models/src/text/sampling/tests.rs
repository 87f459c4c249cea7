//! Draws from distributions whose probabilities are known.

use super::*;
use crate::text::Constraints;
use crate::text::tokenizer::tests::byte_level_vocabulary;
use crate::text::{Tokenizer, Vocabulary};
use std::sync::Arc;

fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(sampling).unwrap()
}

/// How often each of the tokens is drawn of these logits, in 20,000 draws.
fn shares(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
    let mut sampler = sampler(sampling);
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..20_000 {
        counts[sampler.sample(logits, None).unwrap().id as usize] += 1.0 / 20_000.0;
    }
    counts
}

fn close(shares: &[f64], expected: &[f64]) {
    assert!(shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.015 && (*b > 0.0 || *a == 0.0)), "{shares:?} {expected:?}");
}

/// Logits of a vocabulary of Qwen's size, as a model spreads them about.
fn wide() -> Vec<f32> {
    let mut random = Random::new(7);
    (0..151_936).map(|_| ((0..6).map(|_| random.unit()).sum::<f64>() * 6.0 - 18.0) as f32).collect()
}

#[test]
fn shares_are_those_of_the_softmax() {
    let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
    close(&shares(Sampling::default(), &logits), &[0.5, 0.3, 0.15, 0.05]);
    // At a temperature of ½ probabilities are squared.
    close(
        &shares(Sampling { temperature: 0.5, ..Sampling::default() }, &logits),
        &[0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365],
    );
}

#[test]
fn top_k_top_p_and_min_p_leave_the_likeliest() {
    let logits: Vec<f32> = [0.05f32, 0.3, 0.5, 0.15].iter().map(|p| p.ln()).collect();
    let s = Sampling::default;
    close(&shares(Sampling { top_k: 2, ..s() }, &logits), &[0.0, 0.375, 0.625, 0.0]);
    close(&shares(Sampling { top_p: 0.9, ..s() }, &logits), &[0.0, 0.3 / 0.95, 0.5 / 0.95, 0.15 / 0.95]);
    close(&shares(Sampling { top_p: 0.01, ..s() }, &logits), &[0.0, 0.0, 1.0, 0.0]);
    close(&shares(Sampling { min_p: 0.2, ..s() }, &logits), &[0.0, 0.3 / 0.95, 0.5 / 0.95, 0.15 / 0.95]);
    close(&shares(Sampling { top_k: 3, top_p: 0.8, min_p: 0.1, ..s() }, &logits), &[0.0, 0.375, 0.625, 0.0]);
    // Equals: those of the smaller numbers stay.
    close(&shares(Sampling { top_k: 2, ..s() }, &[1.0; 5]), &[0.5, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn a_wide_nucleus_has_as_much_probability_as_asked_for() {
    let logits = wide();
    let max = best_of(&logits);
    let total = mass(&logits, max, 1.0);
    for top_p in [0.1, 0.5, 0.95, 0.9999] {
        let mut candidates = Vec::new();
        nucleus(&logits, max, 1.0, f32::NEG_INFINITY, top_p * total, &mut candidates);
        let mut all: Vec<Candidate> = logits.iter().enumerate().map(|(id, logit)| Candidate { id: id as u32, logit: *logit }).collect();
        all.sort();
        assert!(candidates == all[..candidates.len()]);
        let reached: f64 = candidates.iter().map(|c| f64::from((c.logit - max).exp())).sum();
        assert!(reached >= top_p * total * 0.999_99, "{top_p}: {reached} {total}");
    }
}

#[test]
fn sums_over_a_wide_vocabulary_are_right() {
    let logits = wide();
    let max = best_of(&logits);
    let exact: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    assert!((mass(&logits, max, 1.0) / exact - 1.0).abs() < 1e-5);
    let off = (0..8700).map(|i| -i as f32 / 100.0).map(|x| (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs()).fold(0.0, f64::max);
    assert!(off < 3e-7, "{off}");
    assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
}

#[test]
fn greedy_takes_the_first_of_the_likeliest() {
    let mut sampler = sampler(Sampling { temperature: 0.0, ..Sampling::default() });
    let mut logits = vec![0.0; 1000];
    (logits[900], logits[901]) = (2.0, 2.0);
    assert_eq!(sampler.sample(&logits, None).unwrap().id, 900);
}

#[test]
fn a_seed_draws_the_same_text_whatever_its_neighbours() {
    let logits = wide();
    let draw = |sampler: &mut Sampler| (0..5).map(|_| sampler.sample(&logits, None).unwrap().id).collect::<Vec<u32>>();
    let seeded = |seed| sampler(Sampling { seed, ..Sampling::default() });
    let alone = draw(&mut seeded(3));
    let (mut one, mut other) = (seeded(3), seeded(4));
    let together: Vec<(u32, u32)> =
        (0..5).map(|_| (one.sample(&logits, None).unwrap().id, other.sample(&logits, None).unwrap().id)).collect();
    assert_eq!(together.iter().map(|(id, _)| *id).collect::<Vec<u32>>(), alone);
    assert_ne!(together.iter().map(|(_, id)| *id).collect::<Vec<u32>>(), alone);
}

#[test]
fn repetition_is_punished_in_the_window_alone() {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut sampler = sampler(Sampling { repetition_penalty: 2.0, repetition_window: 2, ..greedy.clone() });
    sampler.see(&[0, 0, 0, 1, 2]);
    let ids: Vec<u32> = (0..4).map(|_| sampler.sample(&[1.0, 1.5, -0.5], None).unwrap().id).collect();
    // The windows are [1, 2], [2, 0], [0, 1] and [1, 1].
    assert_eq!(ids, [0, 1, 1, 0]);
    let mut sampler = Sampler::new(Sampling { frequency_penalty: 1.0, ..greedy.clone() }).unwrap();
    sampler.see(&[1, 1]);
    let ids: Vec<u32> = (0..4).map(|_| sampler.sample(&[1.0, 2.5], None).unwrap().id).collect();
    assert_eq!(ids, [1, 1, 0, 1]);
    let mut sampler = Sampler::new(Sampling { presence_penalty: 1.0, ..greedy }).unwrap();
    let ids: Vec<u32> = (0..4).map(|_| sampler.sample(&[1.0, 1.5], None).unwrap().id).collect();
    assert_eq!(ids, [1, 0, 1, 1]);
}

#[test]
fn log_probabilities_are_the_models_own() {
    let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln() + 3.0).collect();
    let sampling = Sampling { temperature: 0.0, log_probabilities: Some(2), presence_penalty: 2.0, ..Sampling::default() };
    let mut sampler = sampler(sampling);
    assert_eq!(sampler.sample(&logits, None).unwrap().id, 0);
    let sampled = sampler.sample(&logits, None).unwrap();
    assert_eq!((sampled.id, sampled.top.iter().map(|top| top.id).collect::<Vec<u32>>()), (1, vec![0, 1]));
    assert!((sampled.log_probability.unwrap() - 0.3f32.ln()).abs() < 1e-5);
    assert!((sampled.top[0].log_probability - 0.5f32.ln()).abs() < 1e-5);
}

#[test]
fn logits_that_are_no_numbers_are_the_models_fault() {
    let mut sampler = sampler(Sampling::default());
    let mut logits = vec![0.0; 5000];
    for wrong in [f32::NAN, f32::INFINITY] {
        logits[4321] = wrong;
        let error = sampler.sample(&logits, None).unwrap_err();
        assert!(matches!(error, TextError::Logits(_)) && error.to_string().contains("token 4321"), "{error}");
    }
    assert!(matches!(sampler.sample(&[f32::NEG_INFINITY; 3], None), Err(TextError::Logits(_))));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, -1e30, f32::NEG_INFINITY], None).unwrap().id, 1);
}

#[test]
fn nothing_outside_of_a_mask_is_drawn() {
    let vocabulary: Vocabulary = byte_level_vocabulary("qwen2", &["h e"]);
    let tokenizer = Arc::new(Tokenizer::new(vocabulary).unwrap());
    let mut constraint = Constraints::new(tokenizer.clone()).unwrap().json_object().unwrap();
    let mask = constraint.mask().unwrap();
    // More logits than tokens, as padded matrices give.
    let logits = vec![0.0; tokenizer.len() + 100];
    for sampling in
        [Sampling::default(), Sampling { top_p: 0.99, ..Sampling::default() }, Sampling { temperature: 0.0, ..Sampling::default() }]
    {
        let mut sampler = Sampler::new(sampling).unwrap();
        assert!((0..100).all(|_| mask.allows(sampler.sample(&logits, Some(&mask)).unwrap().id)));
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let refused = |sampling: Sampling| Sampler::new(sampling).unwrap_err().to_string();
    let s = Sampling::default;
    assert!(refused(Sampling { temperature: -1.0, ..s() }).contains("temperature is -1; 0 to 2"));
    assert!(refused(Sampling { temperature: f32::NAN, ..s() }).contains("temperature"));
    assert!(refused(Sampling { top_p: 0.0, ..s() }).contains("top_p"));
    assert!(refused(Sampling { min_p: 1.5, ..s() }).contains("min_p"));
    assert!(refused(Sampling { repetition_penalty: 0.0, ..s() }).contains("repetition_penalty"));
    assert!(refused(Sampling { frequency_penalty: 3.0, ..s() }).contains("frequency_penalty"));
    assert!(refused(Sampling { log_probabilities: Some(21), ..s() }).contains("top_logprobs"));
}
