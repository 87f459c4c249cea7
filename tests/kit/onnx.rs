//! Small ONNX models, written by hand (onnx.proto): one that answers with what it got, negated, and one that takes long.

use std::fmt::Write as _;
use std::path::Path;

/// A protobuf message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u32, value: u64) -> Message {
        self.raw_varint(u64::from(field << 3));
        self.raw_varint(value);
        self
    }

    fn bytes(mut self, field: u32, value: &[u8]) -> Message {
        self.raw_varint(u64::from(field << 3 | 2));
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn text(self, field: u32, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, &value.0)
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Message {
    inputs.iter().fold(Message::default(), |node, input| node.text(1, input)).text(2, output).text(3, output).text(4, operator)
}

/// An f32 input or output; a dimension without a number is symbolic.
fn value(name: &str, shape: &[Result<u64, &str>]) -> Message {
    let dimensions = shape.iter().fold(Message::default(), |all, dimension| {
        all.message(
            1,
            match dimension {
                Ok(size) => Message::default().varint(1, *size),
                Err(symbol) => Message::default().text(2, symbol),
            },
        )
    });
    let tensor = Message::default().varint(1, 1).message(2, dimensions);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

fn integers(name: &str, elements: &[i64]) -> Message {
    let raw: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
    Message::default().varint(1, elements.len() as u64).varint(2, 7).text(8, name).bytes(9, &raw)
}

fn model(nodes: Vec<Message>, constants: Vec<Message>, input: Message, output: Message) -> Vec<u8> {
    let graph = nodes.into_iter().fold(Message::default(), |graph, node| graph.message(1, node)).text(2, "test");
    let graph = constants.into_iter().fold(graph, |graph, constant| graph.message(5, constant));
    let graph = graph.message(11, input).message(12, output);
    Message::default().varint(1, 8).message(7, graph).message(8, Message::default().varint(2, 13)).0
}

fn write(directory: &Path, name: &str, max_batch: u32, onnx: &[u8]) -> anyhow::Result<()> {
    let mut manifest = String::new();
    writeln!(
        manifest,
        "name = {name:?}\nversion = \"1.0\"\ndescription = \"for tests\"\nlicence = \"MIT OR Apache-2.0\"\norigin = \"tests/kit\""
    )?;
    writeln!(manifest, "file = \"model.onnx\"\n[batch]\nmax = {max_batch}\nmax_delay_ms = 1.0\n[task]\nkind = \"tensor\"")?;
    std::fs::write(directory.join("manifest.toml"), manifest)?;
    std::fs::write(directory.join("model.onnx"), onnx)?;
    Ok(())
}

/// Writes `negate`: x of FP32, batch and n as they come; y = -x.
pub fn negate(directory: &Path) -> anyhow::Result<()> {
    let shape = [Err("batch"), Err("n")];
    let onnx = model(vec![node("Neg", &["x"], "y")], Vec::new(), value("x", &shape), value("y", &shape));
    write(directory, "negate", 16, &onnx)
}

/// Writes `slow`: x of FP32 [1, 1]; y some seconds later, between a hundred nodes that can be interrupted.
pub fn slow(directory: &Path) -> anyhow::Result<()> {
    powers(directory, "slow", 1024)
}

/// Writes `steady`: the same, after about a second.
pub fn steady(directory: &Path) -> anyhow::Result<()> {
    powers(directory, "steady", 512)
}

/// x in every place of a square matrix; y the mean of its 101st power.
fn powers(directory: &Path, name: &str, size: i64) -> anyhow::Result<()> {
    let mut nodes = vec![node("Expand", &["x", "shape"], "m0")];
    for i in 0..100 {
        nodes.push(node("MatMul", &[&format!("m{i}"), "m0"], &format!("m{}", i + 1)));
    }
    nodes.push(node("ReduceMean", &["m100"], "y"));
    let constants = vec![integers("shape", &[size, size])];
    let onnx = model(nodes, constants, value("x", &[Ok(1), Ok(1)]), value("y", &[Ok(1), Ok(1)]));
    write(directory, name, 1, &onnx)
}
