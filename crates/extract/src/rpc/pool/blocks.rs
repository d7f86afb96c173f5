//! The blocks of a chain by its endpoints' word: headers by number, and the last final block.

use super::{Pool, PoolError, Question, read_as};
use crate::rpc::classify::Verdict;
use crate::rpc::tally::Purpose;
use lake::bronze::Header;
use lake::{B256, Bytes};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

impl Pool {
    /// The header of a block. Asked for once, however many wait for it.
    ///
    /// # Errors
    /// [`PoolError`], also when no endpoint has the block.
    pub async fn header(&self, purpose: Purpose, number: u64) -> Result<Header, PoolError> {
        self.known_header(purpose, number).await.map(|known| known.header)
    }

    /// As [`Pool::header`], with what the header tells of the block's logs.
    pub(crate) async fn known_header(&self, purpose: Purpose, number: u64) -> Result<Known, PoolError> {
        let ask = async {
            let read = |answer: Value| match read_as::<Option<RpcHeader>>(answer)? {
                Some(header) if header.number == number => Ok(Known::from(header)),
                Some(header) => Err(format!("answered block {} when asked for {number}", header.number)),
                None => Err(format!("has no block {number}")),
            };
            let params = json!([format!("{number:#x}"), false]);
            let question = Question { purpose, method: "eth_getBlockByNumber", params, block: Some(number) };
            self.ask(&question, read).await.map(|(header, _)| header)
        };
        self.headers.try_get_with(number, ask).await.map_err(|error: Arc<PoolError>| PoolError::clone(&error))
    }

    /// The last final block: that of the `finalized` tag, or where no endpoint knows the tag, the block so many behind
    /// the head. One that lags is passed over: the next is asked until one has got to the time `until` (Unix seconds), and
    /// where none has, the latest that was met is taken.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn finalized(&self, blocks_behind_head: u64, until: i64) -> Result<Header, PoolError> {
        match self.latest_by_tag("finalized", until).await {
            Err(PoolError::Refused { refusals, .. })
                if refusals.iter().any(|refusal| does_not_know_tag(&refusal.verdict)) =>
            {
                let head = self.latest_by_tag("latest", until).await?;
                self.header(Purpose::Identity, head.number.saturating_sub(blocks_behind_head)).await
            }
            outcome => outcome,
        }
    }

    /// The block of a tag by the first endpoint that has got to a time, or the latest of all of them.
    async fn latest_by_tag(&self, tag: &'static str, until: i64) -> Result<Header, PoolError> {
        let latest: Mutex<Option<Header>> = Mutex::default();
        let read = |answer: Value| {
            let header = read_as::<Option<RpcHeader>>(answer)?;
            let header = header
                .map(|header| Known::from(header).header)
                .ok_or_else(|| format!("has no {tag} block"))?;
            if i64::try_from(header.timestamp).unwrap_or(i64::MAX) >= until {
                return Ok(header);
            }
            let mut latest = latest.lock().unwrap_or_else(PoisonError::into_inner);
            if latest.is_none_or(|known| known.number < header.number) {
                *latest = Some(header);
            }
            Err(format!("has got to {tag} block {} only", header.number))
        };
        let (purpose, params) = (Purpose::Identity, json!([tag, false]));
        let question = Question { purpose, method: "eth_getBlockByNumber", params, block: None };
        let asked = self.ask(&question, read).await;
        let latest = *latest.lock().unwrap_or_else(PoisonError::into_inner);
        match (asked, latest) {
            (Ok((header, _)), _) | (Err(_), Some(header)) => Ok(header),
            (Err(error), None) => Err(error),
        }
    }
}

/// Whether a refusal of a block tag may mean that the node does not know the word.
fn does_not_know_tag(verdict: &Verdict) -> bool {
    use Verdict::{BadAnswer, Elsewhere, Fatal, NotYet, Unknown};
    matches!(verdict, Elsewhere | BadAnswer | Fatal | NotYet | Unknown)
}

/// The fields of an RPC block that are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RpcHeader {
    #[serde(with = "alloy_serde::quantity")]
    pub(crate) number: u64,
    pub(crate) hash: B256,
    parent_hash: B256,
    #[serde(with = "alloy_serde::quantity")]
    timestamp: u64,
    #[serde(default)]
    logs_bloom: Bytes,
}

/// A header, and whether its block holds a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) header: Header,
    /// Whether its bloom filter (Ethereum yellow paper, 4.4.3) is neither empty nor full: then it holds at least one.
    pub(crate) holds_logs: bool,
}

impl From<RpcHeader> for Known {
    fn from(header: RpcHeader) -> Self {
        let RpcHeader { number, hash, parent_hash, timestamp, logs_bloom } = header;
        let bits: u32 = logs_bloom.iter().map(|byte| byte.count_ones()).sum();
        Self {
            header: Header { number, hash, parent_hash, timestamp },
            holds_logs: bits > 0 && bits < 8 * 256,
        }
    }
}
