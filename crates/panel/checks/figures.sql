-- Every figure of gold/panel_daily that comes from silver's rows, for the CSU-days of the view `key` (csu, date), in the view `wanted`.
-- The variable `lake` is the lake's location. Null rules are not applied: a figure over nothing is 0 or null.
-- Shares no code with the panel or with `panel check`.

CREATE OR REPLACE TEMP VIEW reserve AS
SELECT r.*,
       t.pricing IS NOT DISTINCT FROM 'excluded' AS is_excluded,
       role <> 'collateral' AS is_supply,
       role IN ('reserve', 'base') AS is_lent,
       coalesce(supplied_raw, '0') <> '0' OR coalesce(borrowed_raw, '0') <> '0' OR coalesce(available_raw, '0') <> '0'
           OR coalesce(reserves_raw, '0') <> '0' OR coalesce(deficit_raw, '0') <> '0' AS has_balance
FROM read_parquet(getvariable('lake') || '/silver/reserve_day/*/*.parquet', hive_partitioning = false) r
JOIN read_parquet(getvariable('lake') || '/silver/csu/part.parquet') c USING (csu)
LEFT JOIN read_parquet(getvariable('lake') || '/silver/token/part.parquet') t
       ON t.chain_id = c.chain_id AND t.token = r.token;

CREATE OR REPLACE TEMP VIEW sums AS
SELECT csu, date,
       sum(supplied_usd) FILTER (is_supply) AS supplied,
       sum(supplied_usd) FILTER (NOT is_supply) AS collateral,
       sum(borrowed_usd) FILTER (is_lent) AS borrowed,
       sum(borrowed_usd) FILTER (role = 'minted') AS minted,
       sum(available_usd) AS available,
       sum(supplied_usd) AS gross,
       sum(reserves_usd) AS reserves,
       sum(deficit_usd) AS deficit,
       sum(supplied_usd) FILTER (is_supply AND is_stablecoin) AS stable_supplied,
       sum(borrowed_usd) FILTER (is_lent AND is_stablecoin) AS stable_borrowed,
       sum(supplied_usd * supply_apr) FILTER (is_supply) AS interest_in,
       sum(borrowed_usd * borrow_apr) FILTER (is_lent) AS interest_out,
       sum(supplied_usd * supply_apr) FILTER (is_supply AND is_stablecoin) AS stable_interest_in,
       sum(borrowed_usd * borrow_apr) FILTER (is_lent AND is_stablecoin) AS stable_interest_out,
       sum(supplied_usd) FILTER (liq_threshold > 0) AS backing,
       sum(supplied_usd * liq_threshold) FILTER (liq_threshold > 0) AS thresholds,
       sum(supplied_usd * liq_bonus) FILTER (liq_threshold > 0) AS bonuses,
       sum(supplied_usd) FILTER (price_source = 'protocol_oracle') AS by_protocol,
       sum(supplied_usd) FILTER (price_source = 'chainlink') AS by_chainlink,
       max(price_age_s) FILTER (has_balance AND price_usd IS NOT NULL) AS oldest
FROM reserve WHERE NOT is_excluded GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW spread AS
SELECT csu, date,
       sum(supplied * supplied) / nullif(sum(supplied), 0) ^ 2 AS hhi_supply,
       max(supplied) / nullif(sum(supplied), 0) AS top1_supply,
       sum(borrowed * borrowed) / nullif(sum(borrowed), 0) ^ 2 AS hhi_borrow
FROM (
    SELECT csu, date, token,
           coalesce(sum(supplied_usd) FILTER (is_supply), 0) AS supplied,
           coalesce(sum(borrowed_usd) FILTER (is_lent), 0) AS borrowed
    FROM reserve WHERE NOT is_excluded GROUP BY csu, date, token
) GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW sizes AS
SELECT csu, date,
       count(DISTINCT market_id) AS n_markets,
       count(*) AS n_reserves,
       count(*) FILTER (is_balanced) AS n_balanced,
       count(*) FILTER (is_unpriced) AS n_unpriced
FROM (
    SELECT csu, date, market_id, token,
           bool_or(has_balance AND NOT is_excluded) AS is_balanced,
           bool_or(has_balance AND NOT is_excluded AND price_usd IS NULL) AS is_unpriced
    FROM reserve GROUP BY csu, date, market_id, token
) GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW leg AS
SELECT l.*, c.has_debt_amount,
       debt_raw IS NOT NULL
           OR (NOT c.has_debt_amount AND NOT (bad_debt_raw IS NOT NULL AND coll_raw IS NULL AND coll_usd IS NULL)) AS counts,
       (debt_raw IS NOT NULL AND debt_usd IS NULL) OR (coll_raw IS NOT NULL AND coll_usd IS NULL) AS lacks_a_side
FROM read_parquet(getvariable('lake') || '/silver/liquidation/*/*.parquet', hive_partitioning = false) l
JOIN read_parquet(getvariable('lake') || '/silver/csu/part.parquet') c USING (csu);

CREATE OR REPLACE TEMP VIEW flows AS
SELECT csu, date,
       count(DISTINCT liq_id) FILTER (counts) AS n,
       count(DISTINCT (block_number, log_index)) AS events,
       count(DISTINCT tx_hash) FILTER (counts) AS txs,
       count(DISTINCT borrower) FILTER (counts) AS borrowers,
       count(DISTINCT liquidator) FILTER (counts) AS liquidators,
       sum(debt_usd) AS debt, sum(coll_usd) AS coll, sum(bad_debt_usd) AS bad_debt
FROM leg GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW singles AS
SELECT csu, date, max(debt) AS largest, count(*) FILTER (NOT lacks) AS n_priced
FROM (
    SELECT csu, date, liq_id, coalesce(sum(debt_usd), 0) AS debt, bool_or(lacks_a_side) AS lacks
    FROM leg GROUP BY csu, date, liq_id HAVING bool_or(counts)
) GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW liquidators AS
SELECT csu, date, sum(debt * debt) / nullif(sum(debt), 0) ^ 2 AS hhi, max(debt) / nullif(sum(debt), 0) AS top1
FROM (SELECT csu, date, liquidator, coalesce(sum(debt_usd), 0) AS debt FROM leg WHERE counts GROUP BY csu, date, liquidator)
GROUP BY csu, date;

CREATE OR REPLACE TEMP VIEW wanted AS
SELECT g.csu, g.date,
       coalesce(supplied, 0) AS supplied_usd, coalesce(collateral, 0) AS collateral_usd,
       coalesce(borrowed, 0) AS borrowed_usd, coalesce(minted, 0) AS minted_usd,
       coalesce(available, 0) AS available_usd,
       coalesce(supplied, 0) + coalesce(collateral, 0) AS tvl_usd,
       coalesce(supplied, 0) + coalesce(collateral, 0) - coalesce(borrowed, 0) AS tvl_net_usd,
       coalesce(gross, 0) AS tvl_priced_usd, coalesce(reserves, 0) AS reserves_usd, coalesce(deficit, 0) AS deficit_usd,
       borrowed / supplied AS utilization,
       coalesce(stable_supplied, 0) / supplied AS stable_supply_share,
       coalesce(stable_borrowed, 0) / borrowed AS stable_borrow_share,
       spread.hhi_supply, spread.hhi_borrow, top1_supply AS top1_supply_share,
       interest_in / supplied AS supply_apr, interest_out / borrowed AS borrow_apr,
       stable_interest_in / stable_supplied AS supply_apr_stable,
       stable_interest_out / stable_borrowed AS borrow_apr_stable,
       thresholds / backing AS liq_threshold_wavg, bonuses / backing AS liq_bonus_wavg,
       coalesce(n_markets, 0) AS n_markets, coalesce(n_reserves, 0) AS n_reserves,
       coalesce(n_unpriced, 0) AS n_reserves_unpriced,
       (n_balanced - n_unpriced) / n_balanced AS px_cov_share,
       coalesce(by_protocol, 0) / gross AS px_protocol_share, coalesce(by_chainlink, 0) / gross AS px_chainlink_share,
       (gross - coalesce(by_protocol, 0) - coalesce(by_chainlink, 0)) / gross AS px_other_share,
       oldest AS px_max_age_s,
       coalesce(n, 0) AS liq_count, coalesce(events, 0) AS liq_event_count, coalesce(txs, 0) AS liq_tx_count,
       coalesce(borrowers, 0) AS liq_borrowers, coalesce(liquidators.n_of, 0) AS liq_liquidators,
       coalesce(debt, 0) AS liq_debt_usd, coalesce(coll, 0) AS liq_coll_usd,
       coalesce(coll, 0) - coalesce(debt, 0) AS liq_bonus_usd, largest AS liq_max_usd,
       coalesce(bad_debt, 0) AS bad_debt_usd, hhi AS hhi_liquidators, top1 AS top1_liquidator_share,
       n_priced / nullif(n, 0) AS liq_priced_share
FROM key g
LEFT JOIN sums USING (csu, date) LEFT JOIN spread USING (csu, date) LEFT JOIN sizes USING (csu, date)
LEFT JOIN flows USING (csu, date) LEFT JOIN singles USING (csu, date)
LEFT JOIN (SELECT l.*, f.liquidators AS n_of FROM liquidators l JOIN flows f USING (csu, date)) liquidators USING (csu, date);
