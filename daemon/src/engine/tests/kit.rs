//! What the engine's tests share: small ONNX models, an engine on a store of its own, requests and their ends.

use crate::config::{Limits, Models, Settings, Thermal};
use crate::engine::{Ending, Engine, Snapshot, Submission};
use crate::scheduler::{Door, Key};
use crate::thermal::{Budget, Degraded};
use hearth_api::tensor::{Tensor, to_binary};
use hearth_api::topics::NodeName;
use hearth_api::{Answer, ContentType, Fault, ModelInfo, ModelName, Payload, Priority, Reply, Request, RequestId};
use hearth_models::{Source, Store};
use prost::Message;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

/// Nothing in these tests takes longer, but on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Side of the matrices of the slow model.
const SIDE: i64 = 160;

/// A graph with input `x` and output `y`, both `[N, ..dims]` of f32.
pub(super) struct Graph {
    dims: Vec<i64>,
    graph: GraphProto,
}

impl Graph {
    pub(super) fn new(dims: &[i64]) -> Graph {
        Graph { dims: dims.to_vec(), graph: GraphProto { name: "g".into(), ..Default::default() } }
    }

    pub(super) fn constant(mut self, name: &str, dims: &[i64], elements: &[f32]) -> Graph {
        let raw_data = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor =
            TensorProto { name: name.into(), data_type: DataType::Float as i32, dims: dims.to_vec(), raw_data, ..Default::default() };
        self.graph.initializer.push(tensor);
        self
    }

    pub(super) fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Graph {
        self.graph.node.push(NodeProto {
            name: format!("{op}_{output}"),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.into()],
            ..Default::default()
        });
        self
    }

    fn port(&self, name: &str) -> ValueInfoProto {
        let size = |value| Dimension { value: Some(value), ..Default::default() };
        let mut dim = vec![size(dimension::Value::DimParam("N".into()))];
        dim.extend(self.dims.iter().map(|d| size(dimension::Value::DimValue(*d))));
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
        let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
    }

    pub(super) fn bytes(mut self) -> Vec<u8> {
        self.graph.input.push(self.port("x"));
        self.graph.output.push(self.port("y"));
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        ModelProto { ir_version: 8, opset_import: vec![opset], graph: Some(self.graph), ..Default::default() }.encode_to_vec()
    }
}

/// `y = factor * x`, of four elements.
pub(super) fn times(factor: f32) -> Vec<u8> {
    Graph::new(&[4]).constant("factor", &[1], &[factor]).node("Mul", &["x", "factor"], "y").bytes()
}

/// A table of two entries, looked up at `x`: fails where there is none.
pub(super) fn looked_up() -> Vec<u8> {
    let mut graph = Graph::new(&[4]).constant("table", &[2], &[5.0, 7.0]).node("Cast", &["x"], "index");
    let to =
        AttributeProto { name: "to".into(), i: i64::from(DataType::Int64 as i32), r#type: AttributeType::Int as i32, ..Default::default() };
    graph.graph.node[0].attribute.push(to);
    graph.node("Gather", &["table", "index"], "y").bytes()
}

/// Many nodes of some milliseconds each: so long that whatever comes meanwhile finds it at work.
pub(super) fn slow(nodes: usize) -> Vec<u8> {
    let weights = vec![1.0 / SIDE as f32; (SIDE * SIDE) as usize];
    let mut graph = Graph::new(&[SIDE, SIDE]).constant("w", &[SIDE, SIDE], &weights);
    let mut from = "x".to_owned();
    for node in 1..=nodes {
        let to = if node == nodes { "y".into() } else { format!("h{node}") };
        graph = graph.node("MatMul", &[&from, "w"], &to);
        from = to;
    }
    graph.bytes()
}

/// An input of the slow model.
pub(super) fn slow_input() -> Payload {
    payload(&Tensor::from_f32("x", vec![1, SIDE as usize, SIDE as usize], &vec![1.0; (SIDE * SIDE) as usize]))
}

/// An input of four elements.
pub(super) fn input(elements: [f32; 4]) -> Payload {
    payload(&Tensor::from_f32("x", vec![1, 4], &elements))
}

fn payload(tensor: &Tensor) -> Payload {
    let (bytes, header) = to_binary(serde_json::Map::new(), std::slice::from_ref(tensor));
    let mut head = String::from_utf8(bytes[..header].to_vec()).unwrap();
    head = head.replacen("outputs", "inputs", 1);
    let header_length = Some(head.len());
    let bytes = [head.as_bytes(), &bytes[header..]].concat();
    Payload { content_type: ContentType::Binary { header_length }, bytes: bytes.into() }
}

/// The elements of a reply's first output.
pub(super) fn elements(reply: &Reply) -> Vec<f32> {
    let Answer::Outputs { outputs } = &reply.answer else { panic!("{reply:?} has no outputs") };
    outputs[0].data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

pub(super) fn name(model: &str) -> ModelName {
    ModelName::new(model).unwrap()
}

pub(super) fn key(correlation: &str) -> Key {
    Key { door: Door::Mqtt, reply_to: "hearth/reply/test".into(), correlation: correlation.to_owned().into() }
}

/// Puts a version of a model into a store.
pub(super) fn install(store: &Store, model: &str, version: &str, onnx: &[u8], max_batch: u32) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "name = \"{model}\"\nversion = \"{version}\"\nfile = \"model.onnx\"\ntask = {{ kind = \"tensor\" }}\nbatch = {{ max = {max_batch}, max_delay_ms = 0 }}\n"
    );
    std::fs::write(folder.path().join("manifest.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("model.onnx"), onnx).unwrap();
    store.install(&Source::Folder(folder.path().into()), &|_| Ok(())).unwrap();
}

/// An engine's folder: its store and its flight record. Engines may follow each other in it.
pub(super) struct Home {
    _folder: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl Home {
    pub(super) fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let models = Models {
            directory: folder.path().join("models"),
            memory_bytes: Some(1 << 30),
            pinned: Vec::new(),
            overcommit: Vec::new(),
            preload: false,
            idle_unload: None,
            check_memory_bytes: 1 << 30,
            check_timeout: PATIENCE,
        };
        let limits = Limits {
            queue_requests: 256,
            queue_bytes: 64 << 20,
            queue_requests_per_model: 128,
            payload_bytes: 1 << 20,
            default_timeout: PATIENCE,
            chat_timeout: PATIENCE,
            threads: Some(2),
            shutdown: PATIENCE,
        };
        let settings = Settings {
            node: NodeName::new("test").unwrap(),
            mqtt: None,
            dbus: None,
            models,
            limits,
            thermal: Thermal { root: folder.path().into(), limit_celsius: None, interval: PATIENCE, mode: None },
            runtime_directory: folder.path().join("run"),
            state_directory: folder.path().into(),
        };
        Home { _folder: folder, settings }
    }

    /// A home with these models, each in version 1.
    pub(super) fn with(models: &[(&str, Vec<u8>)]) -> Home {
        let home = Home::new();
        for (model, onnx) in models {
            install(&home.store(), model, "1", onnx, 4);
        }
        home
    }

    pub(super) fn store(&self) -> Store {
        Store::open(&self.settings.models.directory).unwrap()
    }

    pub(super) fn start(&self) -> Kit {
        let engine = Engine::start(&self.settings).unwrap();
        Kit {
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            engine,
            requests: 0.into(),
        }
    }
}

/// A running engine.
pub(super) struct Kit {
    runtime: tokio::runtime::Runtime,
    pub(super) engine: Engine,
    requests: std::cell::Cell<u32>,
}

/// The end of a request that is awaited.
pub(super) struct Pending(mpsc::Receiver<Ending>);

impl Pending {
    /// Its end.
    pub(super) fn end(self) -> Ending {
        self.0.recv_timeout(PATIENCE).expect("every request ends")
    }

    /// Its reply.
    pub(super) fn reply(self) -> Reply {
        match self.end() {
            Ending::Answered(reply) => reply,
            other => panic!("an answer was expected, not {other:?}"),
        }
    }

    /// Its fault.
    pub(super) fn fault(self) -> Fault {
        match self.end() {
            Ending::Failed(fault) => fault,
            other => panic!("a fault was expected, not {other:?}"),
        }
    }

    /// Whether it is not over yet.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

impl Kit {
    /// Hands a request in.
    pub(super) fn submit(&self, key: Key, request: Request) -> Pending {
        let (sender, receiver) = mpsc::channel();
        let deliver = Box::new(move |ending| drop(sender.send(ending)));
        self.engine.submit(Submission { key, request, stream: None, deliver });
        Pending(receiver)
    }

    /// A request of its own, of normal urgency.
    pub(super) fn request(&self, model: &str, payload: Payload) -> Request {
        self.requests.set(self.requests.get() + 1);
        let id = RequestId::new(self.requests.get().to_string()).unwrap();
        Request { id, model: name(model), payload, priority: Priority::Normal, timeout: None }
    }

    pub(super) fn ask(&self, model: &str, payload: Payload) -> Pending {
        let request = self.request(model, payload);
        self.submit(key(request.id.as_str()), request)
    }

    pub(super) fn ask_as(&self, priority: Priority, model: &str, payload: Payload) -> Pending {
        let request = Request { priority, ..self.request(model, payload) };
        self.submit(key(request.id.as_str()), request)
    }

    /// No measurement from now on, as on a board that is warm: only requests compute.
    pub(super) fn hold_measurements(&self) {
        self.engine.set_budget(Budget { degraded: Degraded::HighOperatingTemperature, ..Budget::unbounded(2) });
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("the engine answers") })
    }

    pub(super) fn load(&self, model: &str) {
        self.wait(self.engine.load(&name(model), false)).unwrap();
    }

    /// Waits until what is told of the engine is so.
    pub(super) fn until(&self, so: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let mut watch = self.engine.watch();
        self.wait(async { watch.wait_for(|snapshot| so(snapshot)).await.map(|s| Snapshot::clone(&s)) }).expect("the engine lives")
    }

    /// Waits until what is told of a model is so.
    pub(super) fn until_model(&self, model: &str, so: impl Fn(&ModelInfo) -> bool) -> ModelInfo {
        let snapshot = self.until(|s| s.models.iter().any(|m| m.name == name(model) && so(m)));
        snapshot.models.into_iter().find(|m| m.name == name(model)).unwrap()
    }

    /// Waits until the step loop is at work inside a model: until the heartbeat moves as only nodes make it. That
    /// of a measurement, unless they are on hold.
    pub(super) fn until_computing(&self) {
        let start = Instant::now();
        let before = self.engine.heartbeat();
        while self.engine.heartbeat() < before + 20 {
            assert!(start.elapsed() < PATIENCE, "a model computes");
            std::thread::yield_now();
        }
    }
}
