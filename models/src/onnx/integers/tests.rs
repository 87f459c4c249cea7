//! Small quantized graphs of every form: what they become, and that they answer as their float form does, within a step of the grid.

use super::rewrite;
use crate::Network;
use crate::onnx::Source;
use crate::onnx::testing::{Attribute, Graph, Random, beside, floats, ints, tensor};
use hearth_api::tensor::{Datatype, Tensor};
use hearth_kernels::Pool;
use tract_onnx::pb::tensor_proto::DataType;

/// A graph with a picture `x` of `[N, channels, 7, 9]` that is quantized to `u8`, asymmetrically, as `x_q` and `x_d`.
fn picture(channels: i64) -> Graph {
    let graph = Graph::default().input("x", DataType::Float, &[-1, channels, 7, 9]).output("y", DataType::Float, &[-1]);
    grid(graph, "x", 0.02, 90)
}

/// Constants `<name>_s` and `<name>_z`, and `<name>` to `<name>_q` to `<name>_d` over that grid of `u8`.
pub(super) fn grid(graph: Graph, name: &str, scale: f32, zero_point: u8) -> Graph {
    let graph = graph.constant(floats(&format!("{name}_s"), &[], &[scale])).constant(tensor(
        &format!("{name}_z"),
        DataType::Uint8,
        &[],
        vec![zero_point],
    ));
    let spec = |operator: &str, from: &str, to: &str| format!("{operator} {name}{from} {name}_s {name}_z -> {name}{to}");
    graph.node(&spec("QuantizeLinear", "", "_q")).node(&spec("DequantizeLinear", "_q", "_d"))
}

/// Weights `<name>_d` of `i8`, a scale for each index of the first axis, and a bias `<name>_b` of `i32` for an input of scale `x`.
fn weights(graph: Graph, random: &mut Random, name: &str, dims: &[i64], x: f32) -> Graph {
    let outputs = dims[0] as usize;
    let scales: Vec<f32> = (0..outputs).map(|o| 0.004 + 0.001 * o as f32).collect();
    let bias_scales: Vec<f32> = scales.iter().map(|s| s * x).collect();
    let biases = (0..outputs).flat_map(|_| ((random.float() * 500.0) as i32).to_le_bytes()).collect();
    let count = dims.iter().product::<i64>() as usize;
    graph
        .constant(tensor(&format!("{name}_w"), DataType::Int8, dims, random.bytes(count)))
        .constant(floats(&format!("{name}_ws"), &[dims[0]], &scales))
        .constant(tensor(&format!("{name}_bi"), DataType::Int32, &[dims[0]], biases))
        .constant(floats(&format!("{name}_bs"), &[dims[0]], &bias_scales))
        .node_with(&format!("DequantizeLinear {name}_w {name}_ws -> {name}_d"), vec![("axis", Attribute::Int(0))])
        .node_with(&format!("DequantizeLinear {name}_bi {name}_bs -> {name}_b"), vec![("axis", Attribute::Int(0))])
}

/// What the nodes of the rewritten graph do, in order, without those at its ends.
pub(super) fn operators(graph: &Graph) -> Vec<String> {
    let file = graph.clone().write();
    let mut proto = Source::read(&file.path).unwrap().proto;
    let graph = proto.graph.as_mut().unwrap();
    rewrite(graph, 17).unwrap();
    let ends = ["ChannelsLast", "ChannelsFirst", "QuantizeLinear", "DequantizeLinear"];
    graph.node.iter().map(|node| node.op_type.trim_start_matches("hearth.").to_owned()).filter(|op| !ends.contains(&op.as_str())).collect()
}

/// Holds the answers against those of the float form, three at once and alone, `tolerance` apart at most.
pub(super) fn answers_alike(graph: &Graph, shape: &[usize], tolerance: f32) {
    let file = graph.clone().write();
    let source = Source::read(&file.path).unwrap();
    let (model, mixes_rows) = source.parse_integers().unwrap().unwrap();
    let network = Network::try_model(&source, model, mixes_rows).unwrap();
    let reference = network.reference(&source).unwrap();
    let mut random = Random(7);
    let count = shape.iter().product();
    let input = |values: Vec<f32>| vec![Tensor::from_f32("x", [&[1], shape].concat(), &values)];
    let requests: Vec<Vec<Tensor>> = (0..3).map(|_| input(random.floats(count).iter().map(|v| v * 1.5).collect())).collect();
    for (answer, expected) in &beside(&network, &reference, requests) {
        assert_eq!((answer.datatype, &answer.shape), (expected.datatype, &expected.shape));
        let most = values(answer).iter().zip(values(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most <= tolerance, "{most} apart: {:?} {:?}", values(answer), values(expected));
        let spread = values(expected).iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b))
            - values(expected).iter().fold(f32::INFINITY, |a, b| a.min(*b));
        assert!(spread > 4.0 * tolerance, "a test that cannot fail: {spread}");
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    match tensor.datatype {
        Datatype::Fp32 => tensor.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Datatype::Uint8 => tensor.data.iter().map(|b| f32::from(*b)).collect(),
        other => panic!("{other:?}"),
    }
}

fn with_pads(more: &[(&'static str, Attribute)]) -> Vec<(&'static str, Attribute)> {
    let copy = |a: &Attribute| match a {
        Attribute::Int(i) => Attribute::Int(*i),
        Attribute::Ints(i) => Attribute::Ints(i.clone()),
        Attribute::Float(f) => Attribute::Float(*f),
        Attribute::Text(text) => Attribute::Text(text),
        Attribute::Body(g) => Attribute::Body(g.clone()),
    };
    let mut all: Vec<(&str, Attribute)> = more.iter().map(|(name, a)| (*name, copy(a))).collect();
    all.push(("pads", Attribute::Ints(vec![1, 1, 1, 1])));
    all
}

#[test]
fn a_convolution_with_its_relu_is_one_operator() {
    let random = &mut Random(1);
    for (dims, group) in [([8, 6, 3, 3], 1), ([6, 1, 3, 3], 6), ([20, 3, 3, 3], 2)] {
        let graph = weights(picture(6), random, "w", &dims, 0.02);
        let attributes = with_pads(&[("group", Attribute::Int(group)), ("strides", Attribute::Ints(vec![2, 1]))]);
        let graph = graph.node_with("Conv x_d w_d w_b -> c", attributes).node("Relu c -> r");
        let graph = grid(graph, "r", 0.03, 0).node("Identity r_d -> y");
        assert_eq!(operators(&graph), ["Conv", "Identity"], "{dims:?}");
        answers_alike(&graph, &[6, 7, 9], 0.0301);
    }
}

#[test]
fn a_sequence_is_a_picture_of_height_one() {
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 40]).output("y", DataType::Float, &[-1]);
    let graph = weights(grid(graph, "x", 0.02, 120), &mut Random(2), "w", &[7, 5, 4], 0.02);
    let attributes =
        vec![("pads", Attribute::Ints(vec![2, 1])), ("strides", Attribute::Ints(vec![2])), ("dilations", Attribute::Ints(vec![2]))];
    let graph = grid(graph.node_with("Conv x_d w_d w_b -> c", attributes), "c", 0.05, 128);
    let graph = graph.node_with("MaxPool c_d -> p", vec![("kernel_shape", Attribute::Ints(vec![3])), ("ceil_mode", Attribute::Int(1))]);
    let graph = grid(graph, "p", 0.05, 128).node("Identity p_d -> y");
    assert_eq!(operators(&graph), ["Conv", "MaxPool", "Identity"]);
    answers_alike(&graph, &[5, 40], 0.0501);
}

#[test]
fn a_chain_of_functions_of_one_tensor_is_one_table() {
    let graph = weights(picture(4), &mut Random(3), "w", &[9, 4, 1, 1], 0.02);
    let graph = grid(graph.node("Conv x_d w_d w_b -> c"), "c", 0.05, 130);
    let graph = grid(graph.node("Sigmoid c_d -> s"), "s", 0.0039, 0);
    let graph = grid(graph.node("Mul c_d s_d -> m"), "m", 0.03, 10).node("Identity m_d -> y");
    assert_eq!(operators(&graph), ["Conv", "Identity"]);
    answers_alike(&graph, &[4, 7, 9], 0.0301);
}

#[test]
fn a_block_of_a_network_stays_on_integers() {
    let graph = weights(picture(4), &mut Random(4), "w", &[4, 4, 3, 3], 0.02);
    let graph = grid(graph.node_with("Conv x_d w_d w_b -> c", with_pads(&[])), "c", 0.05, 128);
    // The residual, clipped; halves that are put together with others on another grid; a picture twice as large.
    let graph = graph.constant(floats("zero", &[], &[0.0])).constant(floats("six", &[], &[1.5]));
    let graph = grid(graph.node("Add c_d x_d -> a").node("Clip a zero six -> k"), "k", 0.01, 0);
    let graph = graph.constant(ints("half", &[2], &[2, 2])).node_with("Split k_d half -> k1 k2", vec![("axis", Attribute::Int(1))]);
    let graph = grid(grid(graph, "k1", 0.01, 0), "k2", 0.01, 0);
    let graph = grid(graph.node_with("Concat k2_d c_d k1_d -> j", vec![("axis", Attribute::Int(1))]), "j", 0.06, 128);
    let graph = graph.constant(floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]));
    let graph = grid(graph.node("Resize j_d _ scales -> g"), "g", 0.06, 128);
    let mean = vec![("kernel_shape", Attribute::Ints(vec![3, 2])), ("strides", Attribute::Ints(vec![2, 2]))];
    let graph = grid(graph.node_with("AveragePool g_d -> v", with_pads(&mean)), "v", 0.05, 128).node("Identity v_d -> y");
    assert_eq!(operators(&graph), ["Conv", "Sum", "Split", "Lookup", "Lookup", "Lookup", "Concat", "Repeat", "AveragePool", "Identity"]);
    answers_alike(&graph, &[4, 7, 9], 0.1001);
}

#[test]
fn a_classifiers_tail_ends_in_floats() {
    let graph = weights(picture(5), &mut Random(5), "w", &[16, 5, 3, 3], 0.02);
    let graph = grid(graph.node("Conv x_d w_d w_b -> c"), "c", 0.05, 128);
    let graph = grid(graph.node("GlobalAveragePool c_d -> g"), "g", 0.01, 128);
    let graph = grid(graph.node("Flatten g_d -> f"), "f", 0.01, 128);
    let graph = weights(graph, &mut Random(6), "v", &[10, 16], 0.01);
    let graph = graph.node_with("Gemm f_d v_d v_b -> y", vec![("transB", Attribute::Int(1))]);
    assert_eq!(operators(&graph), ["Conv", "AveragePool", "Flatten", "Linear"]);
    answers_alike(&graph, &[5, 7, 9], 0.06);
}

#[test]
fn weights_may_have_zero_points_and_be_unsigned() {
    let random = &mut Random(8);
    let graph = picture(3)
        .constant(tensor("w", DataType::Uint8, &[4, 3, 3, 3], random.bytes(108)))
        .constant(floats("ws", &[], &[0.003]))
        .constant(tensor("wz", DataType::Uint8, &[], vec![117]))
        .node("DequantizeLinear w ws wz -> w_d");
    let graph = grid(graph.node("Conv x_d w_d -> c"), "c", 0.02, 128).node("Identity c_d -> y");
    assert_eq!(operators(&graph), ["Conv", "Identity"]);
    answers_alike(&graph, &[3, 7, 9], 0.0201);
}

#[test]
fn qlinear_operators_are_the_same_graph() {
    let graph = weights(picture(4), &mut Random(9), "w", &[4, 4, 3, 3], 0.02);
    let graph = graph
        .constant(tensor("w_z", DataType::Int8, &[4], vec![0; 4]))
        .constant(floats("c_s", &[], &[0.05]))
        .constant(tensor("c_z", DataType::Uint8, &[], vec![128]))
        .constant(floats("a_s", &[], &[0.06]))
        .node_with("QLinearConv x_q x_s x_z w_w w_ws w_z c_s c_z w_bi -> c_q", with_pads(&[]))
        .node_with("MaxPool c_q -> p_q", with_pads(&[("kernel_shape", Attribute::Ints(vec![3, 3]))]))
        .node("QLinearAdd p_q c_s c_z x_q x_s x_z a_s c_z -> a_q")
        .node("QLinearSigmoid a_q a_s c_z x_s c_z -> s_q")
        .node("DequantizeLinear s_q x_s c_z -> y");
    assert_eq!(operators(&graph), ["Conv", "MaxPool", "Sum", "Lookup"]);
    answers_alike(&graph, &[4, 7, 9], 0.0201);
}

/// Weights of `i8`, a scale for each output, dynamically quantized activations: as `quantize_dynamic` writes it; `after` goes from the
/// sum `a` to the result `y`.
fn dynamic(graph: Graph, random: &mut Random, integer: &str, dims: &[i64], list: &[i64], after: &str) -> Graph {
    let (count, outputs) = (dims.iter().product::<i64>() as usize, list[0] as usize);
    let scales: Vec<f32> = (0..outputs).map(|o| 0.004 + 0.001 * o as f32).collect();
    graph
        .constant(tensor("w", DataType::Int8, dims, random.bytes(count)))
        .constant(tensor("wz", DataType::Int8, &[], vec![3]))
        .constant(floats("ws", list, &scales))
        .constant(floats("b", list, &random.floats(outputs)))
        .constant(floats("low", &[], &[-0.2]))
        .constant(floats("high", &[], &[0.6]))
        .node("DynamicQuantizeLinear x -> q s z")
        .node(&format!("{integer} q w z wz -> i"))
        .node_with("Cast i -> f", vec![("to", Attribute::Int(1))])
        .node("Mul s ws -> sw")
        .node("Mul f sw -> m")
        .node("Add b m -> a")
        .node(after)
}

#[test]
fn a_dynamically_quantized_product_is_one_operator_and_its_items_do_not_mix() {
    for after in ["Clip a low high -> y", "Relu a -> y"] {
        // Of so few rows as two those of all items are multiplied at once.
        for count in [5, 2] {
            let rows = Graph::default().input("x", DataType::Float, &[-1, count, 20]).output("y", DataType::Float, &[-1]);
            let rows = dynamic(rows, &mut Random(11), "MatMulInteger", &[20, 9], &[9], after);
            assert_eq!(operators(&rows), ["DynamicLinear"]);
            items_do_not_mix(&rows, &[count as usize, 20]);
        }
        let picture = Graph::default().input("x", DataType::Float, &[-1, 4, 6, 7]).output("y", DataType::Float, &[-1]);
        let picture = dynamic(picture, &mut Random(13), "ConvInteger", &[6, 4, 3, 3], &[6, 1, 1], after);
        assert_eq!(operators(&picture), ["DynamicConv"]);
        items_do_not_mix(&picture, &[4, 6, 7]);
    }
}

/// Three items of this shape, each a hundredth of the one before: on one grid for all, the last would be nothing.
fn items_do_not_mix(graph: &Graph, shape: &[usize]) {
    let file = graph.clone().write();
    let network = Network::load(&file.path).unwrap();
    let mut random = Random(12);
    let (count, shape) = (shape.iter().product(), [&[1], shape].concat());
    let mut item = |size: f32| {
        let values: Vec<f32> = random.floats(count).iter().map(|x| x * size).collect();
        vec![Tensor::from_f32("x", shape.clone(), &values)]
    };
    let requests: Vec<Vec<Tensor>> = [1.0, 1e-2, 1e-4].map(&mut item).into();
    let pool = Pool::new(1);
    let run = |requests: Vec<Vec<Tensor>>| network.run(requests, 1, &pool, &mut || ());
    let together = run(requests.clone());
    let reference = network.reference(&Source::read(&file.path).unwrap()).unwrap();
    let expected = reference.run(requests.clone(), 1, &pool, &mut || ());
    for ((request, answer), expected) in requests.into_iter().zip(together).zip(expected) {
        assert_eq!(run(vec![request])[0], answer);
        let apart = values(&answer.unwrap()[0]).iter().zip(values(&expected.unwrap()[0])).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{apart}");
    }
}

#[test]
fn what_the_caller_sees_keeps_its_type() {
    let graph = weights(picture(4), &mut Random(10), "w", &[4, 4, 3, 3], 0.02);
    let mut graph = grid(graph.node("Conv x_d w_d w_b -> c"), "c", 0.05, 128);
    graph.0.output.clear();
    let graph = graph.output("c_q", DataType::Uint8, &[-1]);
    answers_alike(&graph, &[4, 7, 9], 1.0);
}

#[test]
fn what_cannot_be_joined_stays_between_its_own_ends() {
    let graph = grid(picture(4).node_with("Softmax x_d -> s", vec![("axis", Attribute::Int(1))]), "s", 0.004, 0);
    let graph = graph.node("Identity s_d -> y");
    assert_eq!(operators(&graph), ["Softmax", "Identity"]);
    answers_alike(&graph, &[4, 7, 9], 0.0041);
}
