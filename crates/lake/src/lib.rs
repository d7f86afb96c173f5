//! The contract of the lake.
//!
//! `extract`, `transform` and `panel` never import each other; they meet in objects, and this crate says what
//! those objects are: which [`day`] a block belongs to, under which [`path`] an object lives, how it is written
//! ([`store`]), what a bronze record holds ([`bronze`]), which words say why a number is missing ([`status`]),
//! what the columns of silver and gold mean ([`schema`]) and which deployments exist ([`registry`]).
//!
//! Nothing here opens a socket to a chain.

pub mod amount;
pub mod bronze;
pub mod day;
pub mod digest;
pub mod failure;
pub mod ledger;
pub mod manifest;
pub mod missing;
pub mod path;
pub mod registry;
pub mod run;
pub mod schema;
pub mod span;
pub mod status;
pub mod store;
pub mod table_file;

pub use store::Lake;

pub use alloy_primitives::{Address, B256, Bytes, I256, U256};
