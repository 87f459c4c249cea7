//! Products with constant weights in `f32` become `hearth.FloatLinear`: a bias that is added after them goes in, a Relu or Clip is a bound
//! of the result.

use super::fuse::bounds;
use super::nodes::{Attributes as _, floats, node, replace, to_floats};
use super::view::View;
use std::collections::HashMap;
use tract_onnx::pb::{GraphProto, NodeProto};

/// Rewrites what can be.
pub(super) fn own(graph: &mut GraphProto) {
    let view = View::new(graph);
    let mut others: HashMap<usize, Vec<NodeProto>> = HashMap::new();
    for (index, old) in graph.node.iter().enumerate() {
        let Some(mut product) = Product::of(&view, old) else { continue };
        let (mut last, mut taken_in, mut limits) = ((index, &old.output[0]), Vec::new(), None);
        if product.bias.is_empty()
            && let Some((add, other)) = view.sum_with(last.1)
            && let Some(bias) = view.constant(other).filter(|bias| bias.dims == [product.outputs as i64]).and_then(to_floats)
        {
            product.bias = bias;
            taken_in.push(std::mem::replace(&mut last, (add, &graph.node[add].output[0])).0);
        }
        if let Some((taker, next)) = view.only_taker(last.1)
            && let Some(given) = bounds(&view, next)
        {
            limits = Some(given);
            taken_in.push(std::mem::replace(&mut last, (taker, &next.output[0])).0);
        }
        others.extend(taken_in.into_iter().map(|index| (index, Vec::new())));
        others.insert(last.0, vec![product.node(&old.input[0], last.1, limits)]);
    }
    replace(graph, others);
}

/// `weights[output][depth]`, and a bias for each output, or none.
struct Product {
    weights: Vec<f32>,
    outputs: usize,
    bias: Vec<f32>,
}

impl Product {
    fn of(view: &View<'_>, old: &NodeProto) -> Option<Product> {
        let (transposed, bias) = match old.op_type.as_str() {
            "MatMul" => (false, None),
            "Gemm" => {
                let plain =
                    old.int("transA").unwrap_or(0) == 0 && ["alpha", "beta"].iter().all(|name| old.float(name).unwrap_or(1.0) == 1.0);
                (plain.then_some(old.int("transB").unwrap_or(0) != 0)?, old.input.get(2).filter(|name| !name.is_empty()))
            }
            _ => return None,
        };
        let constant = view.input(old, 1)?;
        let &[rows, columns] = constant.dims.as_slice() else { return None };
        let (rows, columns) = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
        let given = to_floats(constant).filter(|weights| weights.len() == rows * columns && !weights.is_empty())?;
        let (outputs, weights) = if transposed {
            (rows, given)
        } else {
            (columns, (0..columns).flat_map(|column| given.iter().skip(column).step_by(columns).copied()).collect())
        };
        let bias = match bias {
            Some(name) => {
                let constant = view.constant(name)?;
                match to_floats(constant)? {
                    one if one.len() == 1 => vec![one[0]; outputs],
                    // Not one for each row.
                    bias if bias.len() == outputs && constant.dims.last() == Some(&(outputs as i64)) => bias,
                    _ => return None,
                }
            }
            None => Vec::new(),
        };
        Some(Product { weights, outputs, bias })
    }

    fn node(&self, input: &str, output: &str, limits: Option<(f32, f32)>) -> NodeProto {
        let (low, high) = limits.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let dims = [self.outputs as i64, (self.weights.len() / self.outputs) as i64];
        node("hearth.FloatLinear", &[input], &[output])
            .with_tensor("weights", floats("weights", &dims, &self.weights))
            .with_floats("bias", &self.bias)
            .with_float("low", low)
            .with_float("high", high)
    }
}
