//! What a refusal asks for. Table-driven: the tables are facts about providers, the code only walks them.
//!
//! Sources of the texts: `facts/rpc_providers.md`, and the recorded bodies that the tests read. One error code means
//! different things at different providers, so the message decides and the code is a hint.

use crate::rpc::wire::WireError;
use alloy_json_rpc::{ErrorPayload, RpcError};
use alloy_transport::{TransportError, TransportErrorKind};
use lake::Bytes;

/// What to do about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The contract's own answer: a revert, with its data.
    Revert(Bytes),
    /// Wait, then ask the same endpoint again.
    Again,
    /// Too fast or out of quota: wait, then ask the same endpoint again, at least this many seconds later.
    TooFast {
        /// Seconds that the endpoint asked for.
        wait: Option<u64>,
    },
    /// Fewer blocks a request; the endpoint may have said how many.
    FewerBlocks {
        /// Blocks that would be taken.
        at_most: Option<u64>,
    },
    /// Fewer calls a batch, or less gas.
    SmallerBatch,
    /// The endpoint does not hold that block's state or logs.
    NoArchive,
    /// Ask another endpoint.
    Elsewhere,
    /// The answer came and failed its check.
    BadAnswer,
    /// The request is not in the recording.
    NotRecorded,
}

/// Texts in the order in which they are tried. All lower case.
const TEXTS: &[(&str, Verdict)] = &[
    // Not about width, although the words match.
    ("beyond current head", Verdict::Elsewhere),
    ("invalid block range params", Verdict::Elsewhere),
    ("after last accepted block", Verdict::Elsewhere),
    ("chain is not available on", Verdict::Elsewhere),
    // State or logs that are not held.
    ("archive", Verdict::NoArchive),
    ("missing trie node", Verdict::NoArchive),
    ("header not found", Verdict::NoArchive),
    ("unknown block", Verdict::NoArchive),
    ("state already discarded", Verdict::NoArchive),
    ("state is pruned", Verdict::NoArchive),
    ("pruned history", Verdict::NoArchive),
    ("has either been pruned", Verdict::NoArchive),
    ("no state available", Verdict::NoArchive),
    ("historical state", Verdict::NoArchive),
    ("blockoutofrange", Verdict::NoArchive),
    // Rates and quotas.
    ("compute units per second", Verdict::TooFast { wait: None }),
    ("too many requests", Verdict::TooFast { wait: None }),
    ("rate limit", Verdict::TooFast { wait: None }),
    ("request limit reached", Verdict::TooFast { wait: None }),
    ("rps limit", Verdict::TooFast { wait: None }),
    ("monthly capacity", Verdict::Elsewhere),
    ("monthly quota", Verdict::Elsewhere),
    // Batches and gas.
    ("out of gas", Verdict::SmallerBatch),
    ("gas required exceeds", Verdict::SmallerBatch),
    ("execution aborted", Verdict::SmallerBatch),
    ("execution timeout", Verdict::SmallerBatch),
    ("returndata.limit", Verdict::SmallerBatch),
];

/// Texts that ask for fewer blocks in `eth_getLogs`.
const WIDTH_TEXTS: &[&str] = &[
    "block range",
    "blocks range",
    "blocks distance",
    "requested too many blocks",
    "exceed maximum block range",
    "range is too large",
    "range too large",
    "range too wide",
    "block range is too wide",
    "exceeds limit of",
    "is limited to",
    "ranges over",
    "query returned more than",
    "query exceeds max",
    "query exceeds range",
    "response size",
    "response is too big",
    "more than 20000 results",
    "requested blocks is",
    "limit the query to",
    "query timeout exceeded",
    "backend response too large",
    "limit exceeded",
];

/// What an error of `method` asks for.
pub fn verdict(method: &str, error: &TransportError) -> Verdict {
    match error {
        RpcError::ErrorResp(payload) => of_payload(method, payload),
        RpcError::Transport(TransportErrorKind::Custom(custom)) => match custom.downcast_ref::<WireError>() {
            Some(wire) => of_wire(wire),
            None => Verdict::Elsewhere,
        },
        RpcError::DeserError { .. } | RpcError::NullResp => Verdict::Elsewhere,
        _ => Verdict::Elsewhere,
    }
}

fn of_wire(error: &WireError) -> Verdict {
    match error {
        WireError::Unreachable(_) | WireError::Body(_) => Verdict::Again,
        WireError::Http { status: 429, retry_after, .. } => Verdict::TooFast { wait: *retry_after },
        WireError::Http { status: 408 | 413 | 504, .. } => Verdict::SmallerBatch,
        WireError::Http { status: 500..=599, .. } => Verdict::Again,
        WireError::Http { .. } => Verdict::Elsewhere,
        WireError::NotRecorded { .. } => Verdict::NotRecorded,
    }
}

fn of_payload(method: &str, payload: &ErrorPayload) -> Verdict {
    let data = payload.data.as_ref().map_or("", |data| data.get());
    let text = format!("{} {data}", payload.message).to_lowercase();
    if method == "eth_call" && is_revert(payload, &text) {
        return Verdict::Revert(payload.as_revert_data().unwrap_or_default());
    }
    if let Some((_, verdict)) = TEXTS.iter().find(|(needle, _)| text.contains(needle)) {
        return verdict.clone();
    }
    if method == "eth_getLogs" && WIDTH_TEXTS.iter().any(|needle| text.contains(needle)) {
        return Verdict::FewerBlocks { at_most: width_told(&text) };
    }
    match payload.code {
        429 | -32016 | -32012 | -32029 | -32090 => Verdict::TooFast { wait: None },
        _ => Verdict::Elsewhere,
    }
}

/// "Unknown block" comes with the revert code at some providers; it is no answer of a contract.
fn is_revert(payload: &ErrorPayload, text: &str) -> bool {
    !text.contains("unknown block")
        && (payload.code == 3 || text.contains("execution reverted") || text.contains("vm exception"))
}

/// The number of blocks in a refusal that asks for fewer, if it tells one that can be relied on.
///
/// A pair `[0x.., 0x..]` that "should work" is taken by its width. A lone number is taken when the text speaks of
/// blocks and not of results; "at most N" is read as N blocks, which is never refused.
fn width_told(text: &str) -> Option<u64> {
    if let Some(pair) = text.split("should work: [").nth(1).or_else(|| text.split("block range [").nth(1)) {
        let (from, rest) = pair.split_once(',')?;
        let to = rest.split_once(']')?.0;
        let hex = |part: &str| u64::from_str_radix(part.trim().strip_prefix("0x")?, 16).ok();
        return hex(to)?.checked_sub(hex(from)?)?.checked_add(1);
    }
    if ["result", " logs", "size"].iter().any(|word| text.contains(word)) {
        return None;
    }
    let after = [
        "maximum is set to ",
        "limit is ",
        "limited to ",
        "limit of ",
        "maximum block range: ",
        "distance: ",
        "over ",
        "max block range ",
    ];
    let rest = after.iter().find_map(|needle| text.split(needle).nth(1))?;
    let rest = rest.trim_start_matches("0 - ").trim_start_matches("a ");
    let digits: String =
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').filter(|c| *c != ',').collect();
    digits.parse().ok().filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(method: &str, code: i64, message: &str, data: Option<&str>) -> Verdict {
        let data = data.map(|data| serde_json::value::to_raw_value(data).unwrap());
        verdict(method, &RpcError::ErrorResp(ErrorPayload { code, message: message.to_owned().into(), data }))
    }

    #[test]
    fn texts_of_providers_are_understood() {
        let fewer = |at_most| Verdict::FewerBlocks { at_most };
        let cases: &[(i64, &str, Verdict)] = &[
            (
                -32600,
                "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x1180fca, 0x1180fd3]. Upgrade to PAYG for expanded block range.",
                fewer(Some(10)),
            ),
            (
                -32000,
                "requested too many blocks from 1048576 to 17825792, maximum is set to 30",
                fewer(Some(30)),
            ),
            (-32000, "too wide blocks range, the limit is 100", fewer(Some(100))),
            (-32000, "maximum [from, to] blocks distance: 2000", fewer(Some(2000))),
            (-32602, "range 16777216 exceeds limit of 10000", fewer(Some(10_000))),
            (-32614, "eth_getLogs is limited to a 10,000 range", fewer(Some(10_000))),
            (-32602, "eth_getLogs is limited to 0 - 50 blocks range", fewer(Some(50))),
            (35, "ranges over 10000 blocks are not supported on free plan", fewer(Some(10_000))),
            (-32701, "exceed maximum block range: 50000", fewer(Some(50_000))),
            (
                -32005,
                "query returned more than 10000 results. Try with this block range [0xBDE5F8, 0x102DBCC].",
                fewer(Some(0x102_DBCC - 0xBD_E5F8 + 1)),
            ),
            (-32602, "query exceeds max results 20000, retry with the range 25683953-25685027", fewer(None)),
            (-32602, "block range extends beyond current head block", Verdict::Elsewhere),
            (-32602, "Archive requests require a personal token.", Verdict::NoArchive),
            (
                429,
                "Your app has exceeded its compute units per second capacity.",
                Verdict::TooFast { wait: None },
            ),
            (-32601, "Method not found", Verdict::Elsewhere),
        ];
        for (code, message, expected) in cases {
            assert_eq!(&refusal("eth_getLogs", *code, message, None), expected, "{message}");
        }
        let gnosis =
            "Query returned more than 50000 results. Try with this block range [0x1000000, 0x1080000].";
        assert_eq!(refusal("eth_getLogs", -32602, "invalid params", Some(gnosis)), fewer(Some(0x8_0001)));
    }

    #[test]
    fn a_revert_is_an_answer_and_an_unknown_block_is_none() {
        let data = Some("0x08c379a0");
        assert_eq!(
            refusal("eth_call", 3, "execution reverted", data),
            Verdict::Revert(vec![8, 0xc3, 0x79, 0xa0].into())
        );
        assert_eq!(refusal("eth_call", -32000, "execution reverted", None), Verdict::Revert(Bytes::new()));
        assert_eq!(refusal("eth_call", 3, "Unknown block", None), Verdict::NoArchive);
        assert_eq!(refusal("eth_call", -32000, "missing trie node abc", None), Verdict::NoArchive);
        assert_eq!(refusal("eth_call", -32000, "out of gas", None), Verdict::SmallerBatch);
    }

    #[test]
    fn what_the_wire_says_is_understood() {
        let of = |error: WireError| verdict("eth_call", &TransportErrorKind::custom(error));
        let http = |status| WireError::Http { status, body: String::new(), retry_after: Some(7) };
        assert_eq!(of(http(429)), Verdict::TooFast { wait: Some(7) });
        assert_eq!(of(http(502)), Verdict::Again);
        assert_eq!(of(http(401)), Verdict::Elsewhere);
        assert_eq!(of(WireError::Unreachable("reset".into())), Verdict::Again);
    }
}
