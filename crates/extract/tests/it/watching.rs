//! What a run says to programs that watch it: log lines and metrics.

use crate::{extract_demo, said};
use serde_json::Value;

#[test]
fn every_line_of_the_log_is_json_when_it_is_asked_for() {
    let lake = tempfile::tempdir().unwrap();
    let output = extract_demo(lake.path(), &["--log-format", "json", "--csu", "aave_v3_*"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let days = lines.iter().filter(|line| line["chain"] == "devnet_a").count();
    assert_eq!(days, 4, "{text}");
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(),
            "{line}"
        );
    }
    let last = lines.last().unwrap()["message"].as_str().unwrap();
    assert!(last.starts_with("extract: 16 collected"), "{last}");

    let wrong = extract_demo(lake.path(), &["--log-format", "json", "--csu", "nobody"]);
    assert_eq!(wrong.status.code(), Some(2));
    let error: Value = serde_json::from_slice(&wrong.stderr).unwrap_or_else(|_| panic!("{}", said(&wrong)));
    assert_eq!(error["level"], "ERROR");
}

#[test]
fn metrics_say_what_was_done() {
    let lake = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (lines, text) = (scratch.path().join("m.jsonl"), scratch.path().join("m.prom"));
    let (lines_file, text_file) = (lines.to_str().unwrap(), text.to_str().unwrap());
    let flags = ["--csu", "aave_v3_*", "--metrics", lines_file, "--metrics-prometheus", text_file];
    for _ in 0..2 {
        let output = extract_demo(lake.path(), &flags);
        assert!(output.status.success(), "{}", said(&output));
    }
    let lines = std::fs::read_to_string(lines).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 4, "one at the beginning and one at the end of each run");
    assert_eq!((&lines[0]["tasks"], &lines[1]["tasks"]), (&0.into(), &16.into()), "{lines:?}");
    assert_eq!(lines.last().unwrap()["tasks"], 0, "the second run had nothing to do");
    let asked = lines[1]["endpoints"].as_array().unwrap();
    assert!(asked.len() == 2 && asked.iter().all(|one| one["requests"].as_u64() > Some(5)), "{asked:?}");
    assert!(lines[1]["resident_bytes"].as_u64() > Some(1 << 20), "{}", lines[1]);

    let text = std::fs::read_to_string(text).unwrap();
    assert!(text.contains("\nlendlake_extract_tasks_done_total{run=\"demo\",shard=\"1/1\"} 0\n"), "{text}");
    assert!(text.contains("# TYPE lendlake_extract_tasks_done_total counter"), "{text}");

    let nowhere = extract_demo(lake.path(), &["--metrics", "/nowhere/m.jsonl"]);
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(said(&nowhere).contains("cannot write metrics to /nowhere/m.jsonl"), "{}", said(&nowhere));
}
