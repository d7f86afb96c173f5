//! The papers of a release: README and citation.

use super::{ReleaseError, Wanted};
use crate::findings::Check;
use crate::rows::Rows;
use askama::Template;
use lake::run::Run;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use std::collections::{BTreeMap, BTreeSet};

/// Markdown; what comes from registry and lake are words and numbers of ours.
#[derive(Template)]
#[template(path = "release_readme.md", escape = "none")]
struct Readme<'a> {
    release: &'a str,
    doi: Option<&'a str>,
    year: &'a str,
    run: &'a str,
    from: String,
    to: String,
    zone: &'a str,
    n_csus: usize,
    n_days: usize,
    n_rows: usize,
    statuses: Vec<(String, usize)>,
    families: Vec<(String, usize)>,
    chains: usize,
    columns: usize,
    schema_version: &'a str,
    code_version: &'a str,
    registry_hash: &'a str,
    n_checks: usize,
    failing: Vec<(String, &'static str, usize)>,
    files: Vec<(String, &'static str, usize)>,
    has_diff: bool,
}

#[derive(Template)]
#[template(path = "CITATION.cff", escape = "none")]
struct Citation<'a> {
    release: &'a str,
    date: Option<String>,
    doi: Option<String>,
    sentence: String,
}

pub(super) fn write(
    run: &Run,
    gold: &Rows,
    wanted: &Wanted,
    checks: &[Check],
    n_checks: usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), ReleaseError> {
    let mut statuses: BTreeMap<String, usize> = BTreeMap::new();
    for word in gold.text("status")?.iter().flatten() {
        *statuses.entry(word.to_owned()).or_insert(0) += 1;
    }
    let mut families: BTreeMap<String, usize> = BTreeMap::new();
    for csu in run.csus() {
        *families.entry(csu.family.clone()).or_insert(0) += 1;
    }
    let chains: BTreeSet<&str> = run.csus().map(|csu| csu.chain.as_str()).collect();
    let n_days = run.days.days().count();
    let citation = Citation {
        release: wanted.name.as_str(),
        date: wanted.date.map(|date| date.to_string()),
        doi: wanted.doi.as_deref().map(quoted).transpose()?,
        sentence: quoted(&format!(
            "A daily panel of {} DeFi lending deployments on {} chains, {} to {}: TVL, utilisation, rates and liquidations in US dollars at on-chain oracle prices, with a stated reason for every gap.",
            run.csus.len(),
            chains.len(),
            run.days.from(),
            run.days.to()
        ))?,
    };
    files.insert("CITATION.cff".to_owned(), citation.render()?.into_bytes());
    let readme = Readme {
        release: wanted.name.as_str(),
        doi: wanted.doi.as_deref(),
        year: wanted.name.year(),
        run: &run.name,
        from: run.days.from().to_string(),
        to: run.days.to().to_string(),
        zone: run.zone.name(),
        n_csus: run.csus.len(),
        n_days,
        n_rows: gold.height(),
        statuses: statuses.into_iter().collect(),
        families: families.into_iter().collect(),
        chains: chains.len(),
        columns: PanelDaily::TABLE.columns.len(),
        schema_version: PanelDaily::TABLE.version,
        code_version: env!("CARGO_PKG_VERSION"),
        registry_hash: run.registry.sha256(),
        n_checks,
        failing: checks
            .iter()
            .map(|check| (format!("{}/{}", check.layer, check.check), check.level.as_str(), check.rows.len()))
            .collect(),
        files: files.iter().map(|(path, bytes)| (path.clone(), what_is(path), bytes.len())).collect(),
        has_diff: wanted.previous.is_some(),
    };
    files.insert("README.md".to_owned(), readme.render()?.into_bytes());
    Ok(())
}

/// What a file of the bundle is, by where it lies.
fn what_is(path: &str) -> &'static str {
    match path.split('/').next().unwrap_or_default() {
        "data" if path.ends_with(".parquet") => "the panel (Parquet, zstd)",
        "data" if path.ends_with(".csv") => "the panel (CSV, RFC 4180)",
        "data" if path.ends_with(".dta") => "the panel (Stata 14 and later)",
        "codebook" => "codebook",
        "registry" => "registry",
        "manifests" => "digests of inputs and outputs",
        "checks" => "rows that fail a check",
        "diff" => "what moved since the release before",
        "CHANGES.md" => "what moved in the data, in words",
        "CITATION.cff" => "citation",
        _ => "",
    }
}

/// Text as a YAML double-quoted scalar: JSON's strings are such.
fn quoted(text: &str) -> Result<String, ReleaseError> {
    Ok(serde_json::to_string(text)?)
}
