-- G5 a third time: the figures of figures.sql, which DuckDB computes from silver, against gold. Run by g5.py.

CREATE OR REPLACE TEMP VIEW compared AS
WITH figure AS (
    UNPIVOT (SELECT csu, date, COLUMNS(* EXCLUDE (csu, date))::DOUBLE FROM wanted) ON COLUMNS(* EXCLUDE (csu, date))
    INTO NAME name VALUE silver
), of_gold AS (
    UNPIVOT (
        SELECT csu, date,
               COLUMNS(* EXCLUDE (csu, date, protocol, version, family, chain, is_l2, status, snap_status, usd_status,
                   liq_status, liq_audit, quality_flags, block_ts, schema_version, release, code_version, registry_hash,
                   inputs_hash, row_hash))::DOUBLE
        FROM read_parquet(getvariable('lake') || '/gold/panel_daily.parquet')
    ) ON COLUMNS(* EXCLUDE (csu, date)) INTO NAME name VALUE gold
)
-- Where gold has a null there is nothing to compare: whether it should is G4's.
SELECT csu, date, name, gold, silver,
       CASE WHEN name LIKE 'n\_%' ESCAPE '\' OR name IN ('liq_count', 'liq_event_count', 'liq_tx_count', 'liq_borrowers', 'liq_liquidators', 'px_max_age_s')
            THEN gold = silver
            ELSE abs(gold - silver) <= 1e-9 * greatest(abs(gold), abs(silver), 1e-6) END AS is_equal
FROM of_gold LEFT JOIN figure USING (csu, date, name)
WHERE name IN (SELECT column_name FROM (DESCRIBE wanted));
