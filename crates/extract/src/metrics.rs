//! What a run is doing, for programs that watch it: a line of JSON every few seconds, and a file in Prometheus' text form
//! for node_exporter's textfile collector.
//!
//! Labels are names of endpoints and of variables; no URL and no key is in them.

use crate::report::Progress;
use crate::rpc::providers::Providers;
use crate::schedule::Schedule;
use prometheus::{GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};
use serde::Serialize;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two measurements.
const EVERY: Duration = Duration::from_secs(10);

/// Where measurements go.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// A line of JSON each, added to the end.
    pub json_lines: Option<PathBuf>,
    /// The last one in Prometheus' text form, replaced whole.
    pub prometheus: Option<PathBuf>,
}

/// Why measurements cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write metrics to {}: {source}\nhint: is the directory there, and may you write to it?", file.display())]
pub struct MetricsError {
    file: PathBuf,
    source: std::io::Error,
}

/// What a run has done so far.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Run.
    pub run: String,
    /// `K/N`, if the run is divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// Since the run began.
    pub seconds: f64,
    /// Tasks done in this run.
    pub tasks: u64,
    /// Blocks of the chain-days that it has made whole, as the registry expects them.
    pub blocks: u64,
    /// Endpoints that were asked.
    pub endpoints: Vec<OfEndpoint>,
    /// Keys, and endpoints without one.
    pub keys: Vec<OfKey>,
    /// Bytes of memory that are held, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// Files and connections that are open, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}

/// What one endpoint was asked.
#[derive(Debug, Clone, Serialize)]
pub struct OfEndpoint {
    /// Label.
    pub endpoint: String,
    /// Requests sent.
    pub requests: u64,
    /// Of them, those that failed in passing and were made again.
    pub again: u64,
    /// Units they cost.
    pub units: u64,
}

/// What one key does.
#[derive(Debug, Clone, Serialize)]
pub struct OfKey {
    /// Variable of the key, or label of the endpoint.
    pub key: String,
    /// Unit.
    pub unit: String,
    /// Units spent this month, in all books of the key that were read.
    pub spent: u64,
    /// Requests that are paid for and not answered.
    pub under_way: u64,
    /// Share of the allowed pace that is used: less than one after the operator said that the key is too fast.
    pub pace: f64,
}

/// Writes what a run is doing.
pub struct Meter<'a> {
    files: Files,
    began: Instant,
    schedule: &'a Schedule,
    providers: &'a Providers,
    progress: &'a Progress,
}

impl<'a> Meter<'a> {
    /// A meter of a run that begins now. Writes once, so that a file that cannot be written is noticed before any work is done.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn begin(
        files: Files,
        schedule: &'a Schedule,
        providers: &'a Providers,
        progress: &'a Progress,
    ) -> Result<Self, MetricsError> {
        let meter = Self { files, began: Instant::now(), schedule, providers, progress };
        meter.write()?;
        Ok(meter)
    }

    /// Writes every few seconds, until it is dropped. What cannot be written later is told, and no more.
    pub async fn keep_writing(&self) -> Infallible {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.write() {
                tracing::warn!("{error}");
            }
        }
    }

    /// Writes what was done so far.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn write(&self) -> Result<(), MetricsError> {
        if self.files.json_lines.is_none() && self.files.prometheus.is_none() {
            return Ok(());
        }
        let measurement = self.measure();
        if let Some(file) = &self.files.json_lines {
            let line = serde_json::to_string(&measurement).map_err(std::io::Error::other);
            line.and_then(|line| append(file, &line)).map_err(|source| of(file, source))?;
        }
        if let Some(file) = &self.files.prometheus {
            let text = measurement.as_prometheus().map_err(std::io::Error::other);
            text.and_then(|text| put(file, &text)).map_err(|source| of(file, source))?;
        }
        Ok(())
    }

    fn measure(&self) -> Measurement {
        let progress = self.schedule.progress();
        let asked = self.progress.asked().into_iter();
        let endpoints = asked.map(|(endpoint, asked)| OfEndpoint {
            endpoint,
            requests: asked.sent(),
            again: asked.again(),
            units: asked.units(),
        });
        let keys = self.providers.purses().into_iter().map(|purse| OfKey {
            key: purse.name().to_owned(),
            unit: purse.tariff().unit.clone(),
            spent: purse.spent(),
            under_way: purse.under_way() as u64,
            pace: purse.share_of_pace(),
        });
        Measurement {
            at: jiff::Timestamp::now().to_string(),
            run: progress.as_ref().map_or_else(String::new, |progress| progress.run.clone()),
            shard: progress.as_ref().and_then(|progress| progress.shard.clone()),
            seconds: self.began.elapsed().as_secs_f64(),
            tasks: progress.as_ref().map_or(0, |progress| progress.tasks),
            blocks: progress.as_ref().map_or(0, |progress| progress.blocks),
            endpoints: endpoints.collect(),
            keys: keys.collect(),
            resident_bytes: resident_bytes(),
            open_files: open_files(),
        }
    }
}

impl Measurement {
    /// The measurement in Prometheus' text form.
    ///
    /// # Errors
    /// Of the formatter.
    pub fn as_prometheus(&self) -> Result<String, prometheus::Error> {
        let registry = Registry::new();
        let shard = self.shard.as_deref().unwrap_or("1/1");
        let of_run = [self.run.as_str(), shard];
        let counted = |name: &str, help: &str, values: &[(&str, u64)], label: Option<&str>| {
            let labels: Vec<&str> = ["run", "shard"].into_iter().chain(label).collect();
            let counters = IntCounterVec::new(Opts::new(format!("lendlake_extract_{name}"), help), &labels)?;
            for (of, value) in values {
                let of: Vec<&str> = of_run.into_iter().chain(label.map(|_| *of)).collect();
                counters.get_metric_with_label_values(&of)?.inc_by(*value);
            }
            registry.register(Box::new(counters))
        };
        let level = |name: &str, help: &str, values: &[(&str, f64)], label: Option<&str>| {
            let labels: Vec<&str> = ["run", "shard"].into_iter().chain(label).collect();
            let gauges = GaugeVec::new(Opts::new(format!("lendlake_extract_{name}"), help), &labels)?;
            for (of, value) in values {
                let of: Vec<&str> = of_run.into_iter().chain(label.map(|_| *of)).collect();
                gauges.get_metric_with_label_values(&of)?.set(*value);
            }
            registry.register(Box::new(gauges))
        };
        counted("tasks_done_total", "Tasks done in this run", &[("", self.tasks)], None)?;
        counted(
            "blocks_done_total",
            "Blocks of chain-days made whole in this run",
            &[("", self.blocks)],
            None,
        )?;
        level("running_seconds", "Time since the run began", &[("", self.seconds)], None)?;
        let of_endpoints = |value: fn(&OfEndpoint) -> u64| {
            self.endpoints.iter().map(|one| (one.endpoint.as_str(), value(one))).collect::<Vec<_>>()
        };
        let endpoint = Some("endpoint");
        let again = "Requests that failed in passing and were made again";
        counted(
            "requests_total",
            "Requests sent to an endpoint",
            &of_endpoints(|one| one.requests),
            endpoint,
        )?;
        counted("requests_again_total", again, &of_endpoints(|one| one.again), endpoint)?;
        counted(
            "units_total",
            "Units paid to an endpoint in this run",
            &of_endpoints(|one| one.units),
            endpoint,
        )?;
        let of_keys = |value: fn(&OfKey) -> f64| {
            self.keys.iter().map(|one| (one.key.as_str(), value(one))).collect::<Vec<_>>()
        };
        let (key, spent) = (Some("key"), "Units of a key that are spent this month, by all processes");
        level("key_spent_units", spent, &of_keys(|one| one.spent as f64), key)?;
        let under_way = "Requests that are paid for and not answered";
        level("key_requests_under_way", under_way, &of_keys(|one| one.under_way as f64), key)?;
        level("key_pace_ratio", "Share of the allowed pace that a key uses", &of_keys(|one| one.pace), key)?;
        // What the system does not tell is left out, and not zero.
        for (name, help, value) in [
            ("resident_memory_bytes", "Memory that is held", self.resident_bytes),
            ("open_files", "Files and connections that are open", self.open_files),
        ] {
            if let Some(value) = value {
                level(name, help, &[("", value as f64)], None)?;
            }
        }
        TextEncoder::new().encode_to_string(&registry.gather())
    }
}

fn of(file: &Path, source: std::io::Error) -> MetricsError {
    MetricsError { file: file.to_owned(), source }
}

fn append(file: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    // One write, so that shards that share a file do not mix their lines.
    file.write_all(format!("{line}\n").as_bytes())
}

/// Replaces a file whole: whoever reads it meanwhile sees the old one.
fn put(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    std::fs::write(&new, text)?;
    std::fs::rename(&new, file)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement() -> Measurement {
        Measurement {
            at: "2025-01-07T18:00:00Z".to_owned(),
            run: "2024-12".to_owned(),
            shard: Some("2/3".to_owned()),
            seconds: 12.5,
            tasks: 7,
            blocks: 21_600,
            endpoints: vec![OfEndpoint {
                endpoint: "alchemy_1".into(),
                requests: 40,
                again: 2,
                units: 2_400,
            }],
            keys: vec![OfKey {
                key: "ALCHEMY_KEY_1".into(),
                unit: "CU".into(),
                spent: 90_000,
                under_way: 3,
                pace: 0.7,
            }],
            resident_bytes: Some(1 << 20),
            open_files: None,
        }
    }

    #[test]
    fn a_measurement_is_told_in_prometheus_words() {
        let text = measurement().as_prometheus().unwrap();
        for line in [
            "# TYPE lendlake_extract_tasks_done_total counter",
            "lendlake_extract_tasks_done_total{run=\"2024-12\",shard=\"2/3\"} 7",
            "lendlake_extract_blocks_done_total{run=\"2024-12\",shard=\"2/3\"} 21600",
            "lendlake_extract_running_seconds{run=\"2024-12\",shard=\"2/3\"} 12.5",
            "lendlake_extract_requests_total{endpoint=\"alchemy_1\",run=\"2024-12\",shard=\"2/3\"} 40",
            "lendlake_extract_key_pace_ratio{key=\"ALCHEMY_KEY_1\",run=\"2024-12\",shard=\"2/3\"} 0.7",
        ] {
            assert!(text.lines().any(|told| told == line), "{text}\ndoes not say: {line}");
        }
        assert!(!text.contains("open_files"), "what is not known is not zero");
    }

    #[test]
    fn files_are_added_to_and_replaced_whole() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for _ in 0..3 {
            append(&at("m.jsonl"), "{}").unwrap();
            put(&at("m.prom"), "text\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(at("m.jsonl")).unwrap(), "{}\n{}\n{}\n");
        assert_eq!(std::fs::read_to_string(at("m.prom")).unwrap(), "text\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    }
}
