//! Broken and hostile files: each is refused, with what is wrong and what would be right.

use super::testing::{Attribute, Graph, OnnxFile, Random, floats, ints, tensor, write_bytes};
use crate::{LoadError, Network};
use std::path::Path;
use std::time::{Duration, Instant};
use tract_onnx::pb::tensor_proto::DataType::{Bfloat16, Float, Int64, Uint32};
use tract_onnx::pb::{StringStringEntryProto, TensorProto};

fn refused(file: &OnnxFile) -> String {
    match Network::load(&file.path) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error.to_string(),
    }
}

fn refused_with(graph: Graph, says: &str) {
    let error = refused(&graph.write());
    assert!(error.contains(says), "{error}");
    assert!(error.contains("model.onnx: "), "{error}");
}

/// A valid graph to spoil: `y = x w`.
fn valid() -> Graph {
    Graph::default().input("x", Float, &[-1, 2]).constant(floats("w", &[2, 2], &[1., 2., 3., 4.])).node("MatMul x w -> y").output(
        "y",
        Float,
        &[-1, 2],
    )
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let bytes = valid().bytes();
    for length in 0..bytes.len() {
        assert!(
            matches!(Network::load(&write_bytes(&bytes[..length]).path), Err(LoadError::Invalid { .. } | LoadError::Graph { .. })),
            "{length}"
        );
    }
    assert!(Network::load(&write_bytes(&bytes).path).is_ok());
}

#[test]
fn noise_and_text_are_refused() {
    let mut random = Random(1);
    for _ in 0..200 {
        let length = random.next() as usize % 300;
        refused(&write_bytes(&random.bytes(length)));
    }
    assert!(refused(&write_bytes(b"<!DOCTYPE html><html>404</html>")).contains("no whole ONNX file"));
    assert!(matches!(Network::load(Path::new("no-such-file.onnx")), Err(LoadError::Read { .. })));
}

#[test]
fn a_flipped_byte_never_takes_the_process_down() {
    let bytes = valid().bytes();
    let mut random = Random(2);
    for _ in 0..300 {
        let mut bytes = bytes.clone();
        let at = random.next() as usize % bytes.len();
        bytes[at] = random.next() as u8;
        // Some are still models; what counts is that the others are errors.
        let _ = Network::load(&write_bytes(&bytes).path);
    }
}

#[test]
fn nodes_without_results_are_no_harm() {
    for node in ["Identity x ->", "Identity ->", "Identity -> z", "Constant ->"] {
        // Refused or served, but told: no panic.
        _ = Network::load(&valid().node(node).write().path);
    }
}

#[test]
fn a_graph_in_a_circle_is_refused() {
    let graph = Graph::default().input("x", Float, &[-1, 2]).node("Add x b -> a").node("Relu a -> b").output("b", Float, &[-1, 2]);
    refused_with(graph, "circle");
    // Through a body: the branch reads what the If makes.
    let branch = |reads: &str| Graph::default().node(&format!("Relu {reads} -> r")).output("r", Float, &[-1, 2]).0;
    let graph = Graph::default()
        .input("x", Float, &[-1, 2])
        .constant(tensor("c", tract_onnx::pb::tensor_proto::DataType::Bool, &[], vec![1]))
        .node_with("If c -> y", vec![("then_branch", Attribute::Body(branch("y"))), ("else_branch", Attribute::Body(branch("x")))])
        .output("y", Float, &[-1, 2]);
    refused_with(graph, "circle");
}

#[test]
fn names_that_nothing_makes_or_two_nodes_make_are_refused() {
    refused_with(valid().node("Relu nowhere -> z"), "reads \"nowhere\", which nothing makes");
    refused_with(valid().output("z", Float, &[-1, 2]), "nothing makes the output \"z\"");
    refused_with(valid().node("Relu x -> y"), "\"y\" is made twice");
    refused_with(valid().node("Relu x -> w"), "\"w\" is made twice");
}

#[test]
fn operators_that_are_not_known_are_all_named() {
    let mut graph = valid().node("FancyNorm x -> a").node("Abracadabra x -> b");
    graph.0.node[1].domain = "com.example".into();
    refused_with(graph, "operator Abracadabra, com.example.FancyNorm is not supported");
}

#[test]
fn too_many_nodes_are_refused_at_once() {
    let mut graph = Graph::default().input("x", Float, &[-1, 2]);
    for i in 0..=super::MAX_NODES {
        let reads = if i == 0 { "x".into() } else { format!("y{}", i - 1) };
        graph = graph.node(&format!("Relu {reads} -> y{i}"));
    }
    let start = Instant::now();
    refused_with(graph.output("y10000", Float, &[-1, 2]), "10001 nodes; at most 10000");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_weight_whose_shape_and_data_disagree_is_refused() {
    let with = |tensor: TensorProto| {
        let mut graph = valid();
        graph.0.initializer[0] = tensor;
        graph
    };
    refused_with(with(floats("w", &[2, 3], &[1., 2., 3., 4.])), "takes 24 bytes, and 16 bytes of data");
    refused_with(with(floats("w", &[2, -2], &[1., 2., 3., 4.])), "impossible shape [2, -2]");
    refused_with(with(floats("w", &[i64::MAX, i64::MAX], &[])), "impossible shape");
    refused_with(with(floats("w", &[1 << 40], &[])), "and 0 bytes of data");
    refused_with(with(tensor("w", Bfloat16, &[2, 2], vec![0; 8])), "BFLOAT16 is not supported");
    refused_with(with(TensorProto { data_type: 99, ..floats("w", &[2, 2], &[0.; 4]) }), "element type 99");
}

#[test]
fn typed_data_is_read_from_the_field_that_onnx_prescribes() {
    // tract looks for uint32 in the signed field, and finds none.
    let counts = TensorProto {
        name: "c".into(),
        data_type: Uint32 as i32,
        dims: vec![2],
        uint64_data: vec![3, 4_000_000_000],
        ..Default::default()
    };
    let graph = Graph::default()
        .input("x", Float, &[-1, 2])
        .constant(counts)
        .node_with("Cast c -> f", vec![("to", Attribute::Int(1))])
        .node("Add x f -> y")
        .output("y", Float, &[-1, 2]);
    assert!(Network::load(&graph.write().path).is_ok());
}

#[test]
fn tensors_of_absurd_size_are_refused_before_they_are_made() {
    let absurd = |graph: Graph| {
        let start = Instant::now();
        refused_with(graph.output("y", Float, &[-1]), "at most 134217728 elements");
        assert!(start.elapsed() < Duration::from_secs(2));
    };
    let base = || Graph::default().input("x", Float, &[-1]);
    absurd(base().constant(ints("s", &[1], &[1 << 40])).node("ConstantOfShape s -> z").node("Add x z -> y"));
    absurd(base().constant(ints("s", &[2], &[1 << 20, 1 << 20])).node("ConstantOfShape s -> z").node("Add x z -> y"));
    absurd(base().constant(ints("s", &[2], &[1 << 30, 1])).node("Expand x s -> y"));
    absurd(base().constant(ints("r", &[1], &[1 << 40])).node("Tile x r -> y"));
    absurd(
        base()
            .constant(ints("a", &[], &[0]))
            .constant(ints("b", &[], &[1 << 40]))
            .constant(ints("d", &[], &[1]))
            .node("Range a b d -> z")
            .node("Add x z -> y"),
    );
    absurd(
        base()
            .constant(ints("a", &[], &[0]))
            .constant(ints("b", &[], &[1]))
            .constant(ints("d", &[], &[0]))
            .node("Range a b d -> z")
            .node("Add x z -> y"),
    );
    absurd(base().constant(ints("p", &[2], &[0, 1 << 40])).node("Pad x p -> y"));
    absurd(base().constant(floats("s", &[1], &[1e12])).node("Resize x _ s -> y"));
    // Worked out through a computation, and inside a body.
    absurd(
        base()
            .constant(ints("a", &[1], &[1 << 20]))
            .node("Mul a a -> m")
            .node_with("Concat m a -> s", vec![("axis", Attribute::Int(0))])
            .node("ConstantOfShape s -> z")
            .node("Add x z -> y"),
    );
    let body = Graph::default().node("ConstantOfShape s -> r").output("r", Float, &[-1]).0;
    absurd(
        base()
            .constant(ints("s", &[1], &[1 << 40]))
            .constant(tensor("c", tract_onnx::pb::tensor_proto::DataType::Bool, &[], vec![1]))
            .node_with("If c -> y", vec![("then_branch", Attribute::Body(body.clone())), ("else_branch", Attribute::Body(body))]),
    );
    absurd(Graph::default().input("x", Float, &[1 << 20, 1 << 20]).node("Relu x -> y"));
    // Known only once tract has worked out the shapes: 16 rows of 2^24 by the input's own size.
    let graph = Graph::default()
        .input("x", Float, &[-1, 4096])
        .node_with("Transpose x -> t", vec![("perm", Attribute::Ints(vec![1, 0]))])
        .constant(ints("a", &[3], &[-1, 1, 4096]))
        .constant(ints("b", &[3], &[1, 4096, 4096]))
        .node("Reshape x a -> p")
        .node("Expand p b -> q")
        .node("MatMul q t -> y")
        .constant(ints("c", &[4], &[1 << 4, 1, 1, 1]))
        .node("Expand q c -> w")
        .output("w", Float, &[-1]);
    refused_with(graph, "at most 134217728 elements");
}

/// The graph of [`valid`] with its weight in a file beside it.
fn external(location: &str, entries: &[(&str, &str)]) -> Graph {
    let entry = |(key, value): (&str, &str)| StringStringEntryProto { key: key.into(), value: value.into() };
    let mut graph = valid();
    let weight = &mut graph.0.initializer[0];
    weight.raw_data.clear();
    weight.data_location = Some(1);
    weight.external_data = std::iter::once(("location", location)).chain(entries.iter().copied()).map(entry).collect();
    graph
}

fn weights() -> Vec<u8> {
    [1f32, 2., 3., 4.].iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn external_data_inside_the_folder_is_read() {
    let file = external("data/w.bin", &[("offset", "4"), ("length", "16")]).write();
    std::fs::create_dir(file.folder.path().join("data")).unwrap();
    std::fs::write(file.folder.path().join("data/w.bin"), [&[9; 4][..], &weights()].concat()).unwrap();
    assert!(Network::load(&file.path).is_ok());
}

#[test]
fn external_data_that_escapes_the_folder_is_refused() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), weights()).unwrap();
    refused_with(external(outside.path().to_str().unwrap(), &[]), "outside the model's folder");
    refused_with(external("../w.bin", &[]), "outside the model's folder");
    refused_with(external("data/../../w.bin", &[]), "outside the model's folder");
    refused_with(external("", &[]), "outside the model's folder");
    let file = external("w.bin", &[]).write();
    std::os::unix::fs::symlink(outside.path(), file.folder.path().join("w.bin")).unwrap();
    assert!(refused(&file).contains("a link out of the model's folder"));
    let file = external("folder/w.bin", &[]).write();
    std::os::unix::fs::symlink(outside.path().parent().unwrap(), file.folder.path().join("folder")).unwrap();
    std::fs::write(outside.path().with_file_name("w.bin"), weights()).unwrap_or_default();
    assert!(refused(&file).contains("a link out of the model's folder"));
}

#[test]
fn external_data_that_is_missing_or_short_is_refused() {
    refused_with(external("w.bin", &[]), "install the file beside the model");
    for (entries, says) in [
        (&[("length", "12")][..], "external data of 12 bytes"),
        (&[("offset", "8"), ("length", "16")], "which has 16 bytes"),
        (&[("offset", "18446744073709551615"), ("length", "16")], "which has 16 bytes"),
        (&[("offset", "-1")], "it is a number of bytes"),
    ] {
        let file = external("w.bin", entries).write();
        std::fs::write(file.folder.path().join("w.bin"), weights()).unwrap();
        let error = refused(&file);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_panic_inside_tract_is_an_error() {
    // An output count that the operator does not have: tract panics on some of these, and errs on others.
    for spec in ["LSTM x -> y", "TopK x -> y", "Gather x -> y", "Conv x -> y", "Scan x -> y", "Resize x -> y"] {
        let graph = Graph::default().input("x", Float, &[-1, 2]).node(spec).output("y", Float, &[-1, 2]);
        let error = refused(&graph.write());
        assert!(error.contains("failed: "), "{error}");
    }
}

#[test]
fn inputs_without_a_shape_and_graphs_without_ports_are_refused() {
    let mut graph = valid();
    let Some(tract_onnx::pb::type_proto::Value::TensorType(tensor)) = graph.0.input[0].r#type.as_mut().unwrap().value.as_mut() else {
        panic!()
    };
    tensor.shape = None;
    refused_with(graph, "declares no shape");
    refused_with(Graph::default(), "no input or no output");
    refused_with(Graph::default().constant(ints("a", &[1], &[1])).node("Neg a -> y").output("y", Int64, &[1]), "no input or no output");
}

#[test]
fn nodes_of_one_name_are_told_apart() {
    let mut graph = Graph::default().input("x", Float, &[-1, 3]).output("y", Float, &[-1, 3]).node("Relu x -> r").node("Neg r -> y");
    graph.0.node.iter_mut().for_each(|node| node.name = "alike".into());
    assert!(Network::load(&graph.write().path).is_ok());
}
