//! Why a chain gave no answer, in words that say what to do.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::Refusal;
use crate::rpc::providers::LeftOut;
use crate::rpc::recording::RecordingError;
use crate::rpc::wire::ClientError;
use lake::Bytes;
use lake::status::Reason;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Why a chain gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There is nobody to ask.
    #[error("chain {chain} has no endpoint{}", left_out_text(left_out))]
    NoEndpoint {
        /// Chain.
        chain: String,
        /// Rows whose variable is not set.
        left_out: Vec<LeftOut>,
    },
    /// Endpoints answer, but serve other chains.
    #[error(
        "chain {chain} has no endpoint that serves it{}\nhint: mend `url` or `chain` in the providers file",
        lines(refusals)
    )]
    WrongChain {
        /// Chain.
        chain: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The contract's own answer.
    #[error("the call reverted")]
    Revert(Bytes),
    /// Everyone who could be asked said no.
    #[error("{method} on {chain}: no endpoint gave a usable answer{}", lines(refusals))]
    Refused {
        /// Chain.
        chain: String,
        /// Method, with what it was about.
        method: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The endpoint wants a smaller batch.
    #[error("the batch is too large for the node\n  {refusal}")]
    SmallerBatch {
        /// What it said.
        refusal: Refusal,
    },
    /// A recording cannot be read.
    #[error("the endpoint's recording cannot be used\n  {why}")]
    Recording {
        /// Why.
        why: String,
    },
    /// No connection can be opened.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<RecordingError> for PoolError {
    fn from(error: RecordingError) -> Self {
        Self::Recording { why: error.to_string() }
    }
}

impl PoolError {
    /// Whether a person must change something before it can work: no other run will fare better.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::NoEndpoint { .. } | Self::WrongChain { .. } | Self::Recording { .. } | Self::Client(_)
        )
    }

    /// The word for the ledger.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint { .. } | Self::Recording { .. } | Self::Client(_) => Reason::Unreachable,
            Self::WrongChain { .. } => Reason::WrongChain,
            Self::Revert(_) => Reason::CallFailed,
            Self::SmallerBatch { .. } => Reason::Unreachable,
            Self::Refused { refusals, .. } => {
                let all = |test: fn(&Verdict) -> bool| refusals.iter().all(|refusal| test(&refusal.verdict));
                let any = |test: fn(&Verdict) -> bool| refusals.iter().any(|refusal| test(&refusal.verdict));
                if any(|v| matches!(v, Verdict::NotRecorded)) {
                    Reason::NotRecorded
                } else if any(|v| matches!(v, Verdict::BadAnswer)) {
                    Reason::BadAnswer
                } else if all(|v| matches!(v, Verdict::NoArchive)) {
                    Reason::NoArchive
                } else if all(is_spent) {
                    Reason::Budget
                } else if all(|v| matches!(v, Verdict::TooFast { .. }) || is_spent(v)) {
                    Reason::RateLimited
                } else {
                    Reason::Unreachable
                }
            }
        }
    }
}

fn left_out_text(left_out: &[LeftOut]) -> String {
    match left_out {
        [] => "\nhint: add an [[endpoint]] for it to the providers file".to_owned(),
        rows => {
            let names: BTreeSet<_> = rows.iter().map(|row| row.variable.as_str()).collect();
            let names: Vec<_> = names.into_iter().collect();
            format!(
                " whose key is set\nhint: set {} to a key, for example: export {}=...",
                names.join(" or "),
                names[0]
            )
        }
    }
}

fn lines(items: &[impl std::fmt::Display]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {item}");
        text
    })
}

/// Whether a key's quota is spent, by our count or by the endpoint's word.
fn is_spent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::MonthSpent | Verdict::Park { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_without_keys_says_which_variable_to_set() {
        let row = |variable: &str| LeftOut {
            label: "a".into(),
            chain: "ethereum".into(),
            variable: variable.into(),
        };
        let error = PoolError::NoEndpoint {
            chain: "ethereum".into(),
            left_out: vec![row("ALCHEMY_KEY_1"), row("INFURA_KEY_1")],
        };
        assert_eq!(
            error.to_string(),
            "chain ethereum has no endpoint whose key is set\nhint: set ALCHEMY_KEY_1 or INFURA_KEY_1 to a key, for example: export ALCHEMY_KEY_1=..."
        );
    }
}
