//! Attention, normalisation and weights in blocks: what their graphs become, and that they answer as their float form does.

use super::tests::{answers_alike, grid, operators};
use crate::onnx::testing::{Attribute, Graph, Random, floats, tensor};
use tract_onnx::pb::tensor_proto::DataType;

fn ints(list: &[i64]) -> Attribute {
    Attribute::Ints(list.to_vec())
}

fn shape(name: &str, dims: &[i64]) -> tract_onnx::pb::TensorProto {
    tensor(name, DataType::Int64, &[dims.len() as i64], dims.iter().flat_map(|d| d.to_le_bytes()).collect())
}

/// `x` of `[N, 5, 12]`, as three heads `q_h` of `[N, 3, 5, 4]` and their transposition `q_t` of `[N, 3, 4, 5]`; on the grid of `x`
/// after each step where that is asked for, as quantizers write it.
fn heads(graph: Graph, x: &str, on_grid: bool) -> Graph {
    let step = |graph: Graph, name: &str| if on_grid { grid(graph, name, 0.02, 120) } else { graph };
    let graph = graph.constant(shape("split", &[0, 0, 3, 4])).constant(shape("join", &[0, 0, 12])).constant(floats("root", &[], &[2.0]));
    let graph = step(graph.node(&format!("Reshape {x} split -> s3")), "s3");
    let from = if on_grid { "s3_d" } else { "s3" };
    let graph = graph.node_with(&format!("Transpose {from} -> q_h"), vec![("perm", ints(&[0, 2, 1, 3]))]);
    let graph = graph.node_with(&format!("Transpose {from} -> q_t"), vec![("perm", ints(&[0, 2, 3, 1]))]);
    step(step(graph, "q_h"), "q_t")
}

#[test]
fn attention_is_two_products_and_a_softmax() {
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
    let graph = heads(grid(graph, "x", 0.02, 120), "x_d", true).constant(floats("mask", &[1, 1, 1, 5], &[0.0, 0.0, -1e4, 0.0, -3e38]));
    let graph = grid(graph.node("MatMul q_h_d q_t_d -> s"), "s", 0.1, 100).node("Div s_d root -> d").node("Add d mask -> m");
    let graph = grid(graph.node_with("Softmax m -> p", vec![("axis", Attribute::Int(-1))]), "p", 1.0 / 255.0, 0);
    let graph = grid(graph.node("MatMul p_d q_h_d -> o"), "o", 0.02, 128);
    let graph = graph.node_with("Transpose o_d -> t", vec![("perm", ints(&[0, 2, 1, 3]))]).node("Reshape t join -> y");
    // The transpositions are gone: the products read and write with strides.
    let seen = operators(&graph);
    assert_eq!(seen.iter().filter(|op| *op == "MatMul").count(), 2, "{seen:?}");
    assert!(seen.contains(&"Softmax".to_owned()) && !seen.contains(&"Transpose".to_owned()), "{seen:?}");
    assert!(!seen.iter().any(|op| ["Div", "Add"].contains(&&**op)), "{seen:?}");
    answers_alike(&graph, &[5, 12], 0.0201);
}

#[test]
fn attention_on_floats_is_too_where_other_parts_are_quantized() {
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
    let graph = heads(graph, "x", false).node("MatMul q_h q_t -> s").node("Mul root s -> d");
    let graph = graph.node_with("Softmax d -> p", vec![("axis", Attribute::Int(3))]).node("MatMul p q_h -> o");
    let graph = graph.node_with("Transpose o -> t", vec![("perm", ints(&[0, 2, 1, 3]))]).node("Reshape t join -> z");
    let graph = grid(graph, "z", 0.01, 128).node("Identity z_d -> y");
    let seen = operators(&graph);
    assert_eq!(seen.iter().filter(|op| ["MatMul", "Softmax"].contains(&&***op)).count(), 3, "{seen:?}");
    assert!(!seen.iter().any(|op| ["Transpose", "Mul"].contains(&&**op)), "{seen:?}");
    answers_alike(&graph, &[5, 12], 0.0101);
}

#[test]
fn softmax_along_any_axis_and_layer_norm_are_one_operator_from_grid_to_grid() {
    for axis in [1, 2, -1] {
        let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
        let graph = grid(graph, "x", 0.02, 100).node_with("Softmax x_d -> p", vec![("axis", Attribute::Int(axis))]);
        let graph = grid(graph, "p", 1.0 / 255.0, 0).node("Identity p_d -> y");
        assert_eq!(operators(&graph), ["Softmax", "Identity"], "axis {axis}");
        answers_alike(&graph, &[5, 12], 1.01 / 255.0);
    }
    let random = &mut Random(5);
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
    let graph =
        grid(graph, "x", 0.02, 100).constant(floats("g", &[12], &random.floats(12))).constant(floats("b", &[12], &random.floats(12)));
    let graph = grid(graph.node("LayerNormalization x_d g b -> n"), "n", 0.03, 128).node("Identity n_d -> y");
    assert_eq!(operators(&graph), ["LayerNorm", "Identity"]);
    answers_alike(&graph, &[5, 12], 0.0301);
}

#[test]
fn layer_norm_in_parts_is_one_operator() {
    let random = &mut Random(6);
    for twice in [false, true] {
        let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
        let graph = graph.constant(floats("g", &[12], &random.floats(12))).constant(floats("b", &[12], &random.floats(12)));
        let graph = graph.constant(floats("two", &[], &[2.0])).constant(floats("e", &[], &[1e-5]));
        let mean = |graph: Graph, spec: &str| graph.node_with(spec, vec![("axes", ints(&[-1]))]);
        let graph = mean(graph, "ReduceMean x -> m").node("Sub x m -> d").node("Sub x m -> d2");
        let graph = graph.node(if twice { "Pow d2 two -> s" } else { "Mul d d -> s" });
        let graph = mean(graph, "ReduceMean s -> v").node("Add v e -> ve").node("Sqrt ve -> r").node("Div d r -> n");
        let graph = grid(graph.node("Mul n g -> h").node("Add b h -> z"), "z", 0.03, 128).node("Identity z_d -> y");
        assert_eq!(operators(&graph), ["LayerNorm", "Identity"]);
        answers_alike(&graph, &[5, 12], 0.0301);
    }
}

#[test]
fn gelu_by_way_of_erf_is_one_table() {
    let graph = Graph::default().input("x", DataType::Float, &[-1, 5, 12]).output("y", DataType::Float, &[-1]);
    let graph = grid(graph, "x", 0.02, 100).constant(floats("root", &[], &[std::f32::consts::SQRT_2])).constant(floats("one", &[], &[1.0]));
    let graph = graph.constant(floats("half", &[], &[0.5])).node("Div x_d root -> a").node("Erf a -> e").node("Add e one -> p");
    let graph = grid(graph.node("Mul x_d p -> m").node("Mul m half -> g"), "g", 0.02, 20).node("Identity g_d -> y");
    assert_eq!(operators(&graph), ["Lookup", "Identity"]);
    answers_alike(&graph, &[5, 12], 0.0201);
}

#[test]
fn weights_in_blocks_are_one_operator_with_their_bias() {
    let random = &mut Random(9);
    for (bits, block, points) in [(4i64, 16i64, true), (4, 32, false), (8, 64, false), (8, 32, true), (4, 24, true)] {
        let (outputs, depth) = (20i64, 40i64);
        let blocks = (depth as usize).div_ceil(block as usize);
        let (bytes, row) = (block as usize * bits as usize / 8, (blocks * bits as usize).div_ceil(8));
        let scales: Vec<f32> = random.floats(outputs as usize * blocks).iter().map(|s| 0.02 + 0.01 * s).collect();
        let packed = random.bytes(outputs as usize * blocks * bytes);
        let mut graph = Graph::default()
            .input("x", DataType::Float, &[-1, 3, depth])
            .output("y", DataType::Float, &[-1])
            .constant(tensor("w", DataType::Uint8, &[outputs, blocks as i64, bytes as i64], packed))
            .constant(floats("s", &[outputs * blocks as i64], &scales))
            .constant(floats("b", &[outputs], &random.floats(outputs as usize)));
        if points {
            graph = graph.constant(tensor("z", DataType::Uint8, &[outputs * row as i64], random.bytes(outputs as usize * row)));
        }
        let spec = if points { "MatMulNBits x w s z -> m" } else { "MatMulNBits x w s -> m" };
        let sizes = [("bits", bits), ("block_size", block), ("N", outputs), ("K", depth)];
        let graph = graph.node_with(spec, sizes.map(|(name, size)| (name, Attribute::Int(size))).into()).node("Add m b -> y");
        // Blocks of other than a power of two are products of floats.
        let expected: &[&str] = if block == 24 { &["FloatLinear"] } else { &["BlockLinear"] };
        assert_eq!(operators(&graph), expected, "{bits} bits in blocks of {block}");
        answers_alike(&graph, &[3, depth as usize], 0.3);
    }
}
