//! Where a picture lies in a model's input, and the way back from there. Moves no pixels.

/// Where a picture lies in the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placement {
    pub(super) x: Axis,
    pub(super) y: Axis,
}

/// One axis: `input = picture * scale + offset`, both in pixels counted from the edge, so that the edges of the first pixel are at 0
/// and 1. A resize with half-pixel centres moves edges onto edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Pixels of the picture.
    pub(super) length: usize,
    scale: f64,
    offset: f64,
}

impl Axis {
    /// All of a side of `length` pixels lies on the `to` pixels from `offset`.
    pub(super) fn whole(length: usize, offset: usize, to: usize) -> Axis {
        Axis { length, scale: to as f64 / length as f64, offset: offset as f64 }
    }

    /// The `keep` pixels from `start` lie on all `to` pixels.
    pub(super) fn part(length: usize, start: usize, keep: usize, to: usize) -> Axis {
        let scale = to as f64 / keep as f64;
        Axis { length, scale, offset: -(start as f64 * scale) }
    }

    /// From the input into the picture, kept inside it.
    pub(super) fn back(&self, input: f64) -> f64 {
        ((input - self.offset) / self.scale).clamp(0.0, self.length as f64)
    }
}

impl Placement {
    /// An input that is its own picture.
    pub(super) fn itself(width: usize, height: usize) -> Placement {
        Placement { x: Axis::whole(width, 0, width), y: Axis::whole(height, 0, height) }
    }
}
