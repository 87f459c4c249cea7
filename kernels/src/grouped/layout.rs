//! The layouts of weights, and how many bytes they take.

use super::PANEL;

/// How the weights of a matrix lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// As floats.
    Plain(Element),
    /// As codes: `code * scale - minimum`, scale and minimum being those of a group.
    Grouped {
        /// What a weight is.
        codes: Codes,
        /// Values that share a scale: 16 or 32, of codes of 4 bits 32.
        group: usize,
        /// What scales and minima are.
        scales: Scales,
        /// Whether there are minima.
        minima: bool,
    },
}

/// Kinds of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// `f32`.
    Single,
    /// IEEE 754 binary16.
    Half,
    /// The upper half of an `f32`.
    Brain,
}

/// Kinds of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codes {
    /// 4 bits: 8 more than the number they stand for.
    Signed,
    /// 4 bits: the number itself, from 0 to 15.
    Unsigned,
    /// 4 bits: the place of the number in ggml's table of `IQ4_NL`.
    Iq4,
    /// 4 bits: the place of the number in twice the table of E2M1.
    Mxfp4,
    /// 8 bits: the number itself, from -128 to 127.
    Eight,
}

/// Kinds of scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scales {
    /// A half for each group.
    Halves,
    /// A half for each 256 values, times an `i8` for each group.
    Products,
    /// An `f32` for each group.
    Singles,
}

/// Values that share a half where scales are products.
pub(super) const RUN: usize = 256;

impl Element {
    pub(super) fn bytes(self) -> usize {
        match self {
            Element::Single => 4,
            Element::Half | Element::Brain => 2,
        }
    }
}

impl Codes {
    /// The number that each code of 4 bits stands for; none of 8 bits.
    pub(super) fn table(self) -> Option<[i8; 16]> {
        match self {
            Codes::Signed => Some([-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]),
            Codes::Unsigned => Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            Codes::Iq4 => Some([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]),
            Codes::Mxfp4 => Some([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]),
            Codes::Eight => None,
        }
    }
}

impl Scales {
    /// Bytes of 16 scales before a run of 256 values, and before each group.
    pub(super) fn bytes(self) -> (usize, usize) {
        match self {
            Scales::Halves => (0, 2 * PANEL),
            Scales::Products => (2 * PANEL, PANEL),
            Scales::Singles => (0, 4 * PANEL),
        }
    }
}

const ELEMENTS: [Element; 3] = [Element::Single, Element::Half, Element::Brain];
const CODES: [Codes; 5] = [Codes::Signed, Codes::Unsigned, Codes::Iq4, Codes::Mxfp4, Codes::Eight];
const SCALES: [Scales; 3] = [Scales::Halves, Scales::Products, Scales::Singles];

impl Layout {
    /// Its number, by which files name it: always the same for the same layout.
    pub fn number(self) -> u32 {
        match self {
            Layout::Plain(element) => element as u32,
            Layout::Grouped { codes, group, scales, minima } => {
                0x100 | (codes as u32) << 12 | (scales as u32) << 4 | u32::from(group == 16) << 1 | u32::from(minima)
            }
        }
    }

    /// The layout of this number, if there is one.
    pub fn from_number(number: u32) -> Option<Layout> {
        let all = || {
            let grouped = CODES.into_iter().flat_map(|codes| SCALES.map(move |scales| (codes, scales)));
            let grouped = grouped.flat_map(|(codes, scales)| {
                [(16, false), (16, true), (32, false), (32, true)].map(|(group, minima)| Layout::Grouped { codes, group, scales, minima })
            });
            ELEMENTS.into_iter().map(Layout::Plain).chain(grouped)
        };
        all().find(|layout| layout.number() == number && layout.is_valid())
    }

    /// Whether there is such a layout.
    pub(super) fn is_valid(self) -> bool {
        match self {
            Layout::Plain(_) => true,
            Layout::Grouped { codes, group, .. } => group == 32 || group == 16 && codes == Codes::Eight,
        }
    }

    /// Bytes of a matrix; none where they are more than can be counted.
    pub fn bytes(self, outputs: usize, depth: usize) -> Option<usize> {
        self.panel_bytes(depth)?.checked_mul(outputs.div_ceil(PANEL))
    }

    /// Bytes of a panel.
    pub(super) fn panel_bytes(self, depth: usize) -> Option<usize> {
        match self {
            Layout::Plain(element) => depth.checked_mul(PANEL * element.bytes()),
            Layout::Grouped { group, scales, minima, .. } => {
                let copies = 1 + usize::from(minima);
                let (run, each) = (scales.bytes().0 * copies, self.group_bytes());
                let runs = if scales == Scales::Products { depth.div_ceil(RUN).checked_mul(run)? } else { 0 };
                self.padded(depth).div_ceil(group).checked_mul(each)?.checked_add(runs)
            }
        }
    }

    /// The depth with what it is filled up by: to whole groups, or whole runs.
    pub(super) fn padded(self, depth: usize) -> usize {
        match self {
            Layout::Plain(_) => depth,
            Layout::Grouped { scales: Scales::Products, .. } => depth.next_multiple_of(RUN),
            Layout::Grouped { group, .. } => depth.next_multiple_of(group),
        }
    }

    /// Bytes of a group: scales, minima, codes.
    pub(super) fn group_bytes(self) -> usize {
        match self {
            Layout::Plain(element) => PANEL * element.bytes(),
            Layout::Grouped { codes, group, scales, minima } => {
                let codes = if codes == Codes::Eight { group * PANEL } else { group * PANEL / 2 };
                scales.bytes().1 * (1 + usize::from(minima)) + codes
            }
        }
    }
}
