//! The program over small lakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod check;
mod dictionary;
mod faults;
mod panel;
mod recomputed;
mod small_lake;
