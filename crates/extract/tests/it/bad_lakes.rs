//! Lakes that take nothing, or hold what this build or this registry does not know.

use crate::{extract_demo, repository, said};
use lake::digest::sha256_hex;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use testkit::tree::Tree;

/// A shell in which file systems may be mounted that nobody else sees, if this machine allows it to this user.
fn shell_with_mounts() -> Option<Command> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--map-root-user", "--mount"]];
    let can = |way: &&&[&str]| {
        let probe = "d=$(mktemp -d) && mount -t tmpfs none \"$d\" && umount \"$d\" && rmdir \"$d\"";
        Command::new("unshare")
            .args(**way)
            .args(["sh", "-c", probe])
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let way = ways.iter().find(can)?;
    let mut shell = Command::new("unshare");
    shell.args(*way).arg("sh").current_dir(repository());
    Some(shell)
}

/// CSUs of the demo that these tests collect.
const CSUS: [&str; 2] = ["--csu", "aave_v3_*"];

/// Runs a script with `$extract`, the demo's run command without its lake.
fn script(mut shell: Command, text: &str, directory: &Path) -> Output {
    let run = format!(
        "{} run --run pipelines/runs/demo.toml --csu aave_v3_* --lake",
        env!("CARGO_BIN_EXE_extract")
    );
    shell.args(["-c", text]).env("extract", run).env("d", directory).output().unwrap()
}

/// Bronze without audits, which are no chain data.
fn objects(lake: &Path) -> Tree {
    Tree::of(&lake.join("bronze")).unwrap().without("audits/")
}

fn whole() -> (tempfile::TempDir, Tree) {
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &CSUS).status.success());
    let tree = objects(lake.path());
    (lake, tree)
}

/// Insists that every object is one of the whole lake's, and returns how many there are.
fn parts_of(whole: &Tree, lake: &Path) -> usize {
    let part = objects(lake);
    let lacking = whole.files().filter(|name| !part.files().any(|there| there == *name)).count();
    assert_eq!(whole.differences(&part).len(), lacking, "an object that is there is not whole");
    part.files().count()
}

#[test]
fn a_full_disk_stops_the_run_and_what_is_there_is_whole() {
    let Some(shell) = shell_with_mounts() else {
        println!("skipped: this user may mount nothing here");
        return;
    };
    let (_lake, truth) = whole();
    let scratch = tempfile::tempdir().unwrap();
    let output = script(
        shell,
        "mkdir $d/m && mount -t tmpfs -o size=160k none $d/m || exit 99
         $extract $d/m/lake; echo \"code $?\"
         cp -r $d/m/lake $d/first
         mount -o remount,size=100m $d/m
         $extract $d/m/lake; echo \"code $?\"
         cp -r $d/m/lake $d/second",
        scratch.path(),
    );
    let told = said(&output);
    let codes: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("code ")).collect();
    assert_eq!(codes, ["2", "0"], "{told}");
    assert!(told.contains("the run stopped, for its lake takes nothing any more"), "{told}");
    assert!(told.contains("No space left on device") && told.contains("hint: make room"), "{told}");
    let first = parts_of(&truth, &scratch.path().join("first"));
    assert!(first > 0 && first < truth.files().count(), "{first} objects fit");
    assert!(truth == objects(&scratch.path().join("second")), "with room again the lake is the same");
}

#[test]
fn objects_that_may_not_grow_so_large_are_told_and_are_not_there() {
    let (_lake, truth) = whole();
    let scratch = tempfile::tempdir().unwrap();
    let shell = || {
        let mut shell = Command::new("sh");
        shell.current_dir(repository());
        shell
    };
    // Half-kilobytes; the signal that comes with the limit is ignored, as it is where no limit is set.
    let limited = script(shell(), "trap '' XFSZ; ulimit -f 8; exec $extract $d/lake", scratch.path());
    assert_eq!(limited.status.code(), Some(1), "{}", said(&limited));
    assert!(
        said(&limited).contains("File too large") && said(&limited).contains("(store)"),
        "{}",
        said(&limited)
    );
    let first = parts_of(&truth, &scratch.path().join("lake"));
    assert!(first < truth.files().count());
    let free = script(shell(), "exec $extract $d/lake", scratch.path());
    assert_eq!(free.status.code(), Some(0), "{}", said(&free));
    assert!(truth == objects(&scratch.path().join("lake")));
}

#[test]
fn a_read_only_lake_is_noticed_before_any_work_and_can_be_looked_at() {
    let Some(shell) = shell_with_mounts() else {
        println!("skipped: this user may mount nothing here");
        return;
    };
    let (lake, _) = whole();
    let program = env!("CARGO_BIN_EXE_extract");
    let output = script(
        shell,
        &format!(
            "mount --bind $d $d && mount -o remount,bind,ro $d || exit 99
             $extract $d; echo \"code $?\"
             {program} status --run pipelines/runs/demo.toml --csu aave_v3_* --lake $d; echo \"code $?\""
        ),
        lake.path(),
    );
    let told = said(&output);
    let codes: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("code ")).collect();
    assert_eq!(codes, ["2", "0"], "{told}");
    assert!(told.contains("cannot open the lake at") && told.contains("Read-only file system"), "{told}");
}

/// An object of the same content under another schema, sealed as that version would.
fn of_another_version(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    let (body, _) = text.split_once(",\"sha256\":").unwrap();
    let body = format!("{}}}", body.replacen(from, to, 1));
    assert!(body.contains(to));
    let seal = sha256_hex(body.as_bytes());
    std::fs::write(file, format!("{},\"sha256\":\"{seal}\"}}\n", &body[..body.len() - 1])).unwrap();
}

#[test]
fn a_lake_of_a_newer_version_is_left_as_it_is_and_says_which_program_is_older() {
    let (lake, _) = whole();
    let object = lake.path().join("bronze/tvl/aave_v3_devnet_a/2024-11-03.json");
    of_another_version(&object, "bronze.tvl/1", "bronze.tvl/2");
    let newer = std::fs::read(&object).unwrap();
    // What a newer program may have left beside it.
    let state = ["state/quota/ALCHEMY_KEY_1.json", "state/progress/demo.json", "state/checkpoint.json"];
    for name in state {
        let file = lake.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "{\"version\":2,\"what\":[\"nobody knows\"]}").unwrap();
    }
    let output = extract_demo(lake.path(), &CSUS);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("its schema is `bronze.tvl/2`, this build reads `bronze.tvl/1`"), "{told}");
    assert!(told.contains("newer"), "{told}");
    assert_eq!(std::fs::read(&object).unwrap(), newer);
}

/// A run over the demo's registry in which one CSU has another entry.
fn with_another_entry(scratch: &Path) -> PathBuf {
    let registry = scratch.join("registry");
    std::fs::create_dir_all(registry.join("csus")).unwrap();
    let of_demo = repository().join("data/demo/registry");
    for file in ["chains.toml", "tokens.toml", "csus/aave_v3.toml"] {
        std::fs::copy(of_demo.join(file), registry.join(file)).unwrap();
    }
    let csus = std::fs::read_to_string(registry.join("csus/aave_v3.toml")).unwrap();
    let (before, after) = csus.split_once("entry = \"").unwrap();
    let rest = after.split_once('"').unwrap().1;
    let other = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e";
    std::fs::write(registry.join("csus/aave_v3.toml"), format!("{before}entry = \"{other}\"{rest}")).unwrap();
    let run = scratch.join("run.toml");
    let of_demo = std::fs::read_to_string(repository().join("pipelines/runs/demo.toml")).unwrap();
    let lines = of_demo
        .lines()
        .filter(|line| !["registry", "providers", "lake"].iter().any(|key| line.starts_with(key)));
    let text: Vec<&str> = lines.collect();
    let providers = of_demo_providers();
    std::fs::write(
        &run,
        format!(
            "{}\nregistry = \"registry\"\nproviders = \"{providers}\"\nlake = \"lake\"\n",
            text.join("\n")
        ),
    )
    .unwrap();
    run
}

fn of_demo_providers() -> String {
    repository().join("data/demo/registry/providers.toml").display().to_string()
}

#[test]
fn two_runs_with_different_registries_do_not_mix_their_objects() {
    let (lake, truth) = whole();
    let scratch = tempfile::tempdir().unwrap();
    let run = with_another_entry(scratch.path());
    let other = Command::new(env!("CARGO_BIN_EXE_extract"))
        .args(["run", "--run", run.to_str().unwrap(), "--lake", lake.path().to_str().unwrap()])
        .args(CSUS)
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    let told = said(&other);
    assert!(
        told.contains(
            "cannot be used: it is of another CSU, chain, day or time zone than its path and the run say"
        ),
        "{told}"
    );
    assert!(told.contains("8 collected"), "the CSU that both know alike is done: {told}");
    assert!(truth == objects(lake.path()), "nothing was written over");

    // A registry with fewer CSUs, then one with more: each day's objects are as if all had been known at once.
    let lake = tempfile::tempdir().unwrap();
    assert!(extract_demo(lake.path(), &["--csu", "aave_v3_devnet_a"]).status.success());
    assert!(extract_demo(lake.path(), &CSUS).status.success());
    assert!(truth == objects(lake.path()));
}

#[test]
fn a_typo_in_a_run_file_is_named_with_the_nearest_right_word() {
    let scratch = tempfile::tempdir().unwrap();
    let run = scratch.path().join("run.toml");
    std::fs::write(&run, "name = \"x\"\nfrm = \"2024-12-01\"\n").unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_extract")).args(["run", "--run"]).arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("`frm` is no key of a run file; did you mean `from`?"),
        "{}",
        said(&output)
    );
}
