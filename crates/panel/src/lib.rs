//! Silver to gold: the daily panel of CSUs, built, documented and shown.
//!
//! [`silver`] reads the tables, [`frame`] fills one row for every CSU and day of a run, [`build`] writes gold, [`check`] holds
//! it against its rules, [`dictionary`] writes down what every column means, [`show`] and [`summary`] print it for people.

pub mod asset;
pub mod build;
pub mod check;
pub mod dictionary;
pub mod diff;
pub mod export;
pub mod findings;
mod flows;
pub mod frame;
mod known;
mod numbers;
mod ordered;
pub mod release;
pub mod report;
pub mod rows;
pub mod seal;
pub mod show;
pub mod silver;
pub mod stata;
mod stocks;
pub mod summary;
mod sums;
