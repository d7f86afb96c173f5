//! Chain to bronze: the only room of the house with a socket to a chain.
//!
//! A run is divided into chains, a chain into days. For each day: its blocks ([`boundary`]), one snapshot of all CSUs of
//! the chain ([`reads`]), one log scan for all of them ([`rpc::pool`]), the oracle reads at the blocks with a log, and then
//! the objects, written whole or not at all ([`collect`]). What is not done is in the ledger with its reason
//! ([`ledger`]).

pub mod boundary;
pub mod collect;
pub mod ledger;
pub mod plan;
pub mod reads;
pub mod report;
pub mod rpc;
