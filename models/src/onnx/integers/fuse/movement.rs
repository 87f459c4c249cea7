//! Operators that only move values (and the largest of a window, which is one of them) move integers as well.

use super::super::nodes::{Attributes as _, node, pooling_as, to_floats};
use super::super::view::View;
use super::{Fuser, Quantized};
use tract_onnx::pb::NodeProto;

/// How many of a node's first inputs are moved; none for a node that computes.
pub(in super::super) fn moves(node: &NodeProto) -> Option<usize> {
    Some(match node.op_type.as_str() {
        "Reshape" | "Transpose" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Split" | "Gather" | "Identity" | "DepthToSpace"
        | "SpaceToDepth" => 1,
        "Concat" => node.input.len(),
        "MaxPool" if pooling_as(node, NodeProto::default()).is_some() => 1,
        "Resize" if is_repetition(node) => 1,
        _ => return None,
    })
}

/// Whether each result of a nearest neighbour is that at the place divided by the scale, rounded down, if that is whole.
fn is_repetition(resize: &NodeProto) -> bool {
    let (mode, nearest) = (resize.text("coordinate_transformation_mode"), resize.text("nearest_mode"));
    let whole = match mode.unwrap_or("half_pixel") {
        "asymmetric" => nearest == Some("floor"),
        "half_pixel" | "pytorch_half_pixel" => true,
        _ => false,
    };
    whole && matches!(resize.text("mode"), None | Some("nearest")) && resize.get("axes").is_none()
}

/// The operator that repeats height and width by the whole numbers that a Resize does; none if it does anything else.
pub(in super::super) fn repeating(view: &View<'_>, resize: &NodeProto) -> Option<NodeProto> {
    if !is_repetition(resize) {
        return None;
    }
    let scales = to_floats(view.input(resize, 2)?)?;
    match scales.as_slice() {
        &[batch, channels, height, width]
            if batch == 1.0 && channels == 1.0 && [height, width].iter().all(|s| s.fract() == 0.0 && (1.0..=64.0).contains(s)) =>
        {
            let repeats = [height as i64, width as i64];
            Some(node("hearth.Repeat", &[&resize.input[0]], &[&resize.output[0]]).with_ints("repeats", &repeats))
        }
        _ => None,
    }
}

impl<'a> Fuser<'a> {
    pub(super) fn movement(&mut self, old: &'a NodeProto) -> Option<()> {
        let count = moves(old)?;
        let view = self.view;
        let moved: Vec<&'a str> = old.input[..count].iter().map(String::as_str).collect();
        let quantized: Option<Vec<Quantized<'a>>> = moved.iter().map(|name| view.dequantized(name)).collect();
        let Some(quantized) = quantized else { return self.of_integers(old) };
        let first = *quantized.first()?;
        let grid = |q: &Quantized<'_>| (q.scale, q.zero_point);
        // The grid of the result: the one that it goes to next where there are several.
        let own = match quantized.iter().all(|q| grid(q) == grid(&first)) {
            true => grid(&first),
            false => view.quantized(old.output.first()?).map(|(_, q)| grid(&q))?,
        };
        let inputs: Vec<String> = quantized
            .iter()
            .enumerate()
            .map(|(number, q)| {
                if grid(q) == own {
                    return q.integers.to_owned();
                }
                let name = format!("{}/operand{number}", old.output[0]);
                self.regrid(q.integers, grid(q), own, &name);
                name
            })
            .collect();
        let mut new = self.on_integers(old)?;
        for (place, input) in new.input.iter_mut().zip(inputs) {
            *place = input;
        }
        let at = self.nodes.len();
        for (place, output) in new.output.iter_mut().zip(&old.output) {
            match view.quantized(output) {
                Some((index, q)) => {
                    self.gone.insert(index);
                    if grid(&q) == own {
                        *place = q.integers.to_owned();
                    } else {
                        *place = format!("{output}/integers");
                        self.regrid(place, own, grid(&q), q.integers);
                    }
                }
                None => {
                    *place = format!("{output}/integers");
                    // The operands of the DequantizeLinear before it, which are this grid.
                    let (_, before) = view.maker(moved[0])?;
                    let mut dequantize = node("DequantizeLinear", &[place, &before.input[1], &before.input[2]], &[output]);
                    dequantize.name.clone_from(output);
                    self.nodes.push(dequantize);
                }
            }
        }
        self.nodes.insert(at, new);
        Some(())
    }

    /// A node that moves integers in the file already.
    fn of_integers(&mut self, old: &'a NodeProto) -> Option<()> {
        if !matches!(old.op_type.as_str(), "MaxPool" | "Resize") || !self.holds_bytes(&old.input[0], 0) {
            return None;
        }
        let new = self.on_integers(old)?;
        self.emit(new)
    }

    /// Whether a tensor is of `i8` for certain.
    fn holds_bytes(&self, name: &str, depth: usize) -> bool {
        let Some((_, maker)) = self.view.maker(name).filter(|_| depth < 64) else { return false };
        match maker.op_type.as_str() {
            "QuantizeLinear" => self.view.grid(maker).is_some(),
            _ => moves(maker).is_some() && self.holds_bytes(&maker.input[0], depth + 1),
        }
    }

    /// The same node for integers.
    fn on_integers(&self, old: &NodeProto) -> Option<NodeProto> {
        Some(match old.op_type.as_str() {
            "MaxPool" => pooling_as(old, node("hearth.MaxPool", &[old.input.first()?], &[&old.output[0]]))?,
            "Resize" => repeating(self.view, old)?,
            _ => old.clone(),
        })
    }
}
