//! Where the windows of a convolution or a pool lie on a picture.

use std::ops::Range;

/// Windows over a picture; each pair is for height and width. A sequence is a picture of height 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    /// Distance between neighbouring windows.
    pub(crate) strides: [usize; 2],
    /// Distance between neighbouring taps.
    pub(crate) dilations: [usize; 2],
    /// Padding above and to the left.
    pub(crate) pads_begin: [usize; 2],
    /// Padding below and to the right.
    pub(crate) pads_end: [usize; 2],
}

impl Windows {
    /// As many windows as fit into the padded input; `pads` in the order of ONNX: top, left, bottom, right.
    ///
    /// # Panics
    /// If an input, kernel, stride or dilation is 0, or a window is larger than the padded input.
    pub fn new(input: [usize; 2], kernel: [usize; 2], strides: [usize; 2], dilations: [usize; 2], pads: [usize; 4]) -> Windows {
        let [top, left, bottom, right] = pads;
        let (pads_begin, pads_end) = ([top, left], [bottom, right]);
        let output = [0, 1].map(|axis| {
            let least = input[axis].min(kernel[axis]).min(strides[axis]).min(dilations[axis]);
            assert!(least > 0, "windows: an input, kernel, stride or dilation of 0");
            let padded = input[axis] + pads_begin[axis] + pads_end[axis];
            let window = (kernel[axis] - 1) * dilations[axis] + 1;
            assert!(window <= padded, "windows: one of {window} on a padded input of {padded}");
            (padded - window) / strides[axis] + 1
        });
        Windows { input, output, kernel, strides, dilations, pads_begin, pads_end }
    }

    /// With a last window that may reach beyond the padding (`ceil_mode` of ONNX pools), unless it would begin in it.
    pub fn rounded_up(mut self) -> Windows {
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

    /// Height and width of the input.
    pub fn input(&self) -> [usize; 2] {
        self.input
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        self.output
    }

    /// Windows of a picture: pixels of the output.
    pub fn count(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Taps of a window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether window and pixel of the input are the same.
    pub(crate) fn are_pixels(&self) -> bool {
        (self.kernel, self.strides, self.input) == ([1, 1], [1, 1], self.output) && self.pads_begin == [0, 0]
    }

    /// Checks the lengths of what a kernel is given: a batch of pictures, and some rows of the output, counted over all of them.
    pub(crate) fn check(&self, kernel: &str, channels: usize, input: usize, rows: &Range<usize>, out: usize) {
        let ([height, width], [out_height, out_width]) = (self.input, self.output);
        let picture = height * width * channels;
        assert!(
            channels > 0 && input.is_multiple_of(picture),
            "{kernel}: {input} values are not pictures of {height} x {width} x {channels}"
        );
        let all = input / picture * out_height;
        assert!(rows.start <= rows.end && rows.end <= all, "{kernel}: no rows {rows:?} among {all}");
        let wanted = rows.len() * out_width * channels;
        assert_eq!(out, wanted, "{kernel}: an output of {} x {out_width} x {channels}", rows.len());
    }

    /// Where a tap of a window lies on the input, if it does.
    #[inline]
    pub(crate) fn position(&self, axis: usize, window: usize, tap: usize) -> Option<usize> {
        let padded = window * self.strides[axis] + tap * self.dilations[axis];
        padded.checked_sub(self.pads_begin[axis]).filter(|&position| position < self.input[axis])
    }

    /// Calls `each` for every tap of a window, row by row, with the number of the pixel of the input on which it lies, if it does.
    #[inline]
    pub(crate) fn window(&self, row: usize, column: usize, mut each: impl FnMut(Option<usize>)) {
        for tap in 0..self.kernel[0] {
            let start = self.position(0, row, tap).map(|row| row * self.input[1]);
            for tap in 0..self.kernel[1] {
                let pixel = start.and_then(|start| Some(start + self.position(1, column, tap)?));
                each(pixel);
            }
        }
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
            let windows = Windows::new([input; 2], [kernel; 2], [stride; 2], [dilation; 2], [pads.0, pads.0, pads.1, pads.1]);
            for windows in [windows, windows.rounded_up()] {
                for window in 0..windows.output[1] {
                    let whole = (0..kernel).all(|tap| windows.position(1, window, tap).is_some());
                    prop_assert_eq!(windows.inner(1).contains(&window), whole, "{} of {:?}", window, windows);
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_onnx() {
        let sizes = |input, kernel, stride, pads: [usize; 2]| {
            let floor = Windows::new([input; 2], [kernel; 2], [stride; 2], [1; 2], [pads[0], pads[0], pads[1], pads[1]]);
            [floor.output[0], floor.rounded_up().output[0]]
        };
        assert_eq!(sizes(224, 3, 2, [1, 1]), [112, 113]);
        assert_eq!(sizes(4, 3, 2, [0, 0]), [1, 2]);
        assert_eq!(sizes(7, 7, 1, [0, 0]), [1, 1]);
        // The next window would begin in the padding on the right.
        assert_eq!(sizes(5, 1, 3, [1, 2]), [3, 3]);
    }
}
