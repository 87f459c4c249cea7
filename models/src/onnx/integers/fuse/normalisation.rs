//! Softmax and LayerNormalization: their operands and results are on grids where the graph has them so, and what attention does to
//! its scores before a softmax, a scale and a mask, goes into it.

use super::super::nodes::{Attributes as _, floats, node};
use super::Fuser;
use tract_onnx::pb::NodeProto;

/// A tensor times a number, all shifted perhaps: softmax does not see that, so that the zero point of integers is left out.
struct Scores<'a> {
    tensor: &'a str,
    scale: f32,
}

impl<'a> Fuser<'a> {
    pub(super) fn softmax(&mut self, old: &'a NodeProto) -> Option<()> {
        let axis = old.int("axis").unwrap_or(-1);
        if self.opset < 13 && axis != -1 {
            // It worked on a matrix made of all axes from this one on.
            return None;
        }
        let given = old.input.first()?;
        let (scores, mask) = match self.masked(given) {
            Some((scores, mask)) => (scores, Some(mask)),
            None => (self.scores(given).unwrap_or(Scores { tensor: given, scale: 1.0 }), None),
        };
        let new = self.onto_grid("hearth.Softmax", scores.tensor, &old.output[0]);
        let mut new = new.with_int("axis", axis).with_float("scale", scores.scale);
        new.input.extend(mask.map(str::to_owned));
        self.emit(new)
    }

    /// The sum of scores and a mask.
    fn masked(&self, name: &str) -> Option<(Scores<'a>, &'a str)> {
        let (_, add) = self.view.maker(name).filter(|(_, maker)| maker.op_type == "Add")?;
        let (a, b) = (add.input.first()?, add.input.get(1)?);
        self.scores(a).map(|scores| (scores, b.as_str())).or_else(|| Some((self.scores(b)?, a.as_str())))
    }

    /// What is on a grid, or a product of activations, times numbers.
    fn scores(&self, name: &'a str) -> Option<Scores<'a>> {
        if let Some(x) = self.view.dequantized(name) {
            return Some(Scores { tensor: x.integers, scale: x.scale });
        }
        let (_, maker) = self.view.maker(name)?;
        let factor = |index: usize| self.view.floats(maker.input.get(index)?).filter(|v| v.len() == 1).map(|v| v[0]);
        let times = |index: usize, factor: f32| self.scores(&maker.input[index]).map(|s| Scores { scale: s.scale * factor, ..s });
        match (maker.op_type.as_str(), factor(0), factor(1)) {
            ("MatMul", ..) => Some(Scores { tensor: name, scale: 1.0 }),
            ("Div", _, Some(divisor)) => times(0, divisor.recip()),
            ("Mul", _, Some(by)) => times(0, by),
            ("Mul", Some(by), _) => times(1, by),
            _ => None,
        }
    }

    pub(super) fn layer_norm(&mut self, old: &'a NodeProto) -> Option<()> {
        if old.int("axis").unwrap_or(-1) != -1 || old.output.iter().filter(|name| !name.is_empty()).count() != 1 {
            return None;
        }
        let (scale, bias) = (self.view.floats(old.input.get(1)?)?, old.input.get(2).filter(|name| !name.is_empty()));
        let bias = match bias {
            Some(name) => self.view.floats(name).filter(|bias| bias.len() == scale.len())?,
            None => Vec::new(),
        };
        let given = old.input.first()?;
        let x = self.view.dequantized(given);
        let mut new = self.onto_grid("hearth.LayerNorm", x.map_or(given, |x| x.integers), &old.output[0]);
        if let Some(x) = x {
            new = new.with_float("input_scale", x.scale).with_int("input_zero_point", x.zero_point.into());
        }
        let list = |name: &str, list: &[f32]| floats(name, &[list.len() as i64], list);
        let new = new.with_tensor("scale", list("scale", &scale)).with_tensor("bias", list("bias", &bias));
        self.emit(new.with_float("epsilon", old.float("epsilon").unwrap_or(1e-5)))
    }

    /// A node that makes `i8` on the grid that a float tensor goes to next, or else that tensor.
    fn onto_grid(&mut self, operator: &str, input: &str, output: &'a str) -> NodeProto {
        match self.view.quantized(output) {
            Some((index, target)) => {
                self.gone.insert(index);
                node(operator, &[input], &[target.integers])
                    .with_float("output_scale", target.scale)
                    .with_int("zero_point", target.zero_point.into())
            }
            None => node(operator, &[input], &[output]),
        }
    }
}
