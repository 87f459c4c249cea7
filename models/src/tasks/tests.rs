use super::*;
use hearth_api::FaultKind;
use proptest::prelude::*;
use std::io::Cursor;

fn manifest(rest: &str) -> Manifest {
    toml::from_str(&format!("name = \"m\"\nversion = \"1\"\nfile = \"model.onnx\"\n{rest}")).unwrap()
}

fn port(shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: "x".into(), datatype: Datatype::Fp32, shape: shape.to_vec() }
}

fn codec(rest: &str, input: &[i64], output: &[i64]) -> Codec {
    Codec::new(&manifest(rest), &[port(input)], &[port(output)]).unwrap()
}

const GREY: &str = "task = { kind = \"classify\", labels = [\"a\", \"b\"] }\n[image]\nwidth = 4\nheight = 4\ncolour = \"grey\"\n";

fn grey() -> Codec {
    codec(GREY, &[-1, 1, 4, 4], &[-1, 2])
}

fn sound(rest: &str) -> Codec {
    let text = format!(
        "task = {{ kind = \"anomaly\", score = \"output\", threshold = 0.5 }}\n[sound]\nsample_rate = 8000\nwindow = 800\nhop = 400\n{rest}"
    );
    codec(&text, &[-1, 800], &[-1, 1])
}

fn payload(content_type: ContentType, bytes: Vec<u8>) -> Payload {
    Payload { content_type, bytes: bytes.into() }
}

fn png(picture: DynamicImage) -> Payload {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    payload(ContentType::Png, bytes)
}

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

fn values(decoded: &Decoded) -> Vec<f32> {
    decoded.inputs[0].data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn wav(rate: u32, samples: impl Iterator<Item = f32>) -> Payload {
    let spec = hound::WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut bytes = Vec::new();
    let mut writer = hound::WavWriter::new(Cursor::new(&mut bytes), spec).unwrap();
    samples.for_each(|s| writer.write_sample((s * 32767.0) as i16).unwrap());
    writer.finalize().unwrap();
    payload(ContentType::Wav, bytes)
}

fn fault(codec: &Codec, payload: &Payload, kind: FaultKind, says: &str) {
    let fault = codec.decode(payload).unwrap_err();
    assert!(fault.kind == kind && fault.message.contains(says), "{fault}");
}

#[test]
fn a_picture_is_normalised_as_the_manifest_says() {
    let normalised = codec(&format!("{GREY}mean = [0.5]\nstd = [0.25]\n"), &[-1, 1, 4, 4], &[-1, 2]);
    let picture = png(GrayImage::from_pixel(4, 4, Luma([255])).into());
    assert_eq!(values(&normalised.decode(&picture).unwrap()), [2.0; 16]);
    let inverted = codec(&format!("{GREY}invert = true\n"), &[-1, 1, 4, 4], &[-1, 2]);
    assert!(values(&inverted.decode(&picture).unwrap()).iter().all(|v| v.abs() < 1e-6));
}

#[test]
fn colours_become_luma_and_the_transparent_white() {
    let red = values(&grey().decode(&png(RgbImage::from_pixel(4, 4, Rgb([255, 0, 0])).into())).unwrap());
    assert!((red[0] * 255.0 - 76.0).abs() < 0.01);
    let clear = values(&grey().decode(&png(RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 0])).into())).unwrap());
    assert!((clear[0] - 1.0).abs() < 1e-6);
}

#[test]
fn a_letterbox_keeps_the_shape_and_fills_with_grey() {
    let text = GREY.replace("colour = \"grey\"", "colour = \"rgb\"\nfit = \"letterbox\"\nlayout = \"nhwc\"");
    let boxed = codec(&text, &[-1, 4, 4, 3], &[-1, 2]);
    let decoded = values(&boxed.decode(&png(RgbImage::from_pixel(8, 4, Rgb([255, 255, 255])).into())).unwrap());
    let rows: Vec<f32> = decoded.chunks_exact(12).map(|row| (row[0] * 255.0).round()).collect();
    assert_eq!(rows, [114.0, 255.0, 255.0, 114.0]);
}

#[test]
fn a_crop_keeps_the_middle() {
    let text = format!("{GREY}fit = \"crop\"\n");
    let cropped = codec(&text, &[-1, 1, 4, 4], &[-1, 2]);
    let picture = GrayImage::from_fn(12, 4, |x, _| Luma([if (4..8).contains(&x) { 255 } else { 0 }]));
    assert_eq!(values(&cropped.decode(&png(picture.into())).unwrap()), [1.0; 16]);
}

#[test]
fn a_turned_photograph_is_read_upright() {
    let mut bytes = Vec::new();
    let picture = GrayImage::from_fn(16, 16, |x, _| Luma([if x < 8 { 255 } else { 0 }]));
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    // An APP1 segment with EXIF orientation 6: turn by 90 degrees to the right.
    let exif: &[u8] = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    let decoded = values(&grey().decode(&payload(ContentType::Jpeg, bytes)).unwrap());
    assert!(decoded[0] > 0.9 && decoded[3] > 0.9 && decoded[12] < 0.1 && decoded[15] < 0.1, "{decoded:?}");
}

#[test]
fn a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() {
    let mut bytes = png(GrayImage::new(4, 4).into()).bytes.to_vec();
    // Width and height in the header, and its checksum.
    bytes[16..20].copy_from_slice(&100_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&100_000u32.to_be_bytes());
    let mut crc = !0u32;
    for byte in &bytes[12..29] {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    fault(&grey(), &payload(ContentType::Png, bytes), FaultKind::TooLarge, "100000 x 100000");
}

#[test]
fn what_a_payload_is_not_is_said() {
    let picture = png(GrayImage::new(4, 4).into());
    let bad = FaultKind::BadRequest;
    fault(&grey(), &payload(ContentType::Jpeg, picture.bytes.to_vec()), bad, "said to be image/jpeg but is image/png");
    fault(&grey(), &payload(ContentType::Png, b"hello".to_vec()), bad, "does not begin like one");
    fault(&grey(), &payload(ContentType::Png, picture.bytes[..30].to_vec()), bad, "cannot be decoded");
    fault(&grey(), &payload(ContentType::Json, picture.bytes.to_vec()), bad, "said to be application/json but is image/png");
    fault(&sound(""), &payload(ContentType::Wav, picture.bytes.to_vec()), bad, "said to be audio/wav but is image/png");
    fault(&grey(), &payload(ContentType::Wav, b"RIFF".to_vec()), bad, "does not take audio/wav; it takes image/jpeg");
    fault(&grey(), &payload(ContentType::Text, b"x".to_vec()), bad, "does not take text/plain");
    fault(&grey(), &payload(ContentType::Png, Vec::new()), bad, "is empty");
    fault(&sound(""), &payload(ContentType::Wav, b"RIFFxxxxWAVE".to_vec()), bad, "has no chunk \"data\"");
    fault(&sound(""), &wav(8000, std::iter::repeat_n(0.0, 10)), bad, "at least 800, 0.10 s");
    fault(&sound(""), &wav(8000, std::iter::repeat_n(0.0, 800_000)), FaultKind::TooLarge, "1999 windows");
    let json = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,800],"data":[]}]}"#.to_vec();
    fault(&sound(""), &payload(ContentType::Json, json), bad, "800 elements");
}

#[test]
fn a_recording_of_any_length_and_rate_takes_bounded_memory() {
    // A window a sample apart: few samples become many windows.
    let text =
        "task = { kind = \"anomaly\", score = \"output\", threshold = 0.5 }\n[sound]\nsample_rate = 8000\nwindow = 100000\nhop = 1\n";
    let dense = codec(text, &[-1, 100_000], &[-1, 1]);
    fault(&dense, &wav(8000, std::iter::repeat_n(0.0, 100_500)), FaultKind::TooLarge, "501 windows; at most 167");
    // A rate that makes a second of few samples.
    fault(&sound(""), &wav(1, std::iter::repeat_n(0.0, 4000)), FaultKind::TooLarge, "32000000 samples at 8000 Hz (4000 at its own)");
    fault(&sound(""), &wav(50, std::iter::repeat_n(0.0, 100)), FaultKind::BadRequest, "from 100 to 384000 are taken");
    fault(&sound(""), &wav(4_000_000, std::iter::repeat_n(0.0, 500_000)), FaultKind::BadRequest, "from 100 to 384000 are taken");
    // Rates without a common factor: the resampler's worst, and what would be worse.
    let decoded = sound("").decode(&wav(65_521, std::iter::repeat_n(0.1, 9830))).unwrap();
    assert_eq!(decoded.inputs[0].shape, [2, 800]);
    fault(&sound(""), &wav(383_987, std::iter::repeat_n(0.1, 60_000)), FaultKind::BadRequest, "a ratio of whole numbers up to 65536");
}

#[test]
fn a_recording_becomes_windows() {
    let decoded = sound("").decode(&wav(8000, (0..1600).map(|i| i as f32 / 1600.0))).unwrap();
    assert_eq!(decoded.inputs[0].shape, [3, 800]);
    let v = values(&decoded);
    assert_eq!(v[800], v[400]);
    let standardised = values(&sound("standardise = true\n").decode(&wav(8000, (0..800).map(|i| (i as f32 / 5.0).sin() * 0.1))).unwrap());
    let power = standardised.iter().map(|x| x * x).sum::<f32>() / 800.0;
    assert!((power - 1.0).abs() < 1e-3, "{power}");
}

#[test]
fn another_rate_is_resampled() {
    let tone = |rate: f32| move |i: u32| (f64::from(i) / f64::from(rate) * 440.0 * std::f64::consts::TAU).sin() as f32 * 0.5;
    let native = values(&sound("").decode(&wav(8000, (0..1600).map(tone(8000.0)))).unwrap());
    for rate in [16_000u32, 44_100] {
        let resampled = values(&sound("").decode(&wav(rate, (0..rate / 5).map(tone(rate as f32)))).unwrap());
        // The middle, away from the edges of the recording. The resampler's delay is cut to whole samples: a tenth of one is left.
        let error = (600..700).map(|i| (native[i] - resampled[i]).abs()).fold(0.0, f32::max);
        assert!(error < 0.03, "{rate}: {error}");
    }
}

#[test]
fn tensors_are_read_for_every_task() {
    let json =
        |shape: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":{shape},"data":[{}]}}]}}"#, ["0.5"; 16].join(","));
    for shape in ["[1,1,4,4]", "[1,4,4]"] {
        let decoded = grey().decode(&payload(ContentType::Json, json(shape).into())).unwrap();
        assert_eq!(decoded.inputs[0].shape, [1, 1, 4, 4]);
    }
    let bare = |bytes: usize| payload(ContentType::Binary { header_length: None }, vec![0; bytes]);
    assert_eq!(grey().decode(&bare(64)).unwrap().inputs[0].shape, [1, 1, 4, 4]);
    assert_eq!(sound("").decode(&bare(6400)).unwrap().inputs[0].shape, [2, 800]);
    fault(&grey(), &payload(ContentType::Binary { header_length: None }, vec![0; 65]), FaultKind::BadRequest, "64 bytes a row");
    let asked = br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}],"outputs":[{"name":"z"}]}"#.to_vec();
    fault(&grey(), &payload(ContentType::Json, asked), FaultKind::BadRequest, "no output \"z\"; the model gives x");
}

#[test]
fn the_binary_form_is_the_json_form() {
    let tensor = Tensor::from_f32("x", vec![1, 1, 4, 4], &[0.5; 16]);
    let (bytes, header) = hearth_api::tensor::to_binary(Default::default(), std::slice::from_ref(&tensor));
    // Inputs are described as outputs are.
    let (json, data) = bytes.split_at(header);
    let json = std::str::from_utf8(json).unwrap().replace("outputs", "inputs");
    let binary = payload(ContentType::Binary { header_length: Some(json.len()) }, [json.as_bytes(), data].concat());
    let json = serde_json::json!({"inputs": [tensor]}).to_string();
    assert_eq!(grey().decode(&binary).unwrap(), grey().decode(&payload(ContentType::Json, json.into())).unwrap());
}

#[test]
fn the_outputs_asked_for_come_back_alone() {
    let (y, z) = (Tensor::from_f32("y", vec![1], &[1.0]), Tensor::from_f32("z", vec![1], &[2.0]));
    let of = |name: &str| TensorMetadata { name: name.into(), datatype: Datatype::Fp32, shape: vec![-1] };
    let codec = Codec::new(&manifest("task = { kind = \"tensor\" }\n"), &[port(&[-1])], &[of("y"), of("z")]).unwrap();
    let asks = |outputs: &str| format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1],"data":[1]}}],"outputs":{outputs}}}"#);
    let decode = |outputs| codec.decode(&payload(ContentType::Json, asks(outputs).into())).unwrap();
    let outputs = vec![y.clone(), z.clone()];
    assert_eq!(codec.encode(&decode("[]"), outputs.clone()).unwrap(), Answer::Outputs { outputs: outputs.clone() });
    assert_eq!(codec.encode(&decode(r#"[{"name":"z"}]"#), outputs).unwrap(), Answer::Outputs { outputs: vec![z] });
}

#[test]
fn what_no_measurement_gives_is_refused() {
    for (element, value) in [(3, f32::NAN), (0, f32::INFINITY), (15, f32::NEG_INFINITY)] {
        let mut elements = [0.5f32; 16];
        elements[element] = value;
        let bytes = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
        let says = format!("element {element} is NaN or infinite");
        fault(&grey(), &payload(ContentType::Binary { header_length: None }, bytes), FaultKind::BadRequest, &says);
    }
}

#[test]
fn several_rows_are_not_answered_as_one() {
    let two = payload(ContentType::Binary { header_length: None }, vec![0; 128]);
    fault(&grey(), &two, FaultKind::BadRequest, "2 rows, and this model gives one answer a request");
}

fn answer(codec: &Codec, outputs: &[f32], shape: Vec<usize>) -> Answer {
    let decoded = Decoded { inputs: vec![Tensor::from_f32("x", vec![1, 2], &[1.0, 2.0])], wanted: Vec::new(), placement: None };
    codec.encode(&decoded, vec![Tensor::from_f32("y", shape, outputs)]).unwrap()
}

#[test]
fn the_likeliest_label_comes_first() {
    let Answer::Labels { labels } = answer(&grey(), &[0.0, 3f32.ln()], vec![1, 2]) else { panic!() };
    assert_eq!(labels.iter().map(|l| l.label.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert!((labels[0].score - 0.75).abs() < 1e-6);
    let Answer::Labels { labels } = answer(&grey(), &[0.0, 1.0, 9.0, 0.0], vec![2, 2]) else { panic!() };
    assert_eq!(labels[0].label, "a");
}

#[test]
fn a_reading_keeps_within_its_range() {
    let gauge = codec("task = { kind = \"regress\", unit = \"bar\", minimum = 0.0, maximum = 10.0, scale = 10.0 }\n", &[-1, 4], &[-1, 1]);
    for (output, value) in [(0.25, 2.5), (1.5, 10.0), (-1.0, 0.0)] {
        assert_eq!(answer(&gauge, &[output], vec![1, 1]), Answer::Reading { reading: hearth_api::Reading { value, unit: "bar".into() } });
    }
}

#[test]
fn the_strangest_window_speaks_and_a_reconstruction_is_compared() {
    let Answer::Anomaly { anomaly } = answer(&sound(""), &[0.1, 0.9, 0.2], vec![3, 1]) else { panic!() };
    assert!((anomaly.score - 0.9).abs() < 1e-6 && anomaly.verdict == "anomalous");
    let rebuilt = codec("task = { kind = \"anomaly\", score = \"reconstruction-error\", threshold = 1.0 }\n", &[-1, 2], &[-1, 2]);
    let Answer::Anomaly { anomaly } = answer(&rebuilt, &[1.0, 1.0], vec![1, 2]) else { panic!() };
    assert_eq!((anomaly.score, anomaly.verdict.as_str()), (0.5, "normal"));
}

#[test]
fn a_manifest_that_does_not_fit_the_graph_is_refused() {
    let refused =
        |rest: &str, input: &[i64], output: &[i64]| Codec::new(&manifest(rest), &[port(input)], &[port(output)]).unwrap_err().to_string();
    assert!(refused(GREY, &[-1, 1, 5, 5], &[-1, 2]).contains("does not hold 16 elements"));
    assert!(refused(GREY, &[-1, 1, 4, 4], &[-1, 3]).contains("2 labels"));
    let bytes = TensorMetadata { datatype: Datatype::Uint8, ..port(&[-1, 1, 4, 4]) };
    let normalised = manifest(&format!("{GREY}mean = [0.5]\n"));
    assert!(Codec::new(&normalised, &[bytes], &[port(&[-1, 2])]).unwrap_err().to_string().contains("mean and std are for floats"));
    let anomaly = "task = { kind = \"anomaly\", score = \"output\", threshold = 0.5 }\n";
    assert!(refused(anomaly, &[-1, 4], &[-1, 2]).contains("2 elements a row, not one"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever bytes come, under whatever name: an answer or a fault, never a panic.
    #[test]
    fn no_payload_harms(
        kind in 0..5usize,
        noise in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let picture = png(GrayImage::from_fn(9, 7, |x, y| Luma([(x * 20 + y) as u8])).into());
        let mut jpeg = Vec::new();
        image::load_from_memory(&picture.bytes).unwrap().write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        let whole = [
            picture,
            payload(ContentType::Jpeg, jpeg),
            wav(11_025, (0..1200).map(|i| (i as f32 / 7.0).sin())),
            payload(ContentType::Json, br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[[1,2]]}]}"#.to_vec()),
            payload(ContentType::Binary { header_length: Some(70) }, br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}    "#.to_vec()),
        ];
        let Payload { content_type, bytes } = whole[kind].clone();
        let mut bytes = bytes.to_vec();
        for (index, byte) in &changes {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        for codec in [grey(), sound("standardise = true\n")] {
            let _ = codec.decode(&payload(content_type, bytes.clone()));
            let _ = codec.decode(&payload(content_type, noise.clone()));
        }
    }
}
