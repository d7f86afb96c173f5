//! `panel dictionary`: what every table and column of the lake means, as Markdown, CSV and a Frictionless data package.
//!
//! Everything comes from `lake::schema` and from what the families say of themselves; nothing is written by hand, so a page
//! that differs is stale.

pub mod applicability;
pub mod package;
pub mod warnings;

use crate::build::PARQUET;
use lake::path::{codebook_file, gold_file};
use lake::run::Run;
use lake::schema::gold::PanelDaily;
use lake::schema::{Column, Row, Table, gold, tables};
use lake::store::{Lake, StoreError};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Why the dictionary could not be written or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DictionaryError {
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The CSV writer refused.
    #[error("cannot write the dictionary as CSV: {0}")]
    Csv(String),
    /// The JSON writer refused.
    #[error("cannot write the data package: {0}")]
    Json(#[from] serde_json::Error),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no gold to describe.
    #[error("no panel in the lake at {location}\nhint: run `panel build` (make gold) first")]
    NoGold {
        /// The lake.
        location: String,
    },
}

/// Name of the data package.
pub const PACKAGE: &str = "datapackage.json";

/// Every file of the dictionary: name and content.
///
/// # Errors
/// [`DictionaryError::Csv`], [`DictionaryError::Json`].
pub fn pages() -> Result<BTreeMap<String, String>, DictionaryError> {
    let mut pages = codebook()?;
    pages.insert("README.md".to_owned(), index());
    for table in tables() {
        pages.insert(format!("{}.md", table.name), page(&table));
    }
    pages.insert(PACKAGE.to_owned(), package::package(|_| None)?);
    Ok(pages)
}

/// The pages about gold alone: those that travel with it.
fn codebook() -> Result<BTreeMap<String, String>, DictionaryError> {
    let mut pages = BTreeMap::from([
        ("applicability.md".to_owned(), applicability::page(GENERATED)),
        ("applicability.csv".to_owned(), csv(applicability::records())?),
        ("warnings.md".to_owned(), warnings::page(GENERATED)),
        ("warnings.csv".to_owned(), csv(warnings::records())?),
    ]);
    for table in gold::tables() {
        pages.insert(format!("{}.md", table.name), page(&table));
        pages.insert(format!("{}.csv", table.name), csv(records(&table))?);
    }
    Ok(pages)
}

/// Writes the codebook beside a run's gold: its pages and the warnings of the run's CSUs into `gold/codebook`, and
/// `gold/datapackage.json` with the digests of the files that are there. Returns the paths.
///
/// # Errors
/// [`DictionaryError`].
pub async fn write_to_lake(run: &Run, lake: &Lake) -> Result<Vec<String>, DictionaryError> {
    let mut files = BTreeMap::new();
    for name in package::files() {
        if let Some(bytes) = lake.get(&gold_file(name)).await? {
            files.insert(name, bytes.to_vec());
        }
    }
    if !files.contains_key(PARQUET) {
        return Err(DictionaryError::NoGold { location: lake.location().to_owned() });
    }
    let mut pages = codebook()?;
    let csus = run.csus.iter().map(String::as_str);
    pages.insert("csu_warnings.csv".to_owned(), csv(warnings::of_csus(&run.registry, csus))?);
    let mut written = Vec::new();
    for (name, text) in pages {
        let path = codebook_file(&name);
        lake.replace(&path, text).await?;
        written.push(path.to_string());
    }
    let path = gold_file(PACKAGE);
    lake.replace(&path, package::package(|name| files.remove(name))?).await?;
    written.push(path.to_string());
    Ok(written)
}

/// Writes the dictionary into a directory, which is made when it is missing.
///
/// # Errors
/// [`DictionaryError`].
pub fn write(directory: &Path) -> Result<Vec<PathBuf>, DictionaryError> {
    std::fs::create_dir_all(directory).map_err(|source| failed("make", directory, source))?;
    let mut written = Vec::new();
    for (name, text) in pages()? {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|source| failed("write", &path, source))?;
        written.push(path);
    }
    Ok(written)
}

/// Names of files that are missing, differ, or belong to no table.
///
/// # Errors
/// [`DictionaryError`] when the directory cannot be read.
pub fn stale(directory: &Path) -> Result<Vec<String>, DictionaryError> {
    let pages = pages()?;
    let mut stale = Vec::new();
    for (name, text) in &pages {
        let path = directory.join(name);
        match std::fs::read(&path) {
            Ok(there) if there == text.as_bytes() => {}
            Ok(_) => stale.push(name.clone()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => stale.push(name.clone()),
            Err(source) => return Err(failed("read", &path, source)),
        }
    }
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(stale),
        Err(source) => return Err(failed("read", directory, source)),
    };
    for entry in entries {
        let name = entry.map_err(|source| failed("read", directory, source))?.file_name();
        let name = name.to_string_lossy().into_owned();
        let is_page = [".md", ".csv", ".json"].iter().any(|ending| name.ends_with(ending));
        if is_page && !pages.contains_key(&name) {
            stale.push(name);
        }
    }
    stale.sort();
    Ok(stale)
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> DictionaryError {
    DictionaryError::File { action, path: path.to_owned(), source }
}

const GENERATED: &str = "<!-- Written by `panel dictionary --out docs/dictionary` from crates/lake/src/schema; edit the schema. -->\n\n";

fn index() -> String {
    let mut text = format!("{GENERATED}# Data dictionary\n\n");
    text.push_str(
        "Raw amounts are decimal text, amounts without a suffix are whole tokens, `_usd` is US dollars at the price \
         of that block.\nRates are simple and annual: 0.043 is 4.3 per cent. A null is never a zero, and a zero was \
         measured. There is no NaN and no\ninfinity. Unit and meaning of each column also stand in the metadata of \
         the Parquet files.\n\n",
    );
    text.push_str("| table | layer | one row per | columns | version |\n|---|---|---|---:|---|\n");
    for table in tables() {
        let name = table.name;
        let layer = layer(&table);
        let (per, columns, version) = (escaped(table.one_row_per), table.columns.len(), table.version);
        let _ = writeln!(text, "| [{name}]({name}.md) | {layer} | {per} | {columns} | {version} |");
    }
    let panel = PanelDaily::TABLE.name;
    let _ = write!(
        text,
        "\n[Applicability](applicability.md): which family fills which column. [Usage warnings](warnings.md): what to know \
         before a column is used.\nFor programs: [{panel}.csv]({panel}.csv), [panel_daily_asset.csv](panel_daily_asset.csv), \
         [applicability.csv](applicability.csv), [warnings.csv](warnings.csv), [{PACKAGE}]({PACKAGE}) (Frictionless).\n"
    );
    text
}

fn page(table: &Table) -> String {
    let key: Vec<_> = table.key().iter().map(|name| format!("`{name}`")).collect();
    let mut text = format!("{GENERATED}# {}\n\n", table.name);
    let _ = write!(
        text,
        "Layer {}, version {}. One row per {}. Key: {}.\n\n",
        layer(table),
        table.version,
        table.one_row_per,
        key.join(", ")
    );
    text.push_str("| column | type | unit | meaning | null when |\n|---|---|---|---|---|\n");
    for column in table.columns {
        let key = if column.is_key { " (key)" } else { "" };
        let _ = writeln!(
            text,
            "| `{}`{key} | {} | {} | {} | {} |",
            column.name,
            column.kind.name(),
            escaped(column.unit),
            escaped(column.meaning),
            escaped(column.null_when)
        );
    }
    if layer(table) == lake::path::GOLD {
        text.push_str(
            "\nBesides, a column is null for the CSUs of a family that never fills it: [applicability](applicability.md).\n\n\
             ## Columns one by one\n",
        );
        for column in table.columns {
            text.push_str(&entry(table, column));
        }
    }
    text
}

/// What the codebook says of a column beyond the table of all.
fn entry(table: &Table, column: &Column) -> String {
    let mut text = format!("\n### `{}`\n\n{}\n\n", column.name, column.label());
    let words: Vec<String> = column.words.iter().map(|word| format!("`{word}`")).collect();
    let sources: Vec<String> = column.book.sources.iter().map(|source| format!("`{source}`")).collect();
    let codes: Vec<String> =
        codes(table, column).iter().map(|code| format!("[`{code}`](warnings.md)")).collect();
    let formula =
        if column.book.formula.is_empty() { String::new() } else { format!("`{}`", column.book.formula) };
    for (name, value) in [
        ("range", column.book.range.to_string()),
        ("words", words.join(", ")),
        ("formula", formula),
        ("from", sources.join(", ")),
        ("families", families(table, column)),
        ("warnings", codes.join(", ")),
        ("since", format!("{} {}", table.name, column.book.since)),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "- {name}: {value}");
        }
    }
    text
}

/// Families that fill a column, and those that do so by estimate or never.
fn families(table: &Table, column: &Column) -> String {
    if table.name != PanelDaily::TABLE.name {
        return "as in panel_daily".to_owned();
    }
    let words = ["yes", "estimated", "never"].map(|word| (word, applicability::families(column.name, word)));
    let parts =
        words.iter().filter(|(_, families)| !families.is_empty()).map(|(word, families)| match *word {
            "yes" if families.len() == protocols::FAMILIES.len() => "all".to_owned(),
            "yes" => families.join(", "),
            word => format!("{word}: {}", families.join(", ")),
        });
    parts.collect::<Vec<_>>().join("; ")
}

fn codes(table: &Table, column: &Column) -> Vec<&'static str> {
    if table.name == PanelDaily::TABLE.name { warnings::codes(column.name) } else { Vec::new() }
}

fn layer(table: &Table) -> &'static str {
    if gold::tables().iter().any(|of_gold| of_gold.name == table.name) {
        lake::path::GOLD
    } else if table.name == lake::schema::checks::Finding::TABLE.name {
        lake::path::CHECKS
    } else {
        lake::path::SILVER
    }
}

/// A pipe would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A table of gold for programs: one line a column.
fn records(table: &Table) -> Vec<Vec<String>> {
    let header =
        "name label type unit key range words meaning null_when formula sources families warnings since";
    let mut records = vec![header.split(' ').map(str::to_owned).collect()];
    for column in table.columns {
        let Column { name, kind, unit, meaning, null_when, is_key, words, book, .. } = *column;
        let record = [
            name,
            column.label(),
            kind.name(),
            unit,
            if is_key { "yes" } else { "no" },
            &book.range.to_string(),
            &words.join(" "),
            meaning,
            null_when,
            book.formula,
            &book.sources.join(" "),
            &families(table, column),
            &codes(table, column).join(" "),
            book.since,
        ];
        records.push(record.map(str::to_owned).to_vec());
    }
    records
}

fn csv(records: Vec<Vec<String>>) -> Result<String, DictionaryError> {
    let failed = |error: String| DictionaryError::Csv(error);
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for record in records {
        writer.write_record(record).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dictionary")
    }

    #[test]
    fn the_committed_dictionary_is_fresh() {
        let stale = stale(&committed()).unwrap();
        assert!(
            stale.is_empty(),
            "stale: {}; run `panel dictionary --out docs/dictionary`",
            stale.join(", ")
        );
    }

    #[test]
    fn every_table_has_a_page_with_every_column() {
        let pages = pages().unwrap();
        for table in tables() {
            let page = &pages[&format!("{}.md", table.name)];
            for column in table.columns {
                assert!(page.contains(&format!("| `{}`", column.name)), "{}.{}", table.name, column.name);
            }
            assert!(pages["README.md"].contains(&format!("[{}]", table.name)));
        }
        assert_eq!(pages["panel_daily.csv"].lines().count(), PanelDaily::TABLE.columns.len() + 1);
    }

    #[test]
    fn an_edited_a_missing_and_a_foreign_page_are_stale() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        assert!(stale(directory.path()).unwrap().is_empty());
        std::fs::write(directory.path().join("token.md"), "old").unwrap();
        std::fs::remove_file(directory.path().join("price.md")).unwrap();
        std::fs::write(directory.path().join("vault.md"), "a table that is gone").unwrap();
        assert_eq!(stale(directory.path()).unwrap(), ["price.md", "token.md", "vault.md"]);
        assert_eq!(stale(&directory.path().join("nowhere")).unwrap().len(), pages().unwrap().len());
    }
}
