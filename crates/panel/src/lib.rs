//! Silver to gold: the daily panel of CSUs, built, documented and shown.
//!
//! [`silver`] reads the tables, [`frame`] fills one row for every CSU and day of a run, [`build`] writes gold,
//! [`dictionary`] writes down what every column means, [`show`] prints the panel for people.

pub mod build;
pub mod dictionary;
pub mod diff;
pub mod export;
pub mod findings;
mod flows;
pub mod frame;
pub mod release;
pub mod report;
pub mod rows;
pub mod show;
pub mod silver;
pub mod stata;
mod stocks;
mod sums;
