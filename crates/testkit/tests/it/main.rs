//! Whole stages as programs, over simulated chains and their endpoints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bonus;
mod contracts;
mod demo;
mod endpoint;
mod faults;
#[cfg(unix)]
mod kills;
mod prices;
mod provider;
mod real_day;
mod stages;
mod table;
mod topics;
