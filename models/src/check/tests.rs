//! Checks in real child processes: the test program, called by a script, is the child.

use super::*;
use crate::manifest::Task;
use crate::onnx::testing::{Attribute, Graph, OnnxFile, Random, floats, ints, tensor};
use crate::store::{Source, Store};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tract_onnx::pb::tensor_proto::DataType::Float;

/// Not a test of its own: run by the script of [`program`], with the child's arguments in the environment.
#[test]
fn child_of_a_check() {
    if let Ok(arguments) = std::env::var("HEARTH_TEST_CHECK") {
        let mut words = arguments.split('\n').map(Into::into);
        assert_eq!(words.next(), Some("check-model".into()));
        let code = child(words.collect());
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// A program that does `check-model` as hearthd's programs do, or what `instead` says.
fn program(folder: &OnnxFile, instead: &str) -> PathBuf {
    let path = folder.folder.path().join("program");
    let test = std::env::current_exe().unwrap();
    let this = format!(
        "HEARTH_TEST_CHECK=\"$(printf '%s\\n' \"$@\")\" exec {} --exact check::tests::child_of_a_check --nocapture",
        test.display()
    );
    std::fs::write(&path, format!("#!/bin/sh\n{}\n", if instead.is_empty() { &this } else { instead })).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn install(graph: Graph, samples: &[(&str, &str)]) -> OnnxFile {
    let file = graph.write();
    let mut manifest = String::from("name = \"m\"\nversion = \"1\"\nfile = \"model.onnx\"\ntask = { kind = \"tensor\" }\n");
    for (index, (content, truth)) in samples.iter().enumerate() {
        std::fs::write(file.folder.path().join(format!("{index}.json")), content).unwrap();
        manifest += &format!("[[samples]]\nfile = \"{index}.json\"\ntruth = \"{truth}\"\n");
    }
    std::fs::write(file.folder.path().join("manifest.toml"), manifest).unwrap();
    file
}

fn check(file: &OnnxFile, limits: Limits) -> Result<Report, Refusal> {
    run(&program(file, ""), file.folder.path(), &limits)
}

fn refused(file: &OnnxFile, limits: Limits, says: &str) {
    let reason = check(file, limits).unwrap_err().reason;
    assert!(reason.contains(says), "{reason}");
}

fn small() -> Limits {
    Limits { memory_bytes: 1 << 30, ..Limits::default() }
}

/// A quantized layer and a softmax.
fn good() -> Graph {
    let mut random = Random(1);
    Graph::default()
        .input("x", Float, &[-1, 8])
        .constant(floats("s", &[], &[0.01]))
        .constant(tensor("z", tract_onnx::pb::tensor_proto::DataType::Uint8, &[], vec![128]))
        .constant(floats("w", &[8, 5], &random.floats(40)))
        .node("QuantizeLinear x s z -> q")
        .node("DequantizeLinear q s z -> d")
        .node("MatMul d w -> h")
        .node_with("Softmax h -> y", vec![("axis", Attribute::Int(-1))])
        .output("y", Float, &[-1, 5])
}

#[test]
fn a_good_model_is_accepted_with_numbers() {
    let sample = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,8],"data":[0,1,0,1,0,1,0,1]}]}"#;
    let report = check(&install(good(), &[(sample, "")]), Limits::default()).unwrap();
    assert_eq!(report.batching, Batching::BySize);
    assert!(report.memory_bytes >= 160 && report.longest_node_us < 1_000_000, "{report:?}");
    let seen: Vec<(&str, u32)> = report.comparisons.iter().map(|c| (c.input.as_str(), c.batch)).collect();
    assert_eq!(seen, [("seeded", 1), ("seeded", 3), ("seeded", 3), ("seeded", 3), ("0.json", 1)]);
    assert!(report.comparisons.iter().all(|c| c.cosine > 0.9999), "{report:?}");
    assert_eq!(report.samples.right, 1);
}

#[test]
fn a_model_that_cannot_be_loaded_is_refused_with_the_reason() {
    let graph = good().node("Abracadabra x -> b");
    refused(&install(graph, &[]), small(), "operator Abracadabra is not supported");
    let file = install(good(), &[]);
    std::fs::remove_file(file.folder.path().join("manifest.toml")).unwrap();
    refused(&file, small(), "manifest.toml: cannot be read");
    refused(&install(good(), &[("{}", "")]), small(), "sample 0.json: ");
}

#[test]
fn a_model_that_needs_too_much_memory_is_refused() {
    // 100 tensors of 64 MiB, all needed at the end.
    let mut graph = Graph::default().input("x", Float, &[-1, 4096, 1]).constant(ints("s", &[3], &[1, 1, 4096])).node("Expand x s -> y0");
    for i in 1..100 {
        graph = graph.node(&format!("{} y{} -> y{i}", ["Sin", "Cos"][i % 2], i - 1));
    }
    for i in 0..100 {
        graph = graph.output(&format!("y{i}"), Float, &[-1, 4096, 4096]);
    }
    refused(&install(graph, &[]), small(), "more than the 1024 MiB of memory");
}

#[test]
fn a_model_that_takes_for_ever_is_refused() {
    // 200 products of matrices of 2048 x 2048: minutes.
    let mut graph = Graph::default().input("x", Float, &[-1, 2048, 1]).constant(ints("s", &[3], &[1, 1, 2048])).node("Expand x s -> y0");
    for i in 1..200 {
        graph = graph.node(&format!("MatMul y{0} y{0} -> y{i}", i - 1));
    }
    let limits = Limits { cpu: Duration::from_secs(1), ..small() };
    refused(&install(graph.output("y199", Float, &[-1, 2048, 2048]), &[]), limits, "more than 1 s of CPU time");
}

#[test]
fn a_child_that_dies_hangs_or_babbles_is_a_refusal() {
    let file = install(good(), &[]);
    let with = |instead: &str, limits: Limits| run(&program(&file, instead), file.folder.path(), &limits).unwrap_err().reason;
    assert!(with("kill -SEGV $$", small()).contains("crashed with signal 11"));
    assert!(with("echo 'broken thing' >&2; exit 3", small()).contains("(broken thing)"));
    assert!(with("echo '{\"accepted\":{}}'", small()).contains("without a verdict"));
    let brief = Limits { clock: Duration::from_millis(300), ..small() };
    assert!(with("exec sleep 100", brief).contains("did not end within 0.3 s"));
    assert!(with("exec yes", brief).contains("did not end"));
    let reason = run(Path::new("/no/such/program"), file.folder.path(), &small()).unwrap_err().reason;
    assert!(reason.contains("cannot be started"), "{reason}");
}

#[test]
fn a_check_sees_nothing_of_the_environment() {
    let file = install(good(), &[]);
    let reason = run(&program(&file, "env >&2; exit 1"), file.folder.path(), &small()).unwrap_err().reason;
    // A shell sets only its own.
    for name in ["HOME", "CARGO", "PATH=/usr", "USER"] {
        assert!(!reason.contains(name), "{reason}");
    }
}

#[test]
fn bundled_models_pass_and_answer_their_samples() {
    for model in crate::bundled::all() {
        let (this, unpacked, root) = (good().write(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        model.write_to(unpacked.path()).unwrap();
        let report = std::cell::OnceCell::new();
        let look = |folder: &Path| {
            let found = run(&program(&this, ""), folder, &Limits::default())?;
            report.set(found).unwrap();
            Ok(())
        };
        Store::open(&root.path().join("models")).unwrap().install(&Source::Folder(unpacked.path().into()), &look).unwrap();
        let report = report.into_inner().unwrap();
        let (right, wrong) = (report.samples.right as usize, report.samples.wrong.len());
        assert_eq!(right + wrong, model.manifest().samples.len());
        // A picture that a detector answers is right if every box in it is.
        let to_one = if matches!(model.manifest().task, Task::Detect(_)) { 3 } else { 10 };
        assert!(right >= to_one * wrong, "{}: {report:?}", model.manifest().name);
    }
}
