//! The demo registry: the facts of the devnet in the form lendlake's loader reads.
//!
//! The files are in git and may carry comments and more keys; the recorder only insists that what it deployed is what
//! they say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::Played;
use super::aave::MULTICALL3;

const SOURCE: &str = "crates/testkit/src/devnet";

/// The files, relative to the registry's folder, with the text that describes the devnet as deployed.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(chains: &[Played; 2]) -> Result<[(&'static str, String); 4]> {
    let head =
        "# Written by `make record-demo` (crates/testkit/src/devnet/registry.rs); the recorder checks it.\n";
    let mut files = [
        ("chains.toml", head.to_owned()),
        ("csus/aave_v3.toml", head.to_owned()),
        ("tokens.toml", head.to_owned()),
        ("providers.toml", head.to_owned()),
    ];
    let [(_, chains_toml), (_, csus), (_, tokens), (_, providers)] = &mut files;
    for (index, played) in chains.iter().enumerate() {
        let (spec, market) = (played.spec, &played.market);
        let name = spec.name;
        write!(
            chains_toml,
            r#"
[[chain]]
name = "{name}"
chain_id = {}
native_symbol = "ETH"
is_l2 = false
block_seconds = {}.0
multicall3 = "{MULTICALL3}"
multicall3_block = {}
finality_blocks = 64
source = "{SOURCE}"
"#,
            spec.chain_id, spec.block_seconds, market.multicall3_block,
        )?;
        let notes = match name {
            "devnet_a" => "real Aave V3.0.2 on a local chain; LINK is listed on 2024-11-04 about noon",
            _ => "real Aave V3.0.2 on a local chain; DAI also has stable-rate debt",
        };
        write!(
            csus,
            r#"
[[csu]]
id = "aave_v3_{name}"
num = {}
protocol = "aave_v3"
version = "3.0.2"
chain = "{name}"
market = "main"
entry_role = "pool_addresses_provider"
entry = "{}"
deployed_block = {}
deployed_date = "2024-11-01"
verified = "yes"
source = "{SOURCE}"
notes = "{notes}"
"#,
            index + 1,
            market.provider,
            market.provider_block,
        )?;
        for reserve in &market.reserves {
            let listing = reserve.listing;
            write!(
                tokens,
                r#"
[[token]]
chain = "{name}"
address = "{}"
symbol = "{}"
asset_class = "{}"
is_stablecoin = {}
pricing = "oracle"
source = "{SOURCE}"
"#,
                reserve.token,
                listing.symbol,
                listing.asset_class,
                listing.asset_class == "stablecoin",
            )?;
        }
        providers.push_str(&endpoint(name, "replay:../recording.jsonl"));
    }
    Ok(files)
}

/// The registry's endpoints with the live nodes' addresses in place of the recording.
pub fn live_providers(chains: &[Played; 2]) -> String {
    chains.iter().map(|played| endpoint(played.spec.name, &played.node.url())).collect()
}

fn endpoint(chain: &str, url: &str) -> String {
    format!(
        r#"
[[endpoint]]
label = "{chain}_recording"
chain = "{chain}"
url = "{url}"
log_window = 500
source = "make record-demo"
"#
    )
}

/// Compares the registry on disk with what was deployed; writes what is missing, and with `bless` what differs.
///
/// # Errors
/// When a file says something else than was deployed.
pub fn verify(folder: &Path, files: &[(&str, String)], bless: bool) -> Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        let wanted: Table = text.parse().with_context(|| format!("{name} as the recorder would write it"))?;
        let found = match fs::read_to_string(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                eprintln!("wrote {}", path.display());
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let found: Table = found.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        let Some(difference) = difference("", &Value::Table(wanted), &Value::Table(found)) else { continue };
        if !bless {
            bail!(
                "{} disagrees with what was deployed: {difference}. If the devnet was changed on purpose, \
                 run record-demo with --bless to write the registry anew; otherwise mend the file",
                path.display()
            );
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("blessed {} ({difference})", path.display());
    }
    Ok(())
}

/// The first place where `found` lacks or contradicts something in `wanted`; further keys in `found` are fine.
fn difference(place: &str, wanted: &Value, found: &Value) -> Option<String> {
    match (wanted, found) {
        (Value::Table(wanted), Value::Table(found)) => wanted.iter().find_map(|(key, value)| {
            let place = format!("{place}.{key}");
            match found.get(key) {
                Some(found) => difference(&place, value, found),
                None => Some(format!("{} is missing, deployed is {value}", place.trim_start_matches('.'))),
            }
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .find_map(|(n, (wanted, found))| difference(&format!("{place}[{n}]"), wanted, found)),
        (Value::Array(wanted), Value::Array(found)) => Some(format!(
            "{} has {} entries, deployed are {}",
            place.trim_start_matches('.'),
            found.len(),
            wanted.len()
        )),
        _ if wanted == found => None,
        _ => Some(format!("{} is {found}, deployed is {wanted}", place.trim_start_matches('.'))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(wanted: &str, found: &str) -> Option<String> {
        difference("", &Value::Table(wanted.parse().unwrap()), &Value::Table(found.parse().unwrap()))
    }

    #[test]
    fn more_keys_and_comments_are_fine_other_values_are_not() {
        let wanted = "[[csu]]\nentry = \"0x1\"\n";
        assert_eq!(compare(wanted, "# a remark\n[[csu]]\nentry = \"0x1\"\nmore = 2\n"), None);
        assert_eq!(
            compare(wanted, "[[csu]]\nentry = \"0x2\"\n").unwrap(),
            "csu[0].entry is \"0x2\", deployed is \"0x1\""
        );
        assert_eq!(
            compare(wanted, "[[csu]]\nnum = 1\n").unwrap(),
            "csu[0].entry is missing, deployed is \"0x1\""
        );
        assert_eq!(
            compare(wanted, "[[csu]]\nentry = \"0x1\"\n[[csu]]\nentry = \"0x3\"\n").unwrap(),
            "csu has 2 entries, deployed are 1"
        );
    }
}
