//! The Frictionless Data Package of gold: what each file is, its columns, and its digest.
//!
//! <https://specs.frictionlessdata.io/data-package/> (version 1, which every tool reads). No address stands in it: a lake
//! holds none.

use crate::build::{ASSET_CSV, ASSET_PARQUET, COLLECTED_CSV, COLLECTED_PARQUET, CSV, PARQUET};
use lake::digest::sha256_hex;
use lake::schema::gold::{PanelDaily, PanelDailyAsset};
use lake::schema::{Column, Kind, Row, Table};
use serde_json::{Value, json};

/// A file of gold that a package may hold.
struct Resource {
    file: &'static str,
    table: Table,
    title: &'static str,
}

const RESOURCES: &[Resource] = &[
    Resource { file: PARQUET, table: PanelDaily::TABLE, title: "Daily panel of CSUs, the complete frame" },
    Resource { file: CSV, table: PanelDaily::TABLE, title: "The same as CSV" },
    Resource {
        file: COLLECTED_PARQUET,
        table: PanelDaily::TABLE,
        title: "The rows of the panel whose status is collected (unbalanced)",
    },
    Resource { file: COLLECTED_CSV, table: PanelDaily::TABLE, title: "The same as CSV" },
    Resource {
        file: ASSET_PARQUET,
        table: PanelDailyAsset::TABLE,
        title: "Stocks of the panel by class of assets",
    },
    Resource { file: ASSET_CSV, table: PanelDailyAsset::TABLE, title: "The same as CSV" },
];

/// Names of the files that a package may hold.
pub fn files() -> impl Iterator<Item = &'static str> {
    RESOURCES.iter().map(|resource| resource.file)
}

/// The package of the files that `bytes_of` has, with their sizes and digests. When it has none, the package of the CSV files
/// as they will be, without sizes and digests.
///
/// # Errors
/// What the JSON writer reports.
pub fn package(mut bytes_of: impl FnMut(&str) -> Option<Vec<u8>>) -> Result<String, serde_json::Error> {
    let found: Vec<(&Resource, Option<Vec<u8>>)> =
        RESOURCES.iter().map(|resource| (resource, bytes_of(resource.file))).collect();
    let is_bare = found.iter().all(|(_, bytes)| bytes.is_none());
    let resources: Vec<Value> = found
        .iter()
        .filter(|(resource, bytes)| bytes.is_some() || (is_bare && [CSV, ASSET_CSV].contains(&resource.file)))
        .map(|(resource, bytes)| described(resource, bytes.as_deref()))
        .collect();
    let package = json!({
        "name": "lendlake-panel",
        "title": "lendlake: a daily panel of DeFi lending",
        "description": "One row for every CSU (one lending deployment on one chain) and every day of a run. A figure is \
                        null unless a status word says that it was measured.",
        "licenses": [{ "name": "CC-BY-4.0", "title": "Creative Commons Attribution 4.0" }],
        "resources": resources,
    });
    Ok(serde_json::to_string_pretty(&package)? + "\n")
}

fn described(resource: &Resource, bytes: Option<&[u8]>) -> Value {
    let is_csv = resource.file.ends_with(".csv");
    let (format, mediatype) =
        if is_csv { ("csv", "text/csv") } else { ("parquet", "application/vnd.apache.parquet") };
    let mut described = json!({
        "name": resource.file.replace('.', "_"),
        "path": resource.file,
        "title": resource.title,
        "format": format,
        "mediatype": mediatype,
        "schema": schema(&resource.table, is_csv),
    });
    if let Some(fields) = described.as_object_mut() {
        if is_csv {
            fields.insert("encoding".to_owned(), json!("utf-8"));
            fields.insert("dialect".to_owned(), json!({ "lineTerminator": "\r\n" }));
        }
        if let Some(bytes) = bytes {
            fields.insert("bytes".to_owned(), json!(bytes.len()));
            fields.insert("hash".to_owned(), json!(format!("sha256:{}", sha256_hex(bytes))));
        }
    }
    described
}

fn schema(table: &Table, is_csv: bool) -> Value {
    let fields: Vec<Value> = table.columns.iter().map(field).collect();
    let missing: &[&str] = if is_csv { &[""] } else { &[] };
    json!({ "fields": fields, "primaryKey": table.key(), "missingValues": missing })
}

fn field(column: &Column) -> Value {
    let kind = match column.kind {
        Kind::Text => "string",
        Kind::Int32 | Kind::Int64 => "integer",
        Kind::Float64 => "number",
        Kind::Date => "date",
        Kind::Timestamp => "datetime",
        Kind::Boolean => "boolean",
    };
    let mut constraints = serde_json::Map::new();
    // A text that is never null may be empty, which a CSV cannot tell from a null.
    let may_be_empty = column.kind == Kind::Text && column.words.is_empty() && !column.is_key;
    if !column.nullable && !may_be_empty {
        constraints.insert("required".to_owned(), json!(true));
    }
    if !column.words.is_empty() {
        constraints.insert("enum".to_owned(), json!(column.words));
    }
    let (low, high) = column.book.range.bounds();
    for (name, bound) in [("minimum", low), ("maximum", high)] {
        if let Some(bound) = bound {
            constraints.insert(name.to_owned(), json!(bound));
        }
    }
    json!({
        "name": column.name,
        "type": kind,
        "title": column.label(),
        "description": column.meaning,
        "unit": column.unit,
        "nullWhen": column.null_when,
        "constraints": constraints,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_the_files_that_are_there_with_their_digests() {
        let text = package(|file| (file == CSV).then(|| b"csu\r\n".to_vec())).unwrap();
        let package: Value = serde_json::from_str(&text).unwrap();
        let resources = package["resources"].as_array().unwrap();
        assert_eq!(resources.len(), 1);
        let panel = &resources[0];
        assert_eq!((&panel["path"], &panel["bytes"]), (&json!("panel_daily.csv"), &json!(5)));
        assert_eq!(panel["hash"], format!("sha256:{}", sha256_hex(b"csu\r\n")));
        assert_eq!(panel["schema"]["primaryKey"], json!(["csu", "date"]));
        assert_eq!(panel["schema"]["missingValues"], json!([""]));
        let fields = panel["schema"]["fields"].as_array().unwrap();
        let names: Vec<&str> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
        assert_eq!(names, PanelDaily::TABLE.columns.iter().map(|column| column.name).collect::<Vec<_>>());
        let field = |name: &str| fields.iter().find(|field| field["name"] == name).unwrap();
        assert_eq!(field("utilization")["constraints"], json!({ "minimum": 0 }));
        assert_eq!(
            field("usd_status")["constraints"],
            json!({ "required": true, "enum": ["complete", "partial", "none"] })
        );
        assert_eq!(field("quality_flags")["constraints"], json!({}));
        assert!(!text.contains("http"), "a lake names no address");
    }

    #[test]
    fn without_files_the_package_says_what_they_will_be() {
        let package: Value = serde_json::from_str(&package(|_| None).unwrap()).unwrap();
        let resources = package["resources"].as_array().unwrap();
        assert_eq!(resources.len(), 2);
        assert!(resources.iter().all(|resource| resource.get("hash").is_none()));
    }
}
