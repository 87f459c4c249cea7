//! How a stack of requests is cut into pieces: contiguous rows, about as many for each thread, no piece larger than is worth while.

use std::ops::Range;

/// The most rows of any piece: it bounds working memory, and how long a node runs.
pub(super) const MAX_ROWS: usize = 16;

/// Rows of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Index of the request in its stack.
    pub(super) request: usize,
    /// Which of its rows.
    pub(super) rows: Range<usize>,
}

/// What is run at once.
pub(super) type Piece = Vec<Part>;

/// Cuts requests of so many rows into the pieces of at most `threads` threads, of at most `largest` rows. With `sizes_cost`
/// pieces have a power of two of rows, so that few sizes occur.
pub(super) fn cut(rows: &[usize], threads: usize, largest: usize, sizes_cost: bool) -> Vec<Vec<Piece>> {
    let total: usize = rows.iter().sum();
    let threads = threads.clamp(1, total.max(1));
    let mut parts = Parts { rows, request: 0, row: 0 };
    (0..threads)
        .map(|thread| {
            let mut left = total * (thread + 1) / threads - total * thread / threads;
            let mut pieces = Vec::new();
            while left > 0 {
                let size = if sizes_cost { 1 << left.min(largest).ilog2() } else { left.div_ceil(left.div_ceil(largest)) };
                pieces.push(parts.take(size));
                left -= size;
            }
            pieces
        })
        .collect()
}

struct Parts<'a> {
    rows: &'a [usize],
    request: usize,
    row: usize,
}

impl Parts<'_> {
    fn take(&mut self, mut rows: usize) -> Piece {
        let mut piece = Vec::new();
        while rows > 0 {
            let end = self.rows[self.request].min(self.row + rows);
            if end > self.row {
                piece.push(Part { request: self.request, rows: self.row..end });
                rows -= end - self.row;
            }
            self.row = end;
            if end == self.rows[self.request] {
                (self.request, self.row) = (self.request + 1, 0);
            }
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_in_one_piece_and_in_order(rows in prop::collection::vec(1usize..40, 1..12), threads in 1usize..6, largest in 1usize..20, sizes_cost: bool) {
            let cut = cut(&rows, threads, largest, sizes_cost);
            prop_assert!(cut.len() <= threads);
            let mut expected = rows.iter().enumerate().flat_map(|(request, n)| (0..*n).map(move |row| (request, row)));
            for piece in cut.iter().flatten() {
                let size: usize = piece.iter().map(|p| p.rows.len()).sum();
                prop_assert!((1..=largest).contains(&size) && (!sizes_cost || size.is_power_of_two()));
                for (request, row) in piece.iter().flat_map(|p| p.rows.clone().map(|row| (p.request, row))) {
                    prop_assert_eq!(expected.next(), Some((request, row)));
                }
            }
            prop_assert_eq!(expected.next(), None);
            let sizes: Vec<usize> = cut.iter().map(|t| t.iter().flatten().map(|p| p.rows.len()).sum()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }
}
