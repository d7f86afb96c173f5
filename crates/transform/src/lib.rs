//! Bronze to silver: decodes what the chain answered, joins oracle prices, and says of every gap why it is one.
//!
//! ```text
//! read       bronze objects of a month, each checked against its path, the registry and the day's blocks
//! prices     every price answer of the month; which one a figure uses, or why none
//! missing    the prices that no figure found, and what is at stake
//! tokens     what token contracts say of themselves over the whole lake
//! reserves, liquidations, coverage, dimensions      the rows of silver
//! tables     the files of a month, from its decoded objects
//! stale      what a month was built from, and whether it must be built again
//! build      a run: which months, in which order, what is written and what is told
//! report     the outcome in words
//! check      whether bronze and silver keep their rules
//! ```
//! Families are asked through `protocols`; nothing here knows one by name. Nothing here opens a connection: silver
//! is a function of the lake's bronze and ledger, the registry, the run file and this program's version.

pub mod build;
pub mod check;
pub mod coverage;
pub mod dimensions;
mod held;
pub mod liquidations;
pub mod missing;
pub mod prices;
pub mod read;
pub mod report;
pub mod reserves;
pub mod stale;
mod tables;
pub mod tokens;
