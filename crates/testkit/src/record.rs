//! `testkit record-demo`: plays the devnet's story and records what the demo needs.
//!
//! Writes `data/demo/expected.json`, checks `data/demo/registry/`, and lets lendlake's own `extract` record its traffic
//! with the live nodes into `data/demo/recording.jsonl`.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use alloy_primitives::Address;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::devnet::artifacts::Artifacts;
use crate::devnet::rpc::text;
use crate::devnet::{self, Chain, DAYS, Demo, anvil, expected, registry};

/// A recording larger than this does not belong in git.
const MOST_BYTES: u64 = 12_000_000;

/// The demo's CSUs.
const CSUS: [&str; 5] = [
    "aave_v3_devnet_a",
    "aave_v3_devnet_b",
    "compound_v3_usdc_devnet_c",
    "morpho_blue_devnet_c",
    "venus_core_pool_devnet_c",
];

/// Options of `record-demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct RecordDemo {
    /// Keep the chains running and print their URLs; Ctrl-C ends them. Records only if --extract is given too
    #[arg(long)]
    keep: bool,
    /// Only chains, expected answers and registry: do not run extract
    #[arg(long)]
    no_extract: bool,
    /// The extract binary to record with [default: cargo run -p extract]
    #[arg(long, value_name = "BIN", conflicts_with = "no_extract")]
    extract: Option<PathBuf>,
    /// Rewrite the registry and the expected answers where they differ from what was deployed
    #[arg(long)]
    bless: bool,
    /// The repository [default: found upwards from the current folder]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Where npm packages are kept [default: <target>/devnet-npm]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs `record-demo`.
///
/// # Errors
/// When a step fails; the message says what to do.
pub fn run(options: &RecordDemo) -> Result<()> {
    let started = Instant::now();
    let root = match &options.root {
        Some(root) => root.clone(),
        None => find_root()?,
    };
    let root = fs::canonicalize(&root).with_context(|| format!("no folder {}", root.display()))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let cache = options.cache.clone().unwrap_or_else(|| target.join("devnet-npm"));
    let states = StatesFolder::create(&target)?;
    anvil::end_all_on_interrupt(states.path().to_path_buf())?;

    let artifacts = Artifacts::fetch(&cache)?;
    say(started, "contracts are ready, playing the story on all chains");
    let mut chains = devnet::play(&artifacts, states.path())?;
    for Chain { spec, node, head, .. } in chains.chains() {
        let mb = node.disk_bytes() / 1_000_000;
        say(started, &format!("{}: {head} blocks, {mb} MB of states on disk", spec.name));
    }

    let demo = root.join("data/demo");
    registry::verify(&demo.join("registry"), &registry::render(&chains)?, options.bless)?;
    let answers = expected::read(&mut chains)?;
    write_expected(&demo.join("expected.json"), &answers, options.bless)?;
    say(started, "registry and expected.json agree with the chains");

    if !options.no_extract && (!options.keep || options.extract.is_some()) {
        record(options, &root, states.path(), &chains)?;
        say(started, "recorded data/demo/recording.jsonl");
    }
    if options.keep {
        keep(&chains, states.path())?;
    }
    Ok(())
}

fn say(started: Instant, what: &str) {
    eprintln!("{:6.1} s  {what}", started.elapsed().as_secs_f64());
}

fn find_root() -> Result<PathBuf> {
    let here = std::env::current_dir().context("no current folder")?;
    here.ancestors()
        .find(|dir| dir.join("crates/testkit/src/devnet").is_dir())
        .map(Path::to_path_buf)
        .context("this is not inside lendlake's repository; go there or give --root")
}

/// The folder for the chains' states: gigabytes for a minute, so on the disk of the build and not in `/tmp`.
#[derive(Debug)]
struct StatesFolder(PathBuf);

impl StatesFolder {
    fn create(target: &Path) -> Result<Self> {
        let all = target.join("devnet-states");
        fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
        clear_leftovers(&all);
        let folder = all.join(std::process::id().to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StatesFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends and removes what killed recorders could not. Where processes cannot be looked up, nothing is touched.
fn clear_leftovers(all: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    let Ok(entries) = fs::read_dir(all) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let process = name.to_str().and_then(|n| n.parse::<u32>().ok());
        if process.is_some_and(|p| !Path::new("/proc").join(p.to_string()).exists()) {
            end_nodes_using(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends the nodes that were told to keep their states in `folder`; nothing else names such a path on its command line.
fn end_nodes_using(folder: &Path) {
    let Some(folder) = folder.to_str().map(|f| format!("{f}/")) else { return };
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.filter_map(Result::ok) {
        let Ok(command) = fs::read(process.path().join("cmdline")) else { continue };
        let words: Vec<_> = command.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        let is_node = words.first().is_some_and(|w| w.ends_with("/anvil"));
        if is_node && words.iter().any(|w| w.starts_with(&folder)) {
            let _ = Command::new("kill").arg(process.file_name()).status();
        }
    }
}

fn write_expected(path: &Path, answers: &expected::Expected, bless: bool) -> Result<()> {
    let mut text = serde_json::to_string_pretty(answers)?;
    text.push('\n');
    match fs::read_to_string(path) {
        Ok(found) if found == text => return Ok(()),
        Ok(found) if !bless => {
            let line = found.lines().zip(text.lines()).position(|(a, b)| a != b).unwrap_or(0);
            bail!(
                "{} differs from the chains' answers from line {} on (on disk {:?}, now {:?}). If the devnet was \
                 changed on purpose, run record-demo with --bless; otherwise something is no longer deterministic",
                path.display(),
                line + 1,
                found.lines().nth(line).unwrap_or_default(),
                text.lines().nth(line).unwrap_or_default()
            );
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        Ok(_) | Err(_) => {}
    }
    write_whole(path, &text)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Runs lendlake's extract against the live nodes and takes its recording over if it is fit for git.
fn record(options: &RecordDemo, root: &Path, states: &Path, chains: &Demo) -> Result<()> {
    let work = states.join("extract");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let providers = work.join("providers.toml");
    fs::write(&providers, registry::live_providers(chains))?;
    // Written beside its place and renamed after the checks, so a bad recording never replaces a good one.
    let recording = root.join("data/demo/recording.jsonl");
    let new = recording.with_extension("jsonl.new");
    if new.exists() {
        fs::remove_file(&new)?;
    }

    // The whole run first; then each day, each CSU, and each day of each CSU into a lake of its own, which begins by listing
    // the contracts at that day's end: so the recording answers any part of the demo, in any order.
    let days = DAYS.map(|day| day.date);
    let mut parts: Vec<Vec<&str>> = vec![Vec::new()];
    parts.extend(days.map(|day| vec!["--from", day, "--to", day]));
    for csu in CSUS {
        parts.push(vec!["--csu", csu]);
        parts.extend(days.map(|day| vec!["--csu", csu, "--from", day, "--to", day]));
    }
    let recorded = parts.iter().enumerate().try_for_each(|(n, part)| {
        extract(options, root, &work, &providers, &new, &format!("part-{n}"), part)
    });
    let outcome = recorded.and_then(|()| check_recording(&new, chains));
    if let Err(error) = outcome {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    fs::rename(&new, &recording).with_context(|| format!("cannot replace {}", recording.display()))
}

/// Runs extract once over the demo's run file, into a lake of its own, adding to the recording.
fn extract(
    options: &RecordDemo,
    root: &Path,
    work: &Path,
    providers: &Path,
    recording: &Path,
    lake: &str,
    more: &[&str],
) -> Result<()> {
    let mut command = match &options.extract {
        Some(binary) => Command::new(binary),
        None => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["run", "--quiet", "-p", "extract", "--"]);
            cargo
        }
    };
    command
        .arg("run")
        .args(["--run".as_ref(), root.join("pipelines/runs/demo.toml").as_os_str()])
        .args(["--lake".as_ref(), work.join(lake).as_os_str()])
        .args(["--providers".as_ref(), providers.as_os_str()])
        .args(["--record".as_ref(), recording.as_os_str()])
        .args(more)
        .current_dir(root);
    let status = command.status().with_context(|| {
        format!("cannot start {}; give --extract BIN", command.get_program().to_string_lossy())
    })?;
    ensure!(
        status.success(),
        "extract ended with {status}; its own message is above, the recording is not replaced"
    );
    Ok(())
}

/// A recording must be small, and must hold no contract code: Aave's is not ours to hand on.
fn check_recording(path: &Path, chains: &Demo) -> Result<()> {
    let bytes =
        fs::metadata(path).with_context(|| format!("extract left no recording at {}", path.display()))?.len();
    ensure!(bytes > 0, "extract's recording is empty");
    ensure!(
        bytes < MOST_BYTES,
        "the recording has {bytes} bytes, more than {MOST_BYTES}; record fewer calls"
    );
    let code = code_beginnings(chains)?;
    let file = fs::File::open(path)?;
    for (n, line) in BufReader::new(file).lines().enumerate() {
        let line = line?;
        let place = || format!("line {} of {}", n + 1, path.display());
        serde_json::from_str::<serde::de::IgnoredAny>(&line)
            .with_context(|| format!("{} is not JSON", place()))?;
        if let Some(found) = find_code(&line, &code) {
            bail!("{} contains the code of a contract ({found}…); extract must not read code", place());
        }
    }
    Ok(())
}

/// Hex digits that tell one contract's code from anything else.
const CODE_DIGITS: usize = 64;

/// The first 64 hex digits of every contract's runtime code.
fn code_beginnings(chains: &Demo) -> Result<HashSet<String>> {
    let mut beginnings = HashSet::new();
    for Chain { spec, node, contracts, .. } in chains.chains() {
        let mut rpc = node.rpc();
        let all: HashSet<Address> = contracts.iter().copied().collect();
        for contract in all {
            let code = rpc.call("eth_getCode", json!([contract, "latest"]))?;
            let code = text(&code)?.trim_start_matches("0x");
            ensure!(code.len() >= CODE_DIGITS, "{contract} on {} has no code", spec.name);
            beginnings.insert(code[..CODE_DIGITS].to_ascii_lowercase());
        }
    }
    Ok(beginnings)
}

fn find_code<'a>(line: &str, code: &'a HashSet<String>) -> Option<&'a str> {
    let line = line.to_ascii_lowercase();
    // windows over the bytes: a hash look-up for each position is quick enough for five megabytes
    (0..line.len().saturating_sub(CODE_DIGITS - 1))
        .filter_map(|at| line.get(at..at + CODE_DIGITS))
        .find_map(|window| code.get(window).map(String::as_str))
}

/// Prints where the chains are and waits until interrupted.
fn keep(chains: &Demo, states: &Path) -> Result<()> {
    let providers = states.join("providers.toml");
    fs::write(&providers, registry::live_providers(chains))?;
    for Chain { spec, node, .. } in chains.chains() {
        println!("{} {} (process {})", spec.name, node.url(), node.process_id());
    }
    println!("providers {}", providers.display());
    println!("the chains run until Ctrl-C (or SIGTERM to process {})", std::process::id());
    loop {
        for Chain { spec, node, .. } in chains.chains() {
            let alive: Result<Value> = node.rpc().call("eth_blockNumber", json!([]));
            alive.with_context(|| format!("{} has ended:\n{}", spec.name, node.last_words()))?;
        }
        std::thread::sleep(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_code_anywhere_in_a_line_whatever_its_case() {
        let begin = "60806040".repeat(8);
        let code = HashSet::from([begin.clone()]);
        assert!(find_code(&format!("{{\"result\":\"0x{begin}5050\"}}"), &code).is_some());
        assert!(find_code(&format!("{{\"result\":\"0X00{}\"}}", begin.to_uppercase()), &code).is_some());
        assert!(find_code(&format!("{{\"result\":\"0x{}\"}}", &begin[..63]), &code).is_none());
        assert!(find_code("", &code).is_none());
    }
}
