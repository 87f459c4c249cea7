//! The mqtt door.
