//! Boxes held against the truth: how samples say what is right, and how right answers are. The decoding of boxes is not here.

use hearth_api::Detection;
use std::str::FromStr;

/// Intersection over union from which on a box is on the thing it means.
const MATCH: f64 = 0.5;

/// A box that should be found: `label x y width height`, in pixels of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// What is there; it may have spaces.
    pub label: String,
    /// Left, top, right and bottom edge.
    edges: [f64; 4],
}

impl FromStr for Truth {
    type Err = ();

    fn from_str(text: &str) -> Result<Truth, ()> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (label, numbers) = words.split_last_chunk::<4>().filter(|(label, _)| !label.is_empty()).ok_or(())?;
        let mut place = [0.0; 4];
        for (value, word) in place.iter_mut().zip(numbers) {
            *value = word.parse().ok().filter(|v: &f64| v.is_finite()).ok_or(())?;
        }
        let [x, y, width, height] = place;
        if width > 0.0 && height > 0.0 { Ok(Truth { label: label.join(" "), edges: [x, y, x + width, y + height] }) } else { Err(()) }
    }
}

impl Truth {
    /// The boxes of a sample's truth, with semicolons between; none where nothing is to be found.
    pub fn read_all(text: &str) -> Option<Vec<Truth>> {
        if text.trim().is_empty() { Some(Vec::new()) } else { text.split(';').map(|entry| entry.parse().ok()).collect() }
    }
}

/// What was found, as truths are written.
pub fn written(found: &[Detection]) -> String {
    let place = |b: &Detection| format!("{} {} {} {} {}", b.label, b.x, b.y, b.width, b.height);
    found.iter().map(place).collect::<Vec<_>>().join("; ")
}

/// For each box found, the surest first, whether it is on a thing of its label that no surer one is on.
fn hits(found: &[Detection], truths: &[Truth]) -> Vec<bool> {
    let mut open: Vec<&Truth> = truths.iter().collect();
    let hit = |found: &Detection| {
        let (x, y) = (f64::from(found.x), f64::from(found.y));
        let edges = [x, y, x + f64::from(found.width), y + f64::from(found.height)];
        let candidates = open.iter().enumerate().filter(|(_, truth)| truth.label == found.label);
        let nearest = candidates.map(|(at, truth)| (overlap(&edges, &truth.edges), at)).max_by(|a, b| a.0.total_cmp(&b.0));
        let hit = nearest.filter(|(overlap, _)| *overlap >= MATCH);
        hit.map(|(_, at)| open.swap_remove(at)).is_some()
    };
    found.iter().map(hit).collect()
}

/// Whether everything that is there was found, once, and nothing else was.
pub fn all_right(found: &[Detection], truths: &[Truth]) -> bool {
    found.len() == truths.len() && hits(found, truths).into_iter().all(|hit| hit)
}

/// Mean over the labels in the truths of the average precision over all pictures, at an intersection over union of 0.5: the area
/// under the curve of precision over recall, made monotonic (PASCAL VOC 2010). Boxes under the confidence of the task are not in
/// the answers, so it is at most what is measured on all boxes.
pub fn mean_average_precision(pictures: &[(Vec<Detection>, Vec<Truth>)]) -> f64 {
    let mut labels: Vec<&str> = pictures.iter().flat_map(|(_, truths)| truths).map(|truth| truth.label.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    let sum: f64 = labels.iter().map(|label| average_precision(pictures, label)).sum();
    if labels.is_empty() { 0.0 } else { sum / labels.len() as f64 }
}

fn average_precision(pictures: &[(Vec<Detection>, Vec<Truth>)], label: &str) -> f64 {
    let judged = pictures.iter().flat_map(|(found, truths)| found.iter().zip(hits(found, truths)));
    let mut said: Vec<(f32, bool)> = judged.filter(|(found, _)| found.label == label).map(|(found, hit)| (found.score, hit)).collect();
    said.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total = pictures.iter().flat_map(|(_, truths)| truths).filter(|truth| truth.label == label).count();
    let mut right = said.iter().filter(|(_, hit)| *hit).count();
    // From the least sure up: at each hit the best precision of it and all less sure ones.
    let (mut best, mut area) = (0.0f64, 0.0);
    for (before, (_, hit)) in said.iter().enumerate().rev() {
        best = best.max(right as f64 / (before + 1) as f64);
        if *hit {
            area += best / total as f64;
            right -= 1;
        }
    }
    area
}

/// Intersection over union of two boxes by their edges: left, top, right, bottom.
fn overlap(a: &[f64; 4], b: &[f64; 4]) -> f64 {
    let shared = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let joined = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared;
    if joined > 0.0 { shared / joined } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(label: &str, score: f32, [x, y, width, height]: [f32; 4]) -> Detection {
        Detection { label: label.into(), score, x, y, width, height }
    }

    #[test]
    fn a_truth_is_labels_and_boxes() {
        let truths = Truth::read_all("traffic light 1 2 3 4; nut 5.5 0 10 20").unwrap();
        assert_eq!((truths[0].label.as_str(), truths[0].edges), ("traffic light", [1.0, 2.0, 4.0, 6.0]));
        assert_eq!(truths[1].edges, [5.5, 0.0, 15.5, 20.0]);
        assert_eq!(Truth::read_all(" "), Some(Vec::new()));
        let same = [found("traffic light", 0.9, [1.0, 2.0, 3.0, 4.0]), found("nut", 0.8, [5.5, 0.0, 10.0, 20.0])];
        assert_eq!(Truth::read_all(&written(&same)), Some(truths));
        for wrong in ["bolt", "1 2 3 4", "bolt 1 2 3", "bolt 1 2 0 4", "bolt 1 2 nan 4", "bolt 1 2 3 4;", "bolt 1 2 3 4 nut 1 2 3 4 5;;"] {
            assert_eq!(Truth::read_all(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn right_is_each_thing_once_by_its_label() {
        let truths = Truth::read_all("bolt 0 0 10 10; nut 20 0 10 10").unwrap();
        let (bolt, nut) = (found("bolt", 0.9, [1.0, 0.0, 10.0, 10.0]), found("nut", 0.8, [20.0, 1.0, 10.0, 10.0]));
        assert!(all_right(&[bolt.clone(), nut.clone()], &truths));
        assert!(!all_right(std::slice::from_ref(&bolt), &truths));
        assert!(!all_right(&[bolt.clone(), bolt.clone()], &truths));
        assert!(!all_right(&[bolt.clone(), found("bolt", 0.8, [20.0, 1.0, 10.0, 10.0])], &truths));
        assert!(!all_right(&[bolt, found("nut", 0.8, [26.0, 0.0, 10.0, 10.0])], &truths));
        assert!(all_right(&[], &[]));
    }

    #[test]
    fn precision_falls_with_false_boxes_and_missed_things() {
        let truths = Truth::read_all("bolt 0 0 10 10; bolt 20 0 10 10").unwrap();
        let (one, other) = (found("bolt", 0.9, [0.0, 0.0, 10.0, 10.0]), found("bolt", 0.5, [20.0, 0.0, 10.0, 10.0]));
        let nothing = found("bolt", 0.7, [50.0, 0.0, 10.0, 10.0]);
        let map = |found: Vec<Detection>| mean_average_precision(&[(found, truths.clone())]);
        assert_eq!(map(vec![one.clone(), other.clone()]), 1.0);
        assert_eq!(map(vec![one.clone()]), 0.5);
        assert!((map(vec![one, nothing, other]) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        assert_eq!(map(Vec::new()), 0.0);
    }
}
