//! Scanning a span of blocks for logs, window by window, so that every block is read once or the scan says which is not.
//!
//! A window goes to the endpoint that reads a block at the least cost, at that endpoint's width. Refusals about range cut
//! it; other refusals pass it on. An accepted window is kept in the day's journal before it counts.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::journal::{Accepted, digest_of};
use crate::rpc::log_query::logs_of;
use crate::rpc::patience::{Patience, may_pass};
use crate::rpc::pool::{Pool, PoolError};
use crate::rpc::route::Task;
use crate::rpc::tally::Purpose;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lake::bronze::{LogFilter, RawLog};
use lake::span::{BlockSpan, Coverage};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Which blocks of a scan are there, and what they hold.
#[derive(Debug, Default)]
pub struct Scan {
    /// Accepted windows, by first block. They do not overlap.
    windows: BTreeMap<u64, Accepted>,
    /// Why the rest was not read, if it was not.
    pub failure: Option<PoolError>,
}

impl Scan {
    /// The accepted windows, in order.
    pub fn windows(&self) -> impl Iterator<Item = &Accepted> {
        self.windows.values()
    }

    /// Logs in order of block and log index.
    pub fn logs(&self) -> Vec<RawLog> {
        let mut logs: Vec<RawLog> =
            self.windows.values().flat_map(|window| window.logs.iter().cloned()).collect();
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        logs
    }

    /// Blocks read.
    pub fn covered(&self) -> Coverage {
        let mut covered = Coverage::default();
        for window in self.windows.values() {
            // `accept` lets no overlap in.
            let added = covered.add(window.span);
            debug_assert!(added.is_ok(), "windows do not overlap");
        }
        covered
    }

    /// Labels of the endpoints whose answers are in it.
    pub fn labels(&self) -> BTreeSet<String> {
        self.windows.values().map(|window| window.label.clone()).collect()
    }

    /// Takes the windows of an endpoint out: they must be read again.
    pub fn forget(&mut self, label: &str) {
        self.windows.retain(|_, window| window.label != label);
    }

    /// Takes all windows out, for a reason.
    pub fn give_up(&mut self, why: PoolError) {
        self.windows.clear();
        self.failure = Some(why);
    }

    /// Takes a window in, unless a block of it is there already.
    fn accept(&mut self, window: Accepted) -> bool {
        let before = self.windows.range(..=window.span.last()).next_back();
        if before.is_some_and(|(_, before)| before.span.last() >= window.span.first()) {
            return false;
        }
        self.windows.insert(window.span.first(), window);
        true
    }
}

/// What became of a window.
enum Step {
    Answered {
        window: Window,
        endpoint: Arc<Endpoint>,
        answer: Result<Vec<RawLog>, Refusal>,
    },
    /// All that stood against it may have passed by now.
    Rested(Window),
}

impl Pool {
    /// Scans the blocks of a span that `scan` does not have yet, `at_once` windows at a time.
    ///
    /// `progress` is told the number of blocks of every accepted window. The scan says what is covered; it is the
    /// caller's to see that nothing is missing.
    pub async fn scan(
        &self,
        scan: &mut Scan,
        filter: &LogFilter,
        span: BlockSpan,
        at_once: usize,
        progress: impl Fn(u64),
    ) {
        let key = digest_of(filter);
        scan.failure = None;
        if let Some(journal) = self.journal() {
            for window in journal.windows(&key) {
                let is_usable = span.contains(window.span.first())
                    && span.contains(window.span.last())
                    && !self.is_distrusted_with(&window.label, "eth_getLogs");
                let blocks = window.span.count();
                if is_usable && scan.accept(window) {
                    progress(blocks);
                }
            }
        }
        let missing = scan.covered().missing_in(span).into_iter();
        let mut waiting: VecDeque<Window> = missing.map(Window::new).collect();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        loop {
            while scan.failure.is_none() && under_way.len() < at_once.max(1) {
                let Some(mut window) = waiting.pop_front() else { break };
                let Some(endpoint) = self.next_for(&key, &window) else {
                    match self.rest(&window.passed_over, &mut window.patience) {
                        Some(rest) => {
                            window.passed_over.retain(|refusal| !may_pass(refusal));
                            under_way.push(tokio::time::sleep(rest).map(|()| Step::Rested(window)).boxed());
                        }
                        None => scan.failure = Some(self.refused_scan(window)),
                    }
                    continue;
                };
                let width = endpoint.log_window(&key);
                if window.span.count() > width {
                    window.cut(width, &mut waiting);
                    continue;
                }
                window.join(width, &mut waiting);
                if let Err(refusal) = window.patience.admit(&endpoint, Purpose::Scan) {
                    window.pass_over(refusal, &mut waiting);
                    continue;
                }
                under_way.push(self.one_window(window, endpoint, filter, &key).boxed());
            }
            let Some(step) = under_way.next().await else { break };
            let (window, endpoint, answer) = match step {
                Step::Rested(window) => {
                    waiting.push_front(window);
                    continue;
                }
                Step::Answered { window, endpoint, answer } => (window, endpoint, answer),
            };
            match answer {
                Ok(logs) => {
                    let (blocks, label) = (window.span.count(), endpoint.label().to_owned());
                    if scan.accept(Accepted { filter: key.clone(), span: window.span, label, logs }) {
                        endpoint.accepted(&key, blocks);
                        progress(blocks);
                    }
                }
                Err(refusal) => match shorter(window.span.count(), &refusal.verdict) {
                    Some((width, lasts)) => {
                        endpoint.narrow(&key, width, lasts);
                        window.cut(width, &mut waiting);
                    }
                    None => {
                        // What is wrong with one block is not its width; and of one that is too full
                        // `log_query` has asked for less.
                        let of_range = matches!(refusal.verdict, Verdict::FewerBlocks { lasts: true, .. });
                        if of_range && window.span.count() == 1 {
                            endpoint.set_lacking("eth_getLogs");
                        }
                        if refusal.verdict == Verdict::NoArchive {
                            endpoint.lacks_block("eth_getLogs", window.span.first());
                        }
                        window.pass_over(refusal, &mut waiting);
                    }
                },
            }
        }
    }

    /// Asks for one window, and keeps the answer before it counts.
    async fn one_window(
        &self,
        window: Window,
        endpoint: Arc<Endpoint>,
        filter: &LogFilter,
        key: &str,
    ) -> Step {
        let answer = logs_of(&endpoint, Purpose::Scan, filter, window.span).await;
        if let (Ok(logs), Some(journal)) = (&answer, self.journal()) {
            let label = endpoint.label().to_owned();
            let accepted = Accepted { filter: key.to_owned(), span: window.span, label, logs: logs.clone() };
            if let Err(error) = journal.keep_window(&accepted).await {
                tracing::warn!("{error}");
            }
        }
        Step::Answered { window, endpoint, answer }
    }

    /// The cheapest endpoint that was not passed over for the window.
    fn next_for(&self, filter: &str, window: &Window) -> Option<Arc<Endpoint>> {
        let task = Task::Scan { filter, block: window.span.first() };
        let not_passed_over = |endpoint: &&Arc<Endpoint>| {
            !window.passed_over.iter().any(|refusal| refusal.label == endpoint.label())
        };
        self.candidates(&task).into_iter().find(not_passed_over).cloned()
    }

    fn refused_scan(&self, window: Window) -> PoolError {
        PoolError::Refused {
            chain: self.chain().to_owned(),
            method: format!("eth_getLogs of blocks {}", window.span),
            refusals: [self.distrusted_with("eth_getLogs"), window.passed_over].concat(),
        }
    }
}

/// A part of a scan, with the endpoints that could not give it.
struct Window {
    span: BlockSpan,
    passed_over: Vec<Refusal>,
    patience: Patience,
}

impl Window {
    fn new(span: BlockSpan) -> Self {
        Self { span, passed_over: Vec::new(), patience: Patience::default() }
    }

    /// Puts its pieces of at most so many blocks to the front, in order, so that the scan runs through the day and not
    /// about it.
    fn cut(self, width: u64, waiting: &mut VecDeque<Window>) {
        // Each is another question than the whole was, so it was put to nobody yet.
        let pieces = self.span.windows(width).map(|span| Window {
            span,
            passed_over: self.passed_over.clone(),
            patience: Patience::default(),
        });
        for (index, piece) in pieces.enumerate() {
            waiting.insert(index, piece);
        }
    }

    /// Takes in what comes right after it, up to so many blocks in all, if the same endpoints are still to be asked for
    /// that: it may have been cut for one that takes less than the one that is asked now.
    fn join(&mut self, width: u64, waiting: &mut VecDeque<Window>) {
        while let Some(next) = waiting.front() {
            let are_neighbours = next.span.first() == self.span.last() + 1
                && self.span.count() + next.span.count() <= width
                && next.passed_over.is_empty()
                && self.passed_over.is_empty();
            let Some(span) =
                BlockSpan::new(self.span.first(), next.span.last()).ok().filter(|_| are_neighbours)
            else {
                return;
            };
            *self = Self::new(span);
            waiting.pop_front();
        }
    }

    fn pass_over(mut self, refusal: Refusal, waiting: &mut VecDeque<Window>) {
        self.passed_over.push(refusal);
        waiting.push_front(self);
    }
}

/// The width to cut a refused window of so many blocks to, and whether the endpoint is to be asked for no more than
/// that from now on. None when a shorter window is not what is wanted, or not possible.
fn shorter(refused: u64, verdict: &Verdict) -> Option<(u64, bool)> {
    match *verdict {
        _ if refused <= 1 => None,
        // What was asked for keeps the limit it named, so it is not about the width.
        Verdict::FewerBlocks { at_most: Some(width), lasts: true } if width >= refused => None,
        Verdict::FewerBlocks { at_most, lasts } => {
            let told = at_most.filter(|width| (1..refused).contains(width));
            Some((told.unwrap_or(refused / 2), lasts))
        }
        Verdict::TookTooLong => Some((refused / 2, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::simulated::{self, Simulated, log};
    use proptest::prelude::*;
    use std::time::Duration;
    use testkit::server::dialects::{entry, results};
    use testkit::server::faults::{Latency, Outage};
    use testkit::server::policy::{ResultCap, TooManyLogs};
    use testkit::server::{Fault, Policy};

    #[test]
    fn a_refused_window_is_cut_shorter_or_not_at_all() {
        let fewer = |at_most, lasts| Verdict::FewerBlocks { at_most, lasts };
        for (refused, verdict, expected) in [
            (100, fewer(Some(10), true), Some((10, true))),
            (100, fewer(Some(10), false), Some((10, false))),
            (100, fewer(None, true), Some((50, true))),
            // It had what it asked for, so the width is not the reason (facts/rpc_providers.md §5, code 35).
            (10, fewer(Some(10), true), None),
            // The suggested pair lay elsewhere.
            (10, fewer(Some(1_075), false), Some((5, false))),
            (3, fewer(None, false), Some((1, false))),
            (1, fewer(None, false), None),
            (1, fewer(Some(1), true), None),
            (100, Verdict::TookTooLong, Some((50, false))),
            (1, Verdict::TookTooLong, None),
            (100, Verdict::NotYet, None),
            (100, Verdict::FewerAddresses { at_most: None }, None),
        ] {
            assert_eq!(shorter(refused, &verdict), expected, "{refused} {verdict:?}");
        }
    }

    async fn scanned(pool: &Pool, filter: &LogFilter, last: u64) -> Scan {
        let mut scan = Scan::default();
        pool.scan(&mut scan, filter, BlockSpan::new(0, last).unwrap(), 4, |_| {}).await;
        scan
    }

    fn usual() -> LogFilter {
        LogFilter::new([simulated::EMITTER], [simulated::TOPIC])
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_ends_where_lists_are_cut_off_is_not_believed() {
        let logs = (0..300).flat_map(|block| (0..110).map(move |index| log(block, index)));
        let cut = ResultCap { logs: 10_000, more: TooManyLogs::CutSilently };
        let policy = Policy { result_cap: Some(cut), ..Policy::honest() };
        let simulated = simulated::open(&simulated::chain(299, logs), vec![policy]).await;
        let scan = scanned(&simulated.pool, &usual(), 299).await;
        assert!(scan.failure.is_none(), "{:?}", scan.failure);
        assert_eq!(scan.logs().len(), 33_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_that_nobody_gives_is_told_with_all_that_was_said_of_it() {
        let logs = (0..20).map(|index| log(150, index)).chain((0..300).map(|block| log(block, 99)));
        let cap = |wording| Some(ResultCap { logs: 5, more: TooManyLogs::RefusedAlways { wording } });
        let refused_methods = vec![("eth_getBlockReceipts", &entry::METHOD)];
        let policies = vec![
            Policy {
                result_cap: cap(&results::LLAMA),
                refused_methods: refused_methods.clone(),
                ..Policy::honest()
            },
            Policy { result_cap: cap(&results::NETHERMIND), refused_methods, ..Policy::honest() },
        ];
        let Simulated { pool, .. } = simulated::open(&simulated::chain(299, logs), policies).await;
        let scan = scanned(&pool, &usual(), 299).await;
        let missing = scan.covered().missing_in(BlockSpan::new(0, 299).unwrap());
        assert!(missing.iter().any(|span| span.contains(150)), "{missing:?}");
        let told = scan.failure.unwrap().to_string();
        for part in [
            "eth_getLogs of blocks 150 on sim",
            "e0: server returned an error response: error code -32602: query exceeds max results 5",
            "Query returned more than 5 results",
            "and eth_getBlockReceipts: server returned an error response: error code -32601: Method not found",
        ] {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn windows_that_were_cut_for_a_narrow_endpoint_are_joined_for_a_wide_one() {
        let down = Outage { from: Duration::from_secs(60), to: Duration::from_secs(70), fault: Fault::Reset };
        let wide = Policy { outages: vec![down], ..Policy::honest() };
        let narrow = Policy {
            log_span: Some(10),
            latency: Latency { usual: Duration::from_secs(1), ..Latency::default() },
            ..Policy::honest()
        };
        let Simulated { pool, providers } =
            simulated::open(&simulated::chain(9_999, [log(20, 0)]), vec![wide, narrow]).await;
        pool.endpoints[1].measured_window(10);
        tokio::time::sleep(Duration::from_secs(61)).await;
        let scan = scanned(&pool, &usual(), 9_999).await;
        assert!(scan.covered().is_exactly(BlockSpan::new(0, 9_999).unwrap()), "{:?}", scan.failure);
        let [wide, narrow] = [0, 1].map(|nth: usize| providers[nth].tally().methods["eth_getLogs"]);
        // Half a minute of four at a time, each of ten blocks; then what was cut for that is joined again.
        assert!(narrow <= 4 * 32, "{narrow} queries of ten blocks");
        let rest = 10_000 - narrow * 10;
        assert!(wide <= rest.div_ceil(100) + 8 + 4, "{wide} queries of a hundred for {rest} blocks");
    }

    proptest! {
        #[test]
        fn no_block_is_accepted_twice(spans in prop::collection::vec((0_u64..200, 0_u64..30), 1..40)) {
            let mut scan = Scan::default();
            for (first, length) in spans {
                let span = BlockSpan::new(first, first + length).unwrap();
                let missing = scan.covered().missing_in(span);
                let window = Accepted { filter: "f".into(), span, label: "e".into(), logs: Vec::new() };
                prop_assert_eq!(scan.accept(window), missing == [span]);
            }
        }
    }
}
