//! `panel_daily_asset`: the stocks of the panel by class of assets.

use crate::frame::{Frame, FrameError, Totals, UNRELEASED, gross, never, usd_status};
use crate::stocks::Stocks;
use lake::registry::Csu;
use lake::schema::Row;
use lake::schema::gold::{PanelDaily, PanelDailyAsset};
use lake::status::{AssetClass, Status, UsdStatus};

/// The rows of a CSU: every class on every day of `panel`, in order of key, without `row_hash`. `panel` holds the CSU's
/// rows of the panel, which say what was measured.
///
/// # Errors
/// [`FrameError`].
pub fn assets(
    frame: &Frame<'_>,
    (csu_at, csu): (u32, &Csu),
    panel: &[PanelDaily],
) -> Result<Vec<PanelDailyAsset>, FrameError> {
    let mut classes = AssetClass::ALL.to_vec();
    classes.sort_by_key(|class| class.as_str());
    let never = never(csu);
    let mut rows = Vec::with_capacity(panel.len() * classes.len());
    for of_day in panel {
        for class in &classes {
            let known = frame.known.assets.get(class).and_then(|days| days.get(&(csu_at, of_day.day_num)));
            let mut row = row(of_day, *class, known.map(Box::as_ref));
            for column in &never {
                row.clear(column);
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

fn row(of_day: &PanelDaily, class: AssetClass, known: Option<&Stocks>) -> PanelDailyAsset {
    let none = Stocks::none();
    let stocks = (of_day.snap_status == Status::Collected).then(|| known.unwrap_or(&none));
    let totals = stocks.map(Totals::of).unwrap_or_default();
    PanelDailyAsset {
        csu: of_day.csu.clone(),
        csu_num: of_day.csu_num,
        date: of_day.date,
        day_num: of_day.day_num,
        asset_class: class,
        snap_status: of_day.snap_status,
        usd_status: stocks.map_or(UsdStatus::None, usd_status),
        n_reserves: stocks.map(|of| of.n_reserves),
        n_reserves_unpriced: stocks.map(|of| of.n_unpriced),
        supplied_usd: totals.supplied_usd,
        collateral_usd: totals.collateral_usd,
        borrowed_usd: totals.borrowed_usd,
        minted_usd: totals.minted_usd,
        available_usd: totals.available_usd,
        tvl_usd: totals.tvl_usd,
        tvl_net_usd: totals.tvl_net_usd,
        tvl_priced_usd: stocks.map(gross),
        reserves_usd: totals.reserves_usd,
        deficit_usd: totals.deficit_usd,
        utilization: totals.utilization,
        supply_apr: totals.supply_apr,
        borrow_apr: totals.borrow_apr,
        schema_version: PanelDailyAsset::TABLE.version.to_owned(),
        release: UNRELEASED.to_owned(),
        code_version: of_day.code_version.clone(),
        registry_hash: of_day.registry_hash.clone(),
        inputs_hash: of_day.inputs_hash.clone(),
        row_hash: String::new(),
    }
}
