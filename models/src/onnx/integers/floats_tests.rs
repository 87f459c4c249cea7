//! Graphs of floats: what they become, and that they answer as the file's own graph does.

use super::rewrite_floats;
use crate::Network;
use crate::onnx::Source;
use crate::onnx::testing::{Attribute, Graph, Random, beside, floats};
use hearth_api::tensor::Tensor;
use tract_onnx::pb::tensor_proto::DataType;

/// A graph with a picture `x` of `[N, channels, 7, 9]`.
fn picture(channels: i64) -> Graph {
    Graph::default().input("x", DataType::Float, &[-1, channels, 7, 9]).output("y", DataType::Float, &[-1])
}

/// Constants `<name>` of these dimensions and `<name>_b`, one for each index of the first.
fn filters(graph: Graph, random: &mut Random, name: &str, dims: &[i64]) -> Graph {
    let count = dims.iter().product::<i64>() as usize;
    let outputs = dims[0] as usize;
    graph.constant(floats(name, dims, &random.floats(count))).constant(floats(&format!("{name}_b"), &dims[..1], &random.floats(outputs)))
}

/// Constants `n_s`, `n_o`, `n_m` and `n_v` of a batch normalisation.
fn normalisation(graph: Graph, random: &mut Random, channels: usize) -> Graph {
    let positive: Vec<f32> = random.floats(channels).iter().map(|v| v.abs() + 0.3).collect();
    let graph = ["n_s", "n_o", "n_m"].iter().fold(graph, |g, name| g.constant(floats(name, &[channels as i64], &random.floats(channels))));
    graph.constant(floats("n_v", &[channels as i64], &positive))
}

/// The operators of the graph as it becomes, without changes of layout.
fn operators(graph: &Graph) -> Vec<String> {
    let file = graph.clone().write();
    let mut proto = Source::read(&file.path).unwrap().proto;
    let graph = proto.graph.as_mut().unwrap();
    rewrite_floats(graph, 17);
    let names = graph.node.iter().map(|node| node.op_type.trim_start_matches("hearth.").to_owned());
    names.filter(|name| !name.starts_with("Channels")).collect()
}

/// Holds the answers against those of the file's own graph, three at once and alone.
fn answers_alike(graph: &Graph, shape: &[usize]) {
    let file = graph.clone().write();
    let source = Source::read(&file.path).unwrap();
    let network = Network::load(&file.path).unwrap();
    let reference = network.reference(&source).unwrap();
    let mut random = Random(7);
    let count = shape.iter().product();
    let requests: Vec<Vec<Tensor>> = (0..3).map(|_| vec![Tensor::from_f32("x", [&[1], shape].concat(), &random.floats(count))]).collect();
    for (answer, expected) in &beside(&network, &reference, requests) {
        assert_eq!(answer.shape, expected.shape);
        let values = |tensor: &Tensor| -> Vec<f32> { tensor.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect() };
        for (a, b) in values(answer).iter().zip(values(expected)) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} for {b}");
        }
    }
}

fn pads() -> (&'static str, Attribute) {
    ("pads", Attribute::Ints(vec![1, 1, 1, 1]))
}

#[test]
fn a_convolution_takes_its_normalisation_and_its_relu_in() {
    let random = &mut Random(1);
    for (dims, group) in [([8, 6, 3, 3], 1), ([6, 1, 3, 3], 6), ([20, 3, 3, 3], 2), ([18, 1, 2, 3], 6)] {
        let graph = normalisation(filters(picture(6), random, "w", &dims), random, dims[0] as usize);
        let attributes = vec![pads(), ("group", Attribute::Int(group)), ("strides", Attribute::Ints(vec![2, 1]))];
        let graph = graph.node_with("Conv x w w_b -> c", attributes).node("BatchNormalization c n_s n_o n_m n_v -> n").node("Relu n -> y");
        assert_eq!(operators(&graph), ["FloatConv"], "{dims:?}");
        answers_alike(&graph, &[6, 7, 9]);
    }
}

#[test]
fn what_others_take_too_is_not_taken_in() {
    let random = &mut Random(2);
    let graph = filters(picture(6), random, "w", &[6, 6, 1, 1]);
    let graph = graph.node("Conv x w w_b -> c").node("Relu c -> r").node("Add r c -> y");
    assert_eq!(operators(&graph), ["FloatConv", "Relu", "Add"]);
    answers_alike(&graph, &[6, 7, 9]);
}

#[test]
fn another_name_for_a_tensor_hides_nothing() {
    let graph = filters(picture(6), &mut Random(10), "w", &[6, 6, 3, 3]);
    let graph = graph.node("Identity w -> v").node("Identity v -> u").node("Conv x u w_b -> a").node("Identity a -> b").node("Relu b -> y");
    assert_eq!(operators(&graph), ["FloatConv"]);
    answers_alike(&graph, &[6, 7, 9]);
}

#[test]
fn a_residual_block_stays_in_one_layout() {
    let random = &mut Random(3);
    let graph = filters(filters(picture(6), random, "w", &[6, 6, 3, 3]), random, "v", &[6, 6, 3, 3]);
    let graph = graph
        .constant(floats("low", &[], &[0.0]))
        .constant(floats("high", &[], &[6.0]))
        .node_with("Conv x w w_b -> a", vec![pads()])
        .node("Clip a low high -> b")
        .node_with("Conv b v v_b -> c", vec![pads()])
        .node("Add c b -> d")
        .node("Sigmoid d -> e")
        .node("Mul d e -> f")
        .node("GlobalAveragePool f -> y");
    let file = graph.clone().write();
    let mut proto = Source::read(&file.path).unwrap().proto;
    let rewritten = proto.graph.as_mut().unwrap();
    assert!(rewrite_floats(rewritten, 17));
    let changes = rewritten.node.iter().filter(|node| node.op_type.starts_with("hearth.Channels")).count();
    assert_eq!((operators(&graph).len(), changes), (6, 2), "in at the front, out of the mean");
    answers_alike(&graph, &[6, 7, 9]);
}

#[test]
fn pools_and_repeated_pixels_stay_with_their_neighbours() {
    let random = &mut Random(6);
    let ints = |name, values: &[i64]| (name, Attribute::Ints(values.to_vec()));
    let graph = filters(picture(6), random, "w", &[6, 6, 3, 3]).constant(floats("scales", &[4], &[1.0, 1.0, 2.0, 3.0])).constant(floats(
        "none",
        &[0],
        &[],
    ));
    let graph = graph
        .node_with("Conv x w w_b -> a", vec![pads()])
        .node_with(
            "MaxPool a -> b",
            vec![ints("kernel_shape", &[3, 2]), ints("strides", &[2, 2]), pads(), ("ceil_mode", Attribute::Int(1))],
        )
        .node_with(
            "AveragePool b -> c",
            vec![ints("kernel_shape", &[2, 2]), ints("pads", &[0, 1, 0, 0]), ("count_include_pad", Attribute::Int(1))],
        )
        .node_with("AveragePool c -> d", vec![ints("kernel_shape", &[2, 2]), ints("pads", &[0, 1, 1, 0])])
        .node_with(
            "Resize d none scales -> e",
            vec![("coordinate_transformation_mode", Attribute::Text("asymmetric")), ("nearest_mode", Attribute::Text("floor"))],
        )
        .node("Identity e -> y");
    assert_eq!(operators(&graph), ["FloatConv", "MaxPool", "FloatAveragePool", "FloatAveragePool", "Repeat", "Identity"]);
    answers_alike(&graph, &[6, 7, 9]);
    // Where nothing of ours is beside them they stay as the file has them.
    let alone = picture(6).node_with("MaxPool x -> y", vec![ints("kernel_shape", &[3, 2])]);
    assert_eq!(operators(&alone), ["MaxPool"]);
}

#[test]
fn a_normalisation_before_its_convolution_stays_in_the_layout() {
    let random = &mut Random(11);
    let graph = normalisation(filters(picture(6), random, "w", &[6, 6, 3, 3]), random, 6);
    let graph = graph
        .node_with("Conv x w w_b -> a", vec![pads()])
        .node("Relu a -> b")
        .node("BatchNormalization b n_s n_o n_m n_v -> c")
        .node("Relu c -> d")
        .node_with("Conv d w w_b -> y", vec![pads()]);
    assert_eq!(operators(&graph), ["FloatConv", "FloatConv", "Relu", "FloatConv"]);
    answers_alike(&graph, &[6, 7, 9]);
}

#[test]
fn a_sequence_is_a_picture_of_height_one() {
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 40]).output("y", DataType::Float, &[-1]);
    let graph = filters(graph, &mut Random(4), "w", &[7, 5, 4]);
    let attributes =
        vec![("strides", Attribute::Ints(vec![3])), ("dilations", Attribute::Ints(vec![2])), ("pads", Attribute::Ints(vec![2, 3]))];
    let graph = graph.node_with("Conv x w -> y", attributes);
    assert_eq!(operators(&graph), ["FloatConv"]);
    answers_alike(&graph, &[5, 40]);
}

#[test]
fn a_product_takes_its_bias_and_its_relu_in() {
    let random = &mut Random(8);
    let graph = Graph::default().input("x", DataType::Float, &[-1, 3, 10]).output("y", DataType::Float, &[-1]);
    let graph = graph
        .constant(floats("w", &[10, 21], &random.floats(210)))
        .constant(floats("b", &[21], &random.floats(21)))
        .constant(floats("v", &[21, 4], &random.floats(84)))
        .constant(floats("one", &[1], &[0.5]));
    let graph = graph.node("MatMul x w -> a").node("Add b a -> c").node("Relu c -> d").node("MatMul d v -> e").node("Add e one -> y");
    assert_eq!(operators(&graph), ["FloatLinear", "FloatLinear", "Add"]);
    answers_alike(&graph, &[3, 10]);
    let graph = Graph::default().input("x", DataType::Float, &[-1, 10]).output("y", DataType::Float, &[-1]);
    let graph = graph.constant(floats("w", &[21, 10], &random.floats(210))).constant(floats("b", &[1, 21], &random.floats(21)));
    let transposed = vec![("transB", Attribute::Int(1))];
    let graph = graph.node_with("Gemm x w b -> a", transposed).node("Relu a -> y");
    assert_eq!(operators(&graph), ["FloatLinear"]);
    answers_alike(&graph, &[10]);
    // As many values as outputs, but one for each row: not a bias of ours.
    let rows = Graph::default().input("x", DataType::Float, &[2, 10]).output("y", DataType::Float, &[2, 2]);
    let rows = rows.constant(floats("w", &[10, 2], &random.floats(20))).constant(floats("b", &[2, 1], &random.floats(2)));
    assert_eq!(operators(&rows.node("Gemm x w b -> y")), ["Gemm"]);
}

#[test]
fn attention_is_ours_too() {
    let random = &mut Random(9);
    let graph = Graph::default().input("x", DataType::Float, &[-1, 6, 8]).output("y", DataType::Float, &[-1]);
    let graph = ["q", "k", "s", "t"].iter().fold(graph, |g, name| {
        let dims: &[i64] = if name.len() == 1 && "st".contains(name) { &[8] } else { &[8, 8] };
        g.constant(floats(name, dims, &random.floats(dims.iter().product::<i64>() as usize)))
    });
    let graph = graph
        .constant(floats("root", &[], &[3.0]))
        .constant(floats("mask", &[6, 6], &random.floats(36)))
        .node("MatMul x q -> a")
        .node("MatMul x k -> b")
        .node_with("Transpose b -> c", vec![("perm", Attribute::Ints(vec![0, 2, 1]))])
        .node("MatMul a c -> d")
        .node("Div d root -> e")
        .node("Add e mask -> f")
        .node_with("Softmax f -> g", vec![("axis", Attribute::Int(-1))])
        .node("MatMul g x -> h")
        .node("LayerNormalization h s t -> y");
    assert_eq!(operators(&graph), ["FloatLinear", "FloatLinear", "MatMul", "Softmax", "MatMul", "LayerNorm"]);
    answers_alike(&graph, &[6, 8]);
}

#[test]
fn filters_that_are_computed_stay_tracts() {
    let graph = picture(6).constant(floats("w", &[6, 6, 1, 1], &Random(5).floats(36))).node("Mul w w -> v").node("Conv x v -> y");
    assert_eq!(operators(&graph), ["Mul", "Conv"]);
    answers_alike(&graph, &[6, 7, 9]);
}
