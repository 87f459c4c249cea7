//! Mean values of windows, or of whole pictures, on integers.

use super::super::nodes::{Attributes as _, to_integers};
use super::{Fuser, onto};
use tract_onnx::pb::NodeProto;

impl<'a> Fuser<'a> {
    pub(super) fn average_pool(&mut self, old: &'a NodeProto) -> Option<()> {
        let x = self.view.dequantized(&old.input[0])?;
        let windows: Option<&[i64]> = match old.op_type.as_str() {
            "GlobalAveragePool" => None,
            // Over height and width, as long as they stay: else it is no pool.
            "ReduceMean" => {
                let given = self.view.input(old, 1).and_then(to_integers);
                let axes = given.as_deref().or(old.ints("axes"))?;
                if old.int("keepdims") == Some(0) || !matches!(axes, [2, 3] | [-2, -1] | [-1, -2]) {
                    return None;
                }
                None
            }
            _ if matches!(old.text("auto_pad"), None | Some("" | "NOTSET" | "VALID")) => Some(old.ints("kernel_shape")?),
            _ => return None,
        };
        if windows.is_some_and(|kernel| !(1..=2).contains(&kernel.len())) {
            return None;
        }
        let end = self.end(&old.output[0])?;
        let mut new = onto(&end, "hearth.AveragePool", &[x.integers])
            .with_int("input_zero_point", x.zero_point.into())
            .with_floats("multipliers", &[x.scale / end.target.scale]);
        if windows.is_some() {
            new = with_windows(new, old)?.with_int("count_include_pad", old.int("count_include_pad").unwrap_or(0));
        }
        self.emit(new)
    }
}

/// The sizes of the windows of a pool.
pub(super) fn with_windows(new: NodeProto, old: &NodeProto) -> Option<NodeProto> {
    let kernel = old.ints("kernel_shape")?;
    let list = |name: &str, count: usize, value: i64| match old.ints(name) {
        Some(given) if given.len() == count => given.to_vec(),
        _ => vec![value; count],
    };
    let axes = kernel.len();
    Some(
        new.with_ints("kernel_shape", kernel)
            .with_ints("strides", &list("strides", axes, 1))
            .with_ints("dilations", &list("dilations", axes, 1))
            .with_ints("pads", &list("pads", 2 * axes, 0))
            .with_int("ceil_mode", old.int("ceil_mode").unwrap_or(0)),
    )
}
