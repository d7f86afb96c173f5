//! Bronze records: what the chain answered, as it answered it.
//!
//! A record holds raw calls and raw logs, never decoded figures, so that a fault in a decoder is mended by running
//! `transform` again. Its bytes are a function of the chain, the registry's contracts and the call plan; endpoint,
//! time and windows are in the ledger. Two are no chain data: [`Audit`] says how well the data was checked, names
//! who gave it, and may be replaced by a later, better one; [`Fill`] holds prices from outside the chain, and a later one
//! adds to it. Every record ends with a seal: `sha256` over the JSON text that comes before it, so that a cut or edited
//! object is noticed from the object alone.
//!
//! ```text
//! {"schema":"bronze.tvl/1", ... ,"sha256":"<64 hex digits>"}
//! ```
//! To check one by hand: drop `,"sha256":"…"`, close the brace, and hash what is left.

mod audit;
mod blocks;
mod liquidations;
mod prices;
mod snapshot;

pub use audit::{Audit, AuditedScan};
pub use blocks::DayBlocks;
pub use liquidations::{LiquidationLogs, LogFilter, RawLog};
pub use prices::{Fill, FillPrice, PriceBook};
pub use snapshot::TvlSnapshot;

use crate::day::Day;
use crate::digest::{Sha256Stream, sha256_hex};
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Why a bronze object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BronzeError {
    /// It does not end with a seal: cut off, or not one of ours.
    #[error("it is cut off, or was not written by lendlake (no seal at its end)")]
    NoSeal,
    /// The seal does not fit the bytes.
    #[error("it was changed after it was written: its bytes give sha256 {computed}, its seal says {sealed}")]
    BrokenSeal {
        /// Digest of the bytes.
        computed: String,
        /// Digest in the seal.
        sealed: String,
    },
    /// It is larger than any record can be, and was not read.
    #[error("it has {size} bytes; no record has more than {LARGEST}")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// The seal fits, but the record is of a schema that this build does not read.
    #[error("its schema is `{found}`, this build reads `{expected}`{}", of_version(found, expected))]
    Schema {
        /// Schema in the object.
        found: String,
        /// Schema this build reads.
        expected: &'static str,
    },
    /// The seal fits, but the text is not such a record.
    #[error("it is not a valid record: {why}")]
    Malformed {
        /// The parser's words.
        why: String,
    },
    /// The record contradicts itself: its blocks do not link, a log lies outside its day, and so on.
    #[error("it contradicts itself: {why}")]
    Inconsistent {
        /// What does not fit.
        why: String,
    },
}

/// Largest object that is read, in bytes. A day of a thousand liquidations with forty calls each has about 40 MB; what is
/// larger was not written by lendlake, and would only fill the memory.
pub const LARGEST: u64 = 128 << 20;

/// What to do about a record of another version: which of the two programs is the older.
fn of_version(found: &str, expected: &str) -> String {
    let version = |schema: &str| {
        let (kind, version) = schema.rsplit_once('/')?;
        Some((kind.to_owned(), version.parse::<u32>().ok()?))
    };
    match (version(found), version(expected)) {
        (Some((kind, found)), Some((expected_kind, expected))) if kind == expected_kind => {
            if found < expected {
                ": it was written by an older lendlake and must be collected again".to_owned()
            } else {
                ": it was written by a newer lendlake, which must read it".to_owned()
            }
        }
        _ => String::new(),
    }
}

/// A kind of bronze record.
pub trait Record: Serialize + DeserializeOwned {
    /// Name and version, as it stands in the object.
    const SCHEMA: &'static str;

    /// Checks what the record says against itself.
    ///
    /// # Errors
    /// [`BronzeError::Inconsistent`] with the first contradiction found.
    fn check(&self) -> Result<(), BronzeError>;

    /// The sealed JSON text of the record.
    ///
    /// # Errors
    /// Whatever [`Record::check`] finds: a record that contradicts itself is never written.
    fn to_bytes(&self) -> Result<Vec<u8>, BronzeError> {
        self.check()?;
        let malformed = |error: serde_json::Error| BronzeError::Malformed { why: error.to_string() };
        let body = serde_json::to_string(&Tagged { schema: Self::SCHEMA.into(), record: self })
            .map_err(malformed)?;
        let seal = sha256_hex(body.as_bytes());
        // The body ends with the brace that the seal goes before.
        Ok(format!("{},\"sha256\":\"{seal}\"}}\n", &body[..body.len() - 1]).into_bytes())
    }

    /// Reads a record, after checking its seal, its schema and itself.
    ///
    /// # Errors
    /// Every variant of [`BronzeError`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, BronzeError> {
        let record = Self::sealed_in(bytes)?;
        record.check()?;
        Ok(record)
    }

    /// Reads a record whose seal and schema are right, whatever it says: for those who look for what is wrong with it.
    ///
    /// # Errors
    /// Every variant of [`BronzeError`] but [`BronzeError::Inconsistent`].
    fn sealed_in(bytes: &[u8]) -> Result<Self, BronzeError> {
        const OPENING: &str = ",\"sha256\":\"";
        let malformed = |why: String| BronzeError::Malformed { why };
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let unsealed = text.strip_suffix("\"}\n").ok_or(BronzeError::NoSeal)?;
        let at = unsealed.len().checked_sub(64).ok_or(BronzeError::NoSeal)?;
        let (body, sealed) = unsealed.split_at_checked(at).ok_or(BronzeError::NoSeal)?;
        let body = body.strip_suffix(OPENING).ok_or(BronzeError::NoSeal)?;
        let mut digest = Sha256Stream::default();
        digest.add(body.as_bytes());
        digest.add(b"}");
        let computed = digest.hex();
        if computed != sealed {
            return Err(BronzeError::BrokenSeal { computed, sealed: sealed.to_owned() });
        }
        // Schema and seal are fields of the text that the record passes over.
        let parse = |error: serde_json::Error| malformed(error.to_string());
        let begins_with_schema = text
            .strip_prefix("{\"schema\":\"")
            .and_then(|text| text.strip_prefix(Self::SCHEMA))
            .is_some_and(|text| text.starts_with("\","));
        if !begins_with_schema {
            let SchemaOnly { schema } = serde_json::from_str(text).map_err(parse)?;
            if schema != Self::SCHEMA {
                return Err(BronzeError::Schema { found: schema, expected: Self::SCHEMA });
            }
        }
        serde_json::from_str(text).map_err(parse)
    }
}

#[derive(Serialize)]
struct Tagged<R> {
    schema: String,
    #[serde(flatten)]
    record: R,
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: String,
}

/// The part of a block header that places the block in time and in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Day, chain and zone: what every record says about itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayOfChain {
    /// Chain, as in the registry.
    pub chain: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Calendar day.
    pub date: Day,
    /// IANA zone of the day.
    pub zone: String,
    /// First second of the day, Unix.
    pub day_start: i64,
    /// First second of the next day, Unix.
    pub day_end: i64,
}

/// One view call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRecord {
    /// What is asked, in the family's words: `pool.getReserveData`.
    pub key: String,
    /// Of which market, reserve or vault; empty when the question has no object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub item: String,
    /// Contract called.
    pub to: Address,
    /// Call data.
    pub input: Bytes,
    /// Whether the call succeeded. An empty output with `true` means that no code answered.
    pub ok: bool,
    /// What came back: return data, or revert data.
    pub output: Bytes,
}

/// View calls answered at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadsAtBlock {
    /// The block.
    pub block: Header,
    /// The calls in plan order.
    pub calls: Vec<CallRecord>,
}

/// Which CSU a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsuOfDay {
    /// CSU id.
    pub csu: String,
    /// Family that planned the calls.
    pub family: String,
    /// Entry contract of the deployment.
    pub entry: Address,
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
}

fn check_calls(calls: &[CallRecord]) -> Result<(), BronzeError> {
    let mut names: Vec<_> = calls.iter().map(|call| (&call.key, &call.item)).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => require(false, || format!("the call {} {} is there twice", pair[0].0, pair[0].1)),
    }
}

fn require(holds: bool, why: impl FnOnce() -> String) -> Result<(), BronzeError> {
    if holds { Ok(()) } else { Err(BronzeError::Inconsistent { why: why() }) }
}

#[cfg(test)]
mod tests {
    use super::blocks::tests::blocks;
    use super::liquidations::tests::liquidations;
    use super::*;

    pub(super) fn header(number: u64, timestamp: u64) -> Header {
        let hash = |n: u64| B256::from(alloy_primitives::U256::from(n + 1));
        Header { number, hash: hash(number), parent_hash: hash(number.wrapping_sub(1)), timestamp }
    }

    pub(super) fn day_of_chain() -> DayOfChain {
        DayOfChain {
            chain: "ethereum".into(),
            chain_id: 1,
            date: "2024-12-01".parse().unwrap(),
            zone: "America/New_York".into(),
            day_start: 1_000,
            day_end: 2_000,
        }
    }

    #[test]
    fn a_record_reads_back_and_its_bytes_do_not_vary() {
        let bytes = blocks().to_bytes().unwrap();
        assert_eq!(DayBlocks::from_bytes(&bytes).unwrap(), blocks());
        assert_eq!(DayBlocks::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
        let bytes = liquidations().to_bytes().unwrap();
        assert_eq!(LiquidationLogs::from_bytes(&bytes).unwrap(), liquidations());
    }

    #[test]
    fn a_cut_object_is_refused_at_every_length() {
        let bytes = liquidations().to_bytes().unwrap();
        for length in 0..bytes.len() {
            LiquidationLogs::from_bytes(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn an_edited_object_is_refused() {
        let text = String::from_utf8(blocks().to_bytes().unwrap()).unwrap();
        let edited = text.replace("\"timestamp\":1999", "\"timestamp\":1998");
        assert_ne!(edited, text);
        assert!(matches!(DayBlocks::from_bytes(edited.as_bytes()), Err(BronzeError::BrokenSeal { .. })));
    }

    #[test]
    fn an_object_of_another_schema_is_named() {
        let bytes = liquidations().to_bytes().unwrap();
        let error = DayBlocks::from_bytes(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its schema is `bronze.liquidations/1`, this build reads `bronze.blocks/1`"
        );
    }
}
