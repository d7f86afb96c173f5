//! `panel release`.

use crate::written::write_file;
use crate::{RunArgs, day, runtime};
use anyhow::{Result, anyhow, bail};
use clap::Args;
use lake::day::Day;
use panel::diff::panel_at;
use panel::release::{ReleaseName, Wanted, bundle, data_changes};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to release, and how it is named.
#[derive(Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Name of the release: vYEAR.MONTH.NUMBER.
    #[arg(long, value_name = "NAME")]
    release: String,
    /// Directory to write; it must be new or empty, since a release is never changed.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Day of the release, for its citation (YYYY-MM-DD).
    #[arg(long, value_name = "DAY", value_parser = day)]
    date: Option<Day>,
    /// DOI of the release, once it is reserved.
    #[arg(long, value_name = "DOI")]
    doi: Option<String>,
    /// The release before, to tell what moved: a Parquet file, a lake or a release.
    #[arg(long, value_name = "PANEL")]
    previous: Option<String>,
    /// Changelog whose headings `### Data` go with the release.
    #[arg(long, value_name = "FILE", default_value = "CHANGELOG.md")]
    changelog: PathBuf,
    /// Release though a check of level error failed. README and checks/ say so.
    #[arg(long)]
    with_failed_checks: bool,
}

pub(crate) fn run(args: &ReleaseArgs) -> Result<ExitCode> {
    let name = ReleaseName::parse(&args.release)?;
    let run = args.run.load()?;
    must_be_empty(&args.out)?;
    let file = args.changelog.display().to_string();
    let changelog = std::fs::read_to_string(&args.changelog).map_err(|error| {
        anyhow!("cannot read {file}: {error}\nhint: name the project's changelog with --changelog")
    })?;
    data_changes(&file, &changelog)?;
    let lake = run.open_lake()?;
    let made = runtime()?.block_on(async {
        let previous = match &args.previous {
            Some(place) => Some(panel_at(place).await?),
            None => None,
        };
        let wanted = Wanted {
            name,
            date: args.date,
            doi: args.doi.clone(),
            changelog,
            previous,
            with_failed_checks: args.with_failed_checks,
        };
        anyhow::Ok(bundle(&run, &lake, &wanted).await?)
    })?;
    for (path, bytes) in &made.files {
        write_file(&args.out.join(path), bytes)?;
    }
    for note in &made.notes {
        eprintln!("note: {note}");
    }
    eprintln!("release {}: {} files in {}", args.release, made.files.len(), args.out.display());
    Ok(ExitCode::SUCCESS)
}

fn must_be_empty(directory: &Path) -> Result<()> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(
                "{} is not empty\nhint: a release is never changed; name a new directory",
                directory.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => bail!("cannot read {}: {error}\nhint: name a new directory", directory.display()),
    }
}
