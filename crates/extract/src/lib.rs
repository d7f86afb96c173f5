//! Chain to bronze: the only room of the house with a socket to a chain.
//!
//! A run is divided into chains, a chain into days ([`collect`]). For each day: its blocks ([`boundary`]), the chain's
//! Chainlink feeds ([`prices`]), one snapshot of all CSUs of the chain ([`snapshot`]), one log scan for all of them with the oracle reads at the blocks that hold a log
//! ([`liquidation`]), and then the objects, written whole or not at all. What is not done is in the ledger with its reason
//! ([`ledger`]). What endpoints can do is found out beforehand by [`doctor`]. Prices that are missing afterwards may be asked
//! of an off-chain service ([`fill`]).

pub mod boundary;
pub mod collect;
mod discovery;
pub mod doctor;
pub mod fill;
mod history;
pub mod ledger;
mod liquidation;
pub mod plan;
mod prices;
pub mod reads;
pub mod report;
pub mod rpc;
mod snapshot;
mod witness;
