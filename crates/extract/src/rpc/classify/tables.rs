//! The facts that [`classify`](super) walks: which sign of a refusal asks for what.
//!
//! Source: `facts/rpc_providers.md` §1.1-1.4, §2.2-2.4, and the bodies in `rpc_errors.jsonl`. All texts are lower case;
//! `*` stands for anything. The first row that fits decides, so the order of the blocks is part of the facts.

use super::{ParkUntil, Verdict};

/// Which methods a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Every method.
    Any,
    /// `eth_call`.
    Call,
    /// `eth_getLogs`.
    Logs,
}

/// What a row looks at. Bare numbers are never looked for in a text: hex ranges and revert strings hold them, too.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sign {
    /// Words of the data or the message.
    Text(&'static str),
    /// The JSON-RPC error code.
    Code(i64),
    /// HTTP statuses from the first to the second.
    Status(u16, u16),
}

/// What a row asks for.
#[derive(Debug, Clone)]
pub(super) enum Asks {
    /// This, whatever the method.
    For(Verdict),
    /// Nothing: the contract stopped, which is an answer.
    Halted,
    /// Less work a request: a shorter range, or fewer calls after one more try elsewhere.
    LessTime,
    /// A smaller answer: a shorter range, or fewer calls.
    SmallerAnswer,
    /// A smaller request: fewer addresses, or fewer calls.
    SmallerRequest,
}

/// One fact.
pub(super) type Row = (Of, Sign, Asks);

use Asks::{For, Halted, LessTime, SmallerAnswer, SmallerRequest};
use Of::{Any, Call, Logs};
use Sign::{Code, Status, Text};

const AGAIN: Asks = For(Verdict::Again);
const DROP: Asks = For(Verdict::Drop);
const ELSEWHERE: Asks = For(Verdict::Elsewhere);
const FATAL: Asks = For(Verdict::Fatal);
const FEWER_ADDRESSES: Asks = For(Verdict::FewerAddresses { at_most: None });
const NO_ARCHIVE: Asks = For(Verdict::NoArchive);
const NO_METHOD: Asks = For(Verdict::NoMethod);
const NOT_YET: Asks = For(Verdict::NotYet);
const SMALLER_BATCH: Asks = For(Verdict::SmallerBatch { at_most: None });
const TOO_FAST: Asks = For(Verdict::TooFast { wait: None });
const TODAY_SPENT: Asks = For(Verdict::Park { until: ParkUntil::NextDay });
const MONTH_SPENT: Asks = For(Verdict::Park { until: ParkUntil::NextMonth });
/// A span policy, which lasts.
const POLICY: Asks = For(Verdict::FewerBlocks { at_most: None, lasts: true });
/// Too much in this range; the next may be taken.
const DENSITY: Asks = For(Verdict::FewerBlocks { at_most: None, lasts: false });

/// Every known sign, in the order in which they are tried. Reverts with words or data come before all of them.
pub(super) const ROWS: &[Row] = &[
    // The machine stopped. Our calls are batches that allow failure, so a batch that ran dry was too large.
    (Call, Text("out of gas"), SMALLER_BATCH),
    (Call, Text("outofgas"), SMALLER_BATCH),
    (Call, Text("gas required exceeds"), SMALLER_BATCH),
    (Call, Text("vm exception"), Halted),
    (Call, Text("vm execution error"), Halted),
    (Call, Text("invalid opcode"), Halted),
    (Call, Text("evm error"), Halted),
    // Keys that do not serve this chain at all, or not any more.
    (Any, Text("invalid access key"), DROP),
    (Any, Text("must be authenticated"), DROP),
    (Any, Text("you must authenticate"), DROP),
    (Any, Text("app is inactive"), DROP),
    (Any, Text("is not enabled for this app"), DROP),
    (Any, Text("is on another chain"), DROP),
    (Any, Text("chain is not available on"), DROP),
    (Any, Text("chain not supported"), DROP),
    (Any, Text("free api access is not supported for this chain"), DROP),
    (Any, Text("tenant disabled"), DROP),
    (Any, Text("blast api is no longer available"), DROP),
    (Any, Status(401, 401), DROP),
    // Quotas. Where no period is named, the next day: asking once more then costs one call.
    (Any, Text("monthly capacity"), MONTH_SPENT),
    (Any, Text("monthly quota"), MONTH_SPENT),
    (Any, Text("reached the free tier"), TODAY_SPENT),
    (Any, Text("/billing"), TODAY_SPENT),
    // Infura says this of the second as well, and then how many seconds to wait.
    (Any, Text("backoff_seconds"), TOO_FAST),
    (Any, Text("daily request count exceeded"), TODAY_SPENT),
    (Any, Status(402, 402), TODAY_SPENT),
    (Any, Code(402), TODAY_SPENT),
    // Rates.
    (Any, Status(429, 429), TOO_FAST),
    (Any, Code(429), TOO_FAST),
    (Any, Code(42903), TOO_FAST),
    (Any, Text("compute units per second"), TOO_FAST),
    (Any, Text("too many requests"), TOO_FAST),
    (Any, Text("rate limit"), TOO_FAST),
    (Any, Text("request limit reached"), TOO_FAST),
    (Any, Text("rps limit"), TOO_FAST),
    (Any, Text("cups left"), TOO_FAST),
    (Any, Text("credits limited to"), TOO_FAST),
    (Any, Text("backend is over capacity"), TOO_FAST),
    (Any, Text("limitexceeded"), TOO_FAST),
    // Not about width, although the words match.
    (Any, Text("beyond current head"), NOT_YET),
    (Any, Text("after last accepted block"), NOT_YET),
    (Any, Text("nonexistent block"), NOT_YET),
    (Any, Text("does not have the requested block yet"), NOT_YET),
    (Any, Text("not processed yet"), NOT_YET),
    (Any, Text("cannot query unfinalized data"), NOT_YET),
    (Any, Text("invalid block range params"), FATAL),
    // A balancer asked a node that lags, or that is on another fork.
    (Any, Text("unknown block"), ELSEWHERE),
    (Any, Text("header for hash not found"), ELSEWHERE),
    (Any, Text("is not currently canonical"), ELSEWHERE),
    (Any, Text("can't route your request"), ELSEWHERE),
    (Any, Text("free api access is temporarily unavailable"), ELSEWHERE),
    // It wants a filter by address, and every filter of ours has one.
    (Any, Text("please specify address in your request"), ELSEWHERE),
    // State or logs that are not held, or held for other plans.
    (Any, Text("archive"), NO_ARCHIVE),
    (Any, Text("archival"), NO_ARCHIVE),
    (Any, Text("missing trie node"), NO_ARCHIVE),
    (Any, Text("header not found"), NO_ARCHIVE),
    (Any, Text("historical state"), NO_ARCHIVE),
    (Any, Text("state * is not available"), NO_ARCHIVE),
    (Any, Text("no state available"), NO_ARCHIVE),
    (Any, Text("state is pruned"), NO_ARCHIVE),
    (Any, Text("state already discarded"), NO_ARCHIVE),
    (Any, Text("empty reader set"), NO_ARCHIVE),
    (Any, Text("has either been pruned"), NO_ARCHIVE),
    (Any, Text("lowest height is"), NO_ARCHIVE),
    (Any, Text("pruned history"), NO_ARCHIVE),
    (Any, Text("no historical rpc"), NO_ARCHIVE),
    (Any, Text("blockoutofrange"), NO_ARCHIVE),
    (Any, Code(4444), NO_ARCHIVE),
    // Methods that are not served.
    (Any, Text("method is not whitelisted"), NO_METHOD),
    (Any, Text("is not included in your current plan"), NO_METHOD),
    (Any, Text("method not found"), NO_METHOD),
    (Any, Text("does not exist/is not available"), NO_METHOD),
    (Any, Code(-32601), NO_METHOD),
    (Any, Code(-32004), NO_METHOD),
    (Any, Code(-32612), NO_METHOD),
    (Any, Code(-32613), NO_METHOD),
    // Batches and requests.
    (Any, Text("batch of more than"), SMALLER_BATCH),
    (Any, Text("too many rpc calls in batch"), SMALLER_BATCH),
    (Any, Text("batch too large"), SMALLER_BATCH),
    (Any, Code(31), SMALLER_BATCH),
    (Any, Text("request body too large"), SmallerRequest),
    (Logs, Text("less number of address"), FEWER_ADDRESSES),
    (Logs, Text("addresses or topics per search position"), FEWER_ADDRESSES),
    (Logs, Text("this query contains * filters"), FEWER_ADDRESSES),
    // Answers.
    (Any, Text("response size"), SmallerAnswer),
    (Any, Text("response is too big"), SmallerAnswer),
    (Any, Text("response too large"), SmallerAnswer),
    (Any, Text("response exceeds size limit"), SmallerAnswer),
    (Any, Text("returndata.limit"), SmallerAnswer),
    (Logs, Text("query returned more than"), DENSITY),
    (Logs, Text("query exceeds max results"), DENSITY),
    (Logs, Text("more than * results"), DENSITY),
    (Logs, Text("logs matched by query"), DENSITY),
    // Ranges.
    (Logs, Text("block range"), POLICY),
    (Logs, Text("blocks range"), POLICY),
    (Logs, Text("blocks distance"), POLICY),
    (Logs, Text("requested too many blocks"), POLICY),
    (Logs, Text("number of requested blocks is"), POLICY),
    (Logs, Text("limit the query to"), POLICY),
    (Logs, Text("range is too large"), POLICY),
    (Logs, Text("range too large"), POLICY),
    (Logs, Text("range too wide"), POLICY),
    (Logs, Text("range * exceeds limit of"), POLICY),
    (Logs, Text("eth_getlogs is limited to"), POLICY),
    (Logs, Text("ranges over"), POLICY),
    (Logs, Text("query exceeds range"), POLICY),
    (Logs, Code(-32614), POLICY),
    (Logs, Code(-32062), POLICY),
    // BSC says no more than this, of ranges, of rates, and of a method that is switched off.
    (Logs, Text("limit exceeded"), DENSITY),
    // Time.
    (Any, Text("execution aborted"), LessTime),
    (Any, Text("query timeout"), LessTime),
    (Any, Text("execution timeout"), LessTime),
    (Any, Text("request timeout"), LessTime),
    (Any, Text("gateway timeout"), LessTime),
    // Rates, by code alone.
    (Any, Code(-32005), TOO_FAST),
    (Any, Code(-32007), TOO_FAST),
    (Any, Code(-32009), TOO_FAST),
    (Any, Code(-32012), TOO_FAST),
    (Any, Code(-32016), TOO_FAST),
    (Any, Code(-32029), TOO_FAST),
    (Any, Code(-32090), TOO_FAST),
    // Faults that pass. "Healthy" was once said of ranges, too: a shorter one is not tried, for it may be the truth.
    (Any, Text("internal error"), AGAIN),
    (Any, Text("internal server error"), AGAIN),
    (Any, Text("bad gateway"), AGAIN),
    (Any, Text("service unavailable"), AGAIN),
    (Any, Text("no backend is currently healthy"), AGAIN),
    (Any, Text("backend returned an invalid response"), AGAIN),
    (Any, Text("cannot fulfill request"), AGAIN),
    (Any, Text("rpc request failed"), AGAIN),
    (Any, Text("connection reset"), AGAIN),
    // HTTP, when the body says nothing.
    (Any, Status(403, 405), ELSEWHERE),
    (Any, Status(410, 410), ELSEWHERE),
    (Any, Status(408, 408), LessTime),
    (Any, Status(504, 504), LessTime),
    (Any, Status(524, 524), LessTime),
    (Any, Status(413, 413), SmallerAnswer),
    (Any, Status(500, 599), AGAIN),
    // Our own mistake, or a limit in words that nobody has met: the code says both.
    (Any, Text("invalid argument"), FATAL),
    (Any, Text("cannot unmarshal"), FATAL),
    (Any, Text("missed * address"), FATAL),
    (Any, Code(-32700), FATAL),
    (Any, Code(-32600), FATAL),
    (Any, Code(-32602), FATAL),
];

/// Words of a size: what the text says of blocks then is an offer, and the refusal is of this query alone.
pub(super) const SIZE_WORDS: &[&str] =
    &["response", "result", "logs matched", "timeout", "timed out", "execution aborted"];

/// What stands before the pair of blocks that would be taken.
pub(super) const BEFORE_PAIR: &[&str] =
    &["should work", "try with this block range", "retry with the range", "retry with range"];

/// What stands before the number of blocks that would be taken.
pub(super) const BEFORE_WIDTH: &[&str] = &[
    "up to a",
    "maximum is set to",
    "the limit is",
    "limited to",
    "exceeds limit of",
    "exceeds the limit of",
    "maximum block range",
    "max block range",
    "max range",
    "blocks distance",
    "ranges over",
    "max is",
    "requested blocks is",
    "at most",
    "block range greater than",
];

/// What may stand between those words and the number.
pub(super) const FILLERS: &[&str] = &[" ", ":", "a ", "0 - "];

/// What stands before the size of a batch that would be taken.
pub(super) const BEFORE_BATCH: &[&str] = &["batch of more than"];

/// What stands before the number of addresses or topics that would be taken.
pub(super) const BEFORE_FILTERS: &[&str] = &["current limit is"];

/// What stands before the time to wait.
pub(super) const BEFORE_WAIT: &[&str] =
    &["try_again_in\":", "backoff_seconds\":", "try again in", "retry in", "retry after"];

/// Counts at which lists of logs are known to end without a word.
pub(super) const SILENT_CAPS: &[usize] = &[10_000, 20_000, 50_000];
