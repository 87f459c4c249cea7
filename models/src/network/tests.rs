//! Networks from small files: answers against plain Rust, batches, interruption, bad requests.

use super::*;
use crate::onnx::testing::{Attribute, Graph, OnnxFile, Random, floats, ints, tensor};
use hearth_api::FaultKind;
use hearth_api::tensor::{Datatype, Tensor};
use hearth_kernels::Pool;
use tract_onnx::pb::tensor_proto::DataType::{Bool, Float, Float16, Int8, Int32, Int64, Uint8};

fn load(file: &OnnxFile) -> Network {
    Network::load(&file.path).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    assert_eq!(tensor.datatype, Datatype::Fp32);
    tensor.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn run_all(network: &Network, requests: Vec<Vec<Tensor>>, threads: usize) -> Vec<Vec<Tensor>> {
    let pool = Pool::new(threads);
    network.run(requests, threads, &pool, &mut || ()).into_iter().map(Result::unwrap).collect()
}

fn run_one(network: &Network, inputs: Vec<Tensor>) -> Vec<f32> {
    values(&run_all(network, vec![inputs], 1)[0][0])
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).enumerate().for_each(|(i, (a, b))| assert!((a - b).abs() <= tolerance, "element {i}: {a} and {b}"));
}

/// `y = relu(x W)`, 4 in, 3 out.
fn dense(random: &mut Random) -> (Graph, Vec<f32>) {
    let weights = random.floats(12);
    let graph = Graph::default()
        .input("x", Float, &[-1, 4])
        .constant(floats("w", &[4, 3], &weights))
        .node("MatMul x w -> h")
        .node("Relu h -> y")
        .output("y", Float, &[-1, 3]);
    (graph, weights)
}

fn row(random: &mut Random) -> Tensor {
    Tensor::from_f32("x", vec![1, 4], &random.floats(4))
}

fn scale(name: &str, scale: f32) -> tract_onnx::pb::TensorProto {
    floats(name, &[], &[scale])
}

/// QuantizeLinear then DequantizeLinear, in plain Rust.
fn grid(x: f32, scale: f32, zero: i32, low: i32, high: i32) -> f32 {
    let q = ((f64::from(x / scale).round_ties_even() as i64) + i64::from(zero)).clamp(low.into(), high.into());
    (q - i64::from(zero)) as f32 * scale
}

#[test]
fn an_open_batch_answers_like_plain_rust() {
    let mut random = Random(1);
    let (graph, weights) = dense(&mut random);
    let network = load(&graph.write());
    assert_eq!(network.batching(), Batching::BySize);
    assert_eq!(network.inputs()[0].shape, [-1, 4]);
    assert_eq!(network.outputs()[0].shape, [-1, 3]);
    let x = random.floats(8);
    let got = run_one(&network, vec![Tensor::from_f32("x", vec![2, 4], &x)]);
    let expected: Vec<f32> = (0..6).map(|i| (0..4).map(|k| x[i / 3 * 4 + k] * weights[k * 3 + i % 3]).sum::<f32>().max(0.0)).collect();
    close(&got, &expected, 1e-6);
}

#[test]
fn quantized_attention_is_right_where_tract_alone_is_silently_wrong() {
    // Dequantize, Softmax over a row, Quantize: tract's own operators make a table of 256 entries of it.
    let graph = Graph::default()
        .input("x", Float, &[-1, 8])
        .constant(scale("s", 0.05))
        .constant(tensor("z", Uint8, &[], vec![128]))
        .constant(scale("t", 1.0 / 256.0))
        .constant(tensor("u", Uint8, &[], vec![0]))
        .node("QuantizeLinear x s z -> a")
        .node("DequantizeLinear a s z -> b")
        .node_with("Softmax b -> c", vec![("axis", Attribute::Int(-1))])
        .node("QuantizeLinear c t u -> d")
        .node("DequantizeLinear d t u -> y")
        .output("y", Float, &[-1, 8]);
    let network = load(&graph.write());
    let mut random = Random(2);
    let x: Vec<f32> = random.floats(24).iter().map(|x| x * 3.0).collect();
    let got = run_one(&network, vec![Tensor::from_f32("x", vec![3, 8], &x)]);
    let expected: Vec<f32> = x
        .chunks(8)
        .flat_map(|row| {
            let exp: Vec<f64> = row.iter().map(|x| f64::from(grid(*x, 0.05, 128, 0, 255)).exp()).collect();
            let sum: f64 = exp.iter().sum();
            exp.into_iter().map(move |e| grid((e / sum) as f32, 1.0 / 256.0, 0, 0, 255))
        })
        .collect();
    close(&got, &expected, 1e-7);
}

#[test]
fn a_quantized_convolution_is_exact_per_tensor_and_per_channel() {
    for per_channel in [false, true] {
        let mut random = Random(3);
        let weights = random.bytes(3 * 2 * 9);
        let scales: Vec<f32> = if per_channel { vec![0.01, 0.02, 0.005] } else { vec![0.01] };
        let zeros = if per_channel { vec![0u8, 3, 250] } else { vec![7] };
        let dims: &[i64] = if per_channel { &[3] } else { &[] };
        let bias: Vec<i32> = vec![100, -50, 7];
        let bias_scales: Vec<f32> = (0..3).map(|c| scales[c % scales.len()] * 0.02).collect();
        let graph = Graph::default()
            .input("x", Float, &[-1, 2, 5, 5])
            .constant(scale("xs", 0.02))
            .constant(tensor("xz", Uint8, &[], vec![120]))
            .constant(tensor("w", Int8, &[3, 2, 3, 3], weights.clone()))
            .constant(floats("ws", dims, &scales))
            .constant(tensor("wz", Int8, dims, zeros.clone()))
            .constant(tensor("b", Int32, &[3], bias.iter().flat_map(|b| b.to_le_bytes()).collect()))
            .constant(floats("bs", &[3], &bias_scales))
            .node("QuantizeLinear x xs xz -> xq")
            .node("DequantizeLinear xq xs xz -> xd")
            .node_with("DequantizeLinear w ws wz -> wd", vec![("axis", Attribute::Int(0))])
            .node_with("DequantizeLinear b bs -> bd", vec![("axis", Attribute::Int(0))])
            .node_with("Conv xd wd bd -> y", vec![("pads", Attribute::Ints(vec![1, 1, 1, 1]))])
            .output("y", Float, &[-1, 3, 5, 5]);
        let network = load(&graph.write());
        assert_eq!(network.batching(), Batching::BySize);
        let x = random.floats(2 * 50);
        let got = run_one(&network, vec![Tensor::from_f32("x", vec![2, 2, 5, 5], &x)]);
        let mut expected = vec![];
        for (n, c, i, j) in (0..150).map(|o| (o / 75, o / 25 % 3, o / 5 % 5, o % 5)) {
            let (s, z) = (scales[c % scales.len()], i32::from(zeros[c % zeros.len()] as i8));
            let mut sum = bias[c] as f32 * bias_scales[c];
            for (k, di, dj) in (0..18).map(|o| (o / 9, o / 3 % 3, o % 3)) {
                let (Some(y), Some(z_)) = ((i + di).checked_sub(1).filter(|y| *y < 5), (j + dj).checked_sub(1).filter(|x| *x < 5)) else {
                    continue;
                };
                let w = (i32::from(weights[(c * 2 + k) * 9 + di * 3 + dj] as i8) - z) as f32 * s;
                sum += w * grid(x[(n * 2 + k) * 25 + y * 5 + z_], 0.02, 120, 0, 255);
            }
            expected.push(sum);
        }
        close(&got, &expected, 2e-5);
    }
}

#[test]
fn one_fake_quantize_serves_every_reader() {
    let graph = Graph::default()
        .input("x", Float, &[-1, 6])
        .constant(scale("s", 0.1))
        .constant(tensor("z", Int8, &[], vec![5]))
        .node("QuantizeLinear x s z -> q")
        .node("DequantizeLinear q s z -> a")
        .node("DequantizeLinear q s z -> b")
        .node("Sigmoid a -> c")
        .node("Add c b -> y")
        .output("y", Float, &[-1, 6]);
    let network = load(&graph.write());
    let plan = network.plans.plan(&[[1, 6].into_iter().collect()]).unwrap();
    let names: Vec<String> = plan.model().nodes().iter().map(|n| n.op().name().to_string()).collect();
    assert_eq!(names.iter().filter(|n| *n == "FakeQuantize").count(), 1, "{names:?}");
    assert!(!names.iter().any(|n| n == "Quantize" || n == "Dequantize"), "{names:?}");
    let x = [0.05, 0.15, -0.25, 100.0, -100.0, 0.0];
    let expected: Vec<f32> = x.iter().map(|x| grid(*x, 0.1, 5, -128, 127)).map(|g| g + 1.0 / (1.0 + (-g).exp())).collect();
    close(&run_one(&network, vec![Tensor::from_f32("x", vec![1, 6], &x)]), &expected, 1e-5);
}

/// An LSTM over 5 steps of 3 values, batch symbolic, 4 hidden units; the last hidden state comes out.
fn lstm(random: &mut Random) -> Graph {
    Graph::default()
        .input("x", Float, &[-1, 5, 3])
        .constant(floats("w", &[1, 16, 3], &random.floats(48)))
        .constant(floats("r", &[1, 16, 4], &random.floats(64)))
        .constant(ints("axes", &[1], &[0]))
        .node_with("Transpose x -> t", vec![("perm", Attribute::Ints(vec![1, 0, 2]))])
        .node_with("LSTM t w r -> _y h", vec![("hidden_size", Attribute::Int(4))])
        .node("Squeeze h axes -> y")
        .output("y", Float, &[-1, 4])
}

#[test]
fn an_lstm_with_a_symbolic_batch_runs_and_batches() {
    let mut random = Random(4);
    let network = load(&lstm(&mut random).write());
    assert_ne!(network.batching(), Batching::OneByOne);
    let requests: Vec<Vec<Tensor>> = (0..7).map(|_| vec![Tensor::from_f32("x", vec![1, 5, 3], &random.floats(15))]).collect();
    let alone: Vec<Vec<f32>> = requests.iter().map(|r| run_one(&network, r.clone())).collect();
    for (alone, together) in alone.iter().zip(run_all(&network, requests, 2)) {
        close(alone, &values(&together[0]), 1e-6);
    }
}

#[test]
fn weights_are_held_once_for_all_batch_sizes() {
    let mut random = Random(4);
    let graph = Graph::default()
        .input("x", Float, &[-1, 2, 64])
        .constant(floats("w", &[1, 256, 64], &random.floats(256 * 64)))
        .constant(floats("r", &[1, 256, 64], &random.floats(256 * 64)))
        .constant(ints("axes", &[1], &[0]))
        .node_with("Transpose x -> t", vec![("perm", Attribute::Ints(vec![1, 0, 2]))])
        .node_with("LSTM t w r -> _y h", vec![("hidden_size", Attribute::Int(64))])
        .node("Squeeze h axes -> y")
        .output("y", Float, &[-1, 64]);
    let network = load(&graph.write());
    let weights = 2 * 256 * 64 * 4;
    for rows in [16, 8, 4, 2, 1] {
        let request = (0..rows).map(|_| vec![Tensor::from_f32("x", vec![1, 2, 64], &random.floats(128))]).collect();
        run_all(&network, request, 1);
    }
    // Packed for some shapes of products; without sharing there would be a copy for each of five sizes.
    assert_eq!(network.batching(), Batching::BySize);
    assert!((weights..4 * weights).contains(&network.memory_bytes()), "{} for weights of {weights}", network.memory_bytes());
}

#[test]
fn a_fixed_batch_of_one_is_served_one_by_one() {
    let graph = Graph::default().input("x", Float, &[1, 4]).constant(ints("shape", &[2], &[2, 2])).node("Reshape x shape -> y").output(
        "y",
        Float,
        &[2, 2],
    );
    let network = load(&graph.write());
    assert_eq!((network.batching(), &network.inputs()[0].shape[..]), (Batching::OneByOne, &[1, 4][..]));
    let mut random = Random(5);
    let requests: Vec<Vec<Tensor>> = (0..5).map(|_| vec![row(&mut random)]).collect();
    for (request, answer) in requests.clone().iter().zip(run_all(&network, requests, 2)) {
        assert_eq!((&answer[0].shape[..], &answer[0].data), (&[2, 2][..], &request[0].data));
    }
}

#[test]
fn a_batch_that_the_graph_has_hard_coded_is_not_stacked() {
    // The input is open, but a Reshape inside knows only one row.
    let graph = Graph::default().input("x", Float, &[-1, 4]).constant(ints("shape", &[2], &[1, 4])).node("Reshape x shape -> y").output(
        "y",
        Float,
        &[-1, 4],
    );
    assert_eq!(load(&graph.write()).batching(), Batching::OneByOne);
}

#[test]
fn rows_that_influence_each_other_are_not_stacked() {
    let graph = Graph::default().input("x", Float, &[-1, 4]).node_with("Softmax x -> y", vec![("axis", Attribute::Int(0))]).output(
        "y",
        Float,
        &[-1, 4],
    );
    assert_eq!(load(&graph.write()).batching(), Batching::OneByOne);
    // One scale for the whole batch: close enough to pass a trial, but an answer must not depend on its neighbours.
    let graph = Graph::default()
        .input("x", Float, &[-1, 4])
        .node("DynamicQuantizeLinear x -> q s z")
        .node_with("Cast q -> a", vec![("to", Attribute::Int(1))])
        .node_with("Cast z -> b", vec![("to", Attribute::Int(1))])
        .node("Sub a b -> c")
        .node("Mul c s -> y")
        .output("y", Float, &[-1, 4]);
    assert_eq!(load(&graph.write()).batching(), Batching::OneByOne);
}

#[test]
fn an_answer_does_not_depend_on_its_neighbours_or_on_the_threads() {
    let mut random = Random(6);
    let network = load(&dense(&mut random).0.write());
    let probe = row(&mut random);
    let mut answers = vec![];
    for threads in 1..=3 {
        let mut requests: Vec<Vec<Tensor>> = (0..9).map(|_| vec![row(&mut random)]).collect();
        requests[4] = vec![probe.clone()];
        answers.push(run_all(&network, requests, threads).remove(4));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn sub_batches_on_threads_equal_the_whole() {
    let mut random = Random(7);
    let network = load(&dense(&mut random).0.write());
    let requests: Vec<Vec<Tensor>> = (1..6).map(|rows| vec![Tensor::from_f32("x", vec![rows, 4], &random.floats(rows * 4))]).collect();
    let whole = run_all(&network, requests.clone(), 1);
    assert_eq!(whole.iter().map(|o| o[0].shape[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    for threads in 2..=4 {
        for (a, b) in whole.iter().zip(run_all(&network, requests.clone(), threads)) {
            close(&values(&a[0]), &values(&b[0]), 1e-6);
        }
    }
}

/// Opens a dimension of a port, without a name.
fn unnamed(port: &mut tract_onnx::pb::ValueInfoProto, axis: usize) {
    let Some(tract_onnx::pb::type_proto::Value::TensorType(tensor)) = port.r#type.as_mut().unwrap().value.as_mut() else { panic!() };
    tensor.shape.as_mut().unwrap().dim[axis].value = None;
}

/// As a voice detector has it: samples, and a state whose batch is not its first dimension and can only be 1.
#[test]
fn a_state_may_have_a_batch_of_one_alone() {
    let mut graph = Graph::default()
        .input("x", Float, &[-1, -1])
        .input("s", Float, &[2, -1, 3])
        .constant(ints("first", &[], &[0]))
        .constant(ints("axis", &[1], &[0]))
        .node_with("ReduceMean x -> m", vec![("axes", Attribute::Ints(vec![1]))])
        .node("Gather s first -> t")
        .node("Squeeze t axis -> u")
        .node("Add m u -> y")
        .output("y", Float, &[-1, 3]);
    graph.0.input.iter_mut().for_each(|port| unnamed(port, 1));
    let network = load(&graph.write());
    let state = Tensor::from_f32("s", vec![2, 1, 3], &[1.0, 2.0, 3.0, 9.0, 9.0, 9.0]);
    let samples = Tensor::from_f32("x", vec![1, 40], &[0.5; 40]);
    close(&run_one(&network, vec![samples, state]), &[1.5, 2.5, 3.5], 1e-6);
}

#[test]
fn open_dimensions_may_differ_from_request_to_request() {
    let mut graph = Graph::default().input("x", Float, &[-1, 7, 2]).node("Relu x -> y").output("y", Float, &[-1, 7, 2]);
    [&mut graph.0.input[0], &mut graph.0.output[0]].into_iter().for_each(|port| unnamed(port, 1));
    let network = load(&graph.write());
    assert_eq!(network.inputs()[0].shape, [-1, -1, 2]);
    let mut random = Random(8);
    let requests: Vec<Vec<Tensor>> = [3, 5, 3].iter().map(|n| vec![Tensor::from_f32("x", vec![1, *n, 2], &random.floats(n * 2))]).collect();
    let shapes: Vec<Vec<usize>> = run_all(&network, requests, 1).iter().map(|o| o[0].shape.clone()).collect();
    assert_eq!(shapes, [[1, 3, 2], [1, 5, 2], [1, 3, 2]]);
}

#[test]
fn two_inputs_are_told_apart_by_name_and_must_agree() {
    let graph = Graph::default().input("a", Float, &[-1, 2]).input("b", Float, &[-1, 2]).node("Sub a b -> y").output("y", Float, &[-1, 2]);
    let network = load(&graph.write());
    let (a, b) = (Tensor::from_f32("a", vec![1, 2], &[5., 6.]), Tensor::from_f32("b", vec![1, 2], &[1., 2.]));
    assert_eq!(run_one(&network, vec![b.clone(), a.clone()]), [4., 4.]);
    let pool = Pool::new(1);
    let long = Tensor::from_f32("b", vec![2, 2], &[1., 2., 3., 4.]);
    let fault = network.run(vec![vec![a.clone(), long]], 1, &pool, &mut || ()).remove(0).unwrap_err();
    assert!(fault.kind == FaultKind::BadRequest && fault.message.contains("dimension 0 is 2"), "{fault}");
    let fault = network.run(vec![vec![a]], 1, &pool, &mut || ()).remove(0).unwrap_err();
    assert!(fault.message.contains("\"b\" is missing"), "{fault}");
}

#[test]
fn half_precision_goes_in_and_out_and_is_computed_in_f32() {
    let half = |x: f32| hearth_api::tensor::f32_to_half(x).to_le_bytes();
    let graph = Graph::default()
        .input("x", Float16, &[-1, 2])
        .constant(tensor("w", Float16, &[2, 2], [1.0, 0.5, -2.0, 4.0].into_iter().flat_map(half).collect()))
        .constant(tensor("b", Float16, &[2], [0.25, -0.25].into_iter().flat_map(half).collect()))
        .node("Gemm x w b -> h")
        .node_with("Cast h -> y", vec![("to", Attribute::Int(10))])
        .output("y", Float16, &[-1, 2]);
    let network = load(&graph.write());
    let data = [1.0, 2.0].into_iter().flat_map(half).collect::<Vec<u8>>();
    let x = Tensor { name: "x".into(), datatype: Datatype::Fp16, shape: vec![1, 2], data: data.into() };
    let answer = run_all(&network, vec![vec![x]], 1).remove(0).remove(0);
    assert_eq!(answer.datatype, Datatype::Fp16);
    assert_eq!(answer.data, [-2.75, 8.25].into_iter().flat_map(half).collect::<Vec<u8>>());
}

#[test]
fn counts_come_out_as_the_integers_that_the_file_declares() {
    let graph = Graph::default()
        .input("x", Float, &[-1, 4])
        .node_with("ArgMax x -> y", vec![("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))])
        .output("y", Int64, &[-1]);
    let network = load(&graph.write());
    let x = Tensor::from_f32("x", vec![2, 4], &[0., 3., 1., 2., 9., 3., 1., 2.]);
    let answer = run_all(&network, vec![vec![x]], 1).remove(0).remove(0);
    assert_eq!((answer.datatype, &answer.data[..]), (Datatype::Int64, &[1i64.to_le_bytes(), 0i64.to_le_bytes()].concat()[..]));
}

#[test]
fn something_urgent_gets_its_turn_at_every_node() {
    let mut graph = Graph::default().input("x", Float, &[-1, 4]);
    for i in 0..20 {
        // Alternating operators, so that none are merged.
        graph = graph.node(&format!("{} {} -> y{i}", ["Sigmoid", "Tanh"][i % 2], if i == 0 { "x".into() } else { format!("y{}", i - 1) }));
    }
    let network = load(&graph.output("y19", Float, &[-1, 4]).write());
    let mut turns = 0;
    let caller = std::thread::current().id();
    let pool = Pool::new(2);
    let requests = (0..4).map(|_| vec![Tensor::from_f32("x", vec![1, 4], &[1.; 4])]).collect();
    let answers = network.run(requests, 2, &pool, &mut || {
        assert_eq!(std::thread::current().id(), caller);
        turns += 1;
    });
    assert!(answers.iter().all(Result::is_ok));
    assert!(turns >= 20, "{turns} turns");
    assert!(network.longest_node() > Duration::ZERO);
}

#[test]
fn a_bad_request_ends_alone_and_is_told_what_would_be_right() {
    let mut random = Random(9);
    let network = load(&dense(&mut random).0.write());
    let wrong_type = Tensor { datatype: Datatype::Int32, ..row(&mut random) };
    let cases = [
        (Tensor::from_f32("x", vec![1, 5], &[0.; 5]), "[1, 5]; expected Fp32 [-1, 4]"),
        (Tensor::from_f32("x", vec![4], &[0.; 4]), "[4]; expected"),
        (Tensor::from_f32("x", vec![0, 4], &[]), "[0, 4]; expected"),
        (wrong_type, "got Int32; expected Fp32"),
        (Tensor::from_f32("x", vec![1, 4], &[0., f32::NAN, 0., 0.]), "holds NaN"),
        (Tensor::from_f32("z", vec![1, 4], &[0.; 4]), "\"x\" is missing"),
    ];
    let mut requests: Vec<Vec<Tensor>> = vec![vec![row(&mut random)]];
    requests.extend(cases.iter().map(|(bad, _)| vec![bad.clone()]));
    requests.push(vec![row(&mut random)]);
    let mut results = network.run(requests, 1, &Pool::new(1), &mut || ());
    assert!(results.remove(0).is_ok() && results.pop().unwrap().is_ok());
    for (result, (_, says)) in results.into_iter().zip(cases) {
        let fault = result.unwrap_err();
        assert!(fault.kind == FaultKind::BadRequest && fault.message.contains(says), "{fault}");
    }
}

#[test]
fn a_row_that_the_model_cannot_answer_fails_alone() {
    // 0 / 0 for a row of zeros.
    let graph = Graph::default().input("x", Float, &[-1, 2]).node("Div x x -> y").output("y", Float, &[-1, 2]);
    let network = load(&graph.write());
    let request = |x: f32| vec![Tensor::from_f32("x", vec![1, 2], &[x, 1.0])];
    let results = network.run(vec![request(2.0), request(0.0), request(3.0)], 1, &Pool::new(1), &mut || ());
    assert!(results[0].is_ok() && results[2].is_ok());
    let fault = results[1].as_ref().unwrap_err();
    assert!(fault.kind == FaultKind::ModelFailed && fault.message.contains("NaN"), "{fault}");
}

#[test]
fn a_piece_that_fails_is_searched_for_its_culprit() {
    // An index out of range fails the whole piece that it rides in.
    let graph = Graph::default()
        .input("i", Int64, &[-1, 1])
        .constant(floats("table", &[3, 2], &[0., 1., 2., 3., 4., 5.]))
        .node_with("Gather table i -> y", vec![("axis", Attribute::Int(0))])
        .output("y", Float, &[-1, 1, 2]);
    let network = load(&graph.write());
    let request =
        |i: i64| vec![Tensor { name: "i".into(), datatype: Datatype::Int64, shape: vec![1, 1], data: i.to_le_bytes().to_vec().into() }];
    let results = network.run(vec![request(2), request(99), request(1)], 1, &Pool::new(1), &mut || ());
    assert_eq!(values(&results[0].as_ref().unwrap()[0]), [4., 5.]);
    assert_eq!(values(&results[2].as_ref().unwrap()[0]), [2., 3.]);
    assert_eq!(results[1].as_ref().unwrap_err().kind, FaultKind::ModelFailed);
}

#[test]
fn steps_of_a_slice_stay_where_they_are() {
    // Every second of each axis of a picture that a Reshape made: tract alone moves the steps to where there are no such axes.
    let graph = Graph::default()
        .input("x", Float, &[-1, 12, 2])
        .constant(ints("picture", &[4], &[0, 3, 4, 2]))
        .constant(ints("first", &[2], &[0, 1]))
        .constant(ints("last", &[2], &[3, 4]))
        .constant(ints("axes", &[2], &[1, 2]))
        .constant(ints("steps", &[2], &[2, 2]))
        .node("Reshape x picture -> p")
        .node("Slice p first last axes steps -> s")
        .node("Relu s -> y")
        .output("y", Float, &[-1, 2, 2, 2]);
    let network = load(&graph.write());
    let x: Vec<f32> = (0..24u8).map(f32::from).collect();
    let expected: Vec<f32> =
        [(0, 1), (0, 3), (2, 1), (2, 3)].iter().flat_map(|(row, column)| [0, 1].map(|c| x[(row * 4 + column) * 2 + c])).collect();
    close(&run_one(&network, vec![Tensor::from_f32("x", vec![1, 12, 2], &x)]), &expected, 0.0);
}

#[test]
fn of_an_if_whose_condition_the_shapes_tell_only_the_branch_taken_has_to_fit_them() {
    // PyTorch's `squeeze`: where the axis has one index, it goes.
    let squeezed = Graph::default().constant(ints("axes", &[1], &[2])).node("Squeeze x axes -> t").output("t", Float, &[-1, 2]);
    let kept = Graph::default().node("Identity x -> e").output("e", Float, &[-1, 2, -1]);
    let graph = |size: i64| {
        Graph::default()
            .input("x", Float, &[-1, 2, size])
            .constant(ints("two", &[], &[2]))
            .constant(ints("one", &[], &[1]))
            .node("Shape x -> shape")
            .node("Gather shape two -> size")
            .node("Equal size one -> c")
            .node_with(
                "If c -> i",
                vec![("then_branch", Attribute::Body(squeezed.0.clone())), ("else_branch", Attribute::Body(kept.0.clone()))],
            )
            .node("Relu i -> y")
    };
    let answer = |graph: Graph, size: usize| {
        let x: Vec<f32> = (0..2 * size).map(|i| i as f32).collect();
        let answer = run_all(&load(&graph.write()), vec![vec![Tensor::from_f32("x", vec![1, 2, size], &x)]], 1).remove(0).remove(0);
        close(&values(&answer), &x, 0.0);
        answer.shape
    };
    assert_eq!(answer(graph(1).output("y", Float, &[-1, 2]), 1), [1, 2]);
    assert_eq!(answer(graph(3).output("y", Float, &[-1, 2, 3]), 3), [1, 2, 3]);
}

#[test]
fn of_an_if_whose_condition_is_an_input_the_branch_is_chosen_anew_each_time() {
    let branch = |operator: &str| Graph::default().node(&format!("{operator} x -> r")).output("r", Float, &[-1, 2]).0;
    let graph = Graph::default()
        .input("c", Bool, &[])
        .input("x", Float, &[-1, 2])
        .node_with("If c -> y", vec![("then_branch", Attribute::Body(branch("Neg"))), ("else_branch", Attribute::Body(branch("Abs")))])
        .output("y", Float, &[-1, 2]);
    let network = load(&graph.write());
    for (condition, expected) in [(1u8, [-1.0, 2.0]), (0, [1.0, 2.0])] {
        let condition = Tensor { name: "c".into(), datatype: Datatype::Bool, shape: vec![], data: vec![condition].into() };
        close(&run_one(&network, vec![condition, Tensor::from_f32("x", vec![1, 2], &[1.0, -2.0])]), &expected, 0.0);
    }
}

#[test]
fn of_an_if_whose_condition_is_an_input_a_branch_that_does_not_fit_the_shapes_is_refused_alone() {
    // Silero's VAD has a branch for each sampling rate.
    let squeezed = Graph::default().constant(ints("axes", &[1], &[2])).node("Squeeze x axes -> s").output("s", Float, &[-1, 2]);
    let attributes = vec![("axes", Attribute::Ints(vec![2])), ("keepdims", Attribute::Int(0))];
    let greatest = Graph::default().node_with("ReduceMax x -> g", attributes).output("g", Float, &[-1, 2]);
    let mut graph = Graph::default()
        .input("c", Bool, &[])
        .input("x", Float, &[-1, 2, -1])
        .node_with("If c -> y", vec![("then_branch", Attribute::Body(squeezed.0)), ("else_branch", Attribute::Body(greatest.0))])
        .output("y", Float, &[-1, 2]);
    // Another symbol than the batch's.
    let size = Some(tract_onnx::pb::tensor_shape_proto::dimension::Value::DimParam("samples".into()));
    if let Some(tract_onnx::pb::type_proto::Value::TensorType(x)) = &mut graph.0.input[1].r#type.as_mut().unwrap().value {
        x.shape.as_mut().unwrap().dim[2].value = size;
    }
    let network = load(&graph.write());
    let request = |condition: u8, x: &[f32]| {
        let condition = Tensor { name: "c".into(), datatype: Datatype::Bool, shape: vec![], data: vec![condition].into() };
        vec![condition, Tensor::from_f32("x", vec![1, 2, x.len() / 2], x)]
    };
    close(&run_one(&network, request(1, &[1.0, 2.0])), &[1.0, 2.0], 0.0);
    close(&run_one(&network, request(0, &[1.0, 2.0, 4.0, 3.0])), &[2.0, 4.0], 0.0);
    let fault = network.run(vec![request(1, &[1.0, 2.0, 4.0, 3.0])], 1, &Pool::new(1), &mut || ()).remove(0).unwrap_err();
    assert!(fault.kind == FaultKind::ModelFailed && fault.message.contains("does not fit their shapes"), "{fault}");
}

#[test]
fn quantized_graphs_answer_as_onnxruntime_does() {
    // Answers of onnxruntime, from models/fixtures/make.py.
    let cases = [("axis", vec![2, 6, 8]), ("convolution", vec![2, 3, 8, 8]), ("attention", vec![2, 6, 16])];
    for (name, shape) in cases {
        let file = |ending| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("{name}.{ending}"));
        let network = Network::load(&file("onnx")).unwrap();
        assert_eq!(network.batching(), Batching::BySize, "{name}");
        let data = std::fs::read(file("in")).unwrap().into();
        let outputs = run_all(&network, vec![vec![Tensor { name: "x".into(), datatype: Datatype::Fp32, shape, data }]], 1).remove(0);
        let got: Vec<u8> = outputs.iter().flat_map(|output| output.data.to_vec()).collect();
        let expected = std::fs::read(file("out")).unwrap();
        if name == "attention" {
            let floats = |bytes: &[u8]| bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
            close(&floats(&got), &floats(&expected), 1e-6);
        } else {
            // Integers, and floats on the grid of a last DequantizeLinear: to the bit.
            assert_eq!(got, expected, "{name}");
        }
    }
}
