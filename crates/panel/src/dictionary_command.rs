//! The command line of `panel dictionary`.

use crate::runtime;
use anyhow::Result;
use clap::Args;
use lake::run::{Overrides, Run};
use panel::dictionary;
use std::path::PathBuf;
use std::process::ExitCode;

/// `panel dictionary`.
#[derive(Args)]
pub(crate) struct DictionaryArgs {
    #[command(flatten)]
    place: Place,
    /// Lake to use instead of the run file's: a directory or a URL.
    #[arg(long, value_name = "URL", requires = "run")]
    lake: Option<String>,
}

/// Where to.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Write the pages into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare the pages in this directory; exit code 1 names the stale ones.
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
    /// Write the codebook beside gold of this run: gold/codebook and gold/datapackage.json.
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
}

/// Writes or compares the pages.
pub(crate) fn run(args: &DictionaryArgs) -> Result<ExitCode> {
    if let Some(file) = &args.place.run {
        let run = Run::load(file, &Overrides { lake: args.lake.clone(), ..Overrides::default() })?;
        let lake = run.open_lake()?;
        for path in runtime()?.block_on(dictionary::write_to_lake(&run, &lake))? {
            eprintln!("wrote {}/{path}", lake.location().trim_end_matches('/'));
        }
    }
    if let Some(directory) = &args.place.out {
        for path in dictionary::write(directory)? {
            eprintln!("wrote {}", path.display());
        }
    }
    let Some(directory) = &args.place.check else { return Ok(ExitCode::SUCCESS) };
    let stale = dictionary::stale(directory)?;
    if stale.is_empty() {
        eprintln!("the dictionary in {} is fresh", directory.display());
        return Ok(ExitCode::SUCCESS);
    }
    for name in &stale {
        eprintln!("stale: {}", directory.join(name).display());
    }
    eprintln!("hint: run `panel dictionary --out {}`", directory.display());
    Ok(ExitCode::from(1))
}
