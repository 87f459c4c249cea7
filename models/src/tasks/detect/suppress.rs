//! Non-maximum suppression: of candidates of one label that overlap, the surest stays.

use super::candidates::Candidate;

/// Keeps of candidates, which come the surest first, those that no kept one of their class overlaps by more than `iou`; at most
/// `max`. Greedy, as torchvision's `nms`.
pub(super) fn suppress(candidates: &mut Vec<Candidate>, iou: f32, max: usize) {
    let mut kept: Vec<Candidate> = Vec::with_capacity(max.min(candidates.len()));
    for candidate in candidates.drain(..) {
        if kept.len() == max {
            break;
        }
        if kept.iter().all(|other| other.class != candidate.class || overlap(&other.edges, &candidate.edges) <= iou) {
            kept.push(candidate);
        }
    }
    *candidates = kept;
}

/// Intersection over union of two boxes by their edges: left, top, right, bottom.
fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let shared = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let joined = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared;
    if shared > 0.0 { shared / joined } else { 0.0 }
}
