//! The part of `transform` that DuckDB and Polars can do, too: read the JSON of `bronze/tvl`, type it, join each reserve's
//! answers with its price, write Parquet. For `make bench-transform`, which runs the three side by side.
//!
//! Objects are read by the reader that `transform` uses, seals included. One file a CSU, rows in order of day, item and key.

use anyhow::{Context, Result};
use arrow_array::builder::{BooleanBuilder, Date32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use clap::Args;
use lake::bronze::{CallRecord, Record, TvlSnapshot};
use lake::table_file::batch_bytes;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PRICE: &str = "oracle.getAssetPrice";

/// Do the part of transform that needs no decoding: answers of bronze/tvl, joined with prices, as Parquet
#[derive(Debug, Args)]
pub struct DecodeFreePart {
    /// Lake
    #[arg(long)]
    lake: PathBuf,
    /// Directory to write into
    #[arg(long)]
    out: PathBuf,
}

/// Does the part and prints how many rows it has.
///
/// # Errors
/// What the file system refuses, and objects that are no snapshots.
pub fn run(options: &DecodeFreePart) -> Result<()> {
    let DecodeFreePart { lake, out } = options;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let csus = sorted(&lake.join("bronze/tvl"))?;
    let rows: Vec<usize> = csus.par_iter().map(|csu| part(csu, out)).collect::<Result<_>>()?;
    println!("{}", rows.iter().sum::<usize>());
    Ok(())
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Writes the rows of a CSU. Returns how many there are.
fn part(csu: &Path, out: &Path) -> Result<usize> {
    let text = StringBuilder::new;
    let (mut csus, mut keys, mut items, mut outputs, mut prices) = (text(), text(), text(), text(), text());
    let (mut days, mut oks) = (Date32Builder::new(), BooleanBuilder::new());
    let (mut chains, mut blocks) = (Int64Builder::new(), Int64Builder::new());
    for path in sorted(csu)? {
        let bytes = std::fs::read(&path)?;
        let TvlSnapshot { of, reads } =
            TvlSnapshot::from_bytes(&bytes).with_context(|| path.display().to_string())?;
        let (of_prices, mut others): (Vec<&CallRecord>, Vec<&CallRecord>) =
            reads.calls.iter().partition(|call| call.key == PRICE);
        others.sort_by(|one, other| (&one.item, &one.key).cmp(&(&other.item, &other.key)));
        for call in others {
            let price = of_prices.iter().find(|price| price.item == call.item);
            csus.append_value(&of.csu);
            days.append_value(of.day.date.days_since_epoch());
            chains.append_value(i64::try_from(of.day.chain_id)?);
            blocks.append_value(i64::try_from(reads.block.number)?);
            keys.append_value(&call.key);
            items.append_value(&call.item);
            oks.append_value(call.ok);
            outputs.append_value(call.output.to_string());
            prices.append_option(price.map(|price| price.output.to_string()));
        }
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("csu", Arc::new(csus.finish())),
        ("date", Arc::new(days.finish())),
        ("chain_id", Arc::new(chains.finish())),
        ("block_number", Arc::new(blocks.finish())),
        ("key", Arc::new(keys.finish())),
        ("item", Arc::new(items.finish())),
        ("ok", Arc::new(oks.finish())),
        ("output", Arc::new(outputs.finish())),
        ("price", Arc::new(prices.finish())),
    ];
    let batch = RecordBatch::try_from_iter(columns)?;
    let name = csu.file_name().with_context(|| format!("{} has no name", csu.display()))?;
    std::fs::write(out.join(name).with_extension("parquet"), batch_bytes("part", &batch)?)?;
    Ok(batch.num_rows())
}
