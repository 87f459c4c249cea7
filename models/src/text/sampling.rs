//! The next token, drawn from a model's logits. The same seed draws the same text, whatever else runs and on whichever machine: random
//! numbers and the exponential function are our own, and sums have one order.

use super::random::Random;
use super::{Mask, TextError};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};

/// Most log-probabilities beside that of the token that was drawn, as OpenAI's `top_logprobs` has them.
const MAX_LOG_PROBABILITIES: usize = 20;
/// Tokens over which a repetition may be punished.
const MAX_WINDOW: usize = 4096;
/// Logits that are summed up in one go, in f32, before the sum goes on in f64.
const BLOCK: usize = 1024;

/// How tokens are drawn. The steps come in this order: penalties, constraint, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token, 1 draws as the model has learned; 0 to 2.
    pub temperature: f32,
    /// How many of the likeliest tokens are drawn from; 0 for all.
    pub top_k: usize,
    /// The likeliest tokens are drawn from that together have this probability (Holtzman et al., 2020); over 0 to 1.
    pub top_p: f32,
    /// Tokens are drawn from that have this share of the likeliest one's probability or more (Nguyen et al., 2024); 0 to 1.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this where they are positive, multiplied where not (Keskar et al., 2019); 1 is none.
    pub repetition_penalty: f32,
    /// How many tokens are recent, those of the prompt included; at most 4096.
    pub repetition_window: usize,
    /// Taken off a token's logit for each time that it is in the answer already, as in OpenAI's API; -2 to 2.
    pub frequency_penalty: f32,
    /// Taken off a token's logit if it is in the answer already, as in OpenAI's API; -2 to 2.
    pub presence_penalty: f32,
    /// The same seed draws the same text.
    pub seed: u64,
    /// Whether to tell the log-probability of each token, and of how many of the likeliest beside it; at most 20.
    pub log_probabilities: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
            log_probabilities: None,
        }
    }
}

/// A token and the natural logarithm of its probability, in the model's own distribution at temperature 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogProbability {
    /// The token.
    pub id: u32,
    /// At most 0.
    pub log_probability: f32,
}

/// A token that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub id: u32,
    /// Its log-probability, where asked for.
    pub log_probability: Option<f32>,
    /// The likeliest tokens, the likeliest first, where asked for.
    pub top: Vec<LogProbability>,
}

/// Draws the tokens of one conversation.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    /// The last tokens, those of the prompt included.
    recent: VecDeque<u32>,
    /// How often each token is in the answer.
    answered: HashMap<u32, u32>,
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
}

impl Ord for Candidate {
    /// The likelier first; of equals the one with the smaller number.
    fn cmp(&self, other: &Candidate) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl Sampler {
    /// A sampler for one conversation.
    ///
    /// # Errors
    /// [`TextError::Request`] where a setting is out of its range.
    pub fn new(sampling: Sampling) -> Result<Sampler, TextError> {
        let s = &sampling;
        let ranges = [
            ("temperature", s.temperature, (0.0..=2.0).contains(&s.temperature), "0 to 2"),
            ("top_p", s.top_p, s.top_p > 0.0 && s.top_p <= 1.0, "over 0 to 1"),
            ("min_p", s.min_p, (0.0..=1.0).contains(&s.min_p), "0 to 1"),
            ("repetition_penalty", s.repetition_penalty, s.repetition_penalty > 0.0 && s.repetition_penalty <= 10.0, "over 0 to 10"),
            ("frequency_penalty", s.frequency_penalty, (-2.0..=2.0).contains(&s.frequency_penalty), "-2 to 2"),
            ("presence_penalty", s.presence_penalty, (-2.0..=2.0).contains(&s.presence_penalty), "-2 to 2"),
        ];
        if let Some((name, value, _, range)) = ranges.iter().find(|(_, _, right, _)| !right) {
            return Err(TextError::Request(format!("{name} is {value}; {range} is right")));
        }
        if s.repetition_window > MAX_WINDOW {
            return Err(TextError::Request(format!("repetition_window is {}; at most {MAX_WINDOW} is right", s.repetition_window)));
        }
        if let Some(count) = s.log_probabilities.filter(|count| *count > MAX_LOG_PROBABILITIES) {
            return Err(TextError::Request(format!("top_logprobs is {count}; at most {MAX_LOG_PROBABILITIES} is right")));
        }
        let random = Random::new(s.seed);
        Ok(Sampler { sampling, random, recent: VecDeque::new(), answered: HashMap::new(), logits: Vec::new(), candidates: Vec::new() })
    }

    /// Takes note of a prompt, for the repetition penalty.
    pub fn see(&mut self, prompt: &[u32]) {
        let window = self.sampling.repetition_window;
        prompt[prompt.len().saturating_sub(window)..].iter().for_each(|id| self.remember(*id));
    }

    /// Draws the next token, one of those that `allowed` has. The logits are those of all tokens, from the first on.
    ///
    /// # Errors
    /// [`TextError::Logits`] where a logit is no number or infinite, or where no token is left to draw.
    pub fn sample(&mut self, logits: &[f32], allowed: Option<&Mask>) -> Result<Sampled, TextError> {
        check(logits)?;
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.punish();
        if let Some(allowed) = allowed {
            allowed.apply(&mut self.logits);
        }
        let best = best(&self.logits)?;
        let id = if self.sampling.temperature == 0.0 { best.id } else { self.draw(best.logit) };
        self.remember(id);
        *self.answered.entry(id).or_default() += 1;
        let Some(count) = self.sampling.log_probabilities else { return Ok(Sampled { id, log_probability: None, top: Vec::new() }) };
        let max = best_of(logits);
        let offset = -max - mass(logits, max, 1.0).ln() as f32;
        likeliest(logits, count, &mut self.candidates);
        let top = self.candidates.iter().map(|c| LogProbability { id: c.id, log_probability: c.logit + offset }).collect();
        Ok(Sampled { id, log_probability: Some(logits[id as usize] + offset), top })
    }

    fn remember(&mut self, id: u32) {
        if self.recent.len() >= self.sampling.repetition_window {
            self.recent.pop_front();
        }
        if self.sampling.repetition_window > 0 {
            self.recent.push_back(id);
        }
    }

    /// Lowers the logits of what was said already.
    fn punish(&mut self) {
        let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = self.sampling;
        if repetition_penalty != 1.0 {
            let mut recent: Vec<u32> = self.recent.iter().copied().collect();
            recent.sort_unstable();
            recent.dedup();
            for id in recent {
                if let Some(logit) = self.logits.get_mut(id as usize) {
                    *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                }
            }
        }
        if frequency_penalty != 0.0 || presence_penalty != 0.0 {
            for (id, times) in &self.answered {
                if let Some(logit) = self.logits.get_mut(*id as usize) {
                    *logit -= frequency_penalty * *times as f32 + presence_penalty;
                }
            }
        }
    }

    /// Draws from what the settings leave of the logits, of which `max` is the greatest.
    fn draw(&mut self, max: f32) -> u32 {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let scale = 1.0 / temperature;
        let weight = |candidate: &Candidate| f64::from(exp((candidate.logit - max) * scale));
        let unit = self.random.unit();
        let total = if top_k > 0 {
            likeliest(&self.logits, top_k, &mut self.candidates);
            self.candidates.iter().map(weight).sum()
        } else {
            let total = mass(&self.logits, max, scale);
            if top_p >= 1.0 && min_p == 0.0 {
                return draw_of_all(&self.logits, max, scale, unit * total);
            }
            let lowest = if top_p < 1.0 { f32::NEG_INFINITY } else { min_p.ln() };
            nucleus(&self.logits, max, temperature, lowest, f64::from(top_p) * total, &mut self.candidates);
            total
        };
        let mut left = 0.0;
        let mut kept = 0;
        for candidate in &self.candidates {
            let weight = weight(candidate);
            // The first always stays, and so does the one with which the probability is reached.
            if kept > 0 && (left >= f64::from(top_p) * total || weight < f64::from(min_p)) {
                break;
            }
            left += weight;
            kept += 1;
        }
        let mut target = unit * left;
        for candidate in &self.candidates[..kept] {
            target -= weight(candidate);
            if target < 0.0 {
                return candidate.id;
            }
        }
        self.candidates[kept - 1].id
    }
}

/// Refuses what no model should say.
fn check(logits: &[f32]) -> Result<(), TextError> {
    // Without a branch for each, so that the compiler makes vectors of it.
    if logits.chunks(BLOCK).all(|block| block.iter().fold(true, |right, logit| right & (*logit < f32::INFINITY))) {
        return Ok(());
    }
    let wrong = |logit: &f32| !matches!(logit.partial_cmp(&f32::INFINITY), Some(Ordering::Less));
    let id = logits.iter().position(wrong).unwrap_or(0);
    Err(TextError::Logits(format!("have {} for token {id}; a finite number is right", logits[id])))
}

/// The greatest of logits.
fn best_of(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = if *logit > *lane { *logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, logit| most.max(*logit))
}

/// The likeliest token, of equals the first.
fn best(logits: &[f32]) -> Result<Candidate, TextError> {
    let logit = best_of(logits);
    let found = logits.iter().position(|other| *other == logit).filter(|_| logit > f32::NEG_INFINITY);
    let id = found.ok_or_else(|| TextError::Logits("leave no token that may come next".into()))?;
    Ok(Candidate { id: id as u32, logit })
}

/// The `count` likeliest tokens that are possible at all, the likeliest first.
fn likeliest(logits: &[f32], count: usize, candidates: &mut Vec<Candidate>) {
    candidates.clear();
    if count == 0 {
        return;
    }
    let mut heap = BinaryHeap::from(std::mem::take(candidates));
    let mut least = f32::NEG_INFINITY;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > least {
            if heap.len() == count {
                heap.pop();
            }
            heap.push(Candidate { id: id as u32, logit: *logit });
            if heap.len() == count {
                least = heap.peek().map_or(least, |worst: &Candidate| worst.logit);
            }
        }
    }
    *candidates = heap.into_sorted_vec();
}

/// The likeliest tokens, the likeliest first: so many at least that their weights come to `wanted`, or all whose logit is over `max`
/// by `lowest` times the temperature.
fn nucleus(logits: &[f32], max: f32, temperature: f32, lowest: f32, wanted: f64, candidates: &mut Vec<Candidate>) {
    // A nucleus is small as a rule. Where it is not, the bar sinks, and the last bar leaves nothing over.
    for bar in [4.0f32, 8.0, 16.0, f32::INFINITY] {
        let bar = (-bar).max(lowest);
        let threshold = max + bar * temperature;
        let over = |(id, logit): (usize, &f32)| {
            (*logit >= threshold && *logit > f32::NEG_INFINITY).then_some(Candidate { id: id as u32, logit: *logit })
        };
        candidates.clear();
        candidates.extend(logits.iter().enumerate().filter_map(over));
        let reached = |candidate: &Candidate| f64::from(exp((candidate.logit - max) / temperature));
        if bar == lowest || candidates.iter().map(reached).sum::<f64>() >= wanted {
            break;
        }
    }
    candidates.sort_unstable();
}

/// The sum of exp((logit - max) · scale).
fn mass(logits: &[f32], max: f32, scale: f32) -> f64 {
    logits.chunks(BLOCK).map(|block| block_mass(block, max, scale)).sum()
}

fn block_mass(block: &[f32], max: f32, scale: f32) -> f64 {
    let mut lanes = [0.0f32; 16];
    let (chunks, rest) = block.as_chunks::<16>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane += exp((*logit - max) * scale);
        }
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() + rest.iter().map(|logit| f64::from(exp((*logit - max) * scale))).sum::<f64>()
}

/// The token at which the weights, summed in the order of the tokens, come to more than `target`.
fn draw_of_all(logits: &[f32], max: f32, scale: f32, mut target: f64) -> u32 {
    let mut last = 0;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let in_block = block_mass(block, max, scale);
        if in_block > 0.0 {
            let mut weights =
                block.iter().enumerate().map(|(at, logit)| ((index * BLOCK + at) as u32, f64::from(exp((*logit - max) * scale))));
            if target < in_block {
                for (id, weight) in weights.filter(|(_, weight)| *weight > 0.0) {
                    last = id;
                    target -= weight;
                    if target < 0.0 {
                        break;
                    }
                }
                return last;
            }
            // Where rounding leaves something over, the last possible token is it.
            last = weights.rfind(|(_, weight)| *weight > 0.0).map_or(last, |(id, _)| id);
        }
        target -= in_block;
    }
    last
}

/// e^x for x of at most 0, to about 1e-7 of itself; 0 below -87, where f32 ends. Without branches or calls, so that the compiler makes
/// vectors of it and every machine has the same bits.
fn exp(x: f32) -> f32 {
    /// 1.5 · 2²³: what is added to it loses its fraction, and has its integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let power = ((((((r / 720.0 + 1.0 / 120.0) * r + 1.0 / 24.0) * r + 1.0 / 6.0) * r + 0.5) * r) + 1.0) * r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { power * scale }
}

#[cfg(test)]
mod tests;
