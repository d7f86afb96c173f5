//! JSON-RPC exchanges kept in a file: written by `extract run --record`, answered by `replay:` endpoints.
//!
//! One line an exchange: chain, method, params, and the result or the error. Lines are sorted and hold no endpoint,
//! time or id, so that the same chain gives the same file. A request that is not in the file is an error, never a
//! guess.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What a request is found by: chain, method, and params as compact JSON.
type Request = (String, String, String);

/// One line of a recording.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    chain: String,
    method: String,
    params: Box<RawValue>,
    // `null` is an answer ("no such block"), so it must not read as an absent result.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// An answer as it stood in a JSON-RPC response.
#[derive(Debug, Clone)]
pub enum Answer {
    /// `result`.
    Result(Box<RawValue>),
    /// `error`.
    Error(Box<RawValue>),
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read or written.
    #[error("the recording {}: {source}\nhint: `make record-demo` makes the demo's recording", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A line is no exchange.
    #[error("the recording {}: line {line}: {why}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// A recording, for answering from.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    answers: BTreeMap<Request, Answer>,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn load(file: &Path) -> Result<Self, RecordingError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| RecordingError::File { file: file.to_owned(), source })?;
        let mut answers = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let bad = |why: String| RecordingError::Line { file: file.to_owned(), line: index + 1, why };
            let exchange: Exchange = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
            let answer = match (exchange.result, exchange.error) {
                (Some(result), None) => Answer::Result(result),
                (None, Some(error)) => Answer::Error(error),
                _ => return Err(bad("an exchange has a result or an error, one of them".into())),
            };
            answers.insert((exchange.chain, exchange.method, exchange.params.get().to_owned()), answer);
        }
        Ok(Self { file: file.to_owned(), answers })
    }

    /// The recorded answer to a request.
    pub fn answer(&self, chain: &str, method: &str, params: &str) -> Option<&Answer> {
        self.answers.get(&(chain.to_owned(), method.to_owned(), params.to_owned()))
    }

    /// Where it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Exchanges as they happen, to be saved at the end of a run.
#[derive(Debug, Default)]
pub struct Recorder {
    answers: Mutex<BTreeMap<Request, Answer>>,
}

impl Recorder {
    /// A recorder that begins with the exchanges of a file, if there is one.
    ///
    /// # Errors
    /// [`RecordingError`] for a file that is no recording.
    pub fn to_extend(file: &Path) -> Result<Self, RecordingError> {
        let answers = if file.exists() { Recording::load(file)?.answers } else { BTreeMap::new() };
        Ok(Self { answers: Mutex::new(answers) })
    }

    /// Keeps an exchange. A request asked twice keeps its last answer.
    pub fn keep(&self, chain: &str, method: &str, params: &str, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert((chain.to_owned(), method.to_owned(), params.to_owned()), answer);
    }

    /// Writes all exchanges, sorted by chain, method and params.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn save(&self, file: &Path) -> Result<(), RecordingError> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (index, ((chain, method, params), answer)) in answers.iter().enumerate() {
            let bad = |why: serde_json::Error| RecordingError::Line {
                file: file.to_owned(),
                line: index + 1,
                why: why.to_string(),
            };
            let (result, error) = match answer.clone() {
                Answer::Result(result) => (Some(result), None),
                Answer::Error(error) => (None, Some(error)),
            };
            let params = RawValue::from_string(params.clone()).map_err(bad)?;
            let exchange = Exchange { chain: chain.clone(), method: method.clone(), params, result, error };
            text.push_str(&serde_json::to_string(&exchange).map_err(bad)?);
            text.push('\n');
        }
        std::fs::write(file, text).map_err(|source| RecordingError::File { file: file.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn what_was_recorded_is_answered_and_nothing_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let recorder = Recorder::default();
        recorder.keep("b", "eth_chainId", "[]", Answer::Result(raw("\"0x2\"")));
        recorder.keep(
            "a",
            "eth_call",
            "[{}]",
            Answer::Error(raw("{\"code\":3,\"message\":\"execution reverted\"}")),
        );
        recorder.keep("a", "eth_getBlockByNumber", "[\"0x9\",false]", Answer::Result(raw("null")));
        recorder.save(file.path()).unwrap();
        let recording = Recording::load(file.path()).unwrap();
        assert!(
            matches!(recording.answer("b", "eth_chainId", "[]"), Some(Answer::Result(r)) if r.get() == "\"0x2\"")
        );
        assert!(matches!(recording.answer("a", "eth_call", "[{}]"), Some(Answer::Error(_))));
        let nothing = recording.answer("a", "eth_getBlockByNumber", "[\"0x9\",false]");
        assert!(matches!(nothing, Some(Answer::Result(r)) if r.get() == "null"));
        assert!(recording.answer("a", "eth_chainId", "[]").is_none());
    }

    #[test]
    fn a_spoiled_line_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"chain\":\"a\",\"method\":\"m\",\"params\":[]}\n").unwrap();
        assert!(Recording::load(file.path()).unwrap_err().to_string().contains("line 1"));
        assert!(Recording::load(Path::new("/nowhere")).unwrap_err().to_string().contains("make record-demo"));
    }
}
