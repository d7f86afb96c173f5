* Log TVL on utilization and log liquidations, with effects of CSU and day.
*
* Not run in CI, which has no Stata. The .dta file itself is tested there: pandas and R's haven read the values of the
* Parquet file from it, and why each null is null.
*
*   panel export --run pipelines/runs/2024-12.toml --dta panel_daily.dta
*   stata -b do panel.do
use panel_daily.dta, clear

* Days are %td, instants %tc in UTC, truths 0/1. csu_num is the number that xtset wants.
xtset csu_num date

* A null number says why it is null. Stata takes all of these for missing.
label define why_missing .a "archive unavailable" .b "no block" .f "failed" .n "not deployed" .p "partial" ///
    .r "retired" .t "not attempted" .u "unsupported" .x "a price is missing"
tabulate status usd_status
count if tvl_usd == .n
count if tvl_usd == .f

generate log_tvl = ln(tvl_usd)
* A day without liquidations is a measured zero.
generate log_liq = ln(1 + liq_debt_usd)
xtreg log_tvl utilization log_liq i.date, fe vce(cluster csu_num)
* With reghdfe (ssc install reghdfe): the same coefficients, faster.
* reghdfe log_tvl utilization log_liq, absorb(csu_num date) vce(cluster csu_num)
