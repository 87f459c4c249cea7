use super::*;
use crate::manifest::{Manifest, Task};
use crate::tasks::Codec;
use hearth_api::tensor::{Datatype, f32_to_half};
use hearth_api::{ContentType, FaultKind, Payload};
use image::{DynamicImage, GrayImage, Luma};
use proptest::prelude::*;
use std::io::Cursor;
use std::path::Path;

fn manifest(rest: &str) -> Manifest {
    toml::from_str(&format!("name = \"m\"\nversion = \"1\"\nfile = \"model.onnx\"\n{rest}")).unwrap()
}

/// A task with three labels.
fn task(rest: &str) -> String {
    format!("[task]\nkind = \"detect\"\nlabels = [\"bolt\", \"nut\", \"washer\"]\n{rest}\n")
}

fn port(name: &str, datatype: Datatype, shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: name.into(), datatype, shape: shape.to_vec() }
}

/// A model that takes tensors of 3 x 64 x 64 and gives what these outputs are like.
fn detector(rest: &str, outputs: &[Tensor]) -> Result<Detector, String> {
    let port_of = |t: &Tensor| port(&t.name, t.datatype, &t.shape.iter().map(|d| *d as i64).collect::<Vec<_>>());
    let ports: Vec<TensorMetadata> = outputs.iter().map(port_of).collect();
    let Task::Detect(task) = manifest(&task(rest)).task else { panic!() };
    Detector::new(&task, None, &[port("images", Datatype::Fp32, &[-1, 3, 64, 64])], &ports)
}

fn encode(rest: &str, outputs: &[Tensor]) -> Result<Vec<Detection>, Fault> {
    let given = Tensor::from_f32("images", vec![1, 3, 64, 64], &[0.0; 3 * 64 * 64]);
    let decoded = Decoded { inputs: vec![given], ..Decoded::default() };
    match detector(rest, outputs).unwrap().encode(&decoded, outputs)? {
        Answer::Boxes { boxes, image } => {
            assert_eq!(image, ImageSize { width: 64, height: 64 });
            Ok(boxes)
        }
        other => panic!("{other:?}"),
    }
}

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(name, shape.to_vec(), values)
}

fn found(label: &str, score: f32, [left, top, right, bottom]: [f32; 4]) -> Detection {
    Detection { label: label.into(), score, x: left, y: top, width: right - left, height: bottom - top }
}

/// Label, score and edges.
type Given = (usize, f32, [f32; 4]);

/// What a YOLOv8 gives for these boxes.
fn yolov8(given: &[Given]) -> Tensor {
    let mut data = vec![0.0; 7 * given.len()];
    for (place, (class, score, edges)) in given.iter().enumerate() {
        let values = centre_and_size(*edges);
        values.iter().enumerate().for_each(|(row, value)| data[row * given.len() + place] = *value);
        data[(4 + class) * given.len() + place] = *score;
    }
    floats("output0", &[1, 7, given.len()], &data)
}

fn centre_and_size([left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
    [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
}

const BOLT: [f32; 4] = [10.0, 20.0, 30.0, 50.0];
const NUT: [f32; 4] = [40.0, 8.0, 60.0, 24.0];

#[test]
fn every_head_gives_the_same_boxes() {
    // A nut, something the model is not sure of, and a bolt, in this order.
    let unsure = [1.0, 1.0, 9.0, 9.0];
    let rows = [(NUT, [0.05, 0.5, 0.1]), (unsure, [0.1, 0.2, 0.2]), (BOLT, [0.75, 0.1, 0.0])];
    let v8t: Vec<f32> = rows.iter().flat_map(|(edges, scores)| [&centre_and_size(*edges)[..], scores].concat()).collect();
    let v8: Vec<f32> =
        (0..7).flat_map(|value| (0..3).map(move |place| (value, place))).map(|(value, place)| v8t[place * 7 + value]).collect();
    // Objectness a half, scores doubled.
    let v5 = rows.iter().flat_map(|(edges, s)| [&centre_and_size(*edges)[..], &[0.5], &s.map(|s| s * 2.0)].concat()).collect::<Vec<f32>>();
    let of = |f: &dyn Fn(&[f32; 4]) -> [f32; 4]| rows.iter().flat_map(|(edges, _)| f(edges)).collect::<Vec<f32>>();
    let v10 =
        of(&|edges| *edges).chunks(4).zip([[0.5, 1.0], [0.2, 1.0], [0.75, 0.0]]).flat_map(|(e, s)| [e, &s].concat()).collect::<Vec<f32>>();
    let raw: Vec<f32> = rows.iter().flat_map(|(_, scores)| *scores).collect();
    let with_background: Vec<f32> = rows.iter().flat_map(|(_, [a, b, c])| [0.9, *a, *b, *c]).collect();
    let (pixels, shares) = (of(&|edges| *edges), of(&|edges| edges.map(|e| e / 64.0)));
    let top_first = of(&|[left, top, right, bottom]| [*top, *left, *bottom, *right].map(|e| e / 64.0));
    let scores = floats("scores", &[3], &[0.5, 0.2, 0.75]);
    let classes = |values: [i64; 3]| Tensor {
        name: "labels".into(),
        datatype: Datatype::Int64,
        shape: vec![3],
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into(),
    };
    let tensorflow = |count: f32| {
        vec![
            floats("detection_boxes:0", &[1, 3, 4], &top_first),
            floats("detection_classes:0", &[1, 3], &[2.0, 2.0, 1.0]),
            floats("detection_scores:0", &[1, 3], &[0.5, 0.2, 0.75]),
            floats("num_detections:0", &[1], &[count]),
            // What TensorFlow gives beside them.
            floats("raw_detection_boxes:0", &[1, 3, 4], &[0.0; 12]),
        ]
    };
    for (rest, outputs) in [
        ("", vec![floats("output0", &[1, 7, 3], &v8)]),
        ("head = \"yolov8\"", vec![floats("output0", &[1, 3, 7], &v8t)]),
        ("head = \"yolov5\"", vec![floats("output", &[1, 3, 8], &v5)]),
        ("", vec![floats("output", &[1, 3, 8], &v5)]),
        ("", vec![floats("output0", &[1, 3, 6], &v10)]),
        ("", vec![floats("boxes", &[1, 3, 4], &pixels), floats("scores", &[1, 3, 3], &raw)]),
        ("background = true", vec![floats("scores", &[1, 3, 4], &with_background), floats("boxes", &[1, 3, 4], &pixels)]),
        ("coordinates = \"normalised\"", vec![floats("boxes", &[1, 3, 4], &shares), floats("scores", &[1, 3, 3], &raw)]),
        ("", vec![floats("boxes", &[3, 4], &pixels), classes([1, 1, 0]), scores.clone()]),
        ("background = true", vec![floats("boxes", &[3, 4], &pixels), classes([2, 2, 1]), scores.clone()]),
        // As torchvision's exporter calls them.
        (
            "head = \"ssd\"",
            vec![
                floats("2568", &[3, 4], &pixels),
                floats("2570", &[3], &[0.5, 0.2, 0.75]),
                Tensor { name: "2569".into(), ..classes([1, 1, 0]) },
            ],
        ),
        ("background = true", tensorflow(3.0)),
    ] {
        assert_eq!(encode(rest, &outputs).unwrap(), [found("bolt", 0.75, BOLT), found("nut", 0.5, NUT)], "{rest} {outputs:?}");
    }
    assert_eq!(encode("background = true", &tensorflow(1.0)).unwrap(), [found("nut", 0.5, NUT)]);
    assert_eq!(encode("background = true", &tensorflow(f32::NAN)).unwrap(), []);
}

#[test]
fn of_boxes_on_one_thing_the_surest_stays() {
    let moved = |edges: [f32; 4], by: f32| edges.map(|e| e + by);
    let given = [(0, 0.5, moved(BOLT, 1.0)), (0, 0.75, BOLT), (1, 0.625, moved(BOLT, 1.0)), (0, 0.25, moved(BOLT, 8.0))];
    let all = [found("bolt", 0.75, BOLT), found("nut", 0.625, moved(BOLT, 1.0)), found("bolt", 0.25, moved(BOLT, 8.0))];
    assert_eq!(encode("", &[yolov8(&given)]).unwrap(), all);
    assert_eq!(encode("iou = 0.2", &[yolov8(&given)]).unwrap(), all[..2]);
    assert_eq!(encode("max = 1", &[yolov8(&given)]).unwrap(), all[..1]);
    assert_eq!(encode("confidence = 0.7", &[yolov8(&given)]).unwrap(), all[..1]);
    assert_eq!(encode("confidence = 0.9", &[yolov8(&given)]).unwrap(), []);
    // What an end-to-end head gives has been through that.
    let rows: Vec<f32> = given.iter().flat_map(|(class, score, edges)| [&edges[..], &[*score, *class as f32]].concat()).collect();
    assert_eq!(encode("", &[floats("output0", &[1, 4, 6], &rows)]).unwrap().len(), 4);
}

#[test]
fn equal_scores_come_in_a_fixed_order() {
    let at = |x: f32| [x, 0.0, x + 4.0, 4.0];
    let given = [(1, 0.5, at(0.0)), (0, 0.5, at(30.0)), (0, 0.5, at(10.0)), (2, 0.5, at(20.0))];
    let order: Vec<f32> = encode("", &[yolov8(&given)]).unwrap().iter().map(|b| b.x).collect();
    assert_eq!(order, [30.0, 10.0, 0.0, 20.0]);
    // Of equal scores of one box the first label counts; of equal boxes the first.
    let mut tie = yolov8(&[(0, 0.5, BOLT), (0, 0.5, BOLT)]).data.to_vec();
    tie.copy_within(32..36, 40);
    assert_eq!(
        encode("", &[Tensor { data: tie.into(), ..yolov8(&[(0, 0.5, BOLT), (0, 0.5, BOLT)]) }]).unwrap(),
        [found("bolt", 0.5, BOLT)]
    );
}

#[test]
fn outputs_of_any_type_are_read() {
    let exact = yolov8(&[(0, 0.75, BOLT), (1, 0.5, NUT)]);
    let values: Vec<f32> = exact.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let halves: Vec<u8> = values.iter().flat_map(|v| f32_to_half(*v).to_le_bytes()).collect();
    let doubles: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    for (datatype, data) in [(Datatype::Fp16, halves), (Datatype::Fp64, doubles)] {
        let output = Tensor { datatype, data: data.into(), ..exact.clone() };
        assert_eq!(encode("", &[output]).unwrap(), [found("bolt", 0.75, BOLT), found("nut", 0.5, NUT)]);
    }
    let whole: Vec<u8> = [1.0, 20.0, 20.0, 10.0, 10.0, 0.0, 1.0, 0.0].iter().map(|v: &f32| *v as u8).collect();
    let output = Tensor { name: "o".into(), datatype: Datatype::Uint8, shape: vec![1, 7, 1], data: whole[1..].to_vec().into() };
    assert_eq!(encode("", &[output]).unwrap(), [found("nut", 1.0, [15.0, 15.0, 25.0, 25.0])]);
}

#[test]
fn what_is_no_number_is_no_box() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let given = [(0, odd, BOLT), (1, 0.5, NUT), (2, 0.75, [odd, 0.0, 5.0, 5.0]), (2, 0.75, [0.0, 0.0, 5.0, odd])];
        assert_eq!(encode("", &[yolov8(&given)]).unwrap(), [found("nut", 0.5, NUT)], "{odd}");
    }
    // Nor is what has no size.
    let flat = [(0, 0.5, [10.0, 10.0, 10.0, 20.0]), (0, 0.5, [20.0, 10.0, 15.0, 20.0]), (0, 0.5, [-9.0, 5.0, -1.0, 9.0])];
    assert_eq!(encode("", &[yolov8(&flat)]).unwrap(), []);
    assert_eq!(encode("", &[yolov8(&[(0, 0.5, [-9.0, 5.0, 3.0, 90.0])])]).unwrap(), [found("bolt", 0.5, [0.0, 5.0, 3.0, 64.0])]);
}

#[test]
fn an_output_that_means_something_else_is_a_fault_with_a_mend() {
    let says = |rest: &str, outputs: &[Tensor]| {
        let fault = encode(rest, outputs).unwrap_err();
        assert_eq!(fault.kind, FaultKind::ModelFailed);
        fault.message
    };
    assert!(says("", &[yolov8(&[(0, 4.5, BOLT)])]).contains("score of 4.5, which is no share of one: export the head with its sigmoid"));
    let last = |class: f32| floats("output0", &[1, 1, 6], &[1.0, 2.0, 3.0, 4.0, 0.9, class]);
    assert!(says("", &[last(3.0)]).contains("class 3, and there are 3 labels: name them all, or say `background = true`"));
    assert!(says("", &[last(-1.0)]).contains("class -1"));
    assert!(says("", &[last(f32::NAN)]).contains("class NaN"));
    // A dimension that was open when the model was loaded.
    let Task::Detect(open) = manifest(&task("head = \"yolov8\"")).task else { panic!() };
    let input = port("images", Datatype::Fp32, &[-1, 3, -1, -1]);
    let open = Detector::new(&open, None, &[input], &[port("o", Datatype::Fp32, &[-1, -1, -1])]).unwrap();
    let given = Tensor::from_f32("images", vec![1, 3, 2, 2], &[0.0; 12]);
    let decoded = Decoded { inputs: vec![given], ..Decoded::default() };
    let fault = |shape: &[usize]| open.encode(&decoded, &[floats("o", shape, &vec![0.0; shape.iter().product()])]).unwrap_err().message;
    assert!(fault(&[1, 9, 4]).contains("9 values a box; with 3 labels it is 7"));
    assert!(fault(&[2, 7, 4]).contains("no list of boxes for one picture"));
    assert!(fault(&[1, 7, 2, 2]).contains("no list of boxes for one picture"));
}

#[test]
fn outputs_that_fit_no_head_are_refused_with_what_would() {
    let one =
        |rest: &str, shape: &[usize]| detector(rest, &[floats("out", shape, &vec![0.0; shape.iter().product()])]).map(|_| ()).unwrap_err();
    let v8 = one("head = \"yolov8\"", &[1, 84, 100]);
    assert_eq!(
        v8,
        "output \"out\" has [1, 84, 100], and there are 3 labels; yolov8 needs [batch, 4 + labels, boxes], here [batch, 7, boxes] (it has room for 80 labels)"
    );
    assert!(
        one("head = \"yolov5\"", &[1, 100, 85])
            .contains("yolov5 needs [batch, boxes, 5 + labels], here [batch, boxes, 8] (it has room for 80 labels)")
    );
    assert!(one("head = \"yolov10\"", &[1, 100, 7]).contains("yolov10 needs [batch, boxes, 6]"));
    assert!(one("head = \"yolov8\"", &[7, 100]).contains("yolov8 needs"));
    assert!(one("", &[1, 84, 100]).contains("no head fits: yolov8 needs"));
    assert!(one("", &[1, 7, 2, 50]).contains("no head fits"));
    assert!(one("", &[1, 7, 8]).contains("that may be yolov8 or yolov5: name one as task.head"));
    assert!(one("head = \"ssd\"", &[1, 9, 7]).contains("an ssd has an output of Boxes; the graph has \"out\" [1, 9, 7]"));
    let several = |rest: &str, outputs: &[(&str, &[usize])]| {
        let outputs: Vec<Tensor> = outputs.iter().map(|(name, shape)| floats(name, shape, &vec![0.0; shape.iter().product()])).collect();
        detector(rest, &outputs).map(|_| ()).unwrap_err()
    };
    assert!(
        several("", &[("boxes", &[1, 9, 4]), ("scores", &[1, 9, 4])]).contains("are [batch, boxes, 3 labels], not \"scores\" [1, 9, 4]")
    );
    assert!(several("background = true", &[("boxes", &[1, 9, 4]), ("scores", &[1, 9, 3])]).contains("1 background + 3 labels"));
    assert!(several("", &[("boxes", &[1, 9, 5]), ("scores", &[1, 9, 3])]).contains("the boxes of an ssd are [batch, boxes, 4]"));
    assert!(
        several("", &[("boxes", &[9, 4]), ("scores", &[9]), ("labels", &[1, 9])])
            .contains("one score and one class a box, not \"labels\" [1, 9]")
    );
    assert!(
        several("head = \"ssd\"", &[("boxes", &[9, 4]), ("bbox", &[9, 4])])
            .contains("\"boxes\" and \"bbox\" both look like an ssd's Boxes")
    );
    let Task::Detect(plain) = manifest(&task("")).task else { panic!() };
    let flat = Detector::new(&plain, None, &[port("x", Datatype::Fp32, &[-1, 99])], &[port("o", Datatype::Fp32, &[-1, 7, 9])]);
    assert!(flat.unwrap_err().contains("input \"x\" has shape [-1, 99]: a detector takes [batch, channels, height, width]"));
}

/// A codec of a YOLOv8 with pictures of `side` x `side` that come by `fit`, grey.
fn codec(fit: &str, side: usize) -> Codec {
    let image = format!("[image]\nwidth = {side}\nheight = {side}\ncolour = \"grey\"\nfit = \"{fit}\"\n");
    let input = port("images", Datatype::Fp32, &[-1, 1, side as i64, side as i64]);
    Codec::load(Path::new(""), &manifest(&format!("{}{image}", task(""))), &[input], &[port("output0", Datatype::Fp32, &[-1, 7, 1])])
        .unwrap()
}

fn png(picture: GrayImage) -> Payload {
    let mut bytes = Vec::new();
    DynamicImage::from(picture).write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    Payload { content_type: ContentType::Png, bytes: bytes.into() }
}

const FITS: [&str; 3] = ["stretch", "crop", "letterbox"];

#[test]
fn what_is_seen_is_answered_where_it_lies_in_the_picture() {
    // A white rectangle on black: where it comes to lie in the input is measured there, in parts of a pixel.
    for (width, height) in [(1280, 721), (721, 1280), (333, 500), (64, 64), (97, 61)] {
        let (left, top, right, bottom) = (width * 2 / 5, height * 3 / 8, width * 3 / 5, height * 3 / 4);
        let inside = |x, y| (left..right).contains(&x) && (top..bottom).contains(&y);
        let payload = png(GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }])));
        for fit in FITS {
            let codec = codec(fit, 64);
            let decoded = codec.decode(&payload).unwrap();
            let pixels: Vec<f32> = decoded.inputs[0].data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let measured = |profile: Vec<f32>| {
                let length: f32 = profile.iter().sum();
                let middle = profile.iter().enumerate().map(|(at, part)| (at as f32 + 0.5) * part).sum::<f32>() / length;
                (middle - length / 2.0, middle + length / 2.0)
            };
            // Lines through the middle of the rectangle; the border of a letterbox is grey and counts none.
            let line = |values: Vec<f32>| measured(values.iter().map(|v| if (v * 255.0).round() == 114.0 { 0.0 } else { *v }).collect());
            let brightest = |sums: Vec<f32>| sums.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            let row = brightest(pixels.chunks(64).map(|row| row.iter().filter(|v| **v > 0.9).sum()).collect());
            let column = brightest((0..64).map(|x| (0..64).map(|y| pixels[y * 64 + x]).filter(|v| *v > 0.9).sum()).collect());
            let (x0, x1) = line(pixels[row * 64..][..64].to_vec());
            let (y0, y1) = line((0..64).map(|y| pixels[y * 64 + column]).collect());
            let Answer::Boxes { boxes, image } = codec.encode(&decoded, vec![yolov8(&[(0, 0.5, [x0, y0, x1, y1])])]).unwrap() else {
                panic!()
            };
            assert_eq!(image, ImageSize { width, height });
            // A hundredth of the input's pixel, for it has 8 bits.
            let tolerance = width.max(height) as f32 / 64.0 * 0.03 + 0.02;
            let [b] = boxes.as_slice() else { panic!("{boxes:?}") };
            for (have, want) in [(b.x, left), (b.y, top), (b.x + b.width, right), (b.y + b.height, bottom)] {
                assert!((have - want as f32).abs() < tolerance, "{width} x {height} {fit}: {b:?}, not {left} {top} {right} {bottom}");
            }
        }
    }
}

#[test]
fn a_letterbox_is_that_of_ultralytics() {
    // By the formula of its LetterBox((640, 640), auto=False): round(side * ratio) in Python, border round(rest / 2 - 0.1).
    for (width, height, [left, top, inner_width, inner_height]) in [
        (1280, 721, [0, 140, 640, 360]),
        (1280, 723, [0, 139, 640, 362]),
        (1920, 1080, [0, 140, 640, 360]),
        (427, 640, [106, 0, 427, 640]),
        (333, 500, [107, 0, 426, 640]),
        (641, 640, [0, 0, 640, 639]),
        (3, 2000, [319, 0, 1, 640]),
    ] {
        let decoded = codec("letterbox", 640).decode(&png(GrayImage::from_pixel(width, height, Luma([0])))).unwrap();
        let pixels: Vec<f32> = decoded.inputs[0].data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let is_inside = |x: usize, y: usize| pixels[y * 640 + x] == 0.0;
        let columns: Vec<usize> = (0..640).filter(|x| is_inside(*x, 320)).collect();
        let rows: Vec<usize> = (0..640).filter(|y| is_inside(320 - usize::from(width == 3), *y)).collect();
        assert_eq!([columns[0], rows[0], columns.len(), rows.len()], [left, top, inner_width, inner_height], "{width} x {height}");
    }
}

#[test]
fn boxes_are_of_the_upright_picture_and_kept_inside() {
    let mut bytes = Vec::new();
    GrayImage::from_pixel(32, 16, Luma([9])).write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
    // An APP1 segment with EXIF orientation 6: turn by 90 degrees to the right.
    let exif: &[u8] = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    let codec = codec("letterbox", 64);
    let decoded = codec.decode(&Payload { content_type: ContentType::Jpeg, bytes: bytes.into() }).unwrap();
    // 16 x 32 becomes 32 x 64 with a border of 16; the box reaches into the border on the left.
    let encode = |edges| codec.encode(&decoded, vec![yolov8(&[(0, 0.5, edges)])]).unwrap();
    let image = ImageSize { width: 16, height: 32 };
    assert_eq!(encode([6.0, 10.0, 26.0, 70.0]), Answer::Boxes { boxes: vec![found("bolt", 0.5, [0.0, 5.0, 5.0, 32.0])], image });
    // What lies in the border alone is not in the picture.
    assert_eq!(encode([2.0, 10.0, 15.0, 30.0]), Answer::Boxes { boxes: Vec::new(), image });
}

#[test]
fn tensors_are_answered_in_their_own_pixels_one_a_request() {
    let codec = codec("letterbox", 8);
    let tensor = |rows: usize| Payload { content_type: ContentType::Binary { header_length: None }, bytes: vec![0; rows * 256].into() };
    let decoded = codec.decode(&tensor(1)).unwrap();
    let answer = codec.encode(&decoded, vec![yolov8(&[(1, 0.5, [1.0, 2.0, 9.0, 6.5])])]).unwrap();
    assert_eq!(answer, Answer::Boxes { boxes: vec![found("nut", 0.5, [1.0, 2.0, 8.0, 6.5])], image: ImageSize { width: 8, height: 8 } });
    assert!(codec.decode(&tensor(2)).unwrap_err().message.contains("2 rows, and this model gives one answer a request"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// A box in the picture, mapped into the input as the fit says, comes back to within half a hundredth, of whatever shape the picture.
    #[test]
    fn a_box_comes_back_from_the_input(width in 1u32..300, height in 1u32..300, fit in 0..3usize, share in prop::array::uniform4(0.0f64..1.0)) {
        let side = 64.0;
        let (w, h) = (f64::from(width), f64::from(height));
        // For each axis: pixels of the input to one of the picture, and where the picture begins.
        let map = |own: f64, other: f64| match FITS[fit] {
            "stretch" => (side / own, 0.0),
            "crop" => {
                let keep = own.min(other);
                let start = ((own - keep) / 2.0).floor();
                (side / keep, -start * side / keep)
            }
            _ => {
                let inner = (own * (side / own).min(side / other)).round_ties_even().max(1.0);
                (inner / own, ((side - inner) / 2.0).floor())
            }
        };
        let ((sx, ox), (sy, oy)) = (map(w, h), map(h, w));
        let codec = codec(FITS[fit], 64);
        let decoded = codec.decode(&png(GrayImage::new(width, height))).unwrap();
        let (left, right) = (share[0].min(share[1]) * w, share[0].max(share[1]) * w);
        let (top, bottom) = (share[2].min(share[3]) * h, share[2].max(share[3]) * h);
        let input = [left * sx + ox, top * sy + oy, right * sx + ox, bottom * sy + oy].map(|e| e as f32);
        let Answer::Boxes { boxes, image } = codec.encode(&decoded, vec![yolov8(&[(0, 0.5, input)])]).unwrap() else { panic!() };
        prop_assert_eq!(image, ImageSize { width, height });
        // Too thin for a hundredth of a pixel.
        if right - left > 0.02 && bottom - top > 0.02 {
            let b = &boxes[0];
            for (have, want) in [(b.x, left), (b.y, top), (b.x + b.width, right), (b.y + b.height, bottom)] {
                prop_assert!((f64::from(have) - want).abs() < 0.01, "{:?} {} {} {} {}", b, left, top, right, bottom);
            }
        }
    }

    /// Whatever bits the outputs are made of: boxes inside the picture with scores from the confidence to 1, or a fault.
    #[test]
    fn no_output_harms(head in 0..6usize, bits in prop::collection::vec(prop_oneof![any::<u32>(), (0.0f32..1.0).prop_map(f32::to_bits)], 84)) {
        let value = |i: usize| f32::from_bits(bits[i]);
        let of = |name: &str, shape: &[usize]| floats(name, shape, &(0..shape.iter().product()).map(value).collect::<Vec<f32>>());
        let (rest, outputs) = match head {
            0 => ("head = \"yolov8\"", vec![of("o", &[1, 7, 12])]),
            1 => ("head = \"yolov8\"", vec![of("o", &[1, 12, 7])]),
            2 => ("head = \"yolov5\"", vec![of("o", &[1, 10, 8])]),
            3 => ("head = \"yolov10\"", vec![of("o", &[1, 14, 6])]),
            4 => ("coordinates = \"normalised\"", vec![of("boxes", &[21, 4]), of("scores", &[21, 3])]),
            _ => ("background = true", vec![of("boxes", &[1, 21, 4]), of("scores", &[1, 21]), of("classes", &[1, 21]), of("num", &[1])]),
        };
        for b in encode(rest, &outputs).unwrap_or_default() {
            prop_assert!((0.25..=1.0).contains(&b.score), "{:?}", b);
            prop_assert!(b.x >= 0.0 && b.y >= 0.0 && b.width > 0.0 && b.height > 0.0 && b.x + b.width <= 64.0 && b.y + b.height <= 64.0, "{:?}", b);
        }
    }
}
