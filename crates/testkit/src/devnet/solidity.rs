//! Solidity sources to creation code, by npm's `solc`: for packages that ship sources alone, and for contracts of our own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use alloy_primitives::hex;
use anyhow::{Context, Result, bail, ensure};
use lake::digest::sha256_hex;
use serde_json::{Value, json};

use super::artifacts::package;

/// Runs the compiler, which is WebAssembly.
const COMPILE: &str = include_str!("../../contracts/compile.js");

/// What the compiler is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Version of the npm package `solc`, which is the compiler's.
    pub solc: &'static str,
    /// Hard fork that the code is for.
    pub evm: &'static str,
    /// Runs that the optimizer works for.
    pub optimizer_runs: u32,
    /// Whether code is made by way of the intermediate language.
    pub via_ir: bool,
}

/// For contracts of our own.
pub const OURS: Settings = Settings { solc: "0.8.19", evm: "paris", optimizer_runs: 200, via_ir: false };

/// The folder with contracts of our own.
pub fn own_contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

/// Sources by the path that others import them by.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// These files and all that they import. A path is looked for in the folder of the longest prefix that it has, and in that of
    /// our own contracts where it has none.
    ///
    /// # Errors
    /// When a file is not there.
    pub fn of(files: &[&str], folders: &[(&str, PathBuf)]) -> Result<Self> {
        let mut sources = BTreeMap::new();
        let mut wanted: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        while let Some(name) = wanted.pop() {
            if sources.contains_key(&name) {
                continue;
            }
            let place = folders.iter().filter(|(prefix, _)| name.starts_with(prefix));
            let path = match place.max_by_key(|(prefix, _)| prefix.len()) {
                Some((prefix, folder)) => folder.join(&name[prefix.len()..]),
                None => own_contracts().join(&name),
            };
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            wanted.extend(imports(&text).map(|import| resolved(&name, import)));
            sources.insert(name, text);
        }
        Ok(Self(sources))
    }
}

/// The paths that a source imports, as it writes them.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    let statements = text.split_inclusive('\n').scan(0, |at, line| {
        let begins = *at;
        *at += line.len();
        Some((begins, line))
    });
    let statements = statements.filter(|(_, line)| line.starts_with("import"));
    statements.filter_map(|(begins, _)| text[begins..].split(';').next()?.split('"').nth(1))
}

/// The path that an import of a file means.
fn resolved(importer: &str, import: &str) -> String {
    if !import.starts_with('.') {
        return import.to_owned();
    }
    let mut parts: Vec<&str> = importer.split('/').collect();
    parts.pop();
    for part in import.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Creation code by the contract's name.
#[derive(Clone, Debug)]
pub struct Compiled(BTreeMap<String, Vec<u8>>);

impl Compiled {
    /// A contract's creation code.
    ///
    /// # Errors
    /// When no source had such a contract.
    pub fn code(&self, contract: &str) -> Result<&[u8]> {
        let code = self.0.get(contract);
        code.map(Vec::as_slice).with_context(|| format!("no contract {contract} was compiled"))
    }
}

/// Compiles contracts of these names, or finds what the same compiler made of the same sources before.
///
/// # Errors
/// When node is not there, or the compiler finds a fault; its own words are in the message.
pub fn compile(cache: &Path, sources: &Sources, contracts: &[&str], settings: Settings) -> Result<Compiled> {
    // Only these are translated, which takes most of the time.
    let output: BTreeMap<&str, Value> =
        contracts.iter().map(|name| (*name, json!(["evm.bytecode.object"]))).collect();
    let input = json!({
        "language": "Solidity",
        "sources": sources.0.iter().map(|(name, text)| (name.clone(), json!({ "content": text }))).collect::<BTreeMap<_, _>>(),
        "settings": {
            "optimizer": { "enabled": true, "runs": settings.optimizer_runs },
            "evmVersion": settings.evm,
            "viaIR": settings.via_ir,
            "outputSelection": { "*": output },
        },
    })
    .to_string();
    // One at a time: tests that run side by side share sources, and a compiler takes hundreds of megabytes.
    static COMPILING: Mutex<()> = Mutex::new(());
    let _alone = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let known = cache.join("compiled").join(format!(
        "{}-{}.json",
        settings.solc,
        &sha256_hex(input.as_bytes())[..32]
    ));
    if let Ok(text) = fs::read(&known)
        && let Ok(codes) = serde_json::from_slice::<BTreeMap<String, String>>(&text)
    {
        return decoded(codes);
    }
    let codes = creation_codes(&run(cache, &input, settings)?)?;
    let folder = known.parent().context("the cache has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // Renamed when whole: a run that is cut off leaves no half of it.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(&codes)?)?;
    file.persist(&known).with_context(|| format!("cannot write {}", known.display()))?;
    decoded(codes)
}

fn decoded(codes: BTreeMap<String, String>) -> Result<Compiled> {
    let codes = codes.into_iter().map(|(name, code)| Ok((name, hex::decode(code)?)));
    Ok(Compiled(codes.collect::<Result<_>>()?))
}

fn run(cache: &Path, input: &str, settings: Settings) -> Result<Vec<u8>> {
    let soljson = package(cache, "solc", settings.solc)?.join("soljson.js");
    let mut node = Command::new("node")
        .args(["-e", COMPILE, "--"])
        // `node -e` has no script of its own in `argv`: the first argument takes its place.
        .args(["compile"])
        .arg(&soljson)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start node; install Node.js (npm's solc runs in it)")?;
    node.stdin.take().context("node has no stdin")?.write_all(input.as_bytes())?;
    let output = node.wait_with_output()?;
    ensure!(
        output.status.success(),
        "solc {} ended with {}:\n{}",
        settings.solc,
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

fn creation_codes(output: &[u8]) -> Result<BTreeMap<String, String>> {
    let output: Value = serde_json::from_slice(output).context("solc's answer is not JSON")?;
    let faults: Vec<&str> = output["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|error| error["severity"] == "error")
        .filter_map(|error| error["formattedMessage"].as_str())
        .collect();
    if !faults.is_empty() {
        bail!("solc refuses the sources:\n{}", faults.join("\n"));
    }
    let mut codes = BTreeMap::new();
    for (_, contracts) in output["contracts"].as_object().context("solc made no contracts")? {
        for (name, contract) in contracts.as_object().into_iter().flatten() {
            let code = contract["evm"]["bytecode"]["object"].as_str().unwrap_or_default();
            // Interfaces have no code, and code to be linked is not what this is for.
            if !code.is_empty() && hex::decode(code).is_ok() {
                codes.insert(name.clone(), code.to_owned());
            }
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_a_source_is_told_in_the_compilers_words() {
        let answer = json!({ "errors": [
            { "severity": "warning", "formattedMessage": "unused" },
            { "severity": "error", "formattedMessage": "Token.sol:3: expected ;" },
        ] });
        let error = creation_codes(answer.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains("expected ;") && !error.contains("unused"), "{error}");
    }

    #[test]
    fn imports_are_found_and_mean_a_path() {
        let text = "import {A} from \"./b/C.sol\";\nimport {\n  D,\n  E\n} from \"../F.sol\";\nimport \"@g/H.sol\";\n// import \"no\";\n";
        let meant: Vec<_> = imports(text).map(|import| resolved("src/a/A.sol", import)).collect();
        assert_eq!(meant, ["src/a/b/C.sol", "src/F.sol", "@g/H.sol"]);
    }

    #[test]
    fn contracts_without_code_of_their_own_are_left_out() {
        let object = |code: &str| json!({ "evm": { "bytecode": { "object": code } } });
        let answer = json!({ "contracts": { "a.sol": { "A": object("6001"), "IA": object(""), "L": object("73__$ab$__") } } });
        let codes = creation_codes(answer.to_string().as_bytes()).unwrap();
        assert_eq!(codes, BTreeMap::from([("A".to_owned(), "6001".to_owned())]));
    }
}
