//! The program over small lakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod check;
mod dictionary;
mod diff;
mod export;
mod faults;
mod panel;
mod recomputed;
mod release;
mod report;
mod small_lake;
