use crate::small_lake::*;
use lake::day::Day;
use lake::digest::sha256_hex;
use lake::schema::checks::Finding;
use lake::status::CheckLevel;
use lake::table_file::parquet_bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CHANGELOG: &str =
    "# Changelog\n\n## Unreleased\n\n### Code\n\n- not data\n\n### Data\n\n- three days\n";

fn lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, DAYS[0], 1, [100.0, 40.0, 60.0], Some(2.0)));
    assert_eq!(lake.write().run("build", &[]).code, 0);
    std::fs::write(lake.root().join("CHANGELOG.md"), CHANGELOG).unwrap();
    lake
}

fn release(lake: &SmallLake, out: &Path, arguments: &[&str]) -> Ran {
    let mut command = lake.command("release", &["--release", "v2024.11.0", "--out"]);
    command.arg(out).arg("--changelog").arg(lake.root().join("CHANGELOG.md")).args(arguments);
    Ran::of(command.output().unwrap())
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(directory: &Path, base: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, base, found);
            } else {
                let name = path.strip_prefix(base).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(directory, directory, &mut found);
    found
}

fn finding(level: CheckLevel, why: &str) -> Finding {
    Finding {
        check: "g6".into(),
        number: 1,
        level,
        csu: Some(ALPHA.into()),
        date: Some(DAYS[0].parse::<Day>().unwrap()),
        column: Some("tvl_usd".into()),
        found: Some("1".into()),
        expected: Some("2".into()),
        why: why.into(),
    }
}

#[test]
fn made_twice_it_has_the_same_bytes_and_its_digests_are_right() {
    let lake = lake();
    let (one, two) = (lake.root().join("one"), lake.root().join("two"));
    let ran = release(&lake, &one, &["--date", "2024-12-01", "--doi", "10.5281/zenodo.1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: the lake has no checks/"), "{}", ran.stderr);
    assert_eq!(release(&lake, &two, &["--date", "2024-12-01", "--doi", "10.5281/zenodo.1"]).code, 0);
    let files_one = files(&one);
    assert_eq!(files_one, files(&two));

    for name in [
        "README.md",
        "CITATION.cff",
        "CHANGES.md",
        "data/panel_daily.parquet",
        "data/panel_daily.csv",
        "data/panel_daily.dta",
        "codebook/panel_daily.csv",
        "registry/chains.toml",
        "registry/csus/aave_v3.toml",
        "manifests/gold.json",
        "manifests/release.json",
    ] {
        assert!(files_one.contains_key(name), "{name}");
    }
    let sums = String::from_utf8(files_one["SHA256SUMS"].clone()).unwrap();
    assert_eq!(sums.lines().count(), files_one.len() - 1);
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(sha256_hex(&files_one[name]), digest, "{name}");
    }
    let text = |name: &str| String::from_utf8(files_one[name].clone()).unwrap();
    assert!(
        text("CHANGES.md").contains("## v2024.11.0\n\n- three days")
            && !text("CHANGES.md").contains("not data")
    );
    let citation = text("CITATION.cff");
    for line in [
        "version: v2024.11.0",
        "date-released: 2024-12-01",
        "doi: \"10.5281/zenodo.1\"",
        "cff-version: 1.2.0",
    ] {
        assert!(citation.contains(&format!("{line}\n")), "{line} is not in\n{citation}");
    }
    let readme = text("README.md");
    for part in [
        "6 rows",
        "2 lending deployments",
        "No check was run",
        "## Instructions to Replicators",
        "| collected | 6 |",
    ] {
        assert!(readme.contains(part), "{part} is not in\n{readme}");
    }
}

#[test]
fn rows_carry_the_release_and_a_digest_of_their_own() {
    let lake = lake();
    let out = lake.root().join("out");
    assert_eq!(release(&lake, &out, &[]).code, 0);
    let released = std::fs::read(out.join("data/panel_daily.csv")).unwrap();
    let column = |bytes: &[u8], name: &str| -> Vec<String> {
        let mut reader = csv::Reader::from_reader(bytes);
        let at = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
        reader.records().map(|record| record.unwrap()[at].to_owned()).collect()
    };
    let gold = lake.file("gold/panel_daily.csv");
    assert_eq!(column(&released, "release"), ["v2024.11.0"; 6]);
    assert_eq!(column(&gold, "release"), ["unreleased"; 6]);
    assert_eq!(column(&released, "tvl_usd"), column(&gold, "tvl_usd"));
    let (hashes, before) = (column(&released, "row_hash"), column(&gold, "row_hash"));
    assert!(hashes.iter().zip(&before).all(|(hash, before)| hash != before && hash.len() == 64));
    assert!(!std::fs::read_to_string(out.join("CITATION.cff")).unwrap().contains("date-released"));

    // The digest by hand, from the text of the first row.
    let mut reader = csv::Reader::from_reader(released.as_slice());
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let row = reader.records().next().unwrap().unwrap();
    let lines = names.iter().zip(row.iter()).filter(|(name, _)| *name != "row_hash").map(|(name, value)| {
        let is_null = value.is_empty() && name != "quality_flags";
        if is_null { format!("{name}\n") } else { format!("{name}={value}\n") }
    });
    assert_eq!(sha256_hex(lines.collect::<String>().as_bytes()), hashes[0]);
}

#[test]
fn a_failed_check_of_level_error_stops_a_release() {
    let lake = lake();
    let out = lake.root().join("out");
    lake.put("checks/gold/g6.parquet", &parquet_bytes(vec![finding(CheckLevel::Error, "off")]).unwrap());
    lake.put("checks/gold/g7.parquet", &parquet_bytes::<Finding>(vec![]).unwrap());
    release(&lake, &out, &[])
        .failed_saying(&["a check of level error failed: gold/g6 (1)", "--with-failed-checks"]);
    assert!(!out.exists());
    let ran = release(&lake, &out, &["--with-failed-checks"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(out.join("checks/gold/g6.parquet").exists());
    let readme = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(readme.contains("2 checks were run.") && readme.contains("| gold/g6 | error | 1 |"), "{readme}");

    lake.put("checks/gold/g6.parquet", &parquet_bytes(vec![finding(CheckLevel::Warn, "odd")]).unwrap());
    assert_eq!(release(&lake, &lake.root().join("warned"), &[]).code, 0);
}

#[test]
fn what_moved_since_the_release_before_goes_with_it() {
    let mut lake = lake();
    let before = lake.root().join("before");
    assert_eq!(release(&lake, &before, &[]).code, 0);
    lake.reserves[0].supplied_usd = Some(250.0);
    assert_eq!(lake.write().run("build", &[]).code, 0);
    let after = lake.root().join("after");
    let ran = release(&lake, &after, &["--previous", before.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = std::fs::read_to_string(after.join("diff/diff.txt")).unwrap();
    assert!(told.contains("rows: 5 the same, 1 changed") && told.contains("supplied_usd"), "{told}");
    assert!(!told.contains(lake.root().to_str().unwrap()), "no place of this machine");
}

#[test]
fn gold_that_is_not_the_runs_is_not_released() {
    let lake = lake();
    let out = lake.root().join("out");
    release(&lake, &out, &["--from", DAYS[1]])
        .failed_saying(&["gold is not the frame of run small", "2 are of other"]);
    release(&lake, &out, &["--to", "2024-11-05"]).failed_saying(&["2 of its rows are not there"]);
    let gold = lake.file("gold/panel_daily.parquet");
    lake.put("gold/panel_daily.parquet", &lake.file("silver/csu/part.parquet"));
    release(&lake, &out, &[]).failed_saying(&["cannot read", "panel_daily.parquet"]);
    lake.put("gold/panel_daily.parquet", &gold);
    lake.put("gold/manifest.json", b"{}");
    release(&lake, &out, &[]).failed_saying(&["cannot read gold/manifest.json"]);
    assert_eq!(lake.run("build", &[]).code, 0);

    let registry = lake.root().join("registry/chains.toml");
    let text = std::fs::read_to_string(&registry).unwrap();
    std::fs::write(&registry, format!("{text}\n# a remark\n")).unwrap();
    release(&lake, &out, &[]).failed_saying(&["gold was made with the registry"]);
    std::fs::write(&registry, text).unwrap();

    assert!(!out.exists());
    assert_eq!(release(&lake, &out, &[]).code, 0);
    release(&lake, &out, &[]).failed_saying(&["is not empty", "hint: a release is never changed"]);
}

#[test]
fn a_name_or_a_changelog_that_is_none_is_refused() {
    let lake = lake();
    let out = lake.root().join("out");
    let ran = lake.run("release", &["--release", "2024-11", "--out", out.to_str().unwrap()]);
    ran.failed_saying(&["`2024-11` is no name of a release", "hint: write vYEAR.MONTH.NUMBER"]);
    let nowhere = ["--release", "v2024.11.0", "--out", out.to_str().unwrap(), "--changelog", "nowhere.md"];
    lake.run("release", &nowhere).failed_saying(&["cannot read nowhere.md"]);
    std::fs::write(lake.root().join("CHANGELOG.md"), "# nothing\n").unwrap();
    release(&lake, &out, &[]).failed_saying(&["has no heading `### Data`"]);
}
