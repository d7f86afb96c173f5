//! Prices that belong to no CSU: the chain's price book, and what off-chain services were asked to fill gaps.

use super::{BronzeError, DayOfChain, ReadsAtBlock, Record, check_calls, require};
use crate::day::Day;
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// `bronze/prices/<chain>/<date>.json`: what the registry's Chainlink feeds of a chain answered at the day's last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceBook {
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
    /// Block and calls.
    #[serde(flatten)]
    pub reads: ReadsAtBlock,
}

impl Record for PriceBook {
    const SCHEMA: &'static str = "bronze.prices/1";

    fn check(&self) -> Result<(), BronzeError> {
        let timestamp = i64::try_from(self.reads.block.timestamp).unwrap_or(i64::MAX);
        require(self.day.day_start <= timestamp && timestamp < self.day.day_end, || {
            "its block lies outside the day".into()
        })?;
        require(!self.reads.calls.is_empty(), || "there is no call".into())?;
        check_calls(&self.reads.calls)
    }
}

/// `bronze/fills/<source>/<date>.json`: prices that an off-chain service gave, later, for blocks of the day at which no
/// price was to be had on the chain.
///
/// Such a service may answer otherwise tomorrow. So what it answered once stays: a later fill adds prices, and changes
/// none. It is the one bronze object that grows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The service, such as `defillama`.
    pub source: String,
    /// Calendar day of the blocks.
    pub date: Day,
    /// IANA zone of the day.
    pub zone: String,
    /// The prices, in order of chain, block and token.
    pub prices: Vec<FillPrice>,
}

/// One price from an off-chain service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillPrice {
    /// Chain, as in the registry.
    pub chain: String,
    /// Block that the price is for.
    pub block: u64,
    /// Token.
    pub token: Address,
    /// Time of the block, Unix seconds: what the service was asked for.
    pub timestamp: u64,
    /// What the service was asked for, in its words.
    pub coin: String,
    /// Its answer, as the text of the JSON that it sent.
    pub answer: String,
}

impl FillPrice {
    fn key(&self) -> (&str, u64, Address) {
        (&self.chain, self.block, self.token)
    }
}

impl Fill {
    /// The fill with further prices, in order. Of two prices of one token at one block the one that is there stays.
    #[must_use]
    pub fn with(mut self, further: impl IntoIterator<Item = FillPrice>) -> Self {
        for price in further {
            if let Err(place) = self.prices.binary_search_by(|present| present.key().cmp(&price.key())) {
                self.prices.insert(place, price);
            }
        }
        self
    }
}

impl Record for Fill {
    const SCHEMA: &'static str = "bronze.fill/1";

    fn check(&self) -> Result<(), BronzeError> {
        require(!self.prices.is_empty(), || "there is no price".into())?;
        require(self.prices.is_sorted_by(|one, other| one.key() < other.key()), || {
            "its prices are not in order, or one is there twice".into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{day_of_chain, header};
    use super::super::{CallRecord, DayBlocks};
    use super::*;

    fn book() -> PriceBook {
        let call = |key: &str| CallRecord {
            key: key.into(),
            item: "0x01".into(),
            to: Address::repeat_byte(1),
            input: Default::default(),
            ok: true,
            output: Default::default(),
        };
        PriceBook {
            day: day_of_chain(),
            reads: ReadsAtBlock { block: header(20, 1_999), calls: vec![call("feed.decimals"), call("b")] },
        }
    }

    fn price(token: u8, block: u64, answer: &str) -> FillPrice {
        FillPrice {
            chain: "ethereum".into(),
            block,
            token: Address::repeat_byte(token),
            timestamp: 1_999,
            coin: "ethereum:0x01".into(),
            answer: answer.into(),
        }
    }

    fn fill() -> Fill {
        Fill {
            source: "defillama".into(),
            date: "2024-12-01".parse().unwrap(),
            zone: "America/New_York".into(),
            prices: Vec::new(),
        }
    }

    #[test]
    fn a_price_book_reads_back_and_is_of_its_day() {
        let bytes = book().to_bytes().unwrap();
        assert_eq!(PriceBook::from_bytes(&bytes).unwrap(), book());
        assert!(matches!(DayBlocks::from_bytes(&bytes), Err(BronzeError::Schema { .. })));
        let mut outside = book();
        outside.reads.block = header(20, 2_000);
        assert!(outside.to_bytes().unwrap_err().to_string().contains("its block lies outside the day"));
        let mut twice = book();
        twice.reads.calls[1].key = "feed.decimals".into();
        assert!(twice.to_bytes().unwrap_err().to_string().contains("is there twice"));
        let mut empty = book();
        empty.reads.calls.clear();
        empty.to_bytes().unwrap_err();
    }

    #[test]
    fn a_later_fill_adds_and_changes_nothing() {
        let first = fill().with([price(2, 7, "a"), price(1, 9, "b"), price(1, 7, "c")]);
        let order: Vec<_> = first.prices.iter().map(|price| price.answer.as_str()).collect();
        assert_eq!(order, ["c", "a", "b"]);
        let second = first.clone().with([price(1, 7, "other"), price(1, 8, "d")]);
        let order: Vec<_> = second.prices.iter().map(|price| price.answer.as_str()).collect();
        assert_eq!(order, ["c", "a", "d", "b"]);
        assert_eq!(second.clone().with(first.prices.clone()), second);
        assert_eq!(Fill::from_bytes(&second.to_bytes().unwrap()).unwrap(), second);
        fill().to_bytes().unwrap_err();
        let mut disorder = first;
        disorder.prices.reverse();
        disorder.to_bytes().unwrap_err();
    }
}
