//! What a refusal asks for. Table-driven: [`tables`] holds facts about providers, the code only walks them.
//!
//! One error code means different things at different providers, so the words decide and code and HTTP status are
//! hints. What no row knows is [`Verdict::Unknown`]: it goes elsewhere and is counted, never guessed at.

mod tables;
#[cfg(test)]
mod tests;

use crate::rpc::wire::WireError;
use alloy_json_rpc::RpcError;
use alloy_transport::{TransportError, TransportErrorKind};
use jiff::Timestamp;
use lake::Bytes;
use serde_json::Value;
use std::time::Duration;
use tables::{Asks, Of, Row, Sign};

/// No endpoint is waited for longer than this, whatever it asks for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Whether an error is a fault of the way to the endpoint, be it the network, a gateway or a node that is not well, and no
/// answer to what was asked. `verdict` is what [`verdict`] made of it.
pub fn is_fault(error: &TransportError, verdict: &Verdict) -> bool {
    let of_gateway = || match error {
        RpcError::Transport(TransportErrorKind::Custom(custom)) => {
            matches!(custom.downcast_ref(), Some(WireError::Http { .. }))
        }
        _ => false,
    };
    match verdict {
        Verdict::Again | Verdict::Unknown | Verdict::BadAnswer => true,
        // A gateway gives up on anything; a node that says so has looked at the question.
        Verdict::TookTooLong => of_gateway(),
        _ => false,
    }
}

/// What to do about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The contract's own answer: a revert, with its data.
    Revert(Bytes),
    /// A fault that passes: wait, ask the same endpoint again, and another one if it lasts.
    Again,
    /// Too fast: ask the same endpoint again, after this time if it named one.
    TooFast {
        /// The time that the endpoint asked for, at most [`LONGEST_WAIT`].
        wait: Option<Duration>,
    },
    /// The key's quota is spent: it is not asked again in this run.
    Park {
        /// When the quota is filled again.
        until: ParkUntil,
    },
    /// The key is not accepted, or not for this chain: it is not asked again in this run.
    Drop,
    /// Fewer blocks a request. Only ever of `eth_getLogs`.
    FewerBlocks {
        /// Blocks that would be taken, at least one, if the endpoint told.
        at_most: Option<u64>,
        /// Whether it is the endpoint's policy, to be remembered, and not that this range holds too much.
        lasts: bool,
    },
    /// Fewer addresses or topics a request.
    FewerAddresses {
        /// Addresses or topics that would be taken, at least one, if the endpoint told.
        at_most: Option<u64>,
    },
    /// Fewer calls a batch, or less gas.
    SmallerBatch {
        /// Calls that would be taken, at least one, if the endpoint told.
        at_most: Option<u64>,
    },
    /// It ran out of time. A call: ask another endpoint once, then send fewer calls. A log scan: ask for fewer blocks, and
    /// for one block again later.
    TookTooLong,
    /// The endpoint does not hold that block's state or logs.
    NoArchive,
    /// The endpoint does not know the block yet: ask another endpoint.
    NotYet,
    /// The endpoint does not serve the method: it is not asked for it again in this run.
    NoMethod,
    /// Ask another endpoint.
    Elsewhere,
    /// The request itself is wrong, or refused in words of which no table knows the sense: ask another endpoint.
    Fatal,
    /// The answer came and failed its check.
    BadAnswer,
    /// The key has spent its month: our own count, not the endpoint's word.
    MonthSpent,
    /// The request is not in the recording.
    NotRecorded,
    /// Nobody has met this refusal yet: ask another endpoint, and count it.
    Unknown,
}

/// When a quota is filled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkUntil {
    /// The next midnight, UTC.
    NextDay,
    /// The midnight, UTC, that begins the next month.
    NextMonth,
}

impl ParkUntil {
    /// That moment, seen from `now`.
    pub fn after(self, now: Timestamp) -> Timestamp {
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let day = match self {
            Self::NextDay => today.tomorrow(),
            Self::NextMonth => today.last_of_month().tomorrow(),
        };
        // Neither fails before the year 9999.
        let midnight = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC));
        midnight.map_or(Timestamp::MAX, |midnight| midnight.timestamp())
    }
}

/// What an error of `method` asks for.
pub fn verdict(method: &str, error: &TransportError) -> Verdict {
    match error {
        RpcError::ErrorResp(payload) => {
            let data = payload.data.as_ref().map(|data| data.get());
            Signs::new(method, None, Some(payload.code), &payload.message, data, None).verdict()
        }
        RpcError::Transport(TransportErrorKind::Custom(custom)) => match custom.downcast_ref::<WireError>() {
            Some(wire) => of_wire(method, wire),
            None => Verdict::Unknown,
        },
        // Some providers drop what is more than they take (facts/rpc_providers.md 2.4).
        RpcError::Transport(TransportErrorKind::MissingBatchResponse(_)) => {
            Verdict::SmallerBatch { at_most: None }
        }
        // A result, but not one of this method.
        RpcError::DeserError { .. } | RpcError::NullResp => Verdict::BadAnswer,
        RpcError::SerError(_) | RpcError::LocalUsageError(_) => Verdict::Fatal,
        _ => Verdict::Unknown,
    }
}

/// What a list of so many logs asks for that came without an error: where lists are known to be cut off, a shorter
/// range shows whether this one was.
pub fn verdict_on_count(logs: usize) -> Option<Verdict> {
    tables::SILENT_CAPS.contains(&logs).then_some(Verdict::FewerBlocks { at_most: None, lasts: false })
}

/// The wait that a `Retry-After` header asks for: seconds, or a date.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let until = jiff::fmt::rfc2822::parse(header).ok()?.timestamp();
    // A date that has passed asks for no wait.
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(LONGEST_WAIT))
}

fn of_wire(method: &str, error: &WireError) -> Verdict {
    match error {
        WireError::Unreachable(_) | WireError::Body(_) => Verdict::Again,
        WireError::TooLong => match method {
            "eth_getLogs" => Verdict::FewerBlocks { at_most: None, lasts: false },
            "eth_call" => Verdict::SmallerBatch { at_most: None },
            _ => Verdict::Elsewhere,
        },
        WireError::Refused { status, code, message, data, retry_after } => {
            Signs::new(method, Some(*status), Some(*code), message, data.as_deref(), *retry_after).verdict()
        }
        WireError::Http { status, body, retry_after } => {
            // The words of a web page are not about us.
            let body = if body.trim_start().starts_with('<') { "" } else { body };
            Signs::new(method, Some(*status), None, body, None, *retry_after).verdict()
        }
        WireError::Foreign { text } => match Signs::new(method, None, None, text, None, None).verdict() {
            Verdict::Unknown => Verdict::BadAnswer,
            known => known,
        },
        WireError::NotRecorded { .. } => Verdict::NotRecorded,
    }
}

/// All that can be seen of a refusal.
struct Signs<'a> {
    method: &'a str,
    status: Option<u16>,
    code: Option<i64>,
    message: String,
    data: Value,
    /// The data, then the message, in lower case: where both speak, the data is more exact.
    texts: [String; 2],
    retry_after: Option<Duration>,
}

impl<'a> Signs<'a> {
    fn new(
        method: &'a str,
        status: Option<u16>,
        code: Option<i64>,
        message: &str,
        data: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Self {
        let raw = data.unwrap_or_default();
        let data = serde_json::from_str(raw).unwrap_or(Value::Null);
        let of_data = match &data {
            Value::Null => String::new(),
            Value::String(text) => text.to_lowercase(),
            other => other.to_string().to_lowercase(),
        };
        let texts = [of_data, message.to_lowercase()];
        Self { method, status, code, message: message.to_owned(), data, texts, retry_after }
    }

    fn verdict(&self) -> Verdict {
        if let Some(data) = self.revert() {
            return Verdict::Revert(data);
        }
        let Some((_, _, asks)) = tables::ROWS.iter().find(|row| self.shows(row)) else {
            return Verdict::Unknown;
        };
        let verdict = match (asks, self.method) {
            (Asks::For(verdict), _) => verdict.clone(),
            (Asks::Halted, _) => Verdict::Revert(Bytes::new()),
            (Asks::LessTime, "eth_call" | "eth_getLogs") => Verdict::TookTooLong,
            (Asks::SmallerAnswer, "eth_getLogs") => Verdict::FewerBlocks { at_most: None, lasts: false },
            (Asks::LessTime, _) => Verdict::Again,
            (Asks::SmallerRequest, "eth_getLogs") => Verdict::FewerAddresses { at_most: None },
            (Asks::SmallerAnswer | Asks::SmallerRequest, "eth_call") => {
                Verdict::SmallerBatch { at_most: None }
            }
            (Asks::SmallerAnswer | Asks::SmallerRequest, _) => Verdict::Elsewhere,
        };
        match verdict {
            Verdict::FewerBlocks { lasts, .. } => self.fewer_blocks(lasts),
            Verdict::TookTooLong if self.method == "eth_getLogs" => match self.fewer_blocks(false) {
                Verdict::FewerBlocks { at_most: None, .. } => Verdict::TookTooLong,
                told => told,
            },
            Verdict::TooFast { .. } => Verdict::TooFast { wait: self.wait() },
            Verdict::FewerAddresses { .. } => {
                Verdict::FewerAddresses { at_most: self.number_after(tables::BEFORE_FILTERS) }
            }
            Verdict::SmallerBatch { .. } => {
                Verdict::SmallerBatch { at_most: self.number_after(tables::BEFORE_BATCH) }
            }
            other => other,
        }
    }

    fn shows(&self, (of, sign, _): &Row) -> bool {
        let of_method = match of {
            Of::Any => true,
            Of::Call => self.method == "eth_call",
            Of::Logs => self.method == "eth_getLogs",
        };
        of_method
            && match sign {
                Sign::Text(words) => self.texts.iter().any(|text| speaks(text, words)),
                Sign::Code(code) => self.code == Some(*code),
                Sign::Status(first, last) => {
                    self.status.is_some_and(|status| (*first..=*last).contains(&status))
                }
            }
    }

    /// The data of a revert, if it is one: it comes before every row, for its words are the contract's and may say
    /// anything.
    ///
    /// The code of a revert alone does not make one: it also comes with "Unknown block" and, where a proxy lost the
    /// answer, with "RPC Request failed".
    fn revert(&self) -> Option<Bytes> {
        if self.method != "eth_call" || self.texts.iter().any(|text| text.contains("unknown block")) {
            return None;
        }
        let says_so = self.texts.iter().any(|text| text.contains("execution reverted"));
        match hex_in(&self.data) {
            Some(data) if says_so || !data.is_empty() || self.reverted_nothing() => Some(data),
            _ if says_so => {
                let told = self.message.split_once(": ").and_then(|(_, rest)| hex_bytes(rest));
                Some(told.unwrap_or_default())
            }
            _ => None,
        }
    }

    /// `Reverted 0x`: Nethermind's revert without data.
    fn reverted_nothing(&self) -> bool {
        self.texts[0].starts_with("reverted")
    }

    /// The range that would be taken, and whether that holds for other ranges, too.
    ///
    /// A refusal that speaks of sizes or of time, or that suggests a pair of blocks without a number of its width, is
    /// of this query alone; a number of blocks in it is an offer. All else is as the row says.
    fn fewer_blocks(&self, lasts: bool) -> Verdict {
        let of_size = self.texts.iter().any(|text| tables::SIZE_WORDS.iter().any(|word| text.contains(word)));
        let told = if of_size { None } else { self.number_after(tables::BEFORE_WIDTH) };
        let (at_most, lasts) = match (self.width_of_pair(), told) {
            (Some(pair), told) => (Some(pair), lasts && told == Some(pair)),
            (None, Some(told)) => (Some(told), lasts),
            (None, None) => (None, lasts && !of_size),
        };
        Verdict::FewerBlocks { at_most, lasts }
    }

    /// Blocks from the first to the last of the suggested pair. Only its width is used: the pair may lie outside of
    /// what was asked. An inverted pair suggests nothing.
    fn width_of_pair(&self) -> Option<u64> {
        let of_object = || {
            let block = |name: &str| hex_number(self.data.get(name)?.as_str()?);
            width(block("from")?, block("to")?)
        };
        let of_text = |text: &String| {
            let rest = tables::BEFORE_PAIR.iter().find_map(|words| Some(text.split_once(words)?.1))?;
            let rest = rest.trim_start_matches([' ', ':']);
            if let Some((pair, _)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let (from, to) = pair.split_once(',')?;
                return width(hex_number(from)?, hex_number(to)?);
            }
            let (from, rest) = number(rest)?;
            let (to, _) = number(rest.trim_start().strip_prefix('-')?.trim_start())?;
            width(from, to)
        };
        of_object().or_else(|| self.texts.iter().find_map(of_text))
    }

    /// The first number, not zero, that follows one of these words and does not count logs.
    fn number_after(&self, words: &[&str]) -> Option<u64> {
        let after = |text: &str, words: &str| {
            text.match_indices(words).find_map(|(at, _)| {
                let mut rest = &text[at + words.len()..];
                while let Some(shorter) = tables::FILLERS.iter().find_map(|filler| rest.strip_prefix(filler))
                {
                    rest = shorter;
                }
                let (told, rest) = number(rest)?;
                let counts_logs = ["log", "result"].iter().any(|word| rest.trim_start().starts_with(word));
                (told > 0 && !counts_logs).then_some(told)
            })
        };
        self.texts.iter().find_map(|text| words.iter().find_map(|words| after(text, words)))
    }

    /// The time to wait that the header or the body names.
    fn wait(&self) -> Option<Duration> {
        let in_text = |text: &String| {
            tables::BEFORE_WAIT.iter().find_map(|words| {
                let rest = text.split_once(words)?.1.trim_start_matches([' ', '"', ':']);
                // A number of JSON is in seconds.
                duration(rest).or_else(|| words.ends_with("seconds\":").then(|| seconds(rest))?)
            })
        };
        let told = self.texts.iter().find_map(in_text).or(self.retry_after);
        told.map(|wait| wait.min(LONGEST_WAIT))
    }
}

/// Whether the parts of `words` between its stars stand in the text, in this order.
fn speaks(text: &str, words: &str) -> bool {
    let mut rest = text;
    words.split('*').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Bytes in hex, from the data of an error or from the data within it; some nodes write `Reverted` before them.
fn hex_in(data: &Value) -> Option<Bytes> {
    match data {
        Value::String(text) => {
            let text = text.trim();
            hex_bytes(text.strip_prefix("Reverted").unwrap_or(text))
        }
        Value::Object(members) => members.get("data").and_then(hex_in),
        _ => None,
    }
}

fn hex_bytes(text: &str) -> Option<Bytes> {
    let text = text.trim();
    if text.starts_with("0x") { text.parse().ok() } else { None }
}

fn hex_number(text: &str) -> Option<u64> {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?, 16).ok()
}

fn width(from: u64, to: u64) -> Option<u64> {
    to.checked_sub(from)?.checked_add(1)
}

/// The number that the text begins with, and the rest: `10,000`, `10_000`, `2k`.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '_')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let plain: String = digits.chars().filter(char::is_ascii_digit).collect();
    let plain: u64 = plain.parse().ok()?;
    match rest.strip_prefix('k') {
        Some(after) if !after.starts_with(|c: char| c.is_alphanumeric()) => {
            Some((plain.checked_mul(1000)?, after))
        }
        _ => Some((plain, rest)),
    }
}

/// The decimal number that the text begins with, and the rest.
fn decimal(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn seconds(text: &str) -> Option<Duration> {
    milliseconds_up(decimal(text)?.0 * 1000.0)
}

/// The duration that the text begins with: `560.27ms`, `1m30s`, `10 seconds`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut milliseconds = None;
    while let Some((count, after)) = decimal(rest) {
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = match unit {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
            "m" | "min" | "mins" | "minute" | "minutes" => 6e4,
            "h" | "hour" | "hours" => 3.6e6,
            _ => break,
        };
        milliseconds = Some(milliseconds.unwrap_or(0.0) + count * factor);
        rest = after;
    }
    milliseconds_up(milliseconds?)
}

/// Rounded up, so that no one comes back too early, and cut to [`LONGEST_WAIT`].
fn milliseconds_up(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((milliseconds.ceil() / 1000.0).min(LONGEST_WAIT.as_secs_f64())).ok()
}
