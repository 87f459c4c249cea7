//! Mean values of windows, or of whole pictures, on integers.

use super::super::nodes::{Attributes as _, pooling_as, to_integers};
use super::{Fuser, onto};
use tract_onnx::pb::NodeProto;

impl<'a> Fuser<'a> {
    pub(super) fn average_pool(&mut self, old: &'a NodeProto) -> Option<()> {
        let x = self.view.dequantized(&old.input[0])?;
        let whole = match old.op_type.as_str() {
            "GlobalAveragePool" => true,
            // Over height and width, as long as they stay: else it is no pool.
            "ReduceMean" => {
                let given = self.view.input(old, 1).and_then(to_integers);
                let axes = given.as_deref().or(old.ints("axes"))?;
                if old.int("keepdims") == Some(0) || !matches!(axes, [2, 3] | [-2, -1] | [-1, -2]) {
                    return None;
                }
                true
            }
            _ => false,
        };
        let end = self.end(&old.output[0])?;
        let mut new = onto(&end, "hearth.AveragePool", &[x.integers])
            .with_int("input_zero_point", x.zero_point.into())
            .with_floats("scales", &[x.scale, end.target.scale])
            .with_int("unsigned", (x.unsigned && end.target.unsigned).into());
        if !whole {
            new = pooling_as(old, new)?.with_int("count_include_pad", old.int("count_include_pad").unwrap_or(0));
        }
        self.emit(new)
    }
}
