//! What holds for every family, whatever a chain or a file says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod arbitrary;
mod fuzz;
