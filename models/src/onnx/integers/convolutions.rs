//! Convolutions in `f32` with constant weights become `hearth.FloatConv`: the weights channels last, a batch normalisation after them folded
//! in, a Relu or Clip a bound of the result.

use super::fuse::bounds;
use super::nodes::{Attributes as _, floats, moving_as, node, replace, to_floats};
use super::view::View;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Rewrites what can be.
pub(super) fn own(graph: &mut GraphProto) {
    let view = View::new(graph);
    let mut others: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for (index, old) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "Conv") {
        let Some(mut filters) = Filters::of(&view, old) else { continue };
        let (mut last, mut taken_in, mut limits) = ((index, old), Vec::new(), None);
        if let Some(next) = view.only_taker(&last.1.output[0]).filter(|(_, next)| next.op_type == "BatchNormalization")
            && filters.normalise(&view, next.1).is_some()
        {
            taken_in.push(std::mem::replace(&mut last, next).0);
        }
        if let Some(next) = view.only_taker(&last.1.output[0])
            && let Some(given) = bounds(&view, next.1)
        {
            taken_in.push(std::mem::replace(&mut last, next).0);
            limits = Some(given);
        }
        let Some(new) = filters.node(old, &last.1.output[0], limits) else { continue };
        others.extend(taken_in.into_iter().map(|index| (index, Vec::new())));
        others.insert(last.0, vec![new]);
    }
    replace(graph, others);
}

/// A batch normalisation that no convolution took in, as a filter of one tap for each channel.
pub(super) fn of_normalisation(view: &View<'_>, norm: &NodeProto) -> Option<NodeProto> {
    let channels = view.input(norm, 1).and_then(to_floats)?.len();
    let mut filters = Filters { dims: vec![channels, 1, 1], weights: vec![1.0; channels], bias: vec![0.0; channels] };
    filters.normalise(view, norm)?;
    Some(filters.node(norm, &norm.output[0], None)?.with_int("group", channels as i64))
}

/// `weights[output][tap][channel of a group]`, and a bias for each output.
struct Filters {
    dims: Vec<usize>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Filters {
    fn of(view: &View<'_>, old: &NodeProto) -> Option<Filters> {
        let constant = view.input(old, 1)?;
        let given: Vec<usize> = constant.dims.iter().map(|d| usize::try_from(*d).ok()).collect::<Option<_>>()?;
        let [outputs, channels, kernel @ ..] = given.as_slice() else { return None };
        if !(1..=2).contains(&kernel.len()) || given.contains(&0) {
            return None;
        }
        let (weights, taps) = (to_floats(constant)?, kernel.iter().product::<usize>());
        let bias = match old.input.get(2).filter(|name| !name.is_empty()) {
            Some(name) => to_floats(view.constant(name)?)?,
            None => vec![0.0; *outputs],
        };
        if weights.len() != outputs * channels * taps || bias.len() != *outputs {
            return None;
        }
        let places = (0..*outputs).flat_map(|o| (0..taps).flat_map(move |t| (0..*channels).map(move |c| (o * channels + c) * taps + t)));
        let weights = places.map(|place| weights[place]).collect();
        let dims = [&[*outputs], kernel, &[*channels]].concat();
        Some(Filters { dims, weights, bias })
    }

    /// Folds the normalisation of its results in.
    fn normalise(&mut self, view: &View<'_>, norm: &NodeProto) -> Option<()> {
        let [scale, offset, mean, variance] = [1, 2, 3, 4].map(|input| view.input(norm, input).and_then(to_floats));
        let (scale, offset, mean, variance) = (scale?, offset?, mean?, variance?);
        let epsilon = norm.float("epsilon").unwrap_or(1e-5);
        let outputs = self.bias.len();
        let alone = norm.output.iter().skip(1).all(String::is_empty);
        if !alone || [&scale, &offset, &mean, &variance].iter().any(|list| list.len() != outputs) {
            return None;
        }
        let depth = self.weights.len() / outputs;
        for (output, row) in self.weights.chunks_exact_mut(depth).enumerate() {
            let factor = scale[output] / (variance[output] + epsilon).sqrt();
            row.iter_mut().for_each(|weight| *weight *= factor);
            self.bias[output] = (self.bias[output] - mean[output]) * factor + offset[output];
        }
        Some(())
    }

    fn node(&self, old: &NodeProto, output: &str, limits: Option<(f32, f32)>) -> Option<NodeProto> {
        let dims: Vec<i64> = self.dims.iter().map(|d| *d as i64).collect();
        let (low, high) = limits.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let new = node("hearth.FloatConv", &[&old.input[0]], &[output])
            .with_tensor("weights", floats("weights", &dims, &self.weights))
            .with_floats("bias", &self.bias)
            .with_int("group", old.int("group").unwrap_or(1))
            .with_float("low", low)
            .with_float("high", high);
        moving_as(old, self.dims.len() - 2, new)
    }
}
