//! What a manifest may say, and what is said of what it may not.

use super::*;

const WHOLE: &str = r#"
name = "parts"
version = "1.0.0"
file = "model.onnx"
[task]
kind = "classify"
labels = ["bolt", "nut"]
"#;

fn read(change: impl Fn(&str) -> String) -> Result<Manifest, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE_NAME), change(WHOLE)).unwrap();
    Manifest::read(folder.path()).map_err(|e| e.to_string())
}

#[test]
fn a_short_manifest_is_enough() {
    let manifest = read(str::to_owned).unwrap();
    assert_eq!((manifest.batch.max, manifest.licence.as_str()), (16, "unknown"));
}

#[test]
fn what_is_wrong_with_a_manifest_is_named() {
    for (from, to, says) in [
        ("1.0.0", "../1", "cannot name a folder"),
        ("model.onnx", "../model.onnx", "is not inside"),
        ("model.onnx", "/model.onnx", "is not inside"),
        ("[\"bolt\", \"nut\"]", "[]", "task.labels is empty"),
        ("classify", "klassify", "klassify"),
        ("file =", "fyle =", "fyle"),
        ("[task]", "[batch]\nmax = 0\n[task]", "batch.max = 0"),
        ("[task]", "[image]\nwidth = 0\nheight = 8\ncolour = \"grey\"\n[task]", "image is 0 x 8"),
        ("[task]", "[image]\nwidth = 8\nheight = 8\ncolour = \"grey\"\nmean = [1.0, 2.0]\n[task]", "2 values for 1 channels"),
        ("[task]", "[image]\nwidth = 8\nheight = 8\ncolour = \"grey\"\nmean = [nan]\n[task]", "image.mean = [NaN]"),
        ("[task]", "[image]\nwidth = 8\nheight = 8\ncolour = \"grey\"\nstd = [0]\n[task]", "image.std = [0.0]"),
        ("[task]", "[sound]\nsample_rate = 8000\nwindow = 0\nhop = 1\n[task]", "sound.window = 0"),
        ("[task]", "[sound]\nsample_rate = 8000\nwindow = 8\nhop = 0\n[task]", "sound.hop = 0"),
        ("[task]", "[sha256]\n\"model.onnx\" = \"abc\"\n[task]", "sha256.\"model.onnx\" = \"abc\""),
        ("[task]", "[sha256]\n\"weights.bin\" = \"00\"\n[task]", "sha256 has no \"model.onnx\""),
        ("[task]", "[[samples]]\nfile = \"a.png\"\ntruth = \"screw\"\n[task]", "the truth of \"a.png\" is \"screw\""),
        ("name =", "inputs = [{ name = \"x\", datatype = \"FP32\", shape = [-2] }]\nname =", "inputs \"x\" has shape [-2]"),
        (
            "kind = \"classify\"\nlabels = [\"bolt\", \"nut\"]",
            "kind = \"anomaly\"\nscore = \"output\"\nthreshold = inf",
            "task.threshold = inf",
        ),
        (
            "kind = \"classify\"\nlabels = [\"bolt\", \"nut\"]",
            "kind = \"regress\"\nunit = \"bar\"\nminimum = 0\nmaximum = 1\nscale = 0",
            "task.scale = 0",
        ),
    ] {
        let error = read(|whole| whole.replace(from, to)).unwrap_err();
        assert!(error.contains(says) && error.contains("manifest.toml"), "{error}");
    }
}

#[test]
fn a_file_that_changed_or_leads_out_is_refused() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, "abc").unwrap();
    let manifest = Manifest::for_file(ModelName::new("m").unwrap(), &file).unwrap();
    manifest.verify(folder.path()).unwrap();
    std::fs::write(&file, "abd").unwrap();
    assert!(manifest.verify(folder.path()).unwrap_err().to_string().contains("damaged or changed"));
    std::fs::write(outside.path().join("model.onnx"), "abc").unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(outside.path().join("model.onnx"), &file).unwrap();
    assert!(manifest.verify(folder.path()).unwrap_err().to_string().contains("leads out"));
}

#[test]
fn a_name_is_made_of_a_file_name() {
    assert_eq!(Manifest::name_from("My Model (2).onnx").unwrap().as_str(), "my-model--2-");
    assert_eq!(Manifest::name_from("_né.onnx").unwrap().as_str(), "n-");
    assert!(Manifest::name_from("...onnx").is_err());
}
