//! Prices that silver lacks: what `transform` found no price for, and `extract fill-prices` may ask an off-chain service.
//!
//! The two never import each other; they meet in `checks/silver/missing_prices/<YYYY-MM>.json`, which `transform run`
//! writes with each month.

use crate::day::Day;
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The prices that a month of silver lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingPrices {
    /// Name and version of this object: [`MissingPrices::SCHEMA`].
    pub schema: String,
    /// Month, `YYYY-MM`.
    pub month: String,
    /// The prices, in order of chain, block and token.
    pub missing: Vec<MissingPrice>,
}

impl MissingPrices {
    /// Name and version.
    pub const SCHEMA: &'static str = "checks.missing_prices/1";
}

/// A token that has an amount and no price at a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingPrice {
    /// Chain, as in the registry.
    pub chain: String,
    /// Block.
    pub block: u64,
    /// Token.
    pub token: Address,
    /// Symbol, as the contract gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Calendar day of the block.
    pub date: Day,
    /// Time of the block, Unix seconds.
    pub timestamp: u64,
    /// Why there is none: a word of `price.status`.
    pub why: String,
    /// CSUs with an amount of it.
    pub csus: BTreeSet<String>,
    /// Whole tokens at stake; `None` when the decimals are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// A price of the token on the same chain at the nearest block of the month that has one: to tell what is worth
    /// filling, never to value anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_nearby: Option<f64>,
}
