//! Finding a deployment's contracts at a block, and noticing that they are no longer what they were.

use crate::collect::{DayWork, LayoutHistory, Unit};
use crate::ledger::Failure;
use crate::reads::Reader;
use crate::rpc::pool::{PoolError, Question, read_as};
use crate::rpc::tally::Purpose;
use lake::Bytes;
use lake::bronze::{CallRecord, Header, RawLog, ReadsAtBlock};
use lake::day::Day;
use lake::status::Reason;
use protocols::{Answers, Call, Discovery, Layout};
use serde_json::json;

/// Steps of discovery after which a family is taken to be going in circles.
const DISCOVERY_STEPS: usize = 16;

/// Keeps a layout from this day on, unless the day would use the same one anyway. Returns whether the history is another
/// now.
pub(crate) fn remember(history: &mut LayoutHistory, day: Day, layout: &Layout) -> bool {
    let is_new = history.range(..=day).next_back().is_none_or(|(_, known)| known != layout);
    if is_new {
        history.insert(day, layout.clone());
    }
    is_new
}

/// Asks a family's discovery questions at a block until it has the layout, beginning with answers already there and with
/// the logs that list its markets, if logs do.
pub(crate) async fn discover(
    reader: &Reader<'_>,
    unit: Unit<'_>,
    block: Header,
    mut answers: Vec<CallRecord>,
    history: &[RawLog],
) -> Result<Layout, Failure> {
    discover_on(reader, unit, block, &mut answers, history).await
}

/// As [`discover`], leaving all answers behind.
pub(crate) async fn discover_on(
    reader: &Reader<'_>,
    unit: Unit<'_>,
    block: Header,
    answers: &mut Vec<CallRecord>,
    history: &[RawLog],
) -> Result<Layout, Failure> {
    for nth in 0..DISCOVERY_STEPS {
        let step = unit.family.discover(unit.csu, &Answers::new(&*answers), history);
        match step.map_err(|error| Failure::new(Reason::DiscoveryFailed, error))? {
            Discovery::Found(layout) => return Ok(layout),
            Discovery::Ask(calls) => {
                if nth == 0 {
                    reader.count_listing();
                }
                answers.extend(
                    reader
                        .read(Purpose::Discovery, calls, block.number)
                        .await
                        .map_err(|error| Failure::from(&error))?,
                );
            }
        }
    }
    let message = format!("no layout after {DISCOVERY_STEPS} steps at block {}", block.number);
    Err(Failure::new(Reason::DiscoveryFailed, message))
}

/// Whether a CSU's entry contract is there at a block, by the word of `eth_getCode`.
///
/// # Errors
/// [`PoolError`].
pub(crate) async fn is_deployed(
    work: &DayWork<'_>,
    unit: Unit<'_>,
    block: Header,
) -> Result<bool, PoolError> {
    let question = Question {
        purpose: Purpose::Discovery,
        method: "eth_getCode",
        params: json!([format!("{:#x}", unit.csu.entry), format!("{:#x}", block.number)]),
        block: Some(block.number),
    };
    let (code, _) = work.open.pool.ask(&question, read_as::<Bytes>).await?;
    Ok(!code.is_empty())
}

/// The reads, if they confirm the layout they were planned with; else the layout as it is at their block, and the reads
/// planned anew.
pub(crate) async fn confirm(
    reader: &Reader<'_>,
    purpose: Purpose,
    unit: Unit<'_>,
    layout: Layout,
    history: &[RawLog],
    reads: ReadsAtBlock,
    plan: impl Fn(&Layout) -> Vec<Call>,
) -> Result<(Layout, ReadsAtBlock), Failure> {
    let drift = match unit.family.confirm(unit.csu, &layout, &Answers::new(&reads.calls)) {
        Ok(()) => return Ok((layout, reads)),
        Err(drift) => drift,
    };
    tracing::info!("{}: {drift}; listing its contracts again at block {}", unit.csu.id, reads.block.number);
    let layout = discover(reader, unit, reads.block, Vec::new(), history).await?;
    let calls = reader.read(purpose, plan(&layout), reads.block.number).await;
    let calls = calls.map_err(|error| Failure::from(&error))?;
    let reads = ReadsAtBlock { block: reads.block, calls };
    unit.family.confirm(unit.csu, &layout, &Answers::new(&reads.calls)).map_err(|drift| {
        let message =
            format!("block {}: {drift}, although they were listed at this very block", reads.block.number);
        Failure::new(Reason::BadAnswer, message)
    })?;
    Ok((layout, reads))
}
