//! For tests and developers only: chains in memory with their providers, a devnet with the real contracts, and the
//! recorder of the demo.

pub mod contracts;
pub mod december;
pub mod decode_free_part;
pub mod defillama;
pub mod devnet;
pub mod drawn;
pub mod feed;
pub mod programs;
pub mod real_day;
pub mod record;
pub mod serve;
pub mod server;
pub mod setting;
pub mod simchain;
pub mod synthetic;
pub mod tree;
