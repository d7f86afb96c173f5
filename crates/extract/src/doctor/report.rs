//! What was found, for a person and for programs, and what to do about it.

use super::{Answer, AtDepth, BLOCK_ONE, Doctor, Held, Measured, Patient, Probe};
use crate::plan::{right, with_separators};
use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::Refusal;
use crate::rpc::providers::EndpointConfig;
use crate::rpc::recording::RecordingError;
use comfy_table::{Cell, ContentArrangement, Table, presets};
use lake::day::Day;
use lake::store::Promises;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// What to do, or what follows.
    pub hint: String,
}

/// An endpoint that was examined.
#[derive(Debug, Clone, Serialize)]
pub struct Examined {
    /// Label.
    pub label: String,
    /// Who runs it.
    pub operator: String,
    /// Chain that it should serve.
    pub chain: String,
    /// Whether a run can use it: it serves the chain, and nothing speaks against its state or its logs of the run's first
    /// day, or of what is new when there is no run.
    pub usable: bool,
    /// Blocks of one `eth_getLogs`, by the providers file.
    pub stated_log_window: u64,
    /// What was found; none for a recording.
    pub probe: Option<Probe>,
    /// What a person should know.
    pub findings: Vec<Finding>,
    /// Requests sent.
    pub requests: u64,
    /// Units spent.
    pub units: u64,
    /// Unit.
    pub unit: String,
}

/// A variable that holds no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingKey {
    /// Variable.
    pub variable: String,
    /// Rows of the providers file that wait for it.
    pub labels: Vec<String>,
}

/// What the lake's store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LakeReport {
    /// Lake.
    pub location: String,
    /// What it keeps.
    #[serde(flatten)]
    pub promises: Promises,
}

/// All that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The lake, if there is one.
    pub lake: Option<LakeReport>,
    /// Endpoints, by chain in the order of the chains, then as in the providers file.
    pub endpoints: Vec<Examined>,
    /// Keys that are not set.
    pub missing_keys: Vec<MissingKey>,
    /// Chains that nobody serves.
    pub without_endpoint: Vec<String>,
}

fn finding(what: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { what: what.into(), hint: hint.into() }
}

impl Examined {
    fn unasked(config: &EndpointConfig, usable: bool, finding: Finding) -> Self {
        Self {
            label: config.label.clone(),
            operator: config.operator.clone(),
            chain: config.chain.clone(),
            usable,
            stated_log_window: config.log_window,
            probe: None,
            findings: vec![finding],
            requests: 0,
            units: 0,
            unit: String::new(),
        }
    }

    /// A recording has the answers of one run, and none to questions of ours.
    pub(super) fn recording(config: &EndpointConfig) -> Self {
        Self::unasked(config, true, finding("answers from a recording", "there is nothing to examine"))
    }

    pub(super) fn unreadable(config: &EndpointConfig, error: &RecordingError) -> Self {
        Self::unasked(config, false, finding(error.to_string(), "mend `url` in the providers file"))
    }

    pub(super) fn new(
        patient: &Patient<'_>,
        probe: Probe,
        refusal: Option<Refusal>,
        first_day: Option<Day>,
    ) -> Self {
        let (config, asked) = (patient.config, patient.endpoint.asked());
        let unit = config.purse.as_ref().map_or(String::new(), |purse| purse.tariff().unit.clone());
        let findings = match &refusal {
            Some(refusal) => vec![of_refusal(refusal, config)],
            None => {
                let warnings = patient.endpoint.warnings().into_iter();
                let warnings =
                    warnings.map(|text| finding(text, "what it was asked after that is not known"));
                of_probe(&probe, patient, first_day).into_iter().chain(warnings).collect()
            }
        };
        Self {
            label: config.label.clone(),
            operator: config.operator.clone(),
            chain: config.chain.clone(),
            usable: refusal.is_none() && is_usable(&probe, first_day),
            stated_log_window: config.log_window,
            probe: Some(probe),
            findings,
            requests: asked.sent(),
            units: asked.units(),
            unit,
        }
    }
}

/// What was seen of the block that matters: of the run's first day, or the newest.
fn at_need(seen: &[AtDepth], first_day: Option<Day>) -> Option<&AtDepth> {
    let of_run = first_day.map(|day| day.to_string());
    let of_run = of_run.and_then(|day| seen.iter().find(|at| at.depth == day));
    of_run.or(seen.first())
}

fn is_usable(probe: &Probe, first_day: Option<Day>) -> bool {
    [&probe.state, &probe.logs]
        .into_iter()
        .any(|seen| at_need(seen, first_day).is_some_and(|at| at.held.may_be()))
}

/// Why an endpoint could not be examined, and what to do.
fn of_refusal(refusal: &Refusal, config: &EndpointConfig) -> Finding {
    let purse = config.purse.as_ref().map_or(config.label.as_str(), |purse| purse.name());
    let hint = match refusal.verdict {
        Verdict::BadAnswer if refusal.text.starts_with("serves chain id") => {
            "mend `url` or `chain` in the providers file".to_owned()
        }
        Verdict::Drop => {
            format!(
                "is the key of {purse} right, and does its plan include {}? else take its row out of the providers file",
                config.chain
            )
        }
        Verdict::Park { .. } | Verdict::MonthSpent => format!("wait, or set a key besides that of {purse}"),
        Verdict::TooFast { .. } => "lower `requests_per_second` in the providers file".to_owned(),
        Verdict::Again => {
            "is it up, and is `url` in the providers file right? else take its row out".to_owned()
        }
        _ => "runs do not ask it; take its row out of the providers file if it stays so".to_owned(),
    };
    finding(&refusal.text, hint)
}

fn of_probe(probe: &Probe, patient: &Patient<'_>, first_day: Option<Day>) -> Vec<Finding> {
    let (config, chain) = (patient.config, patient.chain);
    let mut findings = Vec::new();
    if let Some(head) = probe.head.filter(|head| head.behind > chain.finality_blocks) {
        findings.push(finding(
            format!("is {} blocks behind", with_separators(head.behind)),
            "it gives the last days later than others",
        ));
    }
    if probe.finalized_tag == Some(false) {
        findings.push(finding(
            "does not know the `finalized` tag",
            format!("its last {} blocks count as not final", with_separators(chain.finality_blocks)),
        ));
    }
    findings.extend(of_depths("state", "snapshots", &probe.state, first_day));
    findings.extend(of_depths("logs", "scans", &probe.logs, first_day));
    if is_usable(probe, first_day) {
        findings.extend(of_window(&probe.log_window, config.log_window));
    }
    // What is to be done on days before Multicall3 was deployed on the chain.
    let instead = match probe.deployless {
        Answer::Right => "before Multicall3 was deployed, its snapshots bring it along as init code",
        _ => "before Multicall3 was deployed, its snapshots take JSON-RPC batches, or a request a call",
    };
    match &probe.overrides {
        Answer::Wrong(why) => {
            findings.push(finding(format!("takes state overrides and passes them over: {why}"), instead))
        }
        Answer::Refused(why) if probe.deployless != Answer::Right => findings.push(finding(
            format!("lends no code to a call, neither by override nor as init code: {why}"),
            instead,
        )),
        _ => {}
    }
    if probe.batch.most == Some(0) {
        let why = probe.batch.why.as_deref().unwrap_or("without a word");
        findings
            .push(finding(format!("takes no JSON-RPC batches: {why}"), "calls are sent to it one by one"));
    }
    findings
}

/// What is wrong with how far back its state or logs go.
fn of_depths(what: &str, used_by: &str, seen: &[AtDepth], first_day: Option<Day>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let words = |at: &AtDepth| at.why.clone().unwrap_or_else(|| "without a word".to_owned());
    if let Some(at) = seen.iter().find(|at| at.held == Held::SilentlyEmpty) {
        findings.push(finding(
            format!(
                "does not hold the {what} of block {} ({}) and does not say so: it {}",
                at.block,
                at.depth,
                words(at)
            ),
            "runs notice this and ask others; where the chain has another endpoint, take its row out of the providers file",
        ));
    }
    match seen.first() {
        Some(at) if !at.held.may_be() => {
            findings.push(finding(
                format!("serves no {what}, not even of its last {}: {}", at.depth, words(at)),
                format!("{used_by} need another endpoint"),
            ));
            return findings;
        }
        _ => {}
    }
    if let (Some(day), Some(at)) = (first_day, at_need(seen, first_day))
        && !at.held.may_be()
        && at.held != Held::SilentlyEmpty
    {
        findings.push(finding(
            format!("does not give the {what} of {day} (block {}): {}", at.block, words(at)),
            format!("{used_by} of the run need another endpoint"),
        ));
    }
    findings
}

fn of_window(window: &Measured, stated: u64) -> Option<Finding> {
    let most = window.most?;
    let (found, file) = (with_separators(most), with_separators(stated));
    if most > stated {
        let more = if window.is_limit { "" } else { " and maybe more" };
        return Some(finding(
            format!("takes {found} blocks a log query{more}, the providers file says {file}"),
            format!("`log_window = {most}` there would save queries"),
        ));
    }
    (most < stated && window.is_limit).then(|| {
        let why = window.why.as_deref().unwrap_or("without a word");
        match most {
            0 => finding(format!("refuses every log query: {why}"), "scans need another endpoint".to_owned()),
            _ => finding(
                format!("takes {found} blocks a log query, the providers file says {file}: {why}"),
                format!("runs will use {found}; put `log_window = {most}` there"),
            ),
        }
    })
}

impl Report {
    pub(super) fn new(lake: Option<LakeReport>, endpoints: Vec<Examined>, doctor: &Doctor<'_>) -> Self {
        let of_chains = |chain: &str| doctor.chains.iter().any(|known| known.name == chain);
        let mut missing: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in doctor.providers.left_out.iter().filter(|row| of_chains(&row.chain)) {
            missing.entry(&row.variable).or_default().push(row.label.clone());
        }
        let missing = missing
            .into_iter()
            .map(|(variable, labels)| MissingKey { variable: variable.to_owned(), labels });
        let served = |chain: &str| doctor.providers.endpoints.iter().any(|config| config.chain == chain);
        let without = doctor.chains.iter().filter(|chain| !served(&chain.name));
        Self {
            lake,
            endpoints,
            missing_keys: missing.collect(),
            without_endpoint: without.map(|chain| chain.name.clone()).collect(),
        }
    }

    /// Whether every endpoint can be used, every chain has one and the lake keeps what it must.
    pub fn is_well(&self) -> bool {
        let lake_is_well = self.lake.as_ref().is_none_or(|lake| lake.promises.are_kept());
        lake_is_well && self.without_endpoint.is_empty() && self.endpoints.iter().all(|one| one.usable)
    }

    /// The report in words and a table, for a terminal.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        if !self.endpoints.is_empty() {
            let _ = writeln!(text, "{}", self.table());
            let seen = || self.endpoints.iter().filter_map(|one| one.probe.as_ref());
            let mut depths = seen().flat_map(|probe| probe.state.iter().chain(&probe.logs));
            if depths.any(|at| at.held == Held::Unproven) {
                let _ = writeln!(
                    text,
                    "?  it answered, but nothing in that block shows whether the answer is true"
                );
            }
            if seen().any(|probe| [&probe.log_window, &probe.batch].iter().any(|found| is_open(found))) {
                let _ = writeln!(text, "+  so much was taken; more was not tried");
            }
            let usable = self.endpoints.iter().filter(|one| one.usable).count();
            let _ = writeln!(
                text,
                "{usable} of {} can be used\n",
                with_noun(self.endpoints.len() as u64, "endpoint")
            );
        }
        for one in self.endpoints.iter() {
            for finding in &one.findings {
                let verb = if one.usable { "" } else { " (cannot be used)" };
                let _ = writeln!(text, "{}{verb}: {}\n  {}", one.label, finding.what, finding.hint);
            }
        }
        for MissingKey { variable, labels } in &self.missing_keys {
            let _ = writeln!(text, "{variable} is not set: it would open {}", labels.join(", "));
            let _ = writeln!(text, "  export {variable}=...");
        }
        for chain in &self.without_endpoint {
            let _ = writeln!(text, "{chain} has nobody to ask: set a key, or add an [[endpoint]] for it");
        }
        match &self.lake {
            Some(lake) if lake.promises.are_kept() => {
                let _ = writeln!(
                    text,
                    "the lake at {}: of many who write an object at once one does, and all see it; what was found is in its \
                     state/endpoints, and runs begin with it",
                    lake.location
                );
            }
            Some(lake) => {
                for what in &lake.promises.broken {
                    let _ = writeln!(
                        text,
                        "the lake at {}: {what}\n  let no two runs write to it at the same time, or choose another store",
                        lake.location
                    );
                }
            }
            None => {
                let _ = writeln!(
                    text,
                    "nothing was kept for later runs: name a lake with --lake, or a run with --run"
                );
            }
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
            "chain",
            "endpoint",
            "chain id",
            "newest block",
            "state back to",
            "logs back to",
            "blocks a log query",
            "state override",
            "init code",
            "calls a batch",
            "asked",
            "units",
        ]);
        for one in &self.endpoints {
            let unasked = || vec![Cell::new("-"); 8];
            let found = match &one.probe {
                None => unasked(),
                Some(probe) => vec![
                    Cell::new(match (probe.chain_id, probe.head) {
                        (_, Some(_)) => "right".to_owned(),
                        (Some(id), None) => format!("{id}"),
                        (None, None) => "no answer".to_owned(),
                    }),
                    right(probe.head.map_or("-".to_owned(), |head| match head.behind {
                        0 => with_separators(head.number),
                        behind => format!("{} (-{})", with_separators(head.number), with_separators(behind)),
                    })),
                    Cell::new(since(&probe.state)),
                    Cell::new(since(&probe.logs)),
                    right(measured(&probe.log_window)),
                    Cell::new(answer(&probe.overrides)),
                    Cell::new(answer(&probe.deployless)),
                    right(measured(&probe.batch)),
                ],
            };
            let mut row = vec![Cell::new(&one.chain), Cell::new(&one.label)];
            row.extend(found);
            row.push(right(with_separators(one.requests)));
            // Where requests are what is counted, they stand there already.
            row.push(right(match one.unit.as_str() {
                "" | "requests" => String::new(),
                unit => format!("{} {unit}", with_separators(one.units)),
            }));
            table.add_row(row);
        }
        table
    }
}

/// How far back it goes: the oldest that was shown, with nothing newer lacking, and the oldest that may be held.
fn since(seen: &[AtDepth]) -> String {
    let unbroken = || seen.iter().take_while(|at| at.held.may_be());
    let shown = unbroken().filter(|at| at.held == Held::Shown).last();
    let maybe = unbroken().last().filter(|at| at.held == Held::Unproven);
    let words = |at: &AtDepth| {
        let is_a_place = at.depth == BLOCK_ONE || at.depth.contains('-');
        if is_a_place { at.depth.clone() } else { format!("{} ago", at.depth) }
    };
    match (shown, maybe) {
        (Some(shown), Some(maybe)) => format!("{}, {}?", words(shown), words(maybe)),
        (Some(shown), None) => words(shown),
        (None, Some(maybe)) => format!("{}?", words(maybe)),
        (None, None) => "-".to_owned(),
    }
}

/// So many of something, in words.
pub fn with_noun(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", with_separators(count), if count == 1 { "" } else { "s" })
}

fn is_open(found: &Measured) -> bool {
    found.most.is_some_and(|most| most > 0) && !found.is_limit
}

fn measured(found: &Measured) -> String {
    match found.most {
        None => "-".to_owned(),
        Some(0) => "none".to_owned(),
        Some(most) => format!("{}{}", with_separators(most), if is_open(found) { "+" } else { "" }),
    }
}

fn answer(answer: &Answer) -> &'static str {
    match answer {
        Answer::Right => "yes",
        Answer::Wrong(_) => "ignored",
        Answer::Refused(_) => "no",
        Answer::Unknown(_) => "-",
    }
}
