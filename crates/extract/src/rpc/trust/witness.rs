//! Whether an endpoint holds the logs of a day: it must show one that the contracts' state, or a header, says is there.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::journal::digest_of;
use crate::rpc::patience::Patience;
use crate::rpc::pool::{Pool, PoolError, bad_answer, read_as};
use crate::rpc::tally::Purpose;
use crate::rpc::trust::{Caught, Distrust};
use lake::bronze::{LogFilter, RawLog};
use lake::span::BlockSpan;
use serde_json::json;
use std::collections::BTreeSet;

impl Pool {
    /// Asks each endpoint of a scan for logs that should exist in `span`. Returns the refusals of those that answered with
    /// none, or with what is no answer: whether that shows anything is for the caller to say.
    ///
    /// # Errors
    /// [`PoolError`] when an endpoint gives no answer: nothing is shown then, for or against it.
    pub async fn without_logs(
        &self,
        labels: &BTreeSet<String>,
        filter: &LogFilter,
        span: BlockSpan,
    ) -> Result<Vec<Refusal>, PoolError> {
        let mut without = Vec::new();
        for endpoint in self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label())) {
            match self.patiently(endpoint, filter, span).await {
                Ok(logs) if !logs.is_empty() => {}
                Ok(_) => {
                    let contract = filter.addresses.first().copied().unwrap_or_default();
                    let text = format!(
                        "answers that blocks {span} hold no log of {contract:#x}, yet the contract's state says that it \
                         was touched then: it does not hold these logs"
                    );
                    without.push(bad_answer(endpoint, text));
                }
                Err(refusal) if refusal.verdict == Verdict::BadAnswer => without.push(refusal),
                Err(refusal) => {
                    let (chain, method) = (self.chain().to_owned(), format!("eth_getLogs of blocks {span}"));
                    return Err(PoolError::Refused { chain, method, refusals: vec![refusal] });
                }
            }
        }
        Ok(without)
    }

    /// Blocks that each of these endpoints gives in one log query with this filter, at least one.
    pub fn narrowest_window(&self, labels: &BTreeSet<String>, filter: &LogFilter) -> u64 {
        let key = digest_of(filter);
        let of = self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label()));
        of.map(|endpoint| endpoint.log_window(&key)).min().unwrap_or(1)
    }

    /// The logs of a witness by one endpoint, asked again after rests as long as only passing faults are in the way.
    async fn patiently(
        &self,
        endpoint: &Endpoint,
        filter: &LogFilter,
        span: BlockSpan,
    ) -> Result<Vec<RawLog>, Refusal> {
        let mut patience = Patience::default();
        loop {
            let refusal = match patience.admit(endpoint, Purpose::Witness) {
                Err(refusal) => refusal,
                Ok(()) => match self.logs_by(endpoint, Purpose::Witness, filter, span).await {
                    Err(refusal) => refusal,
                    answered => return answered,
                },
            };
            match self.rest(std::slice::from_ref(&refusal), &mut patience) {
                Some(rest) => tokio::time::sleep(rest).await,
                None => return Err(refusal),
            }
        }
    }

    /// A block of the span that holds at least one log, by the word of its header: the first of the span's first, middle
    /// and last block whose bloom filter is neither empty nor full. Nodes that have dropped a block's logs still have its
    /// header.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn block_with_logs(&self, span: BlockSpan) -> Result<Option<BlockSpan>, PoolError> {
        let middle = span.first() + (span.last() - span.first()) / 2;
        for number in [span.first(), middle, span.last()] {
            if self.known_header(Purpose::Witness, number).await?.holds_logs {
                return Ok(BlockSpan::new(number, number).ok());
            }
        }
        Ok(None)
    }

    /// Asks each endpoint of a scan for all logs of a block that has some. Those that answer with none are not asked again
    /// in this run. Returns whether all showed logs; one that refuses such a question shows nothing, for or against it.
    pub async fn show_any_log(&self, labels: &BTreeSet<String>, block: BlockSpan) -> AnyLog {
        let mut shown = AnyLog::Shown;
        for endpoint in self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label())) {
            match self.any_log_by(endpoint, block).await {
                Ok(true) => {}
                Ok(false) => {
                    let text = format!(
                        "answers that block {} holds no log at all, yet its header says that it does: it does not hold \
                         these logs",
                        block.first()
                    );
                    let refusal = bad_answer(endpoint, text);
                    self.distrust(Caught { refusal, of: Distrust::Logs }).await;
                    shown = AnyLog::Caught;
                }
                Err(_) if shown == AnyLog::Shown => shown = AnyLog::Unknown,
                Err(_) => {}
            }
        }
        shown
    }

    /// Whether an endpoint shows any log of a block, or what it showed of it before in this day.
    async fn any_log_by(&self, endpoint: &Endpoint, block: BlockSpan) -> Result<bool, Refusal> {
        let method = "eth_getLogs";
        let journal = self.journal();
        let of = json!([endpoint.label(), "any", block]);
        let known = journal.as_ref().and_then(|journal| journal.answer(method, &of));
        if let Some(shown) = known.and_then(|(answer, _)| answer.as_bool()) {
            return Ok(shown);
        }
        let number = format!("{:#x}", block.first());
        let params = json!([{ "fromBlock": number, "toBlock": number }]);
        let answer = endpoint.request(Purpose::Witness, method, &params).await?;
        let logs: Vec<RawLog> = read_as(answer).map_err(|why| bad_answer(endpoint, why))?;
        if let Some(journal) = journal
            && let Err(error) =
                journal.keep_answer(method, &of, endpoint.label(), &json!(!logs.is_empty())).await
        {
            tracing::warn!("{error}");
        }
        Ok(!logs.is_empty())
    }
}

/// What endpoints showed of a block that holds logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyLog {
    /// Each showed some.
    Shown,
    /// At least one did not say.
    Unknown,
    /// At least one showed none.
    Caught,
}
