//! Providers as they are, by name. What they do is from `facts/rpc_providers.md`; how they differ from the real ones is
//! that they do it every time.

use super::dialects::{entry, filters, missing, quota, rate, results, size, span};
use super::faults::{Fault, FaultRate, Latency};
use super::limits::{By, Limits, Over, PerSecond, Period, Prices, Quota};
use super::policy::{
    Absent, Archive, BatchCap, BigBatch, Hint, Policy, ResultCap, SpanCap, Start, TooManyLogs,
};
use std::time::Duration;

/// A policy with a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What it is like.
    pub about: &'static str,
    make: fn() -> Policy,
}

impl Preset {
    /// The preset of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Its policy.
    pub fn policy(&self) -> Policy {
        (self.make)()
    }
}

/// Every preset.
pub static PRESETS: &[Preset] = &[
    Preset { name: "honest", about: "no limit and no fault", make: Policy::honest },
    Preset {
        name: "alchemy-free",
        about: "10 blocks a scan, 500 CU/s (429), 30 M CU a month (403), batches of 1000 billed by member",
        make: alchemy_free,
    },
    Preset {
        name: "alchemy-payg",
        about: "any range up to 10,000 logs, refused with a range that works; 10,000 CU/s",
        make: alchemy_payg,
    },
    Preset {
        name: "infura",
        about: "10,000 blocks and 10,000 logs a scan, 500 credits/s (429), 3 M credits a day (402); bodies no JSON-RPC",
        make: infura,
    },
    Preset { name: "quicknode-trial", about: "5 blocks a scan (413), 15 requests/s", make: quicknode_trial },
    Preset {
        name: "drpc-free",
        about: "10,000 blocks, 20,000 logs with a hint outside the request, batches of 3 (500)",
        make: drpc_free,
    },
    Preset {
        name: "publicnode",
        about: "50,000 blocks, but nothing older than 1,000 (403 Archive requests require ...)",
        make: publicnode,
    },
    Preset {
        name: "official-10k",
        about: "as base.org: 10,000 blocks (413), 5 requests/s (429)",
        make: official_10k,
    },
    Preset { name: "linea", about: "10,000 blocks in Infura's words, 5 requests/s (429)", make: linea },
    Preset { name: "arbitrum", about: "no span cap; 10,000 logs, refused without a range", make: arbitrum },
    Preset { name: "gnosis", about: "50,000 logs; the reason is in the error's data", make: gnosis },
    Preset { name: "avalanche-2048", about: "2,048 blocks in coreth's words", make: avalanche },
    Preset {
        name: "cronos-2000",
        about: "a distance of 2,000 in Ethermint's words, 8 requests/s",
        make: cronos,
    },
    Preset { name: "flare-30", about: "30 blocks in coreth's words, 4 requests/s (429)", make: flare },
    Preset { name: "one-rpc-50", about: "50 blocks, batches of 3", make: one_rpc },
    Preset { name: "bsc", about: "eth_getLogs is `limit exceeded`; 33 requests/s", make: bsc },
    Preset {
        name: "silent-empty",
        about: "LIES: [] and 0x for everything older than 10,000 blocks, without an error",
        make: silent_empty,
    },
    Preset {
        name: "silent-cut",
        about: "LIES: an answer ends at 1,000 logs, without an error",
        make: silent_cut,
    },
    Preset {
        name: "careless",
        about: "LIES: 2% of the logs missing, the rest repeated and unordered",
        make: careless,
    },
    Preset { name: "lagging", about: "2,000 blocks behind; [] for what it does not know yet", make: lagging },
    Preset {
        name: "balancer",
        about: "two nodes behind one URL, one of them 50 blocks behind",
        make: balancer,
    },
    Preset { name: "wrong-chain", about: "LIES: claims chain id 8453", make: wrong_chain },
    Preset {
        name: "flaky",
        about: "30% of the requests fail, in every way there is but hanging",
        make: flaky,
    },
    Preset { name: "slow-tail", about: "80 ms an answer, but 20 s for one of fifty", make: slow_tail },
    Preset { name: "dead", about: "403 `Blast API is no longer available`", make: dead },
];

fn bucket(units: u64, over: Over) -> Option<PerSecond> {
    Some(PerSecond { units, burst: units, over })
}

fn requests(per_second: u64) -> Limits {
    Limits::requests_per_second(per_second, Over::by_status(&rate::PROXYD))
}

fn spanning(limit: u64, wording: &'static super::dialects::Wording) -> Option<SpanCap> {
    Some(SpanCap::new(limit, wording))
}

fn most_logs(logs: usize, wording: &'static super::dialects::Wording, hint: Hint) -> Option<ResultCap> {
    Some(ResultCap { logs, more: TooManyLogs::Refused { wording, hint } })
}

fn batches(members: usize, wording: &'static super::dialects::Wording) -> Option<BatchCap> {
    Some(BatchCap { members, more: BigBatch::Refused(wording) })
}

fn alchemy_free() -> Policy {
    Policy {
        span_cap: spanning(10, &span::ALCHEMY_FREE),
        batch_cap: batches(1_000, &size::GETH_BATCH),
        limits: Limits {
            prices: Prices::ALCHEMY,
            per_second: bucket(500, Over { wording: &rate::ALCHEMY, by: By::Member, retry_after: false }),
            quota: Some(Quota {
                units: 30_000_000,
                period: Period::Month,
                over: Over::by_status(&quota::ALCHEMY),
            }),
        },
        ..Policy::default()
    }
}

fn alchemy_payg() -> Policy {
    Policy {
        result_cap: most_logs(10_000, &results::ALCHEMY, Hint::True),
        batch_cap: batches(1_000, &size::GETH_BATCH),
        limits: Limits {
            prices: Prices::ALCHEMY,
            per_second: bucket(10_000, Over { wording: &rate::ALCHEMY, by: By::Member, retry_after: false }),
            quota: None,
        },
        ..Policy::default()
    }
}

fn infura() -> Policy {
    Policy {
        span_cap: spanning(10_000, &span::INFURA),
        result_cap: most_logs(10_000, &results::INFURA, Hint::True),
        filter_cap: Some((5_000, &filters::INFURA)),
        limits: Limits {
            prices: Prices::INFURA,
            per_second: bucket(500, Over::by_status(&rate::INFURA)),
            quota: Some(Quota {
                units: 3_000_000,
                period: Period::Day,
                over: Over::by_status(&quota::INFURA),
            }),
        },
        ..Policy::default()
    }
}

fn quicknode_trial() -> Policy {
    let limits = Limits::requests_per_second(15, Over::by_status(&rate::QUICKNODE));
    Policy { span_cap: spanning(5, &span::QUICKNODE), limits, ..Policy::default() }
}

fn drpc_free() -> Policy {
    Policy {
        span_cap: spanning(10_000, &span::DRPC),
        result_cap: most_logs(20_000, &results::RETH, Hint::Outside),
        batch_cap: batches(3, &size::DRPC_BATCH),
        limits: Limits { prices: Prices::DRPC, ..Limits::default() },
        ..Policy::default()
    }
}

fn publicnode() -> Policy {
    let archive = Some(Archive { start: Start::Depth(1_000), before: Absent::Refused(&missing::PUBLICNODE) });
    Policy {
        span_cap: spanning(50_000, &span::PUBLICNODE),
        filter_cap: Some((50, &filters::PUBLICNODE)),
        logs_from: archive,
        state_from: archive,
        ..Policy::default()
    }
}

fn official_10k() -> Policy {
    Policy {
        span_cap: spanning(10_000, &span::QUICKNODE),
        batch_cap: batches(100, &size::PROXYD_BATCH),
        beyond_head: Some(&missing::BEYOND_HEAD),
        limits: requests(5),
        ..Policy::default()
    }
}

fn linea() -> Policy {
    Policy { span_cap: spanning(10_000, &span::INFURA), limits: requests(5), ..Policy::default() }
}

fn arbitrum() -> Policy {
    Policy { result_cap: most_logs(10_000, &results::ARBITRUM, Hint::True), ..Policy::default() }
}

fn gnosis() -> Policy {
    Policy { result_cap: most_logs(50_000, &results::NETHERMIND, Hint::True), ..Policy::default() }
}

fn avalanche() -> Policy {
    Policy {
        span_cap: spanning(2_048, &span::CORETH),
        beyond_head: Some(&missing::CORETH_HEAD),
        ..Policy::default()
    }
}

fn cronos() -> Policy {
    Policy { span_cap: spanning(2_000, &span::ETHERMINT), limits: requests(8), ..Policy::default() }
}

fn flare() -> Policy {
    Policy {
        span_cap: spanning(30, &span::CORETH),
        beyond_head: Some(&missing::CORETH_HEAD),
        limits: requests(4),
        ..Policy::default()
    }
}

fn one_rpc() -> Policy {
    Policy {
        span_cap: spanning(50, &span::ONE_RPC),
        batch_cap: batches(3, &size::DRPC_BATCH),
        ..Policy::default()
    }
}

fn bsc() -> Policy {
    Policy {
        refused_methods: vec![("eth_getLogs", &entry::BSC_LOGS)],
        // 10,000 in five minutes.
        limits: Limits {
            per_second: Some(PerSecond { units: 33, burst: 10_000, over: Over::by_status(&rate::BSC) }),
            ..Limits::default()
        },
        ..Policy::default()
    }
}

fn silent_empty() -> Policy {
    let archive = Some(Archive { start: Start::Depth(10_000), before: Absent::Empty });
    Policy { logs_from: archive, state_from: archive, ..Policy::default() }
}

fn silent_cut() -> Policy {
    let cut = ResultCap { logs: 1_000, more: TooManyLogs::CutSilently };
    Policy { result_cap: Some(cut), ..Policy::default() }
}

fn careless() -> Policy {
    Policy { missing_logs_per_mille: 20, repeats_log: true, shuffles_logs: true, ..Policy::default() }
}

fn lagging() -> Policy {
    Policy { head_lag: 2_000, ..Policy::default() }
}

fn balancer() -> Policy {
    Policy { second_head_lag: Some(50), ..Policy::default() }
}

fn wrong_chain() -> Policy {
    Policy { claims_chain_id: Some(8_453), ..Policy::default() }
}

fn flaky() -> Policy {
    let among = Fault::ALL.into_iter().filter(|fault| *fault != Fault::Hang).collect();
    Policy { fails: FaultRate { per_mille: 300, among }, ..Policy::default() }
}

fn slow_tail() -> Policy {
    let latency =
        Latency { usual: Duration::from_millis(80), slow_per_mille: 20, slow: Duration::from_secs(20) };
    Policy { latency, ..Policy::default() }
}

fn dead() -> Policy {
    Policy { refuses_all: Some(&entry::BLAST), ..Policy::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_their_own_name() {
        for preset in PRESETS {
            assert!(
                std::ptr::eq(Preset::find(preset.name).unwrap(), preset),
                "{} is there twice",
                preset.name
            );
            // The one without a fault is the only one without.
            assert_eq!(preset.policy() == Policy::default(), preset.name == "honest", "{}", preset.name);
        }
        assert!(Preset::find("no-such").is_none());
    }
}
