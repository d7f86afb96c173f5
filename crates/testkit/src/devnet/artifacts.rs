//! The npm packages the devnet is made of, fetched into a cache and never copied anywhere else.
//!
//! Aave's contracts are under BUSL-1.1: their compiled artefacts are read from the cache when a devnet starts, and no
//! file this crate writes for the repository may contain their code (`record` checks it).

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use alloy_primitives::hex;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const ANVIL_VERSION: &str = "1.7.1";
const AAVE: (&str, &str) = ("@aave/core-v3", "1.19.3");
/// Only for Multicall3's creation code. It is Multicall3 compiled with other settings than the one on public chains
/// (5,561 bytes instead of 3,808): the same functions at a little more gas.
const VIEM: (&str, &str) = ("viem", "2.57.20");

/// Where the packages lie, and what is in them.
#[derive(Clone, Debug)]
pub struct Artifacts {
    cache: PathBuf,
    anvil: PathBuf,
    contracts: PathBuf,
    multicall3: Vec<u8>,
}

/// A compiled contract: creation code with the holes libraries go into.
#[derive(Clone, Debug)]
pub struct Contract {
    bytecode: String,
    links: BTreeMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactFile {
    bytecode: String,
    #[serde(default)]
    link_references: BTreeMap<String, BTreeMap<String, Vec<LinkReference>>>,
}

#[derive(Deserialize)]
struct LinkReference {
    start: usize,
}

impl Artifacts {
    /// Makes sure the pinned packages are in `cache`, asking npm for what is missing.
    ///
    /// # Errors
    /// When npm is not there, cannot fetch, or there is no anvil for this platform.
    pub fn fetch(cache: &Path) -> Result<Self> {
        let anvil_package = anvil_package()?;
        let anvil_root = package(cache, &anvil_package, ANVIL_VERSION)?;
        let anvil = ["bin/anvil", "bin/anvil.exe"]
            .iter()
            .map(|p| anvil_root.join(p))
            .find(|p| p.is_file())
            .with_context(|| {
            format!("no anvil in {}; delete the folder and run again", anvil_root.display())
        })?;
        make_executable(&anvil)?;
        let contracts = package(cache, AAVE.0, AAVE.1)?.join("artifacts/contracts");
        let multicall3 = multicall3_creation_code(&package(cache, VIEM.0, VIEM.1)?)?;
        Ok(Self { cache: cache.to_owned(), anvil, contracts, multicall3 })
    }

    /// The native anvil (not npm's wrapper script, which does not hand signals on).
    pub fn anvil(&self) -> &Path {
        &self.anvil
    }

    /// Where the packages lie.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Multicall3's creation code.
    pub fn multicall3(&self) -> &[u8] {
        &self.multicall3
    }

    /// Reads one of Aave's compiled contracts, e.g. `protocol/pool/Pool`.
    ///
    /// # Errors
    /// When the package has no such contract.
    pub fn contract(&self, path: &str) -> Result<Contract> {
        let name = path.rsplit('/').next().unwrap_or(path);
        Contract::read(&self.contracts.join(format!("{path}.sol")).join(format!("{name}.json")))
    }
}

impl Contract {
    /// Reads a compiled contract as Hardhat writes it.
    ///
    /// # Errors
    /// When there is no such file, or it is something else.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let artifact: ArtifactFile =
            serde_json::from_str(&text).with_context(|| format!("{} is not an artefact", file.display()))?;
        let links = artifact
            .link_references
            .into_values()
            .flatten()
            .map(|(library, places)| (library, places.into_iter().map(|p| p.start).collect()))
            .collect();
        Ok(Self { bytecode: artifact.bytecode.trim_start_matches("0x").to_owned(), links })
    }

    /// Creation code with the libraries' addresses filled in.
    ///
    /// # Errors
    /// When a library is missing.
    pub fn link(&self, libraries: &HashMap<String, alloy_primitives::Address>) -> Result<Vec<u8>> {
        let mut code = self.bytecode.clone();
        for (library, places) in &self.links {
            let address =
                libraries.get(library).with_context(|| format!("library {library} is not deployed yet"))?;
            let address = hex::encode(address);
            for start in places {
                let hole = start * 2..start * 2 + 40;
                ensure!(
                    code.get(hole.clone()).is_some(),
                    "a link reference of {library} lies outside the code"
                );
                code.replace_range(hole, &address);
            }
        }
        Ok(hex::decode(code)?)
    }
}

fn anvil_package() -> Result<String> {
    let os = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        "windows" => "win32",
        other => bail!("no anvil on npm for {other}; record the demo on Linux, macOS or Windows"),
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => bail!("no anvil on npm for {other}; record the demo on x86_64 or aarch64"),
    };
    Ok(format!("@foundry-rs/anvil-{os}-{arch}"))
}

/// The folder of one package at one version, fetched with `npm pack` (which runs no install script) if needed.
///
/// # Errors
/// When npm is not there or cannot fetch.
pub fn package(cache: &Path, name: &str, version: &str) -> Result<PathBuf> {
    // Tests run side by side in one process, and several want the same package.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let home = cache.join(format!("{}-{version}", name.trim_start_matches('@').replace('/', "-")));
    let root = home.join("package");
    // written last, so an interrupted fetch is fetched again
    let mark = home.join("fetched");
    if mark.is_file() {
        return Ok(root);
    }
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot clear {}", home.display()))?;
    }
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    eprintln!("fetching {name}@{version} from npm");
    let npm = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
        .args(["pack", "--silent", "--pack-destination", "."])
        .arg(format!("{name}@{version}"))
        .current_dir(&home)
        .output()
        .context("cannot start npm; install Node.js (npm fetches anvil and Aave's compiled contracts)")?;
    ensure!(
        npm.status.success(),
        "npm pack {name}@{version} failed; is the registry reachable?\n{}",
        String::from_utf8_lossy(&npm.stderr)
    );
    let archive = fs::read_dir(&home)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|p| p.extension().is_some_and(|e| e == "tgz"))
        .with_context(|| format!("npm pack {name}@{version} left no archive"))?;
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(archive.file_name().context("the archive has no name")?)
        .current_dir(&home)
        .status()
        .context("cannot start tar")?;
    ensure!(tar.success(), "tar could not unpack {}", archive.display());
    fs::remove_file(&archive)?;
    fs::write(&mark, format!("{name}@{version}\n"))?;
    Ok(root)
}

fn multicall3_creation_code(viem: &Path) -> Result<Vec<u8>> {
    let file = viem.join("_esm/constants/contracts.js");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let code = text
        .split_once("multicall3Bytecode = '0x")
        .and_then(|(_, rest)| rest.split_once('\''))
        .map(|(code, _)| code)
        .with_context(|| format!("{} has no multicall3Bytecode", file.display()))?;
    Ok(hex::decode(code)?)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<()> {
    Ok(())
}
