//! One anvil process: started on a free port, killed and cleaned up when dropped.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::ChainSpec;
use super::rpc::Rpc;

/// Every anvil of this process, so that an interrupt can end them: a signal runs no destructors.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Running {
    child: Arc<Mutex<Child>>,
    folder: PathBuf,
}

impl Running {
    fn end(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing can be done about a failure here, and the process may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// From now on Ctrl-C or SIGTERM ends every anvil, removes `states` and ends this process with code 130.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn end_all_on_interrupt(states: PathBuf) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the thread that waits for Ctrl-C")?;
    thread::spawn(move || {
        runtime.block_on(interrupted());
        // Held until the end: the main thread, whose calls now fail, waits for it in `drop` and cannot end first.
        let all = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        for running in all.iter() {
            running.end();
        }
        let _ = std::fs::remove_dir_all(&states);
        eprintln!("interrupted: the chains are stopped and their states removed");
        std::process::exit(130);
    });
    Ok(())
}

async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hangup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// A running anvil. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Anvil {
    child: Arc<Mutex<Child>>,
    port: u16,
    folder: PathBuf,
    last_words: Arc<Mutex<VecDeque<String>>>,
}

impl Anvil {
    /// Starts `binary` for a chain, keeping block states under a new folder in `states`.
    ///
    /// # Errors
    /// When anvil does not start or does not say where it listens.
    pub fn start(binary: &Path, spec: &ChainSpec, states: &Path) -> Result<Self> {
        let folder = states.join(spec.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut child = Command::new(binary)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--chain-id", &spec.chain_id.to_string()])
            .args(["--timestamp", &spec.genesis.to_string()])
            // the fork of mainnet in November 2024; pinned, so that anvil's default cannot change the block hashes
            .args(["--hardfork", "cancun"])
            .args(["--gas-limit", &super::driver::BLOCK_GAS.to_string()])
            // some artefacts on npm are compiled for coverage and are larger than what goes on a public chain
            .arg("--disable-code-size-limit")
            // blocks come when we say so, transactions in the order we send them
            .args(["--no-mining", "--order", "fifo"])
            .args(["--accounts", "12", "--balance", "10000"])
            .arg("--cache-path")
            .arg(&folder)
            .env_remove("ANVIL_IP_ADDR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;

        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        let (found, port) = mpsc::channel();
        // Anvil writes a line for each request: the pipes must be drained or it stops.
        if let Some(stdout) = child.stdout.take() {
            drain(stdout, Arc::clone(&last_words), Some(found));
        }
        if let Some(stderr) = child.stderr.take() {
            drain(stderr, Arc::clone(&last_words), None);
        }
        // From here on the guard kills the child, whatever goes wrong.
        let child = Arc::new(Mutex::new(child));
        RUNNING
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Running { child: Arc::clone(&child), folder: folder.clone() });
        let mut anvil = Self { child, port: 0, folder, last_words };
        anvil.port = port.recv_timeout(Duration::from_secs(30)).map_err(|_| {
            anyhow!("anvil for {} did not start listening:\n{}", spec.name, anvil.last_words())
        })?;
        let chain_id = anvil.rpc().call("eth_chainId", serde_json::json!([]))?;
        if super::rpc::number(&chain_id)? != spec.chain_id {
            bail!("the node on port {} answers chain id {chain_id}, not {}", anvil.port, spec.chain_id);
        }
        Ok(anvil)
    }

    /// A client of this node.
    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.port)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// The last lines it wrote, for error messages.
    pub fn last_words(&self) -> String {
        let lines = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Bytes its block states take on disk.
    pub fn disk_bytes(&self) -> u64 {
        folder_bytes(&self.folder)
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|r| Arc::ptr_eq(&r.child, &self.child)) {
            running.swap_remove(at).end();
        }
    }
}

fn drain(
    pipe: impl std::io::Read + Send + 'static,
    keep: Arc<Mutex<VecDeque<String>>>,
    port: Option<mpsc::Sender<u16>>,
) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(port) = &port
                && let Some(n) =
                    line.strip_prefix("Listening on 127.0.0.1:").and_then(|n| n.trim().parse().ok())
            {
                let _ = port.send(n);
            }
            let mut keep = keep.lock().unwrap_or_else(PoisonError::into_inner);
            if keep.len() == 40 {
                keep.pop_front();
            }
            keep.push_back(line);
        }
    });
}

fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|e| match e.metadata() {
            Ok(m) if m.is_dir() => folder_bytes(&e.path()),
            Ok(m) => m.len(),
            Err(_) => 0,
        })
        .sum()
}
