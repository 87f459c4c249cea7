//! What is computed element by element before a QuantizeLinear: any function of one integer tensor, through whatever chain of
//! operators, is one table; a sum or product of two is one operator.

use super::super::nodes::{Attributes as _, bytes};
use super::super::view::View;
use super::{Fuser, Table, bounds, onto};
use hearth_kernels::pointwise::{self, Lookup};
use hearth_kernels::quant::Target;
use tract_onnx::pb::NodeProto;

/// Operators between the integers and the result of a table, at most: each is looked at for every table that it is part of.
const DEPTH: usize = 16;

/// The values of a float tensor for each integer of its source.
struct Function {
    source: String,
    values: Box<[f32; 256]>,
}

impl<'a> Fuser<'a> {
    pub(super) fn quantize(&mut self, old: &'a NodeProto) -> Option<()> {
        let (scale, zero_point) = self.view.grid(old)?;
        if let Some(table) = self.sum_with_constant(&old.input[0], scale, zero_point) {
            return self.table(&old.output[0], table);
        }
        let target = hearth_kernels::quant::Grid::new(scale, zero_point);
        if let Some(function) = self.function(&old.input[0], DEPTH) {
            let mut elements = [0i8; 256];
            hearth_kernels::quant::quantize(&function.values[..], target, &mut elements);
            return self.table(&old.output[0], Table { source: function.source, elements });
        }
        // Through Relu and Clip to a sum or product, unless somebody else takes it too.
        let (mut name, view) = (old.input[0].as_str(), self.view);
        let maker = loop {
            let (_, maker) = view.maker(name)?;
            match bounds(view, maker) {
                Some(_) => name = &maker.input[0],
                None => break maker,
            }
        };
        let [a, b] = [view.dequantized(maker.input.first()?)?, view.dequantized(maker.input.get(1)?)?];
        let signs = match maker.op_type.as_str() {
            "Add" => Some(1.0),
            "Sub" => Some(-1.0),
            "Mul" => None,
            _ => return None,
        };
        let end = self.end(name)?;
        let (operator, multipliers) = match signs {
            Some(sign) => ("hearth.Sum", vec![a.scale / end.target.scale, sign * b.scale / end.target.scale]),
            None => ("hearth.Product", vec![a.scale * b.scale / end.target.scale]),
        };
        let new = onto(&end, operator, &[a.integers, b.integers])
            .with_floats("multipliers", &multipliers)
            .with_ints("zero_points", &[a.zero_point.into(), b.zero_point.into()])
            .with_int("unsigned", (a.unsigned && b.unsigned && end.target.unsigned).into());
        self.emit(new)
    }

    /// QLinearAdd of a constant rounds as it does for tensors: `erf(x) + 1` lies half way between two integers everywhere.
    fn sum_with_constant(&self, name: &str, scale: f32, zero_point: i8) -> Option<Table> {
        let (_, add) = self.view.maker(name).filter(|(_, maker)| maker.op_type == "Add")?;
        let operands = [self.view.dequantized(add.input.first()?)?, self.view.dequantized(add.input.get(1)?)?];
        let constants = operands.map(|operand| self.view.constant(operand.integers).filter(|constant| constant.raw_data.len() == 1));
        let (x, constant, value) = match constants {
            [None, Some(value)] => (operands[0], operands[1], value),
            [Some(value), None] => (operands[1], operands[0], value),
            _ => return None,
        };
        let Table { source, elements: integers } = self.origin(x.integers);
        let multipliers = [x.scale / scale, constant.scale / scale];
        let sum = pointwise::Sum::new([x.zero_point, constant.zero_point], multipliers, Target::new(zero_point), x.unsigned);
        let mut elements = [0; 256];
        pointwise::add(&integers, &[0; 256], &sum.with_constant(value.raw_data[0] as i8), &mut elements);
        Some(Table { source, elements })
    }

    /// What integers are a function of: they may be a table themselves.
    fn origin(&self, integers: &str) -> Table {
        let itself = || Table { source: integers.to_owned(), elements: std::array::from_fn(|bits| bits as u8 as i8) };
        self.tables.get(integers).cloned().unwrap_or_else(itself)
    }

    /// Emits a table.
    pub(super) fn table(&mut self, name: &str, table: Table) -> Option<()> {
        let new = super::node("hearth.Lookup", &[&table.source], &[name]).with_tensor("table", bytes("table", &[256], &table.elements));
        self.tables.insert(name.to_owned(), table);
        self.emit(new)
    }

    /// Emits a table that moves integers from one grid to another.
    pub(super) fn regrid(&mut self, source: &str, from: (f32, i8), to: (f32, i8), name: &str) -> Option<()> {
        let grid = |(scale, zero_point): (f32, i8)| hearth_kernels::quant::Grid::new(scale, zero_point);
        let lookup = Lookup::requantize(grid(from), grid(to));
        let mut elements: [i8; 256] = std::array::from_fn(|bits| bits as u8 as i8);
        lookup.apply(&mut elements);
        self.table(name, Table { source: source.to_owned(), elements })
    }

    /// A float tensor as a function of one integer tensor.
    fn function(&self, name: &str, depth: usize) -> Option<Function> {
        let view = self.view;
        let (_, maker) = view.maker(name)?;
        let depth = depth.checked_sub(1)?;
        if let Some(x) = view.dequantized(name) {
            let real = |q: i8| f32::from(i16::from(q) - i16::from(x.zero_point)) * x.scale;
            let Table { source, elements } = self.origin(x.integers);
            return Some(Function { source, values: Box::new(elements.map(real)) });
        }
        if let Some(f) = unary(view, maker) {
            let mut function = self.function(&maker.input[0], depth)?;
            function.values.iter_mut().for_each(|v| *v = f(*v));
            return Some(function);
        }
        let f = binary(&maker.op_type)?;
        let (a, b) = (maker.input.first()?, maker.input.get(1)?);
        let scalar = |name: &str| view.floats(name).filter(|v| v.len() == 1).map(|v| v[0]);
        match (scalar(a), scalar(b)) {
            (None, Some(b)) => {
                let mut function = self.function(a, depth)?;
                function.values.iter_mut().for_each(|v| *v = f(*v, b));
                Some(function)
            }
            (Some(a), None) => {
                let mut function = self.function(b, depth)?;
                function.values.iter_mut().for_each(|v| *v = f(a, *v));
                Some(function)
            }
            _ => {
                let (mut left, right) = (self.function(a, depth)?, self.function(b, depth)?);
                if left.source != right.source {
                    return None;
                }
                left.values.iter_mut().zip(right.values.iter()).for_each(|(a, b)| *a = f(*a, *b));
                Some(left)
            }
        }
    }
}

fn binary(operator: &str) -> Option<fn(f32, f32) -> f32> {
    Some(match operator {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Min" => f32::min,
        "Max" => f32::max,
        "Pow" => f32::powf,
        _ => return None,
    })
}

/// A function of one number, as the ONNX operator has it.
fn unary(view: &View<'_>, node: &NodeProto) -> Option<Box<dyn Fn(f32) -> f32>> {
    let attribute = |name: &str, default: f32| node.float(name).unwrap_or(default);
    if let Some((low, high)) = bounds(view, node) {
        return Some(Box::new(move |x| x.max(low).min(high)));
    }
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    Some(match node.op_type.as_str() {
        "Identity" => Box::new(|x| x),
        "Sigmoid" => Box::new(sigmoid),
        "Tanh" => Box::new(f32::tanh),
        "Abs" => Box::new(f32::abs),
        "Neg" => Box::new(|x| -x),
        "Erf" => Box::new(erf),
        "Gelu" if node.text("approximate") == Some("tanh") => {
            Box::new(|x| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh()))
        }
        "Gelu" => Box::new(|x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
        "Mish" => Box::new(|x| x * x.exp().ln_1p().tanh()),
        "Selu" => {
            let (alpha, gamma) = (attribute("alpha", 1.673_263_2), attribute("gamma", 1.050_701));
            Box::new(move |x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() })
        }
        "Celu" => {
            let alpha = attribute("alpha", 1.0);
            Box::new(move |x| x.max(0.0) + (alpha * (x / alpha).exp_m1()).min(0.0))
        }
        "ThresholdedRelu" => {
            let alpha = attribute("alpha", 1.0);
            Box::new(move |x| if x > alpha { x } else { 0.0 })
        }
        "Softsign" => Box::new(|x| x / (1.0 + x.abs())),
        "Log" => Box::new(f32::ln),
        "Reciprocal" => Box::new(f32::recip),
        "Floor" => Box::new(f32::floor),
        "Ceil" => Box::new(f32::ceil),
        "Round" => Box::new(f32::round_ties_even),
        "Sin" => Box::new(f32::sin),
        "Cos" => Box::new(f32::cos),
        "Exp" => Box::new(f32::exp),
        "Sqrt" => Box::new(f32::sqrt),
        "Softplus" => Box::new(|x| x.exp().ln_1p()),
        "HardSwish" => Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        "HardSigmoid" => {
            let (alpha, beta) = (attribute("alpha", 0.2), attribute("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "LeakyRelu" => {
            let alpha = attribute("alpha", 0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = attribute("alpha", 1.0);
            Box::new(move |x| if x < 0.0 { alpha * x.exp_m1() } else { x })
        }
        _ => return None,
    })
}

/// Within 2e-7. Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
fn erf(x: f32) -> f32 {
    let (sign, x) = (f64::from(x).signum(), f64::from(x.abs()));
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592].iter().fold(0.0, |sum, c| sum * t + c);
    (sign * (1.0 - polynomial * t * (-x * x).exp())) as f32
}
