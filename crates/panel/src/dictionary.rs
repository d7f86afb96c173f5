//! `panel dictionary`: what every table and column of the lake means, as Markdown and CSV.
//!
//! Everything comes from `lake::schema`; nothing is written by hand, so a page that differs is stale.

use lake::schema::gold::PanelDaily;
use lake::schema::{Column, Row, Table, tables};
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
}

/// Every file of the dictionary: name and content.
///
/// # Errors
/// [`DictionaryError::Csv`].
pub fn pages() -> Result<BTreeMap<String, String>, DictionaryError> {
    let mut pages = BTreeMap::from([("README.md".to_owned(), index())]);
    for table in tables() {
        pages.insert(format!("{}.md", table.name), page(&table));
    }
    pages.insert(format!("{}.csv", PanelDaily::TABLE.name), csv(&PanelDaily::TABLE)?);
    Ok(pages)
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
        if (name.ends_with(".md") || name.ends_with(".csv")) && !pages.contains_key(&name) {
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
    let name = PanelDaily::TABLE.name;
    let _ = write!(text, "\n[{name}.csv]({name}.csv) is the page of the panel for programs.\n");
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
    text
}

fn layer(table: &Table) -> &'static str {
    if table.name == PanelDaily::TABLE.name { lake::path::GOLD } else { lake::path::SILVER }
}

/// A pipe would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn csv(table: &Table) -> Result<String, DictionaryError> {
    let failed = |error: String| DictionaryError::Csv(error);
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    let record = |column: &Column| {
        let Column { name, kind, unit, meaning, null_when, is_key, .. } = *column;
        [name, kind.name(), unit, if is_key { "yes" } else { "no" }, meaning, null_when]
    };
    writer
        .write_record(["name", "type", "unit", "key", "meaning", "null_when"])
        .map_err(|error| failed(error.to_string()))?;
    for column in table.columns {
        writer.write_record(record(column)).map_err(|error| failed(error.to_string()))?;
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
