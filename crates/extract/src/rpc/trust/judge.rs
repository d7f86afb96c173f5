//! Who is wrong where two differ about a log: headers say which block it is of, receipts whether it is there.
//!
//! An endpoint that contradicts itself is caught by its own word. Else somebody who is no party decides; and where there is
//! nobody else, word stands against word.

use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::pool::{Pool, PoolError, RpcHeader, bad_answer, read_as};
use crate::rpc::route::Task;
use crate::rpc::scan::Scan;
use crate::rpc::tally::Purpose;
use crate::rpc::trust::{Caught, Distrust, Doubt};
use futures::StreamExt;
use lake::B256;
use lake::bronze::RawLog;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A receipt's part that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    block_hash: B256,
    logs: Vec<RawLog>,
}

impl Pool {
    /// Whether the logs of a scan are of the blocks that the headers say, in so many blocks at most, spread over all that hold
    /// a log. Where reads are made at these blocks, their headers are needed anyway.
    ///
    /// # Errors
    /// [`Doubt`] at the first log that is of another block, or whose header nobody gives.
    pub async fn hashes_hold(
        &self,
        scan: &Scan,
        purpose: Purpose,
        most: usize,
        at_once: usize,
    ) -> Result<(), Doubt> {
        let mut first_of_block: BTreeMap<u64, (&str, &RawLog)> = BTreeMap::new();
        for window in scan.windows() {
            for log in &window.logs {
                first_of_block.entry(log.block_number).or_insert((&window.label, log));
            }
        }
        let every = first_of_block.len().div_ceil(most.max(1)).max(1);
        let looked_at: Vec<(&str, &RawLog)> = first_of_block.into_values().step_by(every).collect();
        let batch = self.batch(looked_at.len() as u64);
        let asked = looked_at.into_iter().map(async |(label, log)| {
            let header = self.header(purpose, log.block_number).await;
            batch.one_done();
            (label, log, header)
        });
        let mut headers = futures::stream::iter(asked).buffer_unordered(at_once.max(1));
        let mut wrong: Option<(&str, &RawLog)> = None;
        while let Some((label, log, header)) = headers.next().await {
            let header = header.map_err(Doubt::Undecided)?;
            // The first of them, whichever header came first: so that the same endpoint is caught for the same.
            if header.hash != log.block_hash
                && wrong.is_none_or(|(_, known)| known.block_number > log.block_number)
            {
                wrong = Some((label, log));
            }
        }
        drop(headers);
        let Some((label, log)) = wrong else { return Ok(()) };
        match self.endpoints.iter().find(|endpoint| endpoint.label() == label) {
            Some(has) => Err(self.whose_block_is_wrong(log, has).await),
            // From the journal of a run that had other endpoints.
            None => {
                let refusal = Refusal {
                    label: label.to_owned(),
                    verdict: crate::rpc::classify::Verdict::BadAnswer,
                    text: format!(
                        "gave a log of block {} with another hash than its header",
                        log.block_number
                    ),
                };
                Err(Doubt::Caught(Caught { refusal, of: Distrust::Everything }))
            }
        }
    }

    /// One has a log that the other lacks. The header says whether it is of this chain, the receipt whether it is there.
    pub(super) async fn who_is_wrong(
        &self,
        log: &RawLog,
        has: &Arc<Endpoint>,
        lacks: &Arc<Endpoint>,
    ) -> Doubt {
        if self
            .header(Purpose::Sample, log.block_number)
            .await
            .is_ok_and(|header| header.hash != log.block_hash)
        {
            return self.whose_block_is_wrong(log, has).await;
        }
        let at = format!("log {} of block {}", log.log_index, log.block_number);
        let not_a_party = |endpoint: &Endpoint| ![has.label(), lacks.label()].contains(&endpoint.label());
        let lacks_itself = |endpoint: &Endpoint| endpoint.label() == lacks.label();
        let has_itself = |endpoint: &Endpoint| endpoint.label() == has.label();
        let judges: [&(dyn Fn(&Endpoint) -> bool + Sync); 3] = [&not_a_party, &lacks_itself, &has_itself];
        for judge in judges {
            let Ok((logs, witness)) = self.logs_of_transaction(log, judge).await else { continue };
            if logs.contains(log) {
                let text = format!(
                    "does not have {at}, which {} has and the receipt by {witness} shows",
                    has.label()
                );
                return Doubt::Caught(Caught { refusal: bad_answer(lacks, text), of: Distrust::Logs });
            }
            if witness != lacks.label() {
                let text = format!(
                    "has {at}, which {} does not have and the receipt by {witness} does not show",
                    lacks.label()
                );
                return Doubt::Caught(Caught { refusal: bad_answer(has, text), of: Distrust::Everything });
            }
        }
        let lacking =
            format!("does not have {at}, and nobody else gives the transaction's or the block's receipts");
        self.undecided(log, vec![bad_answer(has, format!("has {at}")), bad_answer(lacks, lacking)])
    }

    /// A log names another hash for its block than a header that was met. Its own endpoint may name yet another in its
    /// header; others say which is right.
    async fn whose_block_is_wrong(&self, log: &RawLog, has: &Arc<Endpoint>) -> Doubt {
        let (number, named) = (log.block_number, log.block_hash);
        let caught = |endpoint: &Endpoint, text: String| {
            Doubt::Caught(Caught { refusal: bad_answer(endpoint, text), of: Distrust::Everything })
        };
        let own = self.hash_by(has, number).await;
        if let Some(own) = own.filter(|own| *own != named) {
            let text = format!(
                "gave a log of block {number} with hash {named}, whose header it gives with hash {own}"
            );
            // Its index still has logs of a block that is gone, as it knows itself.
            return Doubt::Caught(Caught { refusal: bad_answer(has, text), of: Distrust::Logs });
        }
        // One word an operator: two labels of one are not two witnesses.
        let mut heard = BTreeSet::from([has.operator()]);
        let (mut with, mut against): (Vec<&Arc<Endpoint>>, Vec<(&Arc<Endpoint>, B256)>) = Default::default();
        let task = Task::Request { method: "eth_getBlockByNumber", block: Some(number) };
        for other in self.candidates(&task) {
            if heard.contains(other.operator()) {
                continue;
            }
            let Some(hash) = self.hash_by(other, number).await else { continue };
            heard.insert(other.operator());
            if hash == named { with.push(other) } else { against.push((other, hash)) }
        }
        match (with.as_slice(), against.as_slice()) {
            // Its own header is of the same block as its log: word against word, if there is but one other.
            ([], [(other, hash), rest @ ..]) if own.is_none() || !rest.is_empty() => {
                let label = other.label();
                let text = format!(
                    "gave a log of block {number} with hash {named}, whose header by {label} has hash {hash}"
                );
                caught(has, text)
            }
            ([_, ..], [(other, hash)]) => {
                let text = format!(
                    "gives block {number} with hash {hash}, which by its logs and by other operators has hash {named}"
                );
                caught(other, text)
            }
            _ => {
                let says = |endpoint: &Arc<Endpoint>, hash| {
                    bad_answer(endpoint, format!("says that block {number} has hash {hash}"))
                };
                let others = against.iter().map(|(other, hash)| says(other, *hash));
                let refusals = std::iter::once(says(has, named)).chain(others).collect();
                self.undecided(log, refusals)
            }
        }
    }

    fn undecided(&self, log: &RawLog, refusals: Vec<Refusal>) -> Doubt {
        let method = format!("eth_getLogs of block {}", log.block_number);
        Doubt::Undecided(PoolError::Refused { chain: self.chain().to_owned(), method, refusals })
    }

    /// The hash of a block by the word of one endpoint.
    async fn hash_by(&self, endpoint: &Endpoint, number: u64) -> Option<B256> {
        let params = json!([format!("{number:#x}"), false]);
        let answer = endpoint.request(Purpose::Sample, "eth_getBlockByNumber", &params).await;
        let header = answer.map(read_as::<Option<RpcHeader>>);
        match header {
            Ok(Ok(Some(header))) if header.number == number => Some(header.hash),
            _ => None,
        }
    }

    /// The logs in the receipt of a log's transaction, or in all receipts of its block, by the first of these endpoints
    /// that has them in that block.
    pub(super) async fn logs_of_transaction(
        &self,
        log: &RawLog,
        of: &(dyn Fn(&Endpoint) -> bool + Sync),
    ) -> Result<(Vec<RawLog>, String), PoolError> {
        let method = "eth_getTransactionReceipt";
        let mut refusals = Vec::new();
        let task = Task::Request { method, block: Some(log.block_number) };
        for endpoint in self.candidates(&task).into_iter().filter(|endpoint| of(endpoint)) {
            match receipts_by(endpoint, log).await {
                Ok(logs) => return Ok((logs, endpoint.label().to_owned())),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let chain = self.chain().to_owned();
        Err(PoolError::Refused { chain, method: method.to_owned(), refusals })
    }
}

/// The logs of the receipt of a log's transaction by the word of one endpoint. A node may have dropped its index of
/// transactions and still have the block's receipts.
async fn receipts_by(endpoint: &Endpoint, log: &RawLog) -> Result<Vec<RawLog>, Refusal> {
    let one = ask(endpoint, "eth_getTransactionReceipt", json!([log.transaction_hash])).await;
    let found = one.and_then(|answer| {
        let receipt = read_as::<Option<Receipt>>(answer).map_err(|why| bad_answer(endpoint, why))?;
        receipt.ok_or_else(|| bad_answer(endpoint, "does not have the transaction".to_owned()))
    });
    let receipts = match found {
        Ok(receipt) => vec![receipt],
        Err(refusal) => {
            let all =
                ask(endpoint, "eth_getBlockReceipts", json!([format!("{:#x}", log.block_number)])).await;
            let all = all.map(read_as::<Option<Vec<Receipt>>>);
            match all {
                Ok(Ok(Some(all))) if !all.is_empty() => all,
                _ => return Err(refusal),
            }
        }
    };
    if receipts.iter().any(|receipt| receipt.block_hash != log.block_hash) {
        return Err(bad_answer(endpoint, "has the transaction in another block".to_owned()));
    }
    Ok(receipts.into_iter().flat_map(|receipt| receipt.logs).collect())
}

async fn ask(endpoint: &Endpoint, method: &'static str, params: Value) -> Result<Value, Refusal> {
    endpoint.request(Purpose::Sample, method, &params).await
}
