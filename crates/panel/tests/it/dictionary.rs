use crate::small_lake::{ALPHA, Ran, SmallLake};
use std::process::Command;

fn dictionary(arguments: &[&str]) -> Ran {
    Ran::of(Command::new(env!("CARGO_BIN_EXE_panel")).arg("dictionary").args(arguments).output().unwrap())
}

#[test]
fn what_was_written_is_fresh_until_it_is_edited() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dictionary");
    let path = path.to_str().unwrap();
    assert_eq!(dictionary(&["--check", path]).code, 1);
    assert_eq!(dictionary(&["--out", path]).code, 0);
    assert_eq!(dictionary(&["--check", path]).code, 0);

    std::fs::write(directory.path().join("dictionary/token.md"), "edited").unwrap();
    let ran = dictionary(&["--check", path]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("token.md") && ran.stderr.contains("hint: run `panel dictionary"));
    assert!(!ran.stderr.contains("price.md"));
}

#[test]
fn the_committed_dictionary_passes_its_check() {
    let ran = dictionary(&["--check", concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/dictionary")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn out_or_check_must_be_given() {
    assert_eq!(dictionary(&[]).code, 2);
    assert_eq!(dictionary(&["--out", "a", "--check", "b"]).code, 2);
}

/// The columns of the codebook that travels with gold are those of gold, in order, whatever the table.
#[test]
fn gold_and_its_codebook_have_the_same_columns() {
    let lake = SmallLake::collected();
    lake.write();
    assert_eq!(lake.run("build", &["--by-asset"]).code, 0);
    let run = lake.root().join("run.toml");
    let ran = dictionary(&["--run", run.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for table in ["panel_daily", "panel_daily_asset"] {
        let gold = lake::table_file::read_batch(lake.file(&format!("gold/{table}.parquet")).into()).unwrap();
        let of_gold: Vec<String> = gold.schema().fields().iter().map(|field| field.name().clone()).collect();
        let csv = lake.file(&format!("gold/codebook/{table}.csv"));
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let of_book: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
        assert_eq!(of_gold, of_book, "{table}");
        let page = String::from_utf8(lake.file(&format!("gold/codebook/{table}.md"))).unwrap();
        assert!(of_gold.iter().all(|name| page.contains(&format!("### `{name}`"))));
    }
}

#[test]
fn the_package_beside_gold_has_the_digests_of_its_files() {
    let lake = SmallLake::collected();
    lake.write();
    let run = lake.root().join("run.toml");
    dictionary(&["--run", run.to_str().unwrap()])
        .failed_saying(&["no panel in the lake", "hint: run `panel build`"]);
    assert_eq!(lake.run("build", &["--collected-only"]).code, 0);
    assert_eq!(dictionary(&["--run", run.to_str().unwrap()]).code, 0);
    let package: serde_json::Value = serde_json::from_slice(&lake.file("gold/datapackage.json")).unwrap();
    let resources = package["resources"].as_array().unwrap();
    assert_eq!(resources.len(), 4, "panel_daily and panel_daily_collected, twice");
    for resource in resources {
        let bytes = lake.file(&format!("gold/{}", resource["path"].as_str().unwrap()));
        assert_eq!(resource["bytes"], bytes.len());
        assert_eq!(resource["hash"], format!("sha256:{}", lake::digest::sha256_hex(&bytes)));
    }
    let warnings = String::from_utf8(lake.file("gold/codebook/csu_warnings.csv")).unwrap();
    assert!(warnings.contains(&format!("{ALPHA},unverified_csu,csu,")), "{warnings}");
}
