//! Wrong input: one clear message, the right exit code, nothing half-written.

use crate::{extract_demo, repository, said};
use std::path::Path;
use std::process::Command;

/// What `extract` says to the demo's run with these arguments, and its exit code.
fn refusal(more: &[&str]) -> (Option<i32>, String) {
    let lake = tempfile::tempdir().unwrap();
    let output = extract_demo(lake.path(), more);
    let left: Vec<_> =
        std::fs::read_dir(lake.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.contains(&"bronze".into()), "{more:?} left {left:?}");
    (output.status.code(), said(&output))
}

#[test]
fn arguments_that_make_no_run_are_refused_with_what_to_do() {
    for (arguments, expected) in [
        (
            ["--csu", "aave_v3_devnet_d"].as_slice(),
            "no CSU is called `aave_v3_devnet_d` (did you mean aave_v3_devnet_a, aave_v3_devnet_b, compound_v3_usdc_devnet_c?)",
        ),
        (&["--csu", "chain:nowhere"], "no CSU is called `chain:nowhere`"),
        (&["--from", "2024-02-30"], "`2024-02-30` is not a date"),
        (&["--from", "2024-11-05", "--to", "2024-11-02"], "the range 2024-11-05 to 2024-11-02 is empty"),
        (&["--providers", "nowhere.toml"], "cannot read the endpoints in nowhere.toml"),
        (&["--jobs", "0"], "invalid value '0' for '--jobs <N>'"),
    ] {
        let (code, said) = refusal(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{said}\ndoes not say: {expected}");
    }
}

#[test]
fn a_day_that_is_not_over_is_missing_and_not_wrong() {
    let (code, said) = refusal(&["--from", "2024-11-06", "--to", "2024-11-06"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(
            "2024-11-06 is not final on devnet_a: it ends at 2024-11-07T05:00:00Z, the last final block 2292"
        ),
        "{said}"
    );
    assert!(said.contains("hint: run again later"), "{said}");
}

#[test]
fn a_lake_that_cannot_be_written_is_noticed_before_any_work() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = extract_demo(&file.path().join("lake"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("cannot open the lake at"), "{}", said(&output));
}

fn with_providers(text: &str) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    refusal(&["--providers", file.path().to_str().unwrap()])
}

#[test]
fn a_missing_key_names_its_variable() {
    let (code, said) = with_providers(
        r#"
[[endpoint]]
label = "keyed_a"
chain = "devnet_a"
url = "https://a.example/v2/${LENDLAKE_TEST_UNSET_KEY_*}"
source = "a test"
"#,
    );
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("chain devnet_a has no endpoint whose key is set"), "{said}");
    assert!(said.contains("export LENDLAKE_TEST_UNSET_KEY_1=..."), "{said}");
    assert!(said.contains("chain devnet_b has no endpoint"), "{said}");
}

#[test]
fn an_endpoint_of_another_chain_is_named_with_both_ids() {
    // The recording of devnet_a, offered as devnet_b's: the chain's name is part of what is looked up, so the ids are
    // swapped in a copy.
    let recording = std::fs::read_to_string(repository().join("data/demo/recording.jsonl")).unwrap();
    let swapped = recording.replace("\"chain\":\"devnet_a\"", "\"chain\":\"devnet_b\"");
    let scratch = tempfile::tempdir().unwrap();
    let only_a: Vec<&str> = swapped
        .lines()
        .zip(recording.lines())
        .filter(|(_, was)| was.contains("devnet_a"))
        .map(|(line, _)| line)
        .collect();
    std::fs::write(scratch.path().join("a.jsonl"), only_a.join("\n")).unwrap();
    let providers = scratch.path().join("providers.toml");
    std::fs::write(
        &providers,
        "[[endpoint]]\nlabel = \"mislabelled\"\nchain = \"devnet_b\"\nurl = \"replay:a.jsonl\"\nsource = \"a test\"\n",
    )
    .unwrap();
    let (code, said) = refusal(&["--csu", "aave_v3_devnet_b", "--providers", providers.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("mislabelled: serves chain id 900001, but devnet_b is 900002 in the registry"),
        "{said}"
    );
}

#[test]
fn a_registry_row_without_source_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = repository().join("data/demo/registry");
    std::fs::create_dir(scratch.path().join("csus")).unwrap();
    for file in ["chains.toml", "tokens.toml", "providers.toml"] {
        std::fs::copy(registry.join(file), scratch.path().join(file)).unwrap();
    }
    let csus = std::fs::read_to_string(registry.join("csus/aave_v3.toml")).unwrap();
    let without_source: Vec<&str> = csus.lines().filter(|line| !line.starts_with("source")).collect();
    std::fs::write(scratch.path().join("csus/aave_v3.toml"), without_source.join("\n")).unwrap();
    let run = scratch.path().join("run.toml");
    let text = "name = \"t\"\nfrom = \"2024-11-02\"\nto = \"2024-11-02\"\ncsus = [\"*\"]\nregistry = \".\"\nlake = \"lake\"\n";
    std::fs::write(&run, text).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_extract")).args(["run", "--run"]).arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("csus/aave_v3.toml"), "{}", said(&output));
    assert!(said(&output).contains("`aave_v3_devnet_a`: the row has no source\nhint: "), "{}", said(&output));
    assert!(!scratch.path().join("lake").exists());
}

#[test]
fn a_spoiled_bronze_object_is_left_alone_and_named() {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &[]).status.success());
    let cut = lake.path().join("bronze/tvl/aave_v3_devnet_a/2024-11-03.json");
    let edited = lake.path().join("bronze/liquidations/aave_v3_devnet_b/2024-11-05.json");
    let swapped = lake.path().join("bronze/tvl/aave_v3_devnet_b/2024-11-02.json");
    let text = std::fs::read_to_string(&cut).unwrap();
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    let text = std::fs::read_to_string(&edited).unwrap();
    std::fs::write(&edited, text.replacen("\"logIndex\":\"0x", "\"logIndex\":\"0x1", 1)).unwrap();
    std::fs::copy(lake.path().join("bronze/tvl/aave_v3_devnet_b/2024-11-03.json"), &swapped).unwrap();
    let blocks = lake.path().join("bronze/blocks/devnet_a/2024-11-05.json");
    let text = std::fs::read_to_string(&blocks).unwrap();
    std::fs::write(&blocks, &text[..text.len() - 10]).unwrap();
    let all = [&cut, &edited, &swapped, &blocks];
    let spoiled: Vec<Vec<u8>> = all.map(|file| std::fs::read(file).unwrap()).into();

    let output = extract_demo(lake.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let said = said(&output);
    for expected in [
        "bronze/tvl/aave_v3_devnet_a/2024-11-03.json cannot be used: it is cut off",
        "bronze/liquidations/aave_v3_devnet_b/2024-11-05.json cannot be used: it was changed after it was written",
        "bronze/tvl/aave_v3_devnet_b/2024-11-02.json cannot be used: it is of another CSU, chain, day or time zone",
        "bronze/blocks/devnet_a/2024-11-05.json cannot be used: it is cut off",
        "hint: look at it, then delete it and run again",
    ] {
        assert!(said.contains(expected), "{said}\ndoes not say: {expected}");
    }
    for (file, bytes) in all.into_iter().zip(spoiled) {
        assert_eq!(std::fs::read(file).unwrap(), bytes, "{} was changed", file.display());
        std::fs::remove_file(file).unwrap();
    }
    assert!(extract_demo(lake.path(), &[]).status.success());
    assert!(Path::new(&cut).exists());
}

#[test]
fn a_key_file_that_others_may_read_is_refused_and_one_of_ones_own_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "LENDLAKE_TEST_FILED_KEY_1=sk_planted\n").unwrap();
    let with_mode = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let providers = tempfile::NamedTempFile::new().unwrap();
        let row = "[[endpoint]]\nlabel = \"keyed\"\nchain = \"devnet_a\"\n\
                   url = \"https://a.invalid/v2/${LENDLAKE_TEST_FILED_KEY_*}\"\nsource = \"a test\"\n";
        std::fs::write(providers.path(), row).unwrap();
        let lake = tempfile::tempdir().unwrap();
        let arguments = ["plan", "--run", "pipelines/runs/demo.toml", "--key-file"];
        let paths =
            [file.path(), Path::new("--providers"), providers.path(), Path::new("--lake"), lake.path()];
        Command::new(env!("CARGO_BIN_EXE_extract"))
            .current_dir(repository())
            .args(arguments)
            .args(paths)
            .output()
            .unwrap()
    };
    let open = with_mode(0o644);
    assert_eq!(open.status.code(), Some(2), "{}", said(&open));
    assert!(
        said(&open).contains("has mode 644: others may read the keys in it\nhint: chmod 600"),
        "{}",
        said(&open)
    );
    let own = said(&with_mode(0o600));
    assert!(own.contains("keyed_1") && !own.contains("sk_planted"), "{own}");
}
