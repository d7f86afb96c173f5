//! Run files: which days of which CSUs, into which lake.
//!
//! ```toml
//! name = "2024-12"
//! zone = "America/New_York"       # optional, this is the default
//! from = "2024-12-01"
//! to = "2024-12-31"
//! csus = ["aave_v3_*"]            # ids, patterns, family:NAME, chain:NAME
//! datasets = ["tvl", "liquidations"]  # optional, both are the default
//! order = "oldest_first"          # optional, this is the default; or "newest_first"
//! registry = "../registry"        # paths are relative to the run file
//! providers = "../registry/providers.toml"
//! lake = "../../data"
//! ```

use crate::day::{Day, DayError, DayRange, DayWindow, Zone};
use crate::registry::{Csu, Registry, RegistryError};
use crate::status::Dataset;
use crate::store::{Lake, StoreError};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// The zone of a run that names none.
pub const DEFAULT_ZONE: &str = "America/New_York";

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The run file cannot be read.
    #[error("cannot read the run file {}: {source}\nhint: runs are in pipelines/runs, for example pipelines/runs/demo.toml", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The run file is not one.
    #[error("{}: {why}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The parser's words, with line and column.
        why: String,
    },
    /// A day, range or zone is wrong.
    #[error(transparent)]
    Day(#[from] DayError),
    /// The registry is wrong, or has no such CSU.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The lake cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the command line puts in place of the run file's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--lake`.
    pub lake: Option<String>,
    /// `--from`.
    pub from: Option<Day>,
    /// `--to`.
    pub to: Option<Day>,
    /// `--csu`, any number of times.
    pub csus: Vec<String>,
}

/// In which order a run goes through its days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As time went.
    #[default]
    OldestFirst,
    /// Backwards, for a lake that is extended into the past.
    NewestFirst,
}

/// A run, ready to begin: its registry is loaded, its CSUs are known.
#[derive(Debug, Clone)]
pub struct Run {
    /// Name of the run.
    pub name: String,
    /// Zone of its days.
    pub zone: Zone,
    /// Its days.
    pub days: DayRange,
    /// Ids of its CSUs, in order.
    pub csus: Vec<String>,
    /// What to collect.
    pub datasets: Vec<Dataset>,
    /// In which order.
    pub order: Order,
    /// The registry.
    pub registry: Registry,
    /// File with the endpoints, read by `extract` alone.
    pub providers: PathBuf,
    /// Location of the lake.
    pub lake: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    name: String,
    #[serde(default)]
    zone: Option<String>,
    from: Day,
    to: Day,
    csus: Vec<String>,
    #[serde(default)]
    datasets: Option<Vec<Dataset>>,
    #[serde(default)]
    order: Order,
    registry: PathBuf,
    #[serde(default)]
    providers: Option<PathBuf>,
    lake: String,
}

impl Run {
    /// Reads a run file and puts the overrides in place.
    ///
    /// # Errors
    /// [`RunError`]: everything that keeps a run from beginning.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<Self, RunError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| RunError::Unreadable { file: file.to_owned(), source })?;
        let malformed = |why: String| RunError::Malformed { file: file.to_owned(), why };
        let read: RunFile = toml::from_str(&text)
            .map_err(|error| malformed(with_nearest_key(error.to_string().trim_end())))?;
        if !is_run_name(&read.name) {
            return Err(malformed(format!(
                "`name = \"{}\"` must be letters, digits, `-` and `_`\nhint: rename the run",
                read.name
            )));
        }

        if overrides.csus.is_empty() && read.csus.is_empty() {
            return Err(malformed("`csus` is empty: there is nothing to do\nhint: name CSUs, or `csus = [\"*\"]` for all of the registry".into()));
        }
        if read.datasets.as_ref().is_some_and(Vec::is_empty) {
            return Err(malformed(
                "`datasets` is empty: there is nothing to do\nhint: name `tvl`, `liquidations`, or leave the line out for both".into(),
            ));
        }

        let base = file.parent().unwrap_or(Path::new(""));
        let registry_directory = without_dots(&base.join(&read.registry));
        let registry = Registry::load(&registry_directory)?;
        let selectors = if overrides.csus.is_empty() { &read.csus } else { &overrides.csus };
        let csus = registry.select(selectors)?.into_iter().map(|csu| csu.id.clone()).collect();
        let days = DayRange::new(overrides.from.unwrap_or(read.from), overrides.to.unwrap_or(read.to))?;
        let zone = Zone::named(read.zone.as_deref().unwrap_or(DEFAULT_ZONE))?;
        for day in days.days() {
            zone.window(day)?;
        }
        Ok(Self {
            name: read.name,
            zone,
            days,
            csus,
            datasets: read.datasets.unwrap_or_else(|| Dataset::ALL.to_vec()),
            order: read.order,
            providers: read.providers.map_or_else(
                || registry_directory.join("providers.toml"),
                |file| without_dots(&base.join(file)),
            ),
            registry,
            lake: overrides.lake.clone().unwrap_or_else(|| relative_lake(base, &read.lake)),
        })
    }

    /// The windows of the run's days, in order. A run is not loaded when one of its days has none.
    pub fn windows(&self) -> impl Iterator<Item = DayWindow> + '_ {
        self.days.days().filter_map(|day| self.zone.window(day).ok())
    }

    /// Opens the run's lake.
    ///
    /// # Errors
    /// [`RunError::Store`].
    pub fn open_lake(&self) -> Result<Lake, RunError> {
        Ok(Lake::open(&self.lake)?)
    }

    /// The CSUs of the run, in order of id.
    pub fn csus(&self) -> impl Iterator<Item = &Csu> {
        self.csus.iter().filter_map(|id| self.registry.csu(id))
    }
}

/// The parser's words on a key that a run file does not have, with the one that was probably meant.
fn with_nearest_key(why: &str) -> String {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let Some((_, about)) = why.split_once("unknown field ") else { return why.to_owned() };
    let mut names = quoted(about).into_iter();
    let Some(asked) = names.next() else { return why.to_owned() };
    match names.max_by(|a, b| strsim::jaro_winkler(&asked, a).total_cmp(&strsim::jaro_winkler(&asked, b))) {
        Some(nearest) => format!("{why}\nhint: `{asked}` is no key of a run file; did you mean `{nearest}`?"),
        None => why.to_owned(),
    }
}

fn is_run_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// A lake that is a plain relative directory is relative to the run file; a URL is taken as it is.
fn relative_lake(base: &Path, lake: &str) -> String {
    if lake.contains("://") { lake.to_owned() } else { without_dots(&base.join(lake)).display().to_string() }
}

/// The path without `.` and with each `dir/..` removed, as people write it in messages.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lake_is_relative_to_its_run_file() {
        let lake = |base: &str, lake: &str| relative_lake(Path::new(base), lake);
        assert_eq!(lake("pipelines/runs", "../../data/demo/lake"), "data/demo/lake");
        assert_eq!(lake("runs", "../../data"), "../data");
        assert_eq!(lake("", "./data"), "data");
        assert_eq!(lake("runs", "/srv/lake"), "/srv/lake");
        assert_eq!(lake("runs", "memory:///"), "memory:///");
    }

    #[test]
    fn a_run_of_nothing_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.toml");
        let days =
            "name = \"x\"\nfrom = \"2024-12-01\"\nto = \"2024-12-01\"\nregistry = \"r\"\nlake = \"l\"\n";
        let refusal = |lists: &str| {
            std::fs::write(&file, format!("{days}{lists}")).unwrap();
            Run::load(&file, &Overrides::default()).unwrap_err().to_string()
        };
        assert!(refusal("csus = []").contains("`csus` is empty: there is nothing to do\nhint: "));
        let error = refusal("csus = [\"*\"]\ndatasets = []");
        assert!(error.contains("`datasets` is empty: there is nothing to do\nhint: "), "{error}");
    }

    #[test]
    fn a_mistyped_key_is_named_with_the_nearest_right_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.toml");
        for (typed, meant) in [
            ("csu", "csus"),
            ("form", "from"),
            ("registy", "registry"),
            ("ordre", "order"),
            ("dataset", "datasets"),
        ] {
            std::fs::write(&file, format!("name = \"x\"\n{typed} = \"y\"\n")).unwrap();
            let error = Run::load(&file, &Overrides::default()).unwrap_err().to_string();
            let hint = format!("hint: `{typed}` is no key of a run file; did you mean `{meant}`?");
            assert!(error.contains(&hint) && error.contains("line 2"), "{error}");
        }
        std::fs::write(&file, "name = \"x\"\norder = \"backwards\"\n").unwrap();
        let error = Run::load(&file, &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("`backwards`") && error.contains("`newest_first`"), "{error}");
    }

    #[test]
    fn a_missing_run_file_is_named() {
        let error = Run::load(Path::new("nowhere.toml"), &Overrides::default()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read the run file nowhere.toml"), "{error}");
    }
}
