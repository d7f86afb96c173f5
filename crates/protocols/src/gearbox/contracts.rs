//! The contracts of a deployment: which there are, and how they are found.
//!
//! Up to 3.0 one contracts register lists all pools and credit managers; an address provider names it. From 3.1 each market
//! configurator has a register of its own; an address provider names the configurators' factory. A deployment that was there
//! before 3.1 has both, and a pool may stand in both: pools are listed once.
//!
//! Pools and configurators that were shut down are listed, too: suppliers may still have claims on them. Credit
//! managers that were shut down are not: they owe nothing (permissionless MarketConfigurator.sol `shutdownCreditSuite`,
//! contracts/factories/PoolFactory.sol `onShutdownCreditSuite`).

use super::{
    IAddressProviderV2, IAddressProviderV3, IContractsRegister, ICreditManager, IManagerV1,
    IMarketConfigurator, IMarketConfiguratorFactory, IPool, key,
};
use crate::answers::{Answers, Call, Missing};
use crate::family::{DiscoveryError, Layout, Market};
use crate::token::item;
use alloy_sol_types::SolCall;
use lake::registry::Csu;
use lake::{Address, B256, U256};
use std::collections::{BTreeMap, BTreeSet};

/// Roles of the registry: what the entry contract, or a further one of the row, is.
mod role {
    pub(super) const PROVIDER_V2: &str = "address_provider_v2";
    pub(super) const PROVIDER_V3_0: &str = "address_provider_v3_0";
    pub(super) const PROVIDER_V3_1: &str = "address_provider_v3_1";
    /// `market_configurator_NAME`: one that was made before the factory, which may not list it.
    pub(super) const CONFIGURATOR: &str = "market_configurator_";
}

/// Names of contracts in a layout; a number follows where there are several.
mod part {
    pub(super) const FACTORY: &str = "factory";
    pub(super) const CONFIGURATOR: &str = "configurator";
    pub(super) const REGISTER: &str = "register";
    pub(super) const REGISTER_OF: &str = "register_of";
    pub(super) const UNDERLYING: &str = "underlying";
    pub(super) const ORACLE: &str = "oracle";
    pub(super) const LISTED_BY: &str = "listed_by";
    pub(super) const SHUT_DOWN_BY: &str = "shut_down_by";
    pub(super) const MANAGER: &str = "manager";
    pub(super) const FACADE: &str = "facade";
}

/// The contracts of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contracts {
    pub(super) factory: Option<Address>,
    pub(super) configurators: Vec<Address>,
    pub(super) registers: Vec<Register>,
    pub(super) pools: Vec<Pool>,
    /// Managers whose pool is in no list, or not known.
    pub(super) unplaced: Vec<Manager>,
}

/// A contracts register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Register {
    pub(super) address: Address,
    /// The configurator it belongs to: from 3.1.
    pub(super) configurator: Option<Address>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) address: Address,
    /// Its token; `None` when the pool does not answer.
    pub(super) underlying: Option<Address>,
    /// The oracle of its market, or of its newest manager.
    pub(super) oracle: Option<Address>,
    /// The 3.1 register that lists it.
    pub(super) register: Option<Address>,
    /// The register that lists it as shut down.
    pub(super) shut_down_by: Option<Address>,
    /// Its credit managers, in order of the lists.
    pub(super) managers: Vec<Manager>,
}

/// A credit manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) address: Address,
    /// Its facade, which emits the liquidations; version 1 has none and emits them itself.
    pub(super) facade: Option<Address>,
}

impl Manager {
    pub(super) fn emitter(&self) -> Address {
        self.facade.unwrap_or(self.address)
    }
}

/// How far the contracts are known.
pub(super) enum Step {
    /// Ask these next.
    Ask(Vec<Call>),
    /// All of them.
    Found(Contracts),
}

impl Step {
    /// The contracts, from a batch that was planned with their layout.
    pub(super) fn found(self) -> Result<Contracts, DiscoveryError> {
        match self {
            Self::Found(contracts) => Ok(contracts),
            Self::Ask(calls) => {
                let names =
                    calls.first().map_or_else(String::new, |call| format!("{} of {}", call.key, call.item));
                Err(DiscoveryError {
                    what: "the contracts of a Gearbox deployment",
                    why: Missing::NotAsked { key: names },
                })
            }
        }
    }
}

/// The contracts as far as the answers tell, or what to ask next.
///
/// # Errors
/// [`DiscoveryError`] when no register is found, or one does not list its pools and managers.
pub(super) fn listed(csu: &Csu, answers: &Answers<'_>) -> Result<Step, DiscoveryError> {
    let unasked = |calls: Vec<Call>| -> Option<Step> {
        let calls: Vec<Call> =
            calls.into_iter().filter(|call| !answers.asked(&call.key, &call.item)).collect();
        (!calls.is_empty()).then_some(Step::Ask(calls))
    };
    if let Some(ask) = unasked(root_calls(csu)) {
        return Ok(ask);
    }
    let factory = named(answers, key::FACTORY)?;
    if let Some(ask) = unasked(factory.map(factory_calls).unwrap_or_default()) {
        return Ok(ask);
    }
    let configurators = configurators(csu, answers, factory)?;
    if let Some(ask) =
        unasked(configurators.iter().map(|configurator| register_call(*configurator)).collect())
    {
        return Ok(ask);
    }
    let registers = registers(csu, answers, &configurators)?;
    if let Some(ask) = unasked(registers.iter().flat_map(|register| list_calls(register.address)).collect()) {
        return Ok(ask);
    }
    let lists = Lists::of(answers, &registers)?;
    if let Some(ask) = unasked(lists.calls()) {
        return Ok(ask);
    }
    Ok(Step::Found(lists.contracts(answers, factory, configurators, registers)))
}

fn root_calls(csu: &Csu) -> Vec<Call> {
    let named = [(csu.entry_role.as_str(), csu.entry)];
    let further = csu.contracts.iter().map(|(role, address)| (role.as_str(), *address));
    named
        .into_iter()
        .chain(further)
        .filter_map(|(role, provider)| match role {
            role::PROVIDER_V2 => {
                let call = IAddressProviderV2::getContractsRegisterCall {};
                Some(Call::new(key::REGISTER_V2, "", provider, &call))
            }
            role::PROVIDER_V3_0 => {
                Some(Call::new(key::REGISTER_V3, "", provider, &address_of("CONTRACTS_REGISTER")))
            }
            role::PROVIDER_V3_1 => {
                Some(Call::new(key::FACTORY, "", provider, &address_of("MARKET_CONFIGURATOR_FACTORY")))
            }
            _ => None,
        })
        .collect()
}

/// Version 0 stands for "not versioned" (permissionless contracts/libraries/ContractLiterals.sol, `NO_VERSION_CONTROL`).
fn address_of(name: &str) -> IAddressProviderV3::getAddressOrRevertCall {
    let mut key = B256::ZERO;
    for (byte, letter) in key.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    IAddressProviderV3::getAddressOrRevertCall { key, version: U256::ZERO }
}

/// What a provider names. `None` when the row has no such provider, when it is not there yet, or knows no such name yet.
fn named(answers: &Answers<'_>, key: &str) -> Result<Option<Address>, DiscoveryError> {
    if !answers.asked(key, "") {
        return Ok(None);
    }
    // All of these functions return one address.
    match answers.value::<IAddressProviderV2::getContractsRegisterCall>(key, "") {
        Ok(address) => Ok(Some(address).filter(|address| !address.is_zero())),
        Err(Missing::Reverted { .. } | Missing::NoCode { .. }) => Ok(None),
        Err(why) => Err(DiscoveryError { what: "what a Gearbox address provider names", why }),
    }
}

fn factory_calls(factory: Address) -> Vec<Call> {
    vec![
        Call::new(
            key::CONFIGURATORS,
            "",
            factory,
            &IMarketConfiguratorFactory::getMarketConfiguratorsCall {},
        ),
        Call::new(
            key::SHUT_CONFIGURATORS,
            "",
            factory,
            &IMarketConfiguratorFactory::getShutdownMarketConfiguratorsCall {},
        ),
    ]
}

fn register_call(configurator: Address) -> Call {
    let call = IMarketConfigurator::contractsRegisterCall {};
    Call::new(key::REGISTER, item(configurator), configurator, &call)
}

fn list_calls(register: Address) -> Vec<Call> {
    let name = item(register);
    vec![
        Call::new(key::POOLS, &name, register, &IContractsRegister::getPoolsCall {}),
        Call::new(key::SHUT_POOLS, &name, register, &IContractsRegister::getShutdownPoolsCall {}),
        Call::new(key::MANAGERS, &name, register, &IContractsRegister::getCreditManagersCall {}),
    ]
}

/// The configurators of the row, and those of the factory.
fn configurators(
    csu: &Csu,
    answers: &Answers<'_>,
    factory: Option<Address>,
) -> Result<Vec<Address>, DiscoveryError> {
    let mut configurators: Vec<Address> = pinned(csu).collect();
    if factory.is_some() {
        let what = "the market configurators of a Gearbox factory";
        let listed =
            list::<IMarketConfiguratorFactory::getMarketConfiguratorsCall>(answers, key::CONFIGURATORS, "");
        configurators.extend(listed.map_err(|why| DiscoveryError { what, why })?);
        configurators.extend(
            if_there(list::<IMarketConfiguratorFactory::getShutdownMarketConfiguratorsCall>(
                answers,
                key::SHUT_CONFIGURATORS,
                "",
            ))
            .map_err(|why| DiscoveryError { what, why })?,
        );
    }
    Ok(once(configurators))
}

fn pinned(csu: &Csu) -> impl Iterator<Item = Address> {
    csu.contracts.iter().filter(|(role, _)| role.starts_with(role::CONFIGURATOR)).map(|(_, address)| *address)
}

fn registers(
    csu: &Csu,
    answers: &Answers<'_>,
    configurators: &[Address],
) -> Result<Vec<Register>, DiscoveryError> {
    let what = "the contracts register of a Gearbox deployment";
    // Without the entry's word some of the pools would be there, and taken for all.
    if let Some(why) = entry_failure(csu, answers).filter(Missing::is_revert) {
        return Err(DiscoveryError { what, why });
    }
    let mut registers: Vec<Register> = Vec::new();
    for key in [key::REGISTER_V2, key::REGISTER_V3] {
        registers.extend(named(answers, key)?.map(|address| Register { address, configurator: None }));
    }
    for configurator in configurators {
        let register =
            answers.value::<IMarketConfigurator::contractsRegisterCall>(key::REGISTER, &item(*configurator));
        match register {
            Ok(address) => registers.push(Register { address, configurator: Some(*configurator) }),
            // One that the row names, before it was made.
            Err(Missing::NoCode { .. }) if pinned(csu).any(|pinned| pinned == *configurator) => {}
            Err(why) => return Err(DiscoveryError { what, why }),
        }
    }
    let mut seen = BTreeSet::new();
    registers.retain(|register| seen.insert(register.address));
    if registers.is_empty() {
        let why = entry_failure(csu, answers);
        let none = || Missing::unusable(&csu.entry_role, "it leads to no contracts register");
        return Err(DiscoveryError { what, why: why.unwrap_or_else(none) });
    }
    Ok(registers)
}

/// Why the entry contract gave no answer, if it gave none.
fn entry_failure(csu: &Csu, answers: &Answers<'_>) -> Option<Missing> {
    let key = root_calls(csu).into_iter().find(|call| call.to == csu.entry).map(|call| call.key)?;
    answers.data(&key, "").err()
}

/// A list of addresses; a call that has no such function in an older version is an empty one.
fn if_there(answer: Result<Vec<Address>, Missing>) -> Result<Vec<Address>, Missing> {
    match answer {
        Err(why) if why.is_revert() => Ok(Vec::new()),
        answer => answer,
    }
}

fn list<C: SolCall<Return = Vec<Address>>>(
    answers: &Answers<'_>,
    key: &str,
    item: &str,
) -> Result<Vec<Address>, Missing> {
    answers.value::<C>(key, item)
}

fn once(addresses: Vec<Address>) -> Vec<Address> {
    let mut seen = BTreeSet::new();
    addresses.into_iter().filter(|address| seen.insert(*address)).collect()
}

/// What the registers list.
struct Lists {
    /// Pool, the 3.1 register that lists it, and the one that lists it as shut down.
    pools: Vec<(Address, Option<Address>, Option<Address>)>,
    managers: Vec<Address>,
}

impl Lists {
    fn of(answers: &Answers<'_>, registers: &[Register]) -> Result<Self, DiscoveryError> {
        let mut pools: Vec<(Address, Option<Address>, Option<Address>)> = Vec::new();
        let mut managers = Vec::new();
        for register in registers {
            let name = item(register.address);
            let failed = |what| move |why| DiscoveryError { what, why };
            let of_market = register.configurator.map(|_| register.address);
            let open = list::<IContractsRegister::getPoolsCall>(answers, key::POOLS, &name)
                .map_err(failed("the pools of a Gearbox contracts register"))?;
            let shut =
                if_there(list::<IContractsRegister::getShutdownPoolsCall>(answers, key::SHUT_POOLS, &name))
                    .map_err(failed("the closed pools of a Gearbox contracts register"))?;
            let open = open.into_iter().map(|pool| (pool, of_market, None));
            let shut = shut.into_iter().map(|pool| (pool, None, Some(register.address)));
            for (pool, market, shut_down_by) in open.chain(shut) {
                match pools.iter_mut().find(|(known, ..)| *known == pool) {
                    Some(known) => {
                        known.1 = known.1.or(market);
                        known.2 = known.2.or(shut_down_by);
                    }
                    None => pools.push((pool, market, shut_down_by)),
                }
            }
            managers.extend(
                list::<IContractsRegister::getCreditManagersCall>(answers, key::MANAGERS, &name)
                    .map_err(failed("the credit managers of a Gearbox contracts register"))?,
            );
        }
        Ok(Self { pools, managers: once(managers) })
    }

    fn calls(&self) -> Vec<Call> {
        let pools = self.pools.iter().flat_map(|(pool, register, _)| pool_calls(*pool, *register));
        pools.chain(self.managers.iter().flat_map(|manager| manager_calls(*manager))).collect()
    }

    fn contracts(
        self,
        answers: &Answers<'_>,
        factory: Option<Address>,
        configurators: Vec<Address>,
        registers: Vec<Register>,
    ) -> Contracts {
        let mut of_pool: BTreeMap<Address, Vec<Manager>> = BTreeMap::new();
        let mut unplaced = Vec::new();
        let listed: BTreeSet<Address> = self.pools.iter().map(|(pool, ..)| *pool).collect();
        for address in self.managers {
            let name = item(address);
            let facade = answers.value::<ICreditManager::creditFacadeCall>(key::FACADE, &name);
            let manager = Manager { address, facade: facade.ok().filter(|facade| !facade.is_zero()) };
            let pool = answers
                .value::<ICreditManager::poolCall>(key::MANAGER_POOL, &name)
                .or_else(|_| answers.value::<IManagerV1::poolServiceCall>(key::MANAGER_POOL_V1, &name));
            match pool.ok().filter(|pool| listed.contains(pool)) {
                Some(pool) => of_pool.entry(pool).or_default().push(manager),
                None => unplaced.push(manager),
            }
        }
        let pools = self.pools.into_iter().map(|(address, register, shut_down_by)| {
            let managers = of_pool.remove(&address).unwrap_or_default();
            let underlying =
                answers.value::<IPool::underlyingTokenCall>(key::UNDERLYING, &item(address)).ok();
            let oracle = oracle(answers, address, &managers);
            Pool { address, underlying, oracle, register, shut_down_by, managers }
        });
        Contracts { factory, configurators, registers, pools: pools.collect(), unplaced }
    }
}

fn pool_calls(pool: Address, register: Option<Address>) -> Vec<Call> {
    let name = item(pool);
    let mut calls = vec![Call::new(key::UNDERLYING, &name, pool, &IPool::underlyingTokenCall {})];
    calls.extend(register.map(|register| {
        Call::new(key::POOL_ORACLE, &name, register, &IContractsRegister::getPriceOracleCall { pool })
    }));
    calls
}

fn manager_calls(manager: Address) -> [Call; 4] {
    let name = item(manager);
    [
        Call::new(key::MANAGER_POOL, &name, manager, &ICreditManager::poolCall {}),
        Call::new(key::MANAGER_POOL_V1, &name, manager, &IManagerV1::poolServiceCall {}),
        Call::new(key::FACADE, &name, manager, &ICreditManager::creditFacadeCall {}),
        oracle_call(manager),
    ]
}

fn oracle_call(manager: Address) -> Call {
    Call::new(key::MANAGER_ORACLE, item(manager), manager, &ICreditManager::priceOracleCall {})
}

/// The oracle of a pool's market (3.1), else that of its newest manager that has one.
fn oracle(answers: &Answers<'_>, pool: Address, managers: &[Manager]) -> Option<Address> {
    let of_market =
        answers.value::<IContractsRegister::getPriceOracleCall>(key::POOL_ORACLE, &item(pool)).ok();
    let of_managers = managers.iter().rev().filter_map(|manager| {
        answers.value::<ICreditManager::priceOracleCall>(key::MANAGER_ORACLE, &item(manager.address)).ok()
    });
    of_market.into_iter().chain(of_managers).find(|oracle| !oracle.is_zero())
}

impl Pool {
    /// The calls that tell which oracle prices it.
    pub(super) fn oracle_calls(&self) -> Vec<Call> {
        let mut calls = pool_calls(self.address, self.register);
        calls.extend(self.managers.iter().map(|manager| oracle_call(manager.address)));
        calls
    }

    /// Whether these answers name another oracle than the layout does.
    pub(super) fn has_other_oracle(&self, answers: &Answers<'_>) -> bool {
        let asked = answers.asked(key::POOL_ORACLE, &item(self.address))
            || self.managers.iter().any(|manager| answers.asked(key::MANAGER_ORACLE, &item(manager.address)));
        asked && oracle(answers, self.address, &self.managers) != self.oracle
    }
}

impl Contracts {
    /// The calls that list them again.
    pub(super) fn calls(&self, csu: &Csu) -> Vec<Call> {
        let mut calls = root_calls(csu);
        calls.extend(self.factory.map(factory_calls).unwrap_or_default());
        calls.extend(self.configurators.iter().map(|configurator| register_call(*configurator)));
        calls.extend(self.registers.iter().flat_map(|register| list_calls(register.address)));
        for pool in &self.pools {
            calls.extend(pool_calls(pool.address, pool.register));
            calls.extend(pool.managers.iter().flat_map(|manager| manager_calls(manager.address)));
        }
        calls.extend(self.unplaced.iter().flat_map(|manager| manager_calls(manager.address)));
        calls
    }

    /// Every contract whose logs are asked for.
    pub(super) fn emitters(&self) -> Vec<Address> {
        let managers = self.pools.iter().flat_map(|pool| &pool.managers).chain(&self.unplaced);
        self.pools.iter().map(|pool| pool.address).chain(managers.map(Manager::emitter)).collect()
    }

    /// The pool whose liquidations a contract emits.
    pub(super) fn pool_of_emitter(&self, emitter: Address) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.managers.iter().any(|manager| manager.emitter() == emitter))
    }

    /// What differs from these.
    pub(super) fn first_difference(&self, other: &Self) -> Option<String> {
        let addresses =
            |contracts: &Self| -> Vec<Address> { contracts.pools.iter().map(|pool| pool.address).collect() };
        if self == other {
            return None;
        }
        if addresses(self) != addresses(other) {
            return Some("the list of pools".into());
        }
        let differs = self.pools.iter().zip(&other.pools).find(|(one, two)| one != two);
        Some(match differs {
            Some((pool, _)) => format!("a contract of pool {}", item(pool.address)),
            None => "the list of registers or credit managers".into(),
        })
    }

    pub(super) fn layout(&self) -> Layout {
        let mut roots: BTreeMap<String, Address> = BTreeMap::new();
        roots.extend(self.factory.map(|factory| (part::FACTORY.to_owned(), factory)));
        for (index, configurator) in self.configurators.iter().enumerate() {
            roots.insert(nth(part::CONFIGURATOR, index), *configurator);
        }
        for (index, register) in self.registers.iter().enumerate() {
            roots.insert(nth(part::REGISTER, index), register.address);
            roots.extend(register.configurator.map(|by| (nth(part::REGISTER_OF, index), by)));
        }
        roots.extend(manager_parts(&self.unplaced));
        let market = |pool: &Pool| {
            let single = [
                (part::UNDERLYING, pool.underlying),
                (part::ORACLE, pool.oracle),
                (part::LISTED_BY, pool.register),
                (part::SHUT_DOWN_BY, pool.shut_down_by),
            ];
            let single = single.into_iter().filter_map(|(name, address)| Some((name.to_owned(), address?)));
            Market {
                id: item(pool.address),
                contracts: single.chain(manager_parts(&pool.managers)).collect(),
            }
        };
        Layout { roots, markets: self.pools.iter().map(market).collect() }
    }

    /// The contracts that a layout names: [`Contracts::layout`] backwards.
    pub(super) fn in_layout(layout: &Layout) -> Self {
        let roots = &layout.roots;
        let register = |(index, address): (&str, Address)| Register {
            address,
            configurator: roots.get(&format!("{}.{index}", part::REGISTER_OF)).copied(),
        };
        let pool = |market: &Market| {
            let get = |name: &str| market.contracts.get(name).copied();
            Some(Pool {
                address: market.id.parse().ok()?,
                underlying: get(part::UNDERLYING),
                oracle: get(part::ORACLE),
                register: get(part::LISTED_BY),
                shut_down_by: get(part::SHUT_DOWN_BY),
                managers: managers_in(&market.contracts),
            })
        };
        Self {
            factory: roots.get(part::FACTORY).copied(),
            configurators: numbered(roots, part::CONFIGURATOR).map(|(_, address)| address).collect(),
            registers: numbered(roots, part::REGISTER).map(register).collect(),
            pools: layout.markets.iter().filter_map(pool).collect(),
            unplaced: managers_in(roots),
        }
    }
}

/// Padded, so that the order of names is the order of the list.
fn nth(name: &str, index: usize) -> String {
    format!("{name}.{index:04}")
}

fn numbered<'a>(
    contracts: &'a BTreeMap<String, Address>,
    name: &'a str,
) -> impl Iterator<Item = (&'a str, Address)> {
    contracts
        .iter()
        .filter_map(move |(part, address)| Some((part.strip_prefix(name)?.strip_prefix('.')?, *address)))
}

fn manager_parts(managers: &[Manager]) -> Vec<(String, Address)> {
    let parts = managers.iter().enumerate().flat_map(|(index, manager)| {
        let facade = manager.facade.map(|facade| (nth(part::FACADE, index), facade));
        [(nth(part::MANAGER, index), manager.address)].into_iter().chain(facade)
    });
    parts.collect()
}

fn managers_in(contracts: &BTreeMap<String, Address>) -> Vec<Manager> {
    let manager = |(index, address): (&str, Address)| Manager {
        address,
        facade: contracts.get(&format!("{}.{index}", part::FACADE)).copied(),
    };
    numbered(contracts, part::MANAGER).map(manager).collect()
}
