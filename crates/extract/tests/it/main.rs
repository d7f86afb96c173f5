//! `extract` as a process: over the demo's recording, and on input that is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod absent_history;
mod anvil;
mod bad_input;
mod bad_lakes;
mod budgets;
mod choice;
mod demo;
mod doctor;
mod exchanges;
mod in_process;
mod kills;
mod liars;
mod never_twice;
mod plans;
mod planted_key;
mod registry;
mod routing;
mod same_bytes;
mod shards;
mod status;
mod stragglers;
mod too_much;
mod watching;
mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// `extract` with arguments that end with the lake's flag.
fn extract(arguments: &[&str], lake: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_extract"))
        .current_dir(repository())
        .args(arguments)
        .arg(lake)
        .output()
        .unwrap()
}

/// `extract run` over the demo's run file with a lake of its own and further arguments.
fn extract_demo(lake: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_extract"))
        .current_dir(repository())
        .args(["run", "--run", "pipelines/runs/demo.toml", "--lake", lake.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
