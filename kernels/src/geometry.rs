//! Where the windows of a convolution or a pool lie on a picture.

use std::ops::Range;

/// Windows over a picture; each pair is for height and width. A sequence is a picture of height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Size of the input.
    pub input: [usize; 2],
    /// Size of the output.
    pub output: [usize; 2],
    /// Taps of a window.
    pub kernel: [usize; 2],
    /// Distance between neighbouring windows.
    pub strides: [usize; 2],
    /// Distance between neighbouring taps.
    pub dilations: [usize; 2],
    /// Padding above and to the left.
    pub pads_begin: [usize; 2],
    /// Padding below and to the right.
    pub pads_end: [usize; 2],
}

impl Geometry {
    /// As many windows as fit into the padded input; `pads` in the order of ONNX: top, left, bottom, right.
    ///
    /// # Panics
    /// If a kernel, stride or dilation is 0, or a window is larger than the padded input.
    pub fn new(input: [usize; 2], kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2], pads: [usize; 4]) -> Geometry {
        let [top, left, bottom, right] = pads;
        let (pads_begin, pads_end) = ([top, left], [bottom, right]);
        let output = [0, 1].map(|axis| {
            assert!(kernel[axis] > 0 && strides[axis] > 0 && dilations[axis] > 0, "a kernel, stride and dilation is at least 1");
            let padded = input[axis] + pads_begin[axis] + pads_end[axis];
            let window = (kernel[axis] - 1) * dilations[axis] + 1;
            assert!(window <= padded, "a window of {window} on a padded input of {padded}");
            (padded - window) / strides[axis] + 1
        });
        Geometry { input, output, kernel, strides, dilations, pads_begin, pads_end }
    }

    /// With a last window that may reach beyond the padding (`ceil_mode` of ONNX pools), unless it would begin in it.
    pub fn rounded_up(mut self) -> Geometry {
        for axis in 0..2 {
            let next = self.output[axis] * self.strides[axis];
            let last_start = (self.output[axis] - 1) * self.strides[axis];
            let end = last_start + (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let padded = self.pads_begin[axis] + self.input[axis] + self.pads_end[axis];
            if end < padded && next < self.pads_begin[axis] + self.input[axis] {
                self.output[axis] += 1;
            }
        }
        self
    }

    /// Taps of a window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Where a tap of a window lies on the input, if it does.
    #[inline]
    pub(crate) fn position(&self, axis: usize, window: usize, tap: usize) -> Option<usize> {
        let padded = window * self.strides[axis] + tap * self.dilations[axis];
        padded.checked_sub(self.pads_begin[axis]).filter(|&position| position < self.input[axis])
    }

    /// For each tap of a window, row by row, the number of the pixel of the input on which it lies, if it does.
    #[inline]
    pub(crate) fn window(&self, row: usize, column: usize) -> impl Iterator<Item = Option<usize>> {
        (0..self.kernel[0]).flat_map(move |tap| {
            let row = self.position(0, row, tap);
            (0..self.kernel[1]).map(move |tap| Some(row? * self.input[1] + self.position(1, column, tap)?))
        })
    }

    /// Taps of a window that lie on the input or its padding: all but those of a last window that reaches beyond.
    pub(crate) fn padded_taps(&self, row: usize, column: usize) -> usize {
        let within = |axis: usize, window: usize| {
            let left = self.pads_begin[axis] + self.input[axis] + self.pads_end[axis] - window * self.strides[axis];
            self.kernel[axis].min(left.div_ceil(self.dilations[axis]))
        };
        within(0, row) * within(1, column)
    }

    /// The windows that lie on the input with all their taps.
    pub(crate) fn inner(&self, axis: usize) -> Range<usize> {
        let span = (self.kernel[axis] - 1) * self.dilations[axis];
        let start = self.pads_begin[axis].div_ceil(self.strides[axis]).min(self.output[axis]);
        let end = match (self.input[axis] + self.pads_begin[axis]).checked_sub(span + 1) {
            Some(last) => last / self.strides[axis] + 1,
            None => 0,
        };
        start..end.clamp(start, self.output[axis])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn inner_windows_are_those_with_all_taps_on_the_input(
            input in 1usize..12, kernel in 1usize..6, stride in 1usize..4, dilation in 1usize..4, pads in (0usize..6, 0usize..6),
        ) {
            prop_assume!((kernel - 1) * dilation < input + pads.0 + pads.1);
            let geometry = Geometry::new([input; 2], [kernel; 2], [stride; 2], [dilation; 2], [pads.0, pads.0, pads.1, pads.1]);
            for geometry in [geometry, geometry.rounded_up()] {
                for window in 0..geometry.output[1] {
                    let whole = (0..kernel).all(|tap| geometry.position(1, window, tap).is_some());
                    prop_assert_eq!(geometry.inner(1).contains(&window), whole, "{} of {:?}", window, geometry);
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_onnx() {
        let sizes = |input, kernel, stride, pads: [usize; 2]| {
            let floor = Geometry::new([input; 2], [kernel; 2], [stride; 2], [1; 2], [pads[0], pads[0], pads[1], pads[1]]);
            [floor.output[0], floor.rounded_up().output[0]]
        };
        assert_eq!(sizes(224, 3, 2, [1, 1]), [112, 113]);
        assert_eq!(sizes(4, 3, 2, [0, 0]), [1, 2]);
        assert_eq!(sizes(7, 7, 1, [0, 0]), [1, 1]);
        // The next window would begin in the padding on the right.
        assert_eq!(sizes(5, 1, 3, [1, 2]), [3, 3]);
    }
}
