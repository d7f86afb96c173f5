//! For tests and developers only: a devnet with the real contracts, and the recorder of the demo.

pub mod devnet;
pub mod record;
