//! The constants of optimised graphs, wherever tract keeps them (constant nodes, operands packed into matrix products, bodies of
//! scans): counted once, and held once by all plans of a network.

use crate::ops::integers::Integers;
use crate::ops::recurrent::Recurrent;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::matmul::optimized::{MatMulOperand, OptMatMul, ProtoFusedSpec};
use tract_onnx::tract_core::ops::scan::OptScan;
use tract_onnx::tract_core::tract_linalg::mmm::{EagerPackedInput, MMMInputValue};

/// Constants that plans hold, by their hash.
#[derive(Default)]
pub(super) struct Held {
    tensors: HashMap<u64, Arc<Tensor>>,
    packed: HashMap<u64, EagerPackedInput>,
}

impl Held {
    /// Replaces constants of a graph that are held already by those.
    pub(super) fn share(&mut self, model: &mut TypedModel) -> TractResult<()> {
        for node in model.nodes_mut() {
            if let Some(constant) = node.op_as::<Const>() {
                let shared = self.tensors.entry(hash(constant.val())).or_insert_with(|| constant.val().clone());
                if !Arc::ptr_eq(shared, constant.val()) && shared == constant.val() {
                    let exotic = node.outputs[0].fact.exotic_fact.clone();
                    node.op = Box::new(Const::new_with_opt_exotic_fact(shared.clone(), exotic)?);
                    node.outputs[0].fact.konst = Some(shared.clone());
                }
            } else if let Some(product) = node.op_as_mut::<OptMatMul>() {
                operands_mut(product).for_each(|operand| self.share_operand(operand));
            } else if let Some(scan) = node.op_as::<OptScan>() {
                let mut scan = (**scan).clone();
                let mut body = scan.plan.model().clone();
                self.share(&mut body)?;
                scan.plan = TypedRunnableModel::new(body)?;
                node.op = Box::new(OptScan::new(Arc::new(scan)));
            }
        }
        Ok(())
    }

    fn share_operand(&mut self, operand: &mut Box<dyn MMMInputValue>) {
        let Some(packed) = operand.downcast_ref::<EagerPackedInput>() else { return };
        let shared = self.packed.entry(hash(packed)).or_insert_with(|| packed.clone());
        if !Arc::ptr_eq(&shared.packed, &packed.packed) && shared == packed {
            *operand = Box::new(shared.clone());
        }
    }

    /// Lets go of what no plan holds any more.
    pub(super) fn release(&mut self) {
        self.tensors.retain(|_, tensor| Arc::strong_count(tensor) > 1);
        self.packed.retain(|_, packed| Arc::strong_count(&packed.packed) > 1);
    }
}

/// A count of bytes that counts each constant once.
#[derive(Default)]
pub(super) struct Count {
    seen: HashSet<usize>,
    /// Bytes so far.
    pub(super) bytes: u64,
}

impl Count {
    /// Adds the constants of a graph.
    pub(super) fn add(&mut self, model: &TypedModel) {
        model.nodes().iter().for_each(|node| self.add_node(node));
    }

    /// Adds the constants of a node.
    pub(super) fn add_node(&mut self, node: &TypedNode) {
        if let Some(constant) = node.op_as::<Const>() {
            self.add_tensor(constant.val());
        } else if let Some(product) = node.op_as::<OptMatMul>() {
            for operand in operands(product) {
                let address = operand.downcast_ref::<EagerPackedInput>().map(|packed| Arc::as_ptr(&packed.packed).addr());
                self.add_sized(address, operand.exotic_fact());
            }
        } else if let Some((address, bytes)) =
            node.op_as::<Integers>().map(Integers::weights).or_else(|| node.op_as::<Recurrent>().map(Recurrent::weights))
        {
            if self.seen.insert(address) {
                self.bytes += bytes;
            }
        } else if let Some(scan) = node.op_as::<OptScan>() {
            self.add(scan.plan.model());
        }
    }

    /// Adds a tensor.
    pub(super) fn add_tensor(&mut self, tensor: &Arc<Tensor>) {
        let address = Arc::as_ptr(tensor).addr();
        match tensor.exotic_fact() {
            Ok(Some(fact)) => self.add_sized(Some(address), &*fact),
            _ if self.seen.insert(address) => self.bytes += (tensor.volume() * tensor.datum_type().size_of()) as u64,
            _ => {}
        }
    }

    fn add_sized(&mut self, address: Option<usize>, fact: &dyn ExoticFact) {
        if address.is_none_or(|address| self.seen.insert(address)) {
            self.bytes += fact.mem_size().to_i64().map_or(0, i64::unsigned_abs);
        }
    }
}

fn operands(product: &OptMatMul) -> impl Iterator<Item = &dyn MMMInputValue> {
    let operands = product.micro_ops.iter().filter_map(|op| match op {
        ProtoFusedSpec::AddMatMul { a, b, .. } => Some([a, b]),
        _ => None,
    });
    operands.flatten().filter_map(|operand| match operand {
        MatMulOperand::Const(value) => Some(&**value),
        MatMulOperand::Input(_) => None,
    })
}

fn operands_mut(product: &mut OptMatMul) -> impl Iterator<Item = &mut Box<dyn MMMInputValue>> {
    let operands = product.micro_ops.iter_mut().filter_map(|op| match op {
        ProtoFusedSpec::AddMatMul { a, b, .. } => Some([a, b]),
        _ => None,
    });
    operands.flatten().filter_map(|operand| match operand {
        MatMulOperand::Const(value) => Some(value),
        MatMulOperand::Input(_) => None,
    })
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
