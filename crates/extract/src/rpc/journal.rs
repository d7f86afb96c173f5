//! The answers of a day that is not finished, kept in the lake until it is, so that a run that was cut off does not ask
//! twice.
//!
//! One object an answer, under `state/partial/<chain>/<date>/`, written before the answer counts. Only checked answers
//! about final blocks get here, so they stay true. Two runs on one lake may share them: a name is the digest of its
//! question.

use lake::Lake;
use lake::bronze::{LogFilter, RawLog};
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::path;
use lake::span::BlockSpan;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Hex digits of a digest in a name: enough for the questions of one day.
const DIGITS: usize = 24;

/// One object of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Window(Accepted),
    Answer(Answered),
}

/// A checked answer to a log query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Digest of the filter.
    pub filter: String,
    /// Blocks.
    pub span: BlockSpan,
    /// Label of the endpoint.
    pub label: String,
    /// Its logs.
    pub logs: Vec<RawLog>,
}

/// A checked answer to any other question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answered {
    method: String,
    params: Value,
    label: String,
    result: Value,
}

/// The answers of one day of one chain.
pub struct Journal {
    lake: Lake,
    chain: String,
    date: Day,
    entries: Mutex<BTreeMap<String, Entry>>,
}

/// A digest that stands for a filter in names and memories.
pub fn digest_of(filter: &LogFilter) -> String {
    // A filter is two sorted lists, so its text is canonical.
    let text = serde_json::to_string(filter).unwrap_or_default();
    sha256_hex(text.as_bytes())[..16].to_owned()
}

fn name_of(method: &str, params: &Value) -> String {
    format!("answer-{}", &sha256_hex(format!("{method} {params}").as_bytes())[..DIGITS])
}

impl Journal {
    /// The journal of a day, with what is in it. An entry that cannot be read counts as none: its question is asked again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(lake: &Lake, chain: &str, date: Day) -> Result<Self, StoreError> {
        let mut entries = BTreeMap::new();
        let prefix = path::partial_prefix(chain).join(date.to_string());
        for path in lake.list(&prefix).await? {
            let name = path.filename().and_then(|name| name.strip_suffix(".json")).map(str::to_owned);
            let bytes = lake.get(&path).await?;
            if let (Some(name), Some(bytes)) = (name, bytes)
                && let Ok(entry) = serde_json::from_slice::<Entry>(&bytes)
            {
                entries.insert(name, entry);
            }
        }
        Ok(Self { lake: lake.clone(), chain: chain.to_owned(), date, entries: Mutex::new(entries) })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The answer to a question and who gave it, if it is there.
    pub fn answer(&self, method: &str, params: &Value) -> Option<(Value, String)> {
        match self.lock().get(&name_of(method, params)) {
            Some(Entry::Answer(known)) if known.method == method && known.params == *params => {
                Some((known.result.clone(), known.label.clone()))
            }
            _ => None,
        }
    }

    /// How many questions of a method it has the answers to, windows aside.
    pub fn answers_to(&self, method: &str) -> u64 {
        let is_of = |entry: &&Entry| matches!(entry, Entry::Answer(known) if known.method == method);
        self.lock().values().filter(is_of).count() as u64
    }

    /// Keeps the answer to a question.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_answer(
        &self,
        method: &str,
        params: &Value,
        label: &str,
        result: &Value,
    ) -> Result<(), StoreError> {
        let entry = Answered {
            method: method.to_owned(),
            params: params.clone(),
            label: label.to_owned(),
            result: result.clone(),
        };
        self.keep(name_of(method, params), Entry::Answer(entry)).await
    }

    /// The accepted windows of a filter.
    pub fn windows(&self, filter: &str) -> Vec<Accepted> {
        let entries = self.lock();
        let windows = entries.values().filter_map(|entry| match entry {
            Entry::Window(window) if window.filter == filter => Some(window.clone()),
            _ => None,
        });
        windows.collect()
    }

    /// Keeps an accepted window.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_window(&self, window: &Accepted) -> Result<(), StoreError> {
        let (first, last) = (window.span.first(), window.span.last());
        self.keep(format!("logs-{}-{first}-{last}", window.filter), Entry::Window(window.clone())).await
    }

    /// Forgets what an endpoint has said in answer to methods of which `is_doubtful` says so; log queries among them take its
    /// windows along.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget(
        &self,
        label: &str,
        is_doubtful: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<(), StoreError> {
        let is_its = |entry: &Entry| match entry {
            Entry::Window(window) => window.label == label && is_doubtful("eth_getLogs"),
            Entry::Answer(answer) => answer.label == label && is_doubtful(&answer.method),
        };
        let names: BTreeSet<String> =
            self.lock().iter().filter(|(_, entry)| is_its(entry)).map(|(name, _)| name.clone()).collect();
        self.remove(names).await
    }

    /// Removes the journal: its day is finished, or its answers contradict each other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close(&self) -> Result<(), StoreError> {
        let names = self.lock().keys().cloned().collect();
        self.remove(names).await
    }

    /// The journal with nothing in it.
    #[must_use]
    pub async fn emptied(self) -> Self {
        if let Err(error) = self.close().await {
            tracing::warn!("{error}");
        }
        let Self { lake, chain, date, .. } = self;
        Self { lake, chain, date, entries: Mutex::default() }
    }

    /// Removes what earlier runs left of days that are finished. What is there of other days may be another run's, at work now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep(lake: &Lake, chain: &str, finished: &BTreeSet<Day>) -> Result<(), StoreError> {
        for path in lake.list(&path::partial_prefix(chain)).await? {
            let date = path.parts().nth(3).and_then(|date| date.as_ref().parse::<Day>().ok());
            if date.is_none_or(|date| finished.contains(&date)) {
                lake.delete(&path).await?;
            }
        }
        Ok(())
    }

    async fn keep(&self, name: String, entry: Entry) -> Result<(), StoreError> {
        let path = path::partial_answer(&self.chain, self.date, &name);
        let encode =
            |error: serde_json::Error| StoreError::Encode { path: path.clone(), why: error.to_string() };
        let bytes = serde_json::to_vec(&entry).map_err(encode)?;
        self.lake.overwrite(&path, bytes).await?;
        self.lock().insert(name, entry);
        Ok(())
    }

    async fn remove(&self, names: BTreeSet<String>) -> Result<(), StoreError> {
        for name in names {
            self.lake.delete(&path::partial_answer(&self.chain, self.date, &name)).await?;
            self.lock().remove(&name);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::{Address, B256};
    use serde_json::json;

    fn accepted(label: &str, first: u64) -> Accepted {
        let filter = digest_of(&LogFilter::new([Address::ZERO], [B256::ZERO]));
        Accepted {
            filter,
            span: BlockSpan::new(first, first + 9).unwrap(),
            label: label.into(),
            logs: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_journal_outlives_its_run_and_is_gone_when_its_day_is_done() {
        let lake = Lake::open("memory:///").unwrap();
        let date: Day = "2024-12-01".parse().unwrap();
        let journal = Journal::open(&lake, "c", date).await.unwrap();
        let result = json!({ "number": "0x7" });
        journal.keep_answer("eth_getBlockByNumber", &json!(["0x7", false]), "a", &result).await.unwrap();
        journal.keep_window(&accepted("a", 0)).await.unwrap();
        journal.keep_window(&accepted("b", 10)).await.unwrap();

        let again = Journal::open(&lake, "c", date).await.unwrap();
        let (found, label) = again.answer("eth_getBlockByNumber", &json!(["0x7", false])).unwrap();
        assert_eq!((found, label.as_str()), (result, "a"));
        assert!(again.answer("eth_getBlockByNumber", &json!(["0x8", false])).is_none());
        assert_eq!(again.windows(&accepted("a", 0).filter), [accepted("a", 0), accepted("b", 10)]);
        assert!(again.windows("another").is_empty());

        again.forget("a", |method| method == "eth_call").await.unwrap();
        assert_eq!(again.windows(&accepted("a", 0).filter).len(), 2, "it has said nothing of state");
        again.forget("a", |_| true).await.unwrap();
        assert_eq!(again.windows(&accepted("a", 0).filter), [accepted("b", 10)]);
        assert!(again.answer("eth_getBlockByNumber", &json!(["0x7", false])).is_none());
        again.close().await.unwrap();
        assert!(lake.list(&path::partial_prefix("c")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_left_of_finished_days_is_swept() {
        let lake = Lake::open("memory:///").unwrap();
        for date in ["2024-12-01", "2024-12-02"] {
            let journal = Journal::open(&lake, "c", date.parse().unwrap()).await.unwrap();
            journal.keep_window(&accepted("a", 0)).await.unwrap();
        }
        Journal::sweep(&lake, "c", &BTreeSet::from(["2024-12-01".parse().unwrap()])).await.unwrap();
        let left = lake.list(&path::partial_prefix("c")).await.unwrap();
        assert!(left.len() == 1 && left[0].as_ref().contains("2024-12-02"), "{left:?}");
    }
}
