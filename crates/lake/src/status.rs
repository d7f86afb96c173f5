//! The words that say whether something was measured, and if not, why.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Defines an enum whose variants are words of the lake, with text, parsing and serde that agree.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every word, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Every word as it is written, in order.
            pub const WORDS: &[&str] = &[$($word),+];

            /// The word as it is written in the lake.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| UnknownWord {
                    kind: stringify!($name),
                    text: text.to_owned(),
                })
            }
        }
    };
}

/// A word that the lake does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind} of the lake")]
pub struct UnknownWord {
    kind: &'static str,
    text: String,
}

words! {
    /// What became of one dataset of one CSU on one day. Ordered from best to worst, so that the status of a
    /// row is the maximum of its parts.
    Status {
        /// Every planned call or block was read. Zero is a measurement here.
        Collected = "collected",
        /// The chain produced no block on that day.
        NoBlock = "no_block",
        /// The day ends before the deployment.
        NotDeployed = "not_deployed",
        /// The day begins after the deployment was retired.
        Retired = "retired",
        /// The family cannot give this dataset.
        Unsupported = "unsupported",
        /// Some reserves or blocks are missing; tried again.
        Partial = "partial",
        /// No endpoint has the historical state.
        ArchiveUnavailable = "archive_unavailable",
        /// Planned, not yet run.
        NotAttempted = "not_attempted",
        /// Attempts are exhausted; the cause is in the ledger.
        Failed = "failed",
    }
}

impl Status {
    /// Whether somebody tried, and not all is there.
    pub const fn is_tried_and_missing(self) -> bool {
        matches!(self, Self::Partial | Self::ArchiveUnavailable | Self::Failed)
    }

    /// Whether running again could change this status.
    pub const fn is_worth_a_retry(self) -> bool {
        self.is_tried_and_missing() || matches!(self, Self::NotAttempted)
    }
}

words! {
    /// Whether the USD totals of a row stand on all its prices.
    UsdStatus {
        /// Every non-zero reserve has a price.
        Complete = "complete",
        /// Some non-zero reserve has none: totals are null, `tvl_priced_usd` carries the rest.
        Partial = "partial",
        /// Nothing was measured or nothing could be priced.
        None = "none",
    }
}

words! {
    /// Class of a token in the registry.
    AssetClass {
        /// Meant to hold the value of a currency.
        Stablecoin = "stablecoin",
        /// Ether and claims on it.
        Eth = "eth",
        /// Bitcoin and claims on it.
        Btc = "btc",
        /// Everything else.
        Other = "other",
    }
}

words! {
    /// How much a failing check matters.
    CheckLevel {
        /// The layer is wrong.
        Error = "error",
        /// Look at it.
        Warn = "warn",
    }
}

words! {
    /// A kind of object that `extract` collects for a CSU and a day.
    Dataset {
        /// The state of every reserve at the snapshot block.
        Tvl = "tvl",
        /// The liquidation logs of the day's blocks.
        Liquidations = "liquidations",
    }
}

words! {
    /// How far a scan for logs was checked against others than its source. In ascending order of trust: each level has
    /// what the one before it has.
    AuditLevel {
        /// One operator's word: its replies passed every check by themselves and, where the state of a CSU says that a
        /// log must exist, it was there.
        OneSource = "one_source",
        /// Besides, at least three windows of the chain's day, and at least 1% of them, were asked again of another
        /// operator and agreed.
        Sampled = "sampled",
        /// Every block of the day was answered alike by two operators.
        TwoOperators = "two_operators",
        /// Besides, every log stands in the receipt of its transaction.
        Receipts = "receipts",
    }
}

words! {
    /// Why a task did not end as planned. The message beside it tells the particulars.
    Reason {
        /// The day is not over, or its end is not final on that chain.
        NotFinal = "not_final",
        /// No endpoint answered.
        Unreachable = "unreachable",
        /// Every endpoint refused for its rate or quota.
        RateLimited = "rate_limited",
        /// Every key that could answer has spent its month.
        Budget = "budget",
        /// No endpoint has the state or logs of that block.
        NoArchive = "no_archive",
        /// An answer failed a check: outside the range, wrong address, removed, hashes that disagree.
        BadAnswer = "bad_answer",
        /// A call that must succeed reverted or returned nothing.
        CallFailed = "call_failed",
        /// The entry contract gave no list of markets.
        DiscoveryFailed = "discovery_failed",
        /// Some blocks of the day were not scanned.
        BlocksMissing = "blocks_missing",
        /// The bronze object cannot be read: cut off, edited, or of another schema.
        BadObject = "bad_object",
        /// An endpoint serves another chain.
        WrongChain = "wrong_chain",
        /// A request is not in the recording.
        NotRecorded = "not_recorded",
        /// The object store refused.
        Store = "store",
    }
}

words! {
    /// Where a price comes from, best first.
    PriceSource {
        /// The protocol's own oracle at that block.
        ProtocolOracle = "protocol_oracle",
        /// A Chainlink feed at that block.
        Chainlink = "chainlink",
        /// The oracle of another CSU on that chain at that block.
        OtherCsuOracle = "other_csu_oracle",
        /// An off-chain price, fetched later to fill a gap.
        OffChain = "off_chain",
    }
}

words! {
    /// What a liquidation was priced at.
    PriceBasis {
        /// Prices of the liquidation's own block.
        EventBlock = "event_block",
        /// Prices of the day's snapshot block, for want of better.
        DayEnd = "day_end",
        /// The value that the log itself carries.
        InLog = "in_log",
        /// No price.
        None = "none",
    }
}

words! {
    /// The part that a token plays in a market.
    Role {
        /// Lent and borrowed, and usable as collateral.
        Reserve = "reserve",
        /// The one token of the market that is lent and borrowed.
        Base = "base",
        /// Backs debt only; cannot be borrowed.
        Collateral = "collateral",
        /// Minted by a facilitator when borrowed; nobody supplied it.
        Minted = "minted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for status in Status::ALL {
            assert_eq!(status.to_string().parse::<Status>().unwrap(), *status);
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        for level in AuditLevel::ALL {
            assert_eq!(level.to_string().parse::<AuditLevel>().unwrap(), *level);
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        assert_eq!("done".parse::<Status>().unwrap_err().to_string(), "`done` is no Status of the lake");
    }

    #[test]
    fn the_worst_part_is_the_status_of_the_whole() {
        assert_eq!(Status::Collected.max(Status::Failed), Status::Failed);
        assert_eq!(Status::NotDeployed.max(Status::Collected), Status::NotDeployed);
    }

    #[test]
    fn levels_of_an_audit_ascend() {
        assert!(AuditLevel::ALL.is_sorted());
        assert_eq!(AuditLevel::ALL.first(), Some(&AuditLevel::OneSource));
        assert_eq!(AuditLevel::Sampled.max(AuditLevel::TwoOperators), AuditLevel::TwoOperators);
        assert_eq!(AuditLevel::ALL.last(), Some(&AuditLevel::Receipts));
    }
}
