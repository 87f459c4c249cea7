//! A model's answers against those of its unoptimised graph.

use super::Comparison;
use crate::Network;
use crate::network::similarity;
use crate::onnx::Source;
use hearth_api::tensor::Tensor;
use hearth_kernels::Pool;

/// The least cosine similarity that is the same answer.
pub(super) const LEAST: f64 = 0.99;

/// Compares a network with its file's unoptimised graph: seeded inputs and the given ones, alone and three at a time.
/// The error is the reason to refuse it.
pub(super) fn compare(network: &Network, source: &Source, given: Vec<(String, Vec<Tensor>)>) -> Result<Vec<Comparison>, String> {
    let reference = network.reference(source).map_err(|e| e.to_string())?;
    let pool = Pool::new(1);
    let mut comparisons = Vec::new();
    let seeded = network.seeded(3, 2)?;
    let mut batches: Vec<(String, Vec<Vec<Tensor>>)> = vec![("seeded".into(), vec![seeded[0].clone()]), ("seeded".into(), seeded)];
    batches.extend(given.iter().map(|(file, inputs)| (file.clone(), vec![inputs.clone()])));
    if let [a, b, c, ..] = given.as_slice() {
        batches.push((a.0.clone(), [a, b, c].map(|(_, inputs)| inputs.clone()).into()));
    }
    let mut failure = None;
    for (input, requests) in batches {
        let batch = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let run = |network: &Network| network.run(requests.clone(), 1, &pool, &mut || ());
        for (answer, expected) in run(network).into_iter().zip(run(&reference)) {
            match (answer, expected) {
                (Ok(answer), Ok(expected)) => {
                    let cosine = similarity(&answer, &expected);
                    if cosine.is_nan() || cosine < LEAST {
                        return Err(format!(
                            "at batch {batch} on {input} its outputs are unlike those of the unoptimised graph: cosine {cosine:.4}, at least {LEAST} is \
                             right; this is a fault of the runtime, please report it with the model"
                        ));
                    }
                    comparisons.push(Comparison { input: input.clone(), batch, cosine });
                }
                (Ok(_), Err(fault)) => return Err(format!("the unoptimised graph fails at batch {batch} on {input}: {}", fault.message)),
                (Err(fault), _) => {
                    failure.get_or_insert(format!("it fails at batch {batch} on {input}: {}", fault.message));
                }
            }
        }
    }
    // Random numbers may have no answer where real inputs do (the logarithm of a negative one); then the samples decide.
    match failure {
        Some(failure) if comparisons.is_empty() => Err(failure),
        _ => Ok(comparisons),
    }
}
