use crate::small_lake::Ran;
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
