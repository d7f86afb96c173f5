//! The demo registry: the facts of the devnet in the form lendlake's loader reads.
//!
//! The files are in git and may carry comments and more keys; the recorder only insists that what it deployed is what
//! they say.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::aave::MULTICALL3;
use super::families::{Families, HEARTBEAT};
use super::{Chain, Demo, Played};

const SOURCE: &str = "crates/testkit/src/devnet";

/// The files, relative to the registry's folder, with the text that describes the devnet as deployed.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(demo: &Demo) -> Result<[(&'static str, String); 8]> {
    let head =
        "# Written by `make record-demo` (crates/testkit/src/devnet/registry.rs); the recorder checks it.\n";
    let mut chains = head.to_owned();
    for chain in demo.chains() {
        chain_row(&mut chains, &chain)?;
    }
    let (mut aave, mut tokens) = (head.to_owned(), head.to_owned());
    for (index, played) in demo.aave.iter().enumerate() {
        aave_rows(&mut aave, &mut tokens, index + 1, played)?;
    }
    let mut providers = head.to_owned();
    providers
        .extend(demo.chains().iter().map(|chain| endpoint(chain.spec.name, "replay:../recording.jsonl")));
    let (others, feeds) = (family_rows(&demo.families)?, feed_rows(&mut tokens, &demo.families)?);
    let [compound_v2, compound_v3, morpho_blue] = others.map(|rows| format!("{head}{rows}"));
    Ok([
        ("chains.toml", chains),
        ("csus/aave_v3.toml", aave),
        ("csus/compound_v2.toml", compound_v2),
        ("csus/compound_v3.toml", compound_v3),
        ("csus/morpho_blue.toml", morpho_blue),
        ("tokens.toml", tokens),
        ("feeds.toml", format!("{head}{feeds}")),
        ("providers.toml", providers),
    ])
}

fn chain_row(text: &mut String, chain: &Chain<'_>) -> Result<()> {
    write!(
        text,
        r#"
[[chain]]
name = "{}"
chain_id = {}
native_symbol = "ETH"
is_l2 = false
block_seconds = {}.0
multicall3 = "{MULTICALL3}"
multicall3_block = {}
finality_blocks = 64
source = "{SOURCE}"
"#,
        chain.spec.name, chain.spec.chain_id, chain.spec.block_seconds, chain.multicall3_block,
    )?;
    Ok(())
}

fn aave_rows(csus: &mut String, tokens: &mut String, num: usize, played: &Played) -> Result<()> {
    let (name, market) = (played.spec.name, &played.market);
    let notes = match name {
        "devnet_a" => "real Aave V3.0.2 on a local chain; LINK is listed on 2024-11-04 about noon",
        _ => "real Aave V3.0.2 on a local chain; DAI also has stable-rate debt",
    };
    write!(
        csus,
        r#"
[[csu]]
id = "aave_v3_{name}"
num = {num}
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
        market.provider, market.provider_block,
    )?;
    for reserve in &market.reserves {
        let listing = reserve.listing;
        tokens.push_str(&token_row(name, &reserve.token.to_string(), listing.symbol, listing.asset_class));
    }
    Ok(())
}

fn token_row(chain: &str, address: &str, symbol: &str, asset_class: &str) -> String {
    format!(
        r#"
[[token]]
chain = "{chain}"
address = "{address}"
symbol = "{symbol}"
asset_class = "{asset_class}"
is_stablecoin = {}
pricing = "oracle"
source = "{SOURCE}"
"#,
        asset_class == "stablecoin",
    )
}

/// The rows of compound_v2, compound_v3 and morpho_blue.
fn family_rows(families: &Families) -> Result<[String; 3]> {
    let Families { venus, comet, blue, blue_block, .. } = families;
    let row = |head: &str, entry: &str, block: u64, notes: &str| {
        format!(
            r#"
[[csu]]
{head}
entry = "{entry}"
deployed_block = {block}
deployed_date = "2024-11-01"
verified = "yes"
source = "{SOURCE}"
notes = "{notes}"
"#
        )
    };
    Ok([
        row(
            r#"id = "venus_core_pool_devnet_c"
num = 3
protocol = "venus"
version = "9.2.0"
chain = "devnet_c"
market = "core"
variant = "venus_core"
entry_role = "comptroller""#,
            &venus.comptroller.to_string(),
            venus.deployed_block,
            "real Venus 9.2.0 on a local chain",
        ),
        row(
            r#"id = "compound_v3_usdc_devnet_c"
num = 4
protocol = "compound_v3"
version = "v3"
chain = "devnet_c"
market = "usdc"
entry_role = "comet""#,
            &comet.address.to_string(),
            comet.deployed_block,
            "a market of our own with the interface of Compound III (crates/testkit/contracts/Comet.sol); LINK comes on 2024-11-04",
        ),
        row(
            r#"id = "morpho_blue_devnet_c"
num = 5
protocol = "morpho_blue"
version = "1.0.0"
chain = "devnet_c"
market = "all"
entry_role = "morpho""#,
            &blue.morpho.to_string(),
            *blue_block,
            "real Morpho Blue 1.0.0 on a local chain; the market against LINK is created on 2024-11-04",
        ),
    ])
}

fn feed_rows(tokens: &mut String, families: &Families) -> Result<String> {
    let mut feeds = String::new();
    for of in &families.tokens {
        let token = of.token.address.to_string();
        tokens.push_str(&token_row("devnet_c", &token, of.token.symbol, of.asset_class));
        let Some((feed, pair)) = of.feed else { continue };
        write!(
            feeds,
            r#"
[[feed]]
chain = "devnet_c"
address = "{}"
description = "{}"
tokens = ["{token}"]
quote = "USD"
heartbeat_s = {HEARTBEAT}
source = "{SOURCE}"
"#,
            feed.address, pair,
        )?;
    }
    Ok(feeds)
}

/// The registry's endpoints with the live nodes' addresses in place of the recording. They may be asked as fast as they
/// answer: the pace of a free public endpoint would be most of the time of a recording.
pub fn live_providers(demo: &Demo) -> String {
    let live = |chain: &Chain<'_>| {
        format!("{}requests_per_second = 10000.0\n", endpoint(chain.spec.name, &chain.node.url()))
    };
    demo.chains().iter().map(live).collect()
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
