//! The bill before anything is sent: which requests a run will make, through whom, and what they cost.
//!
//! Counted from the lake (what is there costs nothing), the run's days, each chain's usual block time and what is known of
//! each endpoint. Log queries are counted; so are snapshots of contracts that were listed before. Searches for blocks, and
//! contracts that are still to be listed, are estimated from what they cost before ([`costs`]). Not in the bill, because
//! nobody knows yet: a header and a batch of oracle reads for each block that holds a liquidation, receipts of logs, and
//! requests made again after refusals.

pub mod costs;
mod of_csu;
mod requests;
mod words;

use crate::collect::Collector;
use crate::rpc::budget::Purse;
use crate::rpc::tally::Purpose;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use of_csu::{CsuPlan, SnapshotCalls};
pub(crate) use words::{right, with_separators};

/// What a run will ask.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// Requests by chain, endpoint and method.
    pub rows: Vec<PlanRow>,
    /// What each key or keyless endpoint will spend.
    pub purses: Vec<PursePlan>,
    /// Chains with something to do and nobody to ask, with the variables that would help.
    pub without_endpoint: BTreeMap<String, Vec<String>>,
    /// Tasks that stand already, by status.
    pub settled: BTreeMap<String, usize>,
    /// Tasks to be done.
    pub open: usize,
    /// What is asked for each CSU of the run, or why nothing is, in order of id.
    pub csus: Vec<CsuPlan>,
}

/// What a number of requests rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// On the days, the windows and what the lake holds: it is what will be sent if nothing fails.
    Counted,
    /// On what such things cost before.
    Estimated,
}

/// Requests of one method through one endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRow {
    /// Chain.
    pub chain: String,
    /// Days with something to do.
    pub days: usize,
    /// Label of the endpoint.
    pub endpoint: String,
    /// What they are for.
    pub purpose: Purpose,
    /// Method.
    pub method: &'static str,
    /// Requests.
    pub calls: u64,
    /// What their number rests on.
    pub basis: Basis,
    /// Units they cost.
    pub units: u64,
    /// Unit.
    pub unit: String,
}

/// What one purse will spend.
#[derive(Debug, Clone, Serialize)]
pub struct PursePlan {
    /// Variable of the key, or label of the endpoint.
    pub purse: String,
    /// Units.
    pub units: u64,
    /// Unit.
    pub unit: String,
    /// Hours at its pace.
    pub hours: f64,
    /// Units it has spent this month.
    pub spent: u64,
    /// Units of its month, if it has one.
    pub of_month: Option<u64>,
}

impl Collector<'_> {
    /// What the run will ask. Nothing is sent.
    pub async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (chain, units) in self.units_by_chain().0 {
            let (days, settled) = self.open_days(chain, &units).await;
            let (days, _) = self.schedule.divide(&chain.name, days, |day| day.window.day);
            let mut csus: Vec<CsuPlan> =
                units.iter().map(|unit| CsuPlan::of(&unit.csu.id, chain, &days, &settled)).collect();
            for outcome in settled {
                *plan.settled.entry(outcome.status.to_string()).or_default() += 1;
            }
            plan.open += days.iter().map(|day| day.tasks.len()).sum::<usize>();
            if days.is_empty() {
                plan.csus.append(&mut csus);
                continue;
            }
            let offers = self.offers(chain).await;
            if offers.is_empty() {
                let keys = self.providers.left_out.iter().filter(|row| row.chain == chain.name);
                plan.without_endpoint
                    .insert(chain.name.clone(), keys.map(|row| row.variable.clone()).collect());
                csus.iter_mut().for_each(CsuPlan::has_nobody_to_ask);
                plan.csus.append(&mut csus);
                continue;
            }
            let (requests, view_calls) = self.requests(chain, &days, &offers).await;
            for csu in &mut csus {
                csu.snapshot_calls = view_calls.get(csu.csu.as_str()).copied();
            }
            plan.csus.append(&mut csus);
            for asked in requests {
                let tariff = asked.of.purse.as_ref().map(|purse| purse.tariff());
                plan.rows.push(PlanRow {
                    chain: chain.name.clone(),
                    days: days.len(),
                    endpoint: asked.of.label.clone(),
                    purpose: asked.purpose,
                    method: asked.method,
                    calls: asked.calls,
                    basis: asked.basis,
                    units: asked.calls * tariff.map_or(0, |tariff| u64::from(tariff.cost(asked.method))),
                    unit: tariff.map_or(String::new(), |tariff| tariff.unit.clone()),
                });
            }
        }
        plan.csus.sort_by(|one, other| one.csu.cmp(&other.csu));
        plan.purses = self.purse_plans(&plan.rows);
        plan
    }

    fn purse_plans(&self, rows: &[PlanRow]) -> Vec<PursePlan> {
        let mut spends: BTreeMap<&str, u64> = BTreeMap::new();
        for row in rows {
            let endpoint = self.providers.endpoints.iter().find(|endpoint| endpoint.label == row.endpoint);
            if let Some(purse) = endpoint.and_then(|endpoint| endpoint.purse.as_ref()) {
                *spends.entry(purse.name()).or_default() += row.units;
            }
        }
        let plan = |purse: &Arc<Purse>| {
            let units = *spends.get(purse.name())?;
            Some(PursePlan {
                purse: purse.name().to_owned(),
                units,
                unit: purse.tariff().unit.clone(),
                hours: units as f64 / purse.tariff().pace() / 3_600.0,
                spent: purse.spent(),
                of_month: purse.tariff().units_per_month,
            })
        };
        self.providers.purses().into_iter().filter_map(plan).collect()
    }
}
