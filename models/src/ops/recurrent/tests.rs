//! Layers of every kind against onnxruntime (fixtures/recurrent.py) and against tract's own; batches against items alone.

use crate::Network;
use crate::network::Batching;
use crate::onnx::Source;
use crate::onnx::testing::{Attribute, Graph, Random, floats, ints};
use hearth_api::tensor::{Datatype, Tensor};
use hearth_kernels::Pool;
use std::path::{Path, PathBuf};
use tract_onnx::pb::tensor_proto::DataType::Float;

fn fixture(name: &str, ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("{name}.{ending}"))
}

fn to_floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The outputs for each item, one output after the other.
fn answers(network: &Network, items: &[Tensor]) -> Vec<Vec<Tensor>> {
    let requests = items.iter().map(|item| vec![item.clone()]).collect();
    network.run(requests, 1, &Pool::new(1), &mut || ()).into_iter().map(Result::unwrap).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Answers for three items of seven steps against onnxruntime's: `near(name of the output, ours, theirs)`; together as alone.
fn answers_as_onnxruntime(name: &str, width: usize, near: impl Fn(&str, &[f32], &[f32])) {
    let network = Network::load(&fixture(name, "onnx")).unwrap();
    assert_eq!(network.batching(), Batching::Symbolic, "{name}: batch and length are open");
    let x = to_floats(&std::fs::read(fixture(name, "in")).unwrap());
    let items: Vec<Tensor> = x.chunks(7 * width).map(|item| Tensor::from_f32("x", vec![1, 7, width], item)).collect();
    assert_eq!(items.len(), 3);
    let together = answers(&network, &items);
    let alone: Vec<_> = items.iter().map(|item| answers(&network, std::slice::from_ref(item)).remove(0)).collect();
    assert!(together == alone, "{name}: neighbours change an answer");
    let expected = to_floats(&std::fs::read(fixture(name, "out")).unwrap());
    let mut at = 0;
    for index in 0..network.outputs().len() {
        for answer in &together {
            let (output, ours) = (&answer[index], to_floats(&answer[index].data));
            near(&output.name, &ours, &expected[at..at + ours.len()]);
            at += ours.len();
        }
    }
    assert_eq!(at, expected.len());
}

#[test]
fn layers_of_every_kind_answer_as_onnxruntime_does() {
    answers_as_onnxruntime("recurrent", 5, |name, ours, theirs| {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((ours - theirs).abs() <= 2e-6, "{name}: {ours}, in onnxruntime {theirs}");
        }
    });
}

#[test]
fn layers_with_integer_weights_answer_as_onnxruntime_does() {
    for name in ["recurrent_s8", "recurrent_u8"] {
        answers_as_onnxruntime(name, 12, |output, ours, theirs| {
            let cosine = cosine(ours, theirs);
            // 7 bits of activations where 8 are slow; with 8 it is above 0.9999.
            assert!(cosine >= 0.9997, "{name}, {output}: cosine {cosine}");
        });
    }
}

/// A layer over steps of 3 values with 4 units, `layout` 0; batch and length open.
fn layer(operator: &str, gates: i64, attributes: Vec<(&'static str, Attribute)>, random: &mut Random) -> Graph {
    let mut list = |count: i64| random.floats(count as usize);
    Graph::default()
        .input("x", Float, &[-1, 9, 3])
        .constant(floats("w", &[1, 4 * gates, 3], &list(12 * gates)))
        .constant(floats("r", &[1, 4 * gates, 4], &list(16 * gates)))
        .constant(floats("b", &[1, 8 * gates], &list(8 * gates)))
        .constant(ints("axes", &[1], &[2]))
        .node_with("Transpose x -> steps", vec![("perm", Attribute::Ints(vec![1, 0, 2]))])
        .node_with(&format!("{operator} steps w r b -> every last"), attributes)
        .node_with("Transpose every -> turned", vec![("perm", Attribute::Ints(vec![2, 0, 1, 3]))])
        .node("Squeeze turned axes -> y")
        .node_with("Transpose last -> z", vec![("perm", Attribute::Ints(vec![1, 0, 2]))])
        .output("y", Float, &[-1, 9, 4])
        .output("z", Float, &[-1, 1, 4])
}

fn items(random: &mut Random, count: usize) -> Vec<Tensor> {
    (0..count).map(|_| Tensor::from_f32("x", vec![1, 9, 3], &random.floats(27))).collect()
}

fn apart(a: &[Tensor], b: &[Tensor]) -> f32 {
    let most = |(a, b): (&Tensor, &Tensor)| {
        assert_eq!((&a.shape, a.datatype), (&b.shape, Datatype::Fp32));
        to_floats(&a.data).iter().zip(to_floats(&b.data)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    a.iter().zip(b).map(most).fold(0.0, f32::max)
}

#[test]
fn layers_answer_as_tract_does_and_items_keep_their_bits() {
    let forms = [("LSTM", 4, vec![]), ("GRU", 3, vec![]), ("GRU", 3, vec![("linear_before_reset", Attribute::Int(1))])];
    for (operator, gates, mut attributes) in forms {
        attributes.push(("hidden_size", Attribute::Int(4)));
        let mut random = Random(5);
        let file = layer(operator, gates, attributes, &mut random).write();
        let source = Source::read(&file.path).unwrap();
        let network = Network::load(&file.path).unwrap();
        let reference = network.reference(&source).unwrap();
        let items = items(&mut random, 8);
        let together = answers(&network, &items);
        for (item, answer) in items.iter().zip(&together) {
            let alone = answers(&network, std::slice::from_ref(item)).remove(0);
            assert!(alone == *answer, "{operator}: neighbours change an answer");
            let expected = answers(&reference, std::slice::from_ref(item)).remove(0);
            assert!(apart(&expected, answer) <= 1e-6, "{operator}: {}", apart(&expected, answer));
        }
    }
}

#[test]
fn a_layout_with_the_batch_first_is_the_same_layer() {
    for (operator, gates) in [("LSTM", 4), ("GRU", 3)] {
        let mut random = Random(6);
        let plain = layer(operator, gates, vec![("hidden_size", Attribute::Int(4))], &mut random);
        let mut batch_first = plain.clone();
        batch_first.0.node.retain(|node| node.op_type != "Transpose");
        for node in &mut batch_first.0.node {
            if node.op_type == operator {
                *node = Graph::default()
                    .node_with(
                        &format!("{operator} x w r b -> turned z"),
                        vec![("layout", Attribute::Int(1)), ("hidden_size", Attribute::Int(4))],
                    )
                    .0
                    .node
                    .remove(0);
            }
        }
        let [plain, batch_first] = [plain, batch_first].map(|graph| {
            let file = graph.write();
            (Network::load(&file.path).unwrap(), file)
        });
        for item in items(&mut random, 8).chunks(4) {
            assert_eq!(answers(&plain.0, item), answers(&batch_first.0, item), "{operator}");
        }
    }
}

#[test]
fn a_layer_whose_weights_are_computed_stays_with_tract() {
    let mut random = Random(8);
    let mut graph = layer("LSTM", 4, vec![("hidden_size", Attribute::Int(4))], &mut random).node("Neg w -> computed");
    for node in &mut graph.0.node {
        node.input.iter_mut().filter(|input| *input == "w").for_each(|input| *input = "computed".into());
    }
    let neg = graph.0.node.pop().map(|mut node| {
        node.input[0] = "w".into();
        node
    });
    graph.0.node.insert(0, neg.unwrap());
    let file = graph.write();
    assert!(Source::read(&file.path).unwrap().parse_floats().is_none());
    assert_eq!(answers(&Network::load(&file.path).unwrap(), &items(&mut random, 2)).len(), 2);
}

#[test]
fn functions_that_do_not_exist_are_refused() {
    let mut random = Random(9);
    let mut graph = layer("LSTM", 4, vec![("hidden_size", Attribute::Int(4))], &mut random);
    let lstm = graph.0.node.iter_mut().find(|node| node.op_type == "LSTM").unwrap();
    lstm.attribute.push(tract_onnx::pb::AttributeProto {
        name: "activations".into(),
        r#type: tract_onnx::pb::attribute_proto::AttributeType::Strings as i32,
        strings: ["Sigmoid", "Sine", "Tanh"].map(|name| name.as_bytes().to_vec()).to_vec(),
        ..Default::default()
    });
    let refused = Network::load(&graph.write().path).err().expect("a refusal").to_string();
    assert!(refused.contains("no activation sine"), "{refused}");
}
