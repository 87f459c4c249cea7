//! ONNX If. Where the condition is known once shapes are, as in what PyTorch writes for `squeeze`, the branch that is taken takes the
//! operator's place, and the other is not looked at: it need not fit those shapes. Where it is known only when the graph runs, a branch
//! that does not fit the shapes is left out, and asking for it is an error. tract alone demands that both fit.

use crate::onnx::integers::nodes::Attributes as _;
use crate::onnx::reason;
use std::collections::HashMap;
use tract_onnx::model::{ParseResult, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

#[derive(Debug, Clone)]
struct Branch {
    body: InferenceModel,
    /// Which input of the operator each of the body's is; the first is the condition.
    inputs: Vec<usize>,
    /// Why it does not fit the shapes of the inputs, all of which are known.
    misfit: Option<String>,
}

#[derive(Debug, Clone)]
struct If {
    then: Branch,
    otherwise: Branch,
}

impl PartialEq for If {
    fn eq(&self, _: &If) -> bool {
        false
    }
}

impl Eq for If {}

/// Reads the node; also tells what its branches take from the graph around them.
pub(super) fn read(context: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let body = |name: &str| -> TractResult<ParseResult> {
        let graph = node.get(name).and_then(|attribute| attribute.g.as_ref()).with_context(|| format!("If without {name}"))?;
        context.parse_graph(graph)
    };
    let (then, otherwise) = (body("then_branch")?, body("else_branch")?);
    ensure!(then.model.outputs.len() == otherwise.model.outputs.len(), "the branches of If give different numbers of results");
    let mut captured: Vec<String> = Vec::new();
    let mut branch = |parsed: ParseResult| {
        let inputs = parsed.unresolved_inputs.into_iter().map(|name| {
            let known = captured.iter().position(|other| *other == name);
            1 + known.unwrap_or_else(|| {
                captured.push(name);
                captured.len() - 1
            })
        });
        Branch { inputs: inputs.collect(), body: parsed.model, misfit: None }
    };
    let branches = If { then: branch(then), otherwise: branch(otherwise) };
    Ok((Box::new(branches), captured))
}

impl Branch {
    /// Brings what is known of the inputs to the body and back; whether anything became known.
    fn analyse(&mut self, inputs: &mut [InferenceFact]) -> TractResult<bool> {
        let mut changed = false;
        for (index, outer) in self.inputs.iter().enumerate() {
            changed |= self.body.input_fact_mut(index)?.unify_with_mut(&mut inputs[*outer])?;
        }
        Ok(changed | self.body.analyse(false)?)
    }

    /// The same for the outputs: all that is known where the branch is taken for certain, else types and shapes.
    fn give(&mut self, outputs: &mut [InferenceFact], certain: bool) -> TractResult<bool> {
        let mut changed = false;
        for (index, output) in outputs.iter_mut().enumerate() {
            let result = self.body.output_fact_mut(index)?;
            if certain {
                changed |= result.unify_with_mut(output)?;
            } else {
                changed |= result.shape.unify_with_mut(&mut output.shape)?;
                changed |= result.datum_type.unify_with_mut(&mut output.datum_type)?;
            }
        }
        Ok(changed)
    }

    /// Both, of a branch that may not be taken: what does not fit known shapes is left out.
    fn consider(&mut self, inputs: &mut TVec<InferenceFact>, outputs: &mut [InferenceFact]) -> TractResult<bool> {
        if self.misfit.is_some() {
            return Ok(false);
        }
        let (before, mut tried) = (self.body.clone(), inputs.clone());
        match self.analyse(&mut tried) {
            Ok(changed) => {
                *inputs = tried;
                Ok(changed | self.give(outputs, false)?)
            }
            Err(error) if inputs.iter().all(has_size) => {
                (self.body, self.misfit) = (before, Some(reason(&error)));
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the nodes of the body into a graph, in the place of node `name`.
    fn wire(&self, name: &str, inputs: &[OutletId], target: &mut TypedModel) -> TractResult<TVec<OutletId>> {
        let body = self.body.clone().into_typed()?;
        let sources = body.input_outlets()?.iter().zip(&self.inputs).map(|(source, outer)| (*source, inputs[*outer]));
        let mut wires: HashMap<OutletId, OutletId> = sources.collect();
        for id in body.eval_order()? {
            let node = body.node(id);
            if node.op_is::<TypedSource>() {
                continue;
            }
            let inputs: TVec<OutletId> = node.inputs.iter().map(|input| wires[input]).collect();
            let outlets = target.wire_node(format!("{name}.{}", node.name), node.op.clone(), &inputs)?;
            wires.extend(outlets.into_iter().enumerate().map(|(slot, outlet)| (OutletId::new(id, slot), outlet)));
        }
        Ok(body.output_outlets()?.iter().map(|outlet| wires[outlet]).collect())
    }
}

/// Whether all dimensions are numbers: what does not fit a symbol may fit what it will stand for.
fn has_size(fact: &InferenceFact) -> bool {
    fact.shape.concretize().is_some_and(|shape| shape.iter().all(|dim| dim.to_usize().is_ok()))
}

impl Op for If {
    fn name(&self) -> StaticName {
        "If".into()
    }

    not_a_typed_op!();
}

impl EvalOp for If {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let branch = if inputs[0].cast_to_scalar::<bool>()? { &self.then } else { &self.otherwise };
        let inputs = branch.inputs.iter().map(|outer| inputs[*outer].clone()).collect();
        branch.body.clone().into_runnable()?.run(inputs)
    }
}

impl InferenceOp for If {
    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<(TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>)> {
        let mut inputs: TVec<InferenceFact> = inputs.into_iter().cloned().collect();
        let mut outputs: TVec<InferenceFact> = outputs.into_iter().cloned().collect();
        inputs[0].datum_type.unify_with(&bool::datum_type().into())?;
        let condition = inputs[0].value.concretize().map(|value| value.cast_to_scalar::<bool>()).transpose()?;
        loop {
            let changed = match condition {
                Some(taken) => {
                    let branch = if taken { &mut self.then } else { &mut self.otherwise };
                    branch.analyse(&mut inputs)? | branch.give(&mut outputs, true)?
                }
                None => self.then.consider(&mut inputs, &mut outputs)? | self.otherwise.consider(&mut inputs, &mut outputs)?,
            };
            if let (Some(then), Some(otherwise)) = (&self.then.misfit, &self.otherwise.misfit) {
                bail!("neither branch of If fits: {then}; {otherwise}");
            }
            if !changed {
                return Ok((inputs, outputs, observed.into_iter().cloned().collect()));
            }
        }
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.then.body.outputs.len())
    }

    fn to_typed(
        &self,
        _: &InferenceModel,
        node: &InferenceNode,
        target: &mut TypedModel,
        mapping: &HashMap<OutletId, OutletId>,
    ) -> TractResult<TVec<OutletId>> {
        let inputs: TVec<OutletId> = node.inputs.iter().map(|input| mapping[input]).collect();
        let If { then, otherwise } = self;
        if let Some(condition) = &target.outlet_fact(inputs[0])?.konst {
            let taken = if condition.cast_to_scalar::<bool>()? { then } else { otherwise };
            return taken.wire(&node.name, &inputs, target);
        }
        for (taken, other, expected) in [(then, otherwise, true), (otherwise, then, false)] {
            if let Some(misfit) = &other.misfit {
                let results = taken.wire(&node.name, &inputs, target)?;
                let guard = Guard { expected, misfit: misfit.clone() };
                let guard = |(slot, result): (usize, &OutletId)| {
                    Ok(target.wire_node(format!("{}.guard-{slot}", node.name), guard.clone(), &[inputs[0], *result])?[0])
                };
                return results.iter().enumerate().map(guard).collect();
            }
        }
        let branches = IfThenElse {
            then_body: then.body.clone().into_typed()?,
            then_input_mapping: then.inputs.clone(),
            else_body: otherwise.body.clone().into_typed()?,
            else_input_mapping: otherwise.inputs.clone(),
        };
        target.wire_node(&*node.name, branches, &inputs)
    }

    as_op!();
}

/// Hands on a result of the one branch that fits, as long as the condition asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Guard {
    expected: bool,
    /// Why the other does not fit.
    misfit: String,
}

impl Op for Guard {
    fn name(&self) -> StaticName {
        "Guard".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Guard {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (condition, result) = args_2!(inputs);
        ensure!(
            condition.cast_to_scalar::<bool>()? == self.expected,
            "these inputs ask for a branch that does not fit their shapes: {}",
            self.misfit
        );
        Ok(tvec!(result))
    }
}

impl TypedOp for Guard {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[1].without_value()))
    }

    as_op!();
}
