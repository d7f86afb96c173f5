use crate::small_lake::*;
use lake::schema::checks::Finding;
use lake::status::{CheckLevel, Dataset, Reason, Status};
use lake::table_file::parquet_bytes;

const HOSTILE: &str = "</td><script>alert(1)</script><img src=x onerror=alert(1)> & \u{202e}";

fn lake() -> SmallLake {
    let mut lake = SmallLake::collected();
    lake.reserves.push(reserve(ALPHA, DAYS[2], 1, [1_234_567.0, 400.0, 60.0], Some(2.0)));
    lake.reserves[0].symbol = Some(HOSTILE.into());
    lake.set_status(BETA, DAYS[1], Dataset::Tvl, Status::Failed);
    let failed = lake.coverage.last_mut().unwrap();
    failed.reason = Some(Reason::BadAnswer);
    failed.message = Some(format!("node said {HOSTILE}"));
    lake.liquidations.push(liquidation(ALPHA, DAYS[0], 3, 10.0, 11.0));
    assert!(lake.write().run("build", &[]).code < 2);
    lake
}

fn report(lake: &SmallLake) -> String {
    let file = lake.root().join("out/report.html");
    let ran = lake.run("report", &["--out", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    std::fs::read_to_string(file).unwrap()
}

/// The page without its style and script, which are ours.
fn content(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style>").unwrap();
    let (body, rest) = rest.rsplit_once("<script>").unwrap();
    assert!(rest.trim_end().ends_with("</html>"));
    format!("{head}{body}")
}

#[test]
fn the_same_lake_gives_the_same_page() {
    let lake = lake();
    let page = report(&lake);
    assert_eq!(page, report(&lake));
    assert!(page.len() < 600_000, "{} bytes", page.len());
}

#[test]
fn figures_gaps_and_reasons_are_in_the_tables() {
    let lake = lake();
    let page = content(&report(&lake));
    for part in ["2,469,134.00", "snapshot: bad_answer (node said", "data-state=\"half\"", "5 of 6"] {
        assert!(page.contains(part), "{part} is not in the page");
    }
    assert!(page.contains("The lake has no <code>checks/</code>"));
    assert!(page.contains("The lake has no state/reports/small.json"));
}

#[test]
fn words_of_a_chain_are_escaped_wherever_they_stand() {
    let lake = lake();
    let row = Finding {
        check: "x".into(),
        number: 1,
        level: CheckLevel::Error,
        csu: None,
        date: None,
        column: None,
        found: Some(HOSTILE.into()),
        expected: Some(HOSTILE.into()),
        why: HOSTILE.into(),
    };
    lake.put("checks/gold/x.parquet", &parquet_bytes(vec![row]).unwrap());
    let bill = serde_json::json!({
        "tasks": {HOSTILE: 1},
        "bill": [{"purpose": HOSTILE, "method": HOSTILE, "planned": null, "sent": 1_234, "units_planned": 5, "units": 6}],
        "made_again": 7,
        "warnings": [HOSTILE],
    });
    lake.put("state/reports/small.json", bill.to_string().as_bytes());
    let page = content(&report(&lake));
    for tag in ["<script", "<img", "onerror=alert(1)>", "</td><"] {
        assert!(!page.contains(tag), "{tag}");
    }
    let escaped = "&#60;script&#62;alert(1)&#60;/script&#62;";
    assert_eq!(page.matches(escaped).count(), 9, "symbol, reason, three of the finding, four of the bill");
    assert!(page.contains("1,234"), "requests sent");
}

#[test]
fn nothing_outside_the_page_is_named_and_only_its_own_script_may_run() {
    use base64::Engine as _;
    use sha2::Digest as _;
    let lake = lake();
    let page = report(&lake);
    let text = content(&page);
    for word in ["src=", "href=\"http", "url(http", "@import", "<iframe", "<object"] {
        // The hostile symbol's own `src=` is escaped text.
        assert!(!text.replace("&#60;img src=x", "").contains(word), "{word}");
    }
    let script = page.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(script.as_bytes()));
    assert!(page.contains(&format!("default-src 'none'; script-src 'sha256-{digest}'")));
    assert!(page.contains("ISC"), "the licences of the libraries go with them");
}

#[test]
fn a_lake_without_silver_or_with_a_strange_bill_has_a_report() {
    let lake = lake();
    std::fs::remove_dir_all(lake.lake().join("silver")).unwrap();
    lake.put("state/reports/small.json", b"[1]");
    let page = content(&report(&lake));
    assert!(page.contains("Silver is not in this lake"));
    assert!(page.contains("state/reports/small.json cannot be read"));
    assert!(page.contains("2,469,134.00"));
}

#[test]
fn what_cannot_be_reported_is_said() {
    let lake = lake();
    lake.run("report", &["--from", "2025-01-01", "--to", "2025-01-02", "--out", "x"])
        .failed_saying(&["has no row of this run", "hint: run `panel build`"]);
    lake.put("checks/gold/x.parquet", b"no table");
    lake.run("report", &["--out", "x"]).failed_saying(&["cannot read", "checks/gold/x.parquet"]);
    std::fs::remove_dir_all(lake.lake().join("gold")).unwrap();
    lake.run("report", &["--out", "x"]).failed_saying(&["no panel in the lake"]);
}
