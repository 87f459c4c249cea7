//! Each operator beside the graph of ONNX's own operators that it stands for.

use crate::Network;
use crate::onnx::Source;
use crate::onnx::testing::{Attribute, Graph, Random, floats, tensor};
use hearth_api::tensor::Tensor;
use hearth_kernels::Pool;
use tract_onnx::pb::TensorProto;
use tract_onnx::pb::tensor_proto::DataType;

const FLOAT: DataType = DataType::Float;

fn graph(dims: &[i64]) -> Graph {
    Graph::default().input("x", FLOAT, dims).output("y", FLOAT, &[-1])
}

fn random(seed: u64, name: &str, dims: &[i64]) -> TensorProto {
    floats(name, dims, &Random(seed).floats(dims.iter().product::<i64>() as usize))
}

fn bytes(name: &str, dims: &[i64]) -> TensorProto {
    tensor(name, DataType::Int8, dims, Random(5).bytes(dims.iter().product::<i64>() as usize))
}

fn words(name: &str, list: &[i64]) -> TensorProto {
    tensor(name, DataType::Int64, &[list.len() as i64], list.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn ints(list: &[i64]) -> Attribute {
    Attribute::Ints(list.to_vec())
}

fn answer(graph: Graph, x: &Tensor) -> Tensor {
    let file = graph.write();
    let network = Network::load(&file.path).unwrap();
    network.run(vec![vec![x.clone()]], 1, &Pool::new(1), &mut || ()).remove(0).unwrap().remove(0)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Holds one graph against another, on an `x` of this shape.
fn alike(joined: Graph, apart: Graph, shape: &[usize]) {
    let x = Tensor::from_f32("x", shape.to_vec(), &Random(11).floats(shape.iter().product()));
    let (found, expected) = (answer(joined, &x), answer(apart, &x));
    assert_eq!(found.shape, expected.shape);
    let (found, expected) = (values(&found), values(&expected));
    let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(most <= 1e-5, "{most} apart: {found:?} {expected:?}");
    assert!(expected.iter().any(|value| value.abs() > 0.01), "a test that cannot fail");
}

#[test]
fn a_product_of_transposed_operands_is_scaled() {
    let attributes = || vec![("transB", Attribute::Int(1)), ("alpha", Attribute::Float(0.25))];
    let base = || graph(&[-1, 3, 4]).constant(floats("a", &[1], &[0.25])).node_with("Transpose x -> t", vec![("perm", ints(&[0, 1, 2]))]);
    let joined = base().node_with("com.microsoft:FusedMatMul x t -> y", attributes());
    let apart = base().node_with("Transpose t -> u", vec![("perm", ints(&[0, 2, 1]))]).node("MatMul x u -> p").node("Mul p a -> y");
    alike(joined, apart, &[2, 3, 4]);
}

#[test]
fn the_axes_of_what_is_transposed_follow_from_how_it_was_made() {
    // A picture, its pixels put in a row: a shape cut from another one, and one more size.
    let base = || {
        let graph = graph(&[-1, 2, 3, 4]).constant(words("from", &[0])).constant(words("to", &[2])).constant(words("rest", &[-1]));
        let graph = graph.node("HardSwish x -> h").node("Shape h -> s").node("Slice s from to -> two");
        let graph = graph.node_with("Concat two rest -> shape", vec![("axis", Attribute::Int(0))]);
        graph.node("Reshape h shape -> r").constant(random(1, "w", &[2, 5]))
    };
    let joined = base().node_with("com.microsoft:FusedMatMul r w -> y", vec![("transA", Attribute::Int(1))]);
    let apart = base().node_with("Transpose r -> t", vec![("perm", ints(&[0, 2, 1]))]).node("MatMul t w -> y");
    alike(joined, apart, &[2, 2, 3, 4]);
}

#[test]
fn a_convolution_is_followed_by_a_sum_and_an_activation() {
    let base = || graph(&[-1, 2, 5, 5]).constant(random(1, "w", &[2, 2, 3, 3])).constant(random(2, "b", &[2]));
    let pads = || ("pads", ints(&[1, 1, 1, 1]));
    let joined = base().node_with("com.microsoft:FusedConv x w b x -> y", vec![pads(), ("activation", Attribute::Text("Relu"))]);
    let apart = base().node_with("Conv x w b -> c", vec![pads()]).node("Add c x -> s").node("Relu s -> y");
    alike(joined, apart, &[2, 2, 5, 5]);
}

#[test]
fn pictures_with_channels_last_are_turned() {
    let base = || {
        let grid = graph(&[-1, 6, 5, 2]).constant(floats("s", &[], &[0.02])).constant(tensor("z", DataType::Uint8, &[], vec![120]));
        let weights = grid.constant(bytes("w", &[3, 2, 3, 3])).constant(floats("ws", &[], &[0.01]));
        let weights = weights.constant(tensor("wz", DataType::Int8, &[], vec![0])).constant(floats("ys", &[], &[0.05]));
        weights.node("QuantizeLinear x s z -> q")
    };
    let last = || ("channels_last", Attribute::Int(1));
    let pool = || vec![("kernel_shape", ints(&[2, 2]))];
    let joined = base()
        .node_with("com.microsoft:NhwcMaxPool q -> m", pool())
        .node_with("com.microsoft:QLinearConv m s z w ws wz ys z -> c", vec![last()])
        .node_with("com.microsoft:QLinearGlobalAveragePool c ys z ys z -> g", vec![last()])
        .node("DequantizeLinear g ys z -> y");
    let apart = base()
        .node_with("Transpose q -> t", vec![("perm", ints(&[0, 3, 1, 2]))])
        .node_with("MaxPool t -> m", pool())
        .node("QLinearConv m s z w ws wz ys z -> c")
        .node("com.microsoft:QLinearGlobalAveragePool c ys z ys z -> g")
        .node_with("Transpose g -> u", vec![("perm", ints(&[0, 2, 3, 1]))])
        .node("DequantizeLinear u ys z -> y");
    alike(joined, apart, &[2, 6, 5, 2]);
}

#[test]
fn what_is_quantized_as_it_comes_is_one_operator() {
    let base = || {
        let weights = graph(&[-1, 4, 8]).constant(bytes("w", &[8, 6])).constant(random(3, "s", &[6])).constant(random(4, "b", &[6]));
        weights.constant(tensor("z", DataType::Int8, &[], vec![3]))
    };
    let joined = base().node("com.microsoft:DynamicQuantizeMatMul x w s z b -> y");
    let other = base().node("DynamicQuantizeLinear x -> q xs xz").node("com.microsoft:MatMulIntegerToFloat q w xs s xz z b -> y");
    for graph in [&joined, &other] {
        let file = graph.clone().write();
        let source = Source::read(&file.path).unwrap();
        let (model, mixes_rows) = source.parse_integers().unwrap().unwrap();
        assert!(source.mixes_rows && !mixes_rows && model.nodes().iter().any(|node| node.op.name() == "DynamicLinear"));
    }
    let apart = base()
        .node("DynamicQuantizeLinear x -> q xs xz")
        .node("MatMulInteger q w xz z -> i")
        .node_with("Cast i -> f", vec![("to", Attribute::Int(FLOAT as i64))])
        .node("Mul xs s -> t")
        .node("Mul f t -> p")
        .node("Add p b -> y");
    alike(joined, apart.clone(), &[2, 4, 8]);
    alike(other, apart, &[2, 4, 8]);
}

#[test]
fn a_sum_is_normalised_and_given_too() {
    let base = || graph(&[-1, 3, 4]).constant(random(1, "g", &[4])).constant(random(2, "b", &[4])).constant(random(3, "c", &[4]));
    let epsilon = || ("epsilon", Attribute::Float(1e-3));
    let joined = base().node_with("com.microsoft:SkipLayerNormalization x x g b c -> n _ _ s", vec![epsilon()]).node("Mul n s -> y");
    let apart = base()
        .node("Add x x -> d")
        .node("Add d c -> s")
        .node_with("LayerNormalization s g b -> n", vec![("axis", Attribute::Int(-1)), epsilon()])
        .node("Mul n s -> y");
    alike(joined, apart, &[2, 3, 4]);
}

/// Two heads of `x`, without a mask, written out.
fn attention_apart(graph: Graph) -> Graph {
    let mut graph = graph.constant(words("split", &[0, 0, 2, 2])).constant(words("join", &[0, 0, 4])).constant(floats("root", &[], &[0.5]));
    graph = graph.node("MatMul x w -> p").node("Add p b -> r").constant(words("parts", &[4, 4, 4]));
    graph = graph.node_with("Split r parts -> q k v", vec![("axis", Attribute::Int(2))]);
    for (name, perm) in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])] {
        graph = graph.node(&format!("Reshape {name} split -> {name}_s"));
        graph = graph.node_with(&format!("Transpose {name}_s -> {name}_t"), vec![("perm", ints(&perm))]);
    }
    graph = graph.node("MatMul q_t k_t -> s").node("Mul s root -> m");
    graph
}

fn attention_ends(graph: Graph, scores: &str) -> Graph {
    let graph = graph.node_with(&format!("Softmax {scores} -> a"), vec![("axis", Attribute::Int(-1))]).node("MatMul a v_t -> o");
    graph.node_with("Transpose o -> o_t", vec![("perm", ints(&[0, 2, 1, 3]))]).node("Reshape o_t join -> y")
}

#[test]
fn attention_is_of_heads_and_masked() {
    let base = || {
        let graph = graph(&[-1, 3, 4]).constant(random(1, "w", &[4, 12])).constant(random(2, "b", &[12]));
        // The last of three tokens does not count: so says a mask, and so says a length. The root of a head's two values is given.
        let graph = graph.constant(tensor("mask", DataType::Int32, &[1, 3], [1i32, 1, 0].iter().flat_map(|v| v.to_le_bytes()).collect()));
        graph.constant(tensor("length", DataType::Int32, &[1], 2i32.to_le_bytes().into())).constant(floats("out", &[3], &[0.0, 0.0, -1e4]))
    };
    let attributes = || vec![("num_heads", Attribute::Int(2)), ("scale", Attribute::Float(0.5))];
    let joined = |inputs: &str| base().node_with(&format!("com.microsoft:Attention {inputs} -> y"), attributes());
    let apart = attention_ends(attention_apart(base()), "m");
    alike(joined("x w b"), apart, &[1, 3, 4]);
    let masked = || attention_ends(attention_apart(base()).node("Add m out -> masked"), "masked");
    alike(joined("x w b mask"), masked(), &[1, 3, 4]);
    alike(joined("x w b length"), masked(), &[1, 3, 4]);
}

#[test]
fn attention_of_a_form_that_is_not_known_is_refused_by_name() {
    let base = graph(&[-1, 3, 4]).constant(random(1, "w", &[4, 12])).constant(random(2, "b", &[12]));
    let attributes = vec![("num_heads", Attribute::Int(2)), ("unidirectional", Attribute::Int(1))];
    let file = base.node_with("com.microsoft:Attention x w b -> y", attributes).write();
    let told = Source::read(&file.path).err().unwrap().to_string();
    assert!(told.contains("com.microsoft.Attention") && told.contains("Attention_0"), "{told}");
}

#[test]
fn a_text_is_embedded_and_its_length_told() {
    // Tables of five words and three places, four numbers each. An x of four numbers each chooses the words.
    let base = || {
        let graph = Graph::default().input("x", DataType::Int64, &[-1, 3]).output("y", FLOAT, &[-1]);
        let graph = graph.constant(random(1, "w", &[5, 4])).constant(random(2, "p", &[3, 4]));
        graph.constant(random(3, "g", &[4])).constant(random(4, "b", &[4])).constant(words("one", &[1]))
    };
    let mask = || base().node_with("Cast x -> i", vec![("to", Attribute::Int(6))]).node_with("Clip i -> mask", vec![]);
    let epsilon = || ("epsilon", Attribute::Float(1e-3));
    let joined = mask()
        .node_with("com.microsoft:EmbedLayerNormalization i _ w p _ g b mask -> n l", vec![epsilon()])
        .node_with("Cast l -> f", vec![("to", Attribute::Int(1))])
        .node("Unsqueeze f one -> u")
        .node("Unsqueeze u one -> v")
        .node("Mul n v -> y");
    let apart = mask()
        .node("Gather w x -> t")
        .node("Add t p -> s")
        .node_with("LayerNormalization s g b -> n", vec![("axis", Attribute::Int(-1)), epsilon()])
        .node_with("Cast mask -> c", vec![("to", Attribute::Int(1))])
        .node_with("ReduceSum c one -> f", vec![("keepdims", Attribute::Int(0))])
        .node("Unsqueeze f one -> u")
        .node("Unsqueeze u one -> v")
        .node("Mul n v -> y");
    let ids: Vec<u8> = [1i64, 4, 2].iter().flat_map(|v| v.to_le_bytes()).collect();
    let x = Tensor { name: "x".into(), datatype: hearth_api::tensor::Datatype::Int64, shape: vec![1, 3], data: ids.into() };
    let (found, expected) = (values(&answer(joined, &x)), values(&answer(apart, &x)));
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4) && expected[0].abs() > 0.01, "{found:?} {expected:?}");
}

#[test]
fn nodes_that_lack_what_they_need_do_no_harm() {
    for op in ["Attention", "QAttention", "FusedMatMul", "FusedConv", "NhwcMaxPool", "EmbedLayerNormalization", "DynamicQuantizeMatMul"] {
        for node in [format!("com.microsoft:{op} x ->"), format!("com.microsoft:{op} -> z"), format!("com.microsoft:{op} x x x -> z")] {
            let file = graph(&[-1, 3]).node(&node).node("Relu x -> y").write();
            _ = Network::load(&file.path);
        }
    }
    let huge = vec![("num_heads", Attribute::Int(1)), ("qkv_hidden_sizes", ints(&[i64::MAX, i64::MAX, i64::MAX]))];
    let base = graph(&[-1, 3, 4]).constant(random(1, "w", &[4, 12]));
    assert!(Network::load(&base.node_with("com.microsoft:Attention x w -> y", huge).write().path).is_err());
}
