//! The stages as programs: found next to the running test, run with their output caught.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A program that runs longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It was not built.
    #[error("there is no program `{name}` in {}\nhint: run `cargo build --workspace` first; a test does not build other crates' programs", directory.display())]
    NotBuilt {
        /// Its name.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("cannot run {}: {source}", file.display())]
    System {
        /// The program.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It did not end.
    #[error("{} did not end within {} seconds; it said:\n{stderr}", file.display(), PATIENCE.as_secs())]
    Hangs {
        /// The program.
        file: PathBuf,
        /// What it wrote so far.
        stderr: String,
    },
}

/// One of the house's programs.
#[derive(Debug, Clone)]
pub struct Program {
    file: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Everything it wrote.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Program {
    /// The program of this name that was built with the running test.
    ///
    /// # Errors
    /// [`ProgramError::NotBuilt`], with what to do.
    pub fn find(name: &str) -> Result<Self, ProgramError> {
        // A test lies in <profile>/deps, the programs in <profile>.
        let test = std::env::current_exe()
            .map_err(|source| ProgramError::System { file: PathBuf::from(name), source })?;
        let deps = test.parent().unwrap_or(Path::new("."));
        let directory = if deps.ends_with("deps") { deps.parent().unwrap_or(deps) } else { deps };
        let file = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if file.is_file() {
            Ok(Self { file, environment: Vec::new() })
        } else {
            Err(ProgramError::NotBuilt { name: name.to_owned(), directory: directory.to_owned() })
        }
    }

    /// The program with a variable in its environment.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The program with these arguments, for whoever starts it and watches over it.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.file);
        command
            .args(arguments)
            // What the developer's shell says must not change what a test sees.
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// [`ProgramError`] when it cannot be started or does not end. A bad exit code is an [`Outcome`].
    pub fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Outcome, ProgramError> {
        let system = |source| ProgramError::System { file: self.file.clone(), source };
        let mut child =
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(system)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both pipes are read while the program runs: a full pipe would stop it.
        let stdout = std::thread::spawn(move || text(stdout));
        let stderr = std::thread::spawn(move || text(stderr));
        let started = Instant::now();
        let status: Option<ExitStatus> = loop {
            if let Some(status) = child.try_wait().map_err(system)? {
                break Some(status);
            }
            if started.elapsed() > PATIENCE {
                child.kill().map_err(system)?;
                child.wait().map_err(system)?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        match status {
            Some(status) => Ok(Outcome { code: status.code(), stdout, stderr }),
            None => Err(ProgramError::Hangs { file: self.file.clone(), stderr }),
        }
    }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
