//! Price sources that belong to no family: feeds of the chain, and services outside of it.

pub mod chainlink;
pub mod defillama;
pub mod usd_feed;
