"""The panel's figures from silver, by Polars: lazy queries over the same files, written as Parquet."""

import sys

import polars as pl

lake, out = sys.argv[1:]
DAY = ["csu", "date"]


def scan(table):
    return pl.scan_parquet(f"{lake}/silver/{table}/*/*.parquet", hive_partitioning=False)


def whole(table):
    return pl.scan_parquet(f"{lake}/silver/{table}/part.parquet")


def share(part, whole):
    return pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole))


excluded = whole("token").filter(pl.col("pricing") == "excluded").select("chain_id", "token", is_excluded=pl.lit(True))
has = lambda raw: pl.col(raw).is_not_null() & (pl.col(raw) != "0")
reserve = (
    scan("reserve_day")
    .join(whole("csu").select("csu", "chain_id"), on="csu")
    .join(excluded, on=["chain_id", "token"], how="left")
    .with_columns(
        pl.col("is_excluded").fill_null(False),
        is_supply=pl.col("role") != "collateral",
        is_lent=pl.col("role").is_in(["reserve", "base"]),
        has_balance=pl.any_horizontal(has(f"{raw}_raw") for raw in ("supplied", "borrowed", "available", "reserves", "deficit")),
    )
)
counted = reserve.filter(~pl.col("is_excluded"))
supplied, borrowed = pl.col("supplied_usd"), pl.col("borrowed_usd")
is_supply, is_lent, is_stable = pl.col("is_supply"), pl.col("is_lent"), pl.col("is_stablecoin")
backs = pl.col("liq_threshold") > 0
sums = counted.group_by(DAY).agg(
    supplied.filter(is_supply).sum(),
    collateral_usd=supplied.filter(~is_supply).sum(),
    borrowed_usd=borrowed.filter(is_lent).sum(),
    minted_usd=borrowed.filter(pl.col("role") == "minted").sum(),
    available_usd=pl.col("available_usd").sum(),
    tvl_priced_usd=supplied.sum(),
    reserves_usd=pl.col("reserves_usd").sum(),
    deficit_usd=pl.col("deficit_usd").sum(),
    stable_in=supplied.filter(is_supply & is_stable).sum(),
    stable_out=borrowed.filter(is_lent & is_stable).sum(),
    interest_in=(supplied * pl.col("supply_apr")).filter(is_supply).sum(),
    interest_out=(borrowed * pl.col("borrow_apr")).filter(is_lent).sum(),
    stable_interest_in=(supplied * pl.col("supply_apr")).filter(is_supply & is_stable).sum(),
    stable_interest_out=(borrowed * pl.col("borrow_apr")).filter(is_lent & is_stable).sum(),
    backing=supplied.filter(backs).sum(),
    thresholds=(supplied * pl.col("liq_threshold")).filter(backs).sum(),
    bonuses=(supplied * pl.col("liq_bonus")).filter(backs).sum(),
    by_protocol=supplied.filter(pl.col("price_source") == "protocol_oracle").sum(),
    by_chainlink=supplied.filter(pl.col("price_source") == "chainlink").sum(),
    px_max_age_s=pl.col("price_age_s").filter(pl.col("has_balance") & pl.col("price_usd").is_not_null()).max(),
)
spread = (
    counted.group_by([*DAY, "token"])
    .agg(into=supplied.filter(is_supply).sum(), out=borrowed.filter(is_lent).sum())
    .group_by(DAY)
    .agg(
        hhi_supply=pl.col("into").pow(2).sum() / pl.col("into").sum().pow(2),
        top1_supply_share=pl.col("into").max() / pl.col("into").sum(),
        hhi_borrow=pl.col("out").pow(2).sum() / pl.col("out").sum().pow(2),
    )
)
balance = pl.col("has_balance") & ~pl.col("is_excluded")
sizes = (
    reserve.group_by([*DAY, "market_id", "token"])
    .agg(balanced=balance.any(), unpriced=(balance & pl.col("price_usd").is_null()).any())
    .group_by(DAY)
    .agg(
        n_markets=pl.col("market_id").n_unique(),
        n_reserves=pl.len(),
        n_balanced=pl.col("balanced").sum(),
        n_reserves_unpriced=pl.col("unpriced").sum(),
    )
)
there = lambda name: pl.col(name).is_not_null()
only_bad_debt = there("bad_debt_raw") & pl.col("coll_raw").is_null() & pl.col("coll_usd").is_null()
leg = (
    scan("liquidation")
    .join(whole("csu").select("csu", "has_debt_amount"), on="csu")
    .with_columns(
        counts=there("debt_raw") | (~pl.col("has_debt_amount") & ~only_bad_debt),
        lacks=(there("debt_raw") & pl.col("debt_usd").is_null()) | (there("coll_raw") & pl.col("coll_usd").is_null()),
    )
)
counts = pl.col("counts")
distinct = lambda name: pl.col(name).filter(counts).drop_nulls().n_unique()
flows = leg.group_by(DAY).agg(
    liq_count=distinct("liq_id"),
    liq_event_count=pl.struct("block_number", "log_index").n_unique(),
    liq_tx_count=distinct("tx_hash"),
    liq_borrowers=distinct("borrower"),
    liq_liquidators=distinct("liquidator"),
    liq_debt_usd=pl.col("debt_usd").sum(),
    liq_coll_usd=pl.col("coll_usd").sum(),
    bad_debt_usd=pl.col("bad_debt_usd").sum(),
)
singles = (
    leg.group_by([*DAY, "liq_id"])
    .agg(debt=pl.col("debt_usd").sum(), lacks=pl.col("lacks").any(), counts=counts.any())
    .filter(counts)
    .group_by(DAY)
    .agg(liq_max_usd=pl.col("debt").max(), n_priced=(~pl.col("lacks")).sum())
)
liquidators = (
    leg.filter(counts)
    .group_by([*DAY, "liquidator"])
    .agg(debt=pl.col("debt_usd").sum())
    .group_by(DAY)
    .agg(
        hhi_liquidators=pl.col("debt").pow(2).sum() / pl.col("debt").sum().pow(2),
        top1_liquidator_share=pl.col("debt").max() / pl.col("debt").sum(),
    )
)
panel = scan("coverage").select(DAY).unique()
for part in (sums, spread, sizes, flows, singles, liquidators):
    panel = panel.join(part, on=DAY, how="left")
zero = [
    "supplied_usd", "collateral_usd", "borrowed_usd", "minted_usd", "available_usd", "tvl_priced_usd", "reserves_usd",
    "deficit_usd", "n_markets", "n_reserves", "n_reserves_unpriced", "liq_count", "liq_event_count", "liq_tx_count",
    "liq_borrowers", "liq_liquidators", "liq_debt_usd", "liq_coll_usd", "bad_debt_usd",
]
helpers = [
    "stable_in", "stable_out", "interest_in", "interest_out", "stable_interest_in", "stable_interest_out", "backing",
    "thresholds", "bonuses", "by_protocol", "by_chainlink", "n_balanced", "n_priced", "by_other",
]
panel = (
    panel.with_columns(pl.col(zero).fill_null(0))
    .with_columns(
        tvl_usd=supplied + pl.col("collateral_usd"),
        liq_bonus_usd=pl.col("liq_coll_usd") - pl.col("liq_debt_usd"),
        by_other=pl.col("tvl_priced_usd") - pl.col("by_protocol") - pl.col("by_chainlink"),
        utilization=share("borrowed_usd", "supplied_usd"),
        stable_supply_share=share("stable_in", "supplied_usd"),
        stable_borrow_share=share("stable_out", "borrowed_usd"),
        supply_apr=share("interest_in", "supplied_usd"),
        borrow_apr=share("interest_out", "borrowed_usd"),
        supply_apr_stable=share("stable_interest_in", "stable_in"),
        borrow_apr_stable=share("stable_interest_out", "stable_out"),
        liq_threshold_wavg=share("thresholds", "backing"),
        liq_bonus_wavg=share("bonuses", "backing"),
        px_cov_share=(pl.col("n_balanced").cast(pl.Float64) - pl.col("n_reserves_unpriced")) / pl.col("n_balanced"),
        px_protocol_share=share("by_protocol", "tvl_priced_usd"),
        px_chainlink_share=share("by_chainlink", "tvl_priced_usd"),
        liq_priced_share=share("n_priced", "liq_count"),
    )
    .with_columns(
        tvl_net_usd=pl.col("tvl_usd") - borrowed,
        px_other_share=share("by_other", "tvl_priced_usd"),
    )
    .drop(helpers)
    .sort(DAY)
)
panel.collect().write_parquet(out, compression="zstd")
