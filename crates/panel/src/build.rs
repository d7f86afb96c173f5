//! `panel build`: silver to `gold/panel_daily.parquet`, its CSV twin, what else is asked for, and a manifest.

use crate::asset::assets;
use crate::frame::{Frame, FrameError};
use crate::ordered::in_order;
use crate::seal::{Content, SealError, Sealed, Twins, seal};
use crate::silver::{Silver, SilverError};
use futures::future::try_join_all;
use lake::day::Day;
use lake::manifest::Manifest;
use lake::path::gold_file;
use lake::registry::Csu;
use lake::run::Run;
use lake::schema::gold::{PanelDaily, PanelDailyAsset};
use lake::status::{Dataset, Status};
use lake::store::{Lake, StoreError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The panel.
pub const PARQUET: &str = "panel_daily.parquet";
/// Its CSV twin.
pub const CSV: &str = "panel_daily.csv";
/// The rows of the panel that were collected, made when asked for.
pub const COLLECTED_PARQUET: &str = "panel_daily_collected.parquet";
/// Its CSV twin.
pub const COLLECTED_CSV: &str = "panel_daily_collected.csv";
/// The panel's stocks by class of assets, made when asked for.
pub const ASSET_PARQUET: &str = "panel_daily_asset.parquet";
/// Its CSV twin.
pub const ASSET_CSV: &str = "panel_daily_asset.csv";
/// What gold was made from.
pub const MANIFEST: &str = "manifest.json";

/// What is made only when asked for. Left over from an earlier build it would belong to another panel.
const OPTIONAL: [&str; 4] = [COLLECTED_PARQUET, COLLECTED_CSV, ASSET_PARQUET, ASSET_CSV];

/// Why gold could not be built. Nothing is written then, except by a store that fails half way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Silver could not be read.
    #[error(transparent)]
    Silver(#[from] SilverError),
    /// The frame could not be filled.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The rows make no file.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The manifest makes no JSON.
    #[error("cannot write the manifest of gold: {0}")]
    Manifest(#[from] serde_json::Error),
    /// The object store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to make besides the complete panel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// The unbalanced panel: the rows whose status is `collected`.
    pub collected_only: bool,
    /// The panel's stocks by class of assets.
    pub by_asset: bool,
}

/// What a build made.
#[derive(Debug, Clone, Serialize)]
pub struct Built {
    /// Name of the run.
    pub run: String,
    /// Location of the lake.
    pub lake: String,
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
    /// Number of CSUs.
    pub csus: usize,
    /// Number of rows: CSUs times days.
    pub rows: usize,
    /// Rows by the word in `status`.
    pub by_status: BTreeMap<&'static str, usize>,
    /// Rows in which running again could fill what the run asks for, in order of CSU and day.
    pub missing: Vec<MissingRow>,
    /// Months of the run that silver does not have.
    pub months_without_silver: Vec<String>,
    /// What the unbalanced panel leaves out, when it was asked for.
    pub dropped: Option<Dropped>,
    /// Files of gold.
    pub files: Vec<File>,
    /// Files of an earlier build that were removed, because this one was not asked for them.
    pub removed: Vec<String>,
}

/// What the unbalanced panel leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Rows that it keeps.
    pub kept: usize,
    /// Rows left out, by the word in `status`.
    pub by_status: BTreeMap<&'static str, usize>,
    /// CSUs of which every row is kept.
    pub csus_whole: usize,
    /// CSUs of which no row is kept.
    pub csus_without_rows: Vec<String>,
}

/// A row of the frame that is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingRow {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// What became of the snapshot.
    pub snap_status: Status,
    /// What became of the scan.
    pub liq_status: Status,
}

/// A file of gold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Path in the lake.
    pub path: String,
    /// Digest.
    pub sha256: String,
    /// Size in bytes.
    pub bytes: usize,
}

impl Built {
    /// Whether every row of the frame has what the run asks for.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Builds gold for a run. The same silver and registry give the same bytes; a file whose bytes are there already is
/// left alone.
///
/// # Errors
/// [`BuildError`].
pub async fn build(run: &Run, lake: &Lake, extras: Extras) -> Result<Built, BuildError> {
    let silver = Silver::open(run, lake).await?;
    let frame = Frame::read(run, &silver, extras.by_asset).await?;
    let made = Made::of(&frame, extras)?;

    // All bytes are made before the first is written.
    let mut contents: Vec<(&'static str, Content)> = Vec::new();
    let mut take =
        |names: [&'static str; 2], twins: [Content; 2]| contents.extend(names.into_iter().zip(twins));
    take([PARQUET, CSV], made.panel.finish()?);
    let mut dropped = None;
    if let Some((left_out, collected)) = made.collected {
        take([COLLECTED_PARQUET, COLLECTED_CSV], collected.finish()?);
        dropped = Some(left_out);
    }
    if let Some(assets) = made.assets {
        take([ASSET_PARQUET, ASSET_CSV], assets.finish()?);
    }
    let mut files: Vec<File> = contents.iter().map(|(name, content)| file(name, content)).collect();
    let manifest = Manifest {
        schema: "gold/1".to_owned(),
        code_version: env!("CARGO_PKG_VERSION").to_owned(),
        registry_sha256: run.registry.sha256().to_owned(),
        inputs: frame.inputs().clone(),
        outputs: files.iter().map(|file| (file.path.clone(), file.sha256.clone())).collect(),
        months: Default::default(),
    }
    .to_bytes()?;
    // Millions of small pieces, which are let go of while files are written.
    rayon::spawn(move || drop(frame.known));
    let manifest = Content::from(manifest);
    files.push(file(MANIFEST, &manifest));
    let written: BTreeSet<&str> = contents.iter().map(|(name, _)| *name).collect();
    let write =
        async |(name, content): (&str, Content)| lake.replace(&gold_file(name), content.payload).await;
    try_join_all(contents.into_iter().map(write)).await?;
    // Last: it stands for files that are there.
    write((MANIFEST, manifest)).await?;
    let mut removed = Vec::new();
    for name in OPTIONAL.iter().filter(|name| !written.contains(*name)) {
        let path = gold_file(name);
        if lake.get(&path).await?.is_some() {
            lake.delete(&path).await?;
            removed.push(path.to_string());
        }
    }

    Ok(Built {
        run: run.name.clone(),
        lake: lake.location().to_owned(),
        from: run.days.from(),
        to: run.days.to(),
        csus: run.csus.len(),
        rows: made.rows,
        by_status: made.by_status,
        missing: made.missing,
        months_without_silver: silver.months_without,
        dropped,
        files,
        removed,
    })
}

/// The tables of a build before they are files.
struct Made {
    panel: Twins<PanelDaily>,
    collected: Option<(Dropped, Twins<PanelDaily>)>,
    assets: Option<Twins<PanelDailyAsset>>,
    rows: usize,
    by_status: BTreeMap<&'static str, usize>,
    missing: Vec<MissingRow>,
}

/// The rows of one CSU, ready to be written.
struct OfCsu {
    rows: Vec<PanelDaily>,
    panel: Sealed,
    collected: Option<Sealed>,
    assets: Option<Sealed>,
}

impl Made {
    fn of(frame: &Frame<'_>, extras: Extras) -> Result<Self, BuildError> {
        let mut made = Self {
            panel: Twins::new()?,
            collected: extras
                .collected_only
                .then(Twins::new)
                .transpose()?
                .map(|twins| (Dropped::default(), twins)),
            assets: extras.by_asset.then(Twins::new).transpose()?,
            rows: 0,
            by_status: BTreeMap::new(),
            missing: Vec::new(),
        };
        let csus: Vec<(u32, &Csu)> = frame.csus().collect();
        in_order(&csus, |csu| OfCsu::of(frame, *csu, extras), |of_csu| made.add(frame.run, of_csu?))?;
        Ok(made)
    }

    fn add(&mut self, run: &Run, of_csu: OfCsu) -> Result<(), BuildError> {
        self.panel.add(of_csu.panel)?;
        if let Some((assets, rows)) = self.assets.as_mut().zip(of_csu.assets) {
            assets.add(rows)?;
        }
        if let Some(((dropped, collected), rows)) = self.collected.as_mut().zip(of_csu.collected) {
            dropped.add(&of_csu.rows);
            collected.add(rows)?;
        }
        self.rows += of_csu.rows.len();
        for row in &of_csu.rows {
            *self.by_status.entry(row.status.as_str()).or_insert(0) += 1;
        }
        self.missing.extend(of_csu.rows.iter().filter(|row| is_missing(run, row)).map(missing_row));
        Ok(())
    }
}

impl OfCsu {
    fn of(frame: &Frame<'_>, csu: (u32, &Csu), extras: Extras) -> Result<Self, BuildError> {
        let rows = frame.rows(csu)?;
        let collected = || {
            let collected: Vec<PanelDaily> =
                rows.iter().filter(|row| row.status == Status::Collected).cloned().collect();
            seal(&collected)
        };
        Ok(Self {
            panel: seal(&rows)?,
            collected: extras.collected_only.then(collected).transpose()?,
            assets: extras
                .by_asset
                .then(|| Ok::<_, BuildError>(seal(&assets(frame, csu, &rows)?)?))
                .transpose()?,
            rows,
        })
    }
}

impl Dropped {
    /// Notes what is left out of the rows of a CSU.
    fn add(&mut self, of_csu: &[PanelDaily]) {
        let kept = of_csu.iter().filter(|row| row.status == Status::Collected).count();
        self.kept += kept;
        self.csus_whole += usize::from(kept == of_csu.len());
        if let Some(row) = of_csu.first().filter(|_| kept == 0) {
            self.csus_without_rows.push(row.csu.clone());
        }
        for row in of_csu.iter().filter(|row| row.status != Status::Collected) {
            *self.by_status.entry(row.status.as_str()).or_insert(0) += 1;
        }
    }
}

/// A dataset that the run does not ask for is not missing, though its status says that nobody tried it.
fn is_missing(run: &Run, row: &PanelDaily) -> bool {
    let status_of = |dataset: &Dataset| match dataset {
        Dataset::Tvl => row.snap_status,
        Dataset::Liquidations => row.liq_status,
    };
    run.datasets.iter().map(status_of).any(Status::is_worth_a_retry)
}

fn missing_row(row: &PanelDaily) -> MissingRow {
    MissingRow {
        csu: row.csu.clone(),
        date: row.date,
        snap_status: row.snap_status,
        liq_status: row.liq_status,
    }
}

fn file(name: &str, content: &Content) -> File {
    let bytes = content.payload.content_length();
    File { path: gold_file(name).to_string(), sha256: content.sha256.clone(), bytes }
}
