//! Running the stages as an operator does.

use std::path::Path;
use testkit::programs::{Outcome, Program};
use testkit::tree::Tree;

/// `extract run`, into a lake, through a providers file.
pub(crate) fn extract(run: &Path, lake: &Path, providers: &Path, more: &[&str]) -> Outcome {
    run_extract(find("extract"), run, lake, providers, more)
}

/// [`extract`], made to say all it can.
pub(crate) fn loud_extract(run: &Path, lake: &Path, providers: &Path, more: &[&str]) -> Outcome {
    let loud =
        ["LENDLAKE_LOG", "RUST_LOG"].iter().fold(find("extract"), |p, name| p.with_env(*name, "trace"));
    run_extract(loud.with_env("RUST_BACKTRACE", "full"), run, lake, providers, more)
}

fn run_extract(program: Program, run: &Path, lake: &Path, providers: &Path, more: &[&str]) -> Outcome {
    let mut arguments = vec!["run", "--run", path(run), "--lake", path(lake), "--providers", path(providers)];
    arguments.extend_from_slice(more);
    program.run(arguments).unwrap()
}

/// `transform run`.
pub(crate) fn transform(run: &Path, lake: &Path) -> Outcome {
    let arguments = ["run", "--run", path(run), "--lake", path(lake)];
    find("transform").run(arguments).unwrap()
}

/// `transform missing-prices`.
pub(crate) fn missing_prices(run: &Path, lake: &Path, more: &[&str]) -> Outcome {
    let mut arguments = vec!["missing-prices", "--run", path(run), "--lake", path(lake)];
    arguments.extend_from_slice(more);
    find("transform").run(arguments).unwrap()
}

/// `extract fill-prices` from a service at this URL.
pub(crate) fn fill_prices(run: &Path, lake: &Path, base_url: &str, more: &[&str]) -> Outcome {
    let mut arguments = vec!["fill-prices", "--run", path(run), "--lake", path(lake), "--base-url", base_url];
    if !more.contains(&"--per-second") {
        arguments.extend_from_slice(&["--per-second", "1000"]);
    }
    arguments.extend_from_slice(more);
    find("extract").run(arguments).unwrap()
}

/// `panel build`.
pub(crate) fn panel(run: &Path, lake: &Path) -> Outcome {
    let arguments = ["build", "--run", path(run), "--lake", path(lake)];
    find("panel").run(arguments).unwrap()
}

pub(crate) fn find(name: &str) -> Program {
    Program::find(name).unwrap_or_else(|error| panic!("{error}"))
}

/// Insists on an exit code, and shows what the program said otherwise.
#[track_caller]
pub(crate) fn ends_with(outcome: &Outcome, code: i32) {
    assert_eq!(outcome.code, Some(code), "it said:\n{}", outcome.said());
}

/// The digests of a lake's bronze, but for audits: those say who was asked, and differ as they should.
pub(crate) fn bronze(lake: &Path) -> Tree {
    Tree::of(&lake.join("bronze")).unwrap().without("audits/")
}

/// Insists that two lakes hold the same bronze, and that there is some.
#[track_caller]
pub(crate) fn same_bronze(one: &Path, two: &Path) {
    let (one, two) = (bronze(one), bronze(two));
    assert!(!one.is_empty(), "there is no bronze to compare");
    assert_eq!(one.differences(&two), Vec::<String>::new(), "bronze objects differ");
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
