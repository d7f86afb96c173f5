//! What covers an agent: a token that restakers have put up, found through the Delegation or the agent's network.

use super::*;

/// What is known of an agent's cover.
pub(super) enum Backing {
    /// Not enough yet: ask these.
    Ask(Vec<Call>),
    /// A token.
    Token(Address),
    /// Nothing: no network, or no vault of a network, is registered for the agent.
    Nothing,
}

/// The token that covers an agent: asked of the Delegation where it knows (from February 2026), before that of the
/// network's Symbiotic vault or EigenLayer strategy.
pub(super) fn backing(
    answers: &Answers<'_>,
    contracts: Contracts,
    agent: Address,
) -> Result<Backing, Missing> {
    let id = &item(agent);
    let token = |token: Address| if token.is_zero() { Backing::Nothing } else { Backing::Token(token) };
    if !answers.asked(key::COLLATERAL, id) {
        return Ok(Backing::Ask(first_calls(contracts.delegation, agent).to_vec()));
    }
    match answers.value::<ICapDelegation::collateralCall>(key::COLLATERAL, id) {
        // A Delegation without the function.
        Err(why) if why.is_revert() => {}
        answer => return answer.map(token),
    }
    let network = answers.value::<ICapDelegation::networksCall>(key::NETWORK, id)?;
    if !answers.asked(key::VAULT, id) && !answers.asked(key::STRATEGY, id) {
        return Ok(Backing::Ask(vec![vault_call(network, agent), strategy_call(network, agent)]));
    }
    let vault = answers.value::<ICapNetwork::vaultsCall>(key::VAULT, id);
    let strategy = answers.value::<ICapNetwork::operatorToStrategyCall>(key::STRATEGY, id);
    let (asked, further) = match (vault, strategy) {
        (Ok(place), _) | (Err(_), Ok(place)) if place.is_zero() => return Ok(Backing::Nothing),
        (Ok(vault), _) => (key::VAULT_TOKEN, vault_token_call(vault, agent)),
        (Err(_), Ok(strategy)) => (key::STRATEGY_TOKEN, strategy_token_call(strategy, agent)),
        (Err(why), Err(_)) => return Err(why),
    };
    if !answers.asked(asked, id) {
        return Ok(Backing::Ask(vec![further]));
    }
    // Both functions answer with one address.
    answers.value::<ISymbioticVault::collateralCall>(asked, id).map(token)
}

/// An agent, with what covers it as far as that is known.
pub(super) fn agent_market(answers: &Answers<'_>, contracts: Contracts, agent: Address) -> Market {
    let id = item(agent);
    let collateral = match backing(answers, contracts, agent) {
        Ok(Backing::Token(token)) => Some(token),
        Ok(Backing::Ask(_) | Backing::Nothing) | Err(_) => None,
    };
    let parts = [
        (part::AGENT, Some(agent)),
        (part::COLLATERAL, collateral),
        (part::NETWORK, answers.value::<ICapDelegation::networksCall>(key::NETWORK, &id).ok()),
        (part::NETWORK_VAULT, answers.value::<ICapNetwork::vaultsCall>(key::VAULT, &id).ok()),
        (part::STRATEGY, answers.value::<ICapNetwork::operatorToStrategyCall>(key::STRATEGY, &id).ok()),
    ];
    let is_there = |address: &Address| !address.is_zero();
    let contracts = parts.into_iter().filter_map(|(name, at)| Some((name.to_owned(), at.filter(is_there)?)));
    Market { contracts: contracts.collect(), id }
}

/// What is asked of the Delegation in any case.
pub(super) fn first_calls(delegation: Address, agent: Address) -> [Call; 2] {
    let id = item(agent);
    [
        Call::new(key::NETWORK, &id, delegation, &ICapDelegation::networksCall { agent }),
        Call::new(key::COLLATERAL, &id, delegation, &ICapDelegation::collateralCall { agent }),
    ]
}

/// What is asked of the network again, where the Delegation did not know when the layout was found.
pub(super) fn network_calls(agent: Address, market: &Market) -> Vec<Call> {
    let part = |name| market.contracts.get(name).copied();
    let Some(network) = part(part::NETWORK) else { return Vec::new() };
    if let Some(vault) = part(part::NETWORK_VAULT) {
        vec![vault_call(network, agent), vault_token_call(vault, agent)]
    } else if let Some(strategy) = part(part::STRATEGY) {
        vec![strategy_call(network, agent), strategy_token_call(strategy, agent)]
    } else if part(part::COLLATERAL).is_none() {
        vec![vault_call(network, agent), strategy_call(network, agent)]
    } else {
        Vec::new()
    }
}

fn vault_call(network: Address, agent: Address) -> Call {
    Call::new(key::VAULT, item(agent), network, &ICapNetwork::vaultsCall { agent })
}

fn strategy_call(network: Address, agent: Address) -> Call {
    Call::new(key::STRATEGY, item(agent), network, &ICapNetwork::operatorToStrategyCall { agent })
}

fn vault_token_call(vault: Address, agent: Address) -> Call {
    Call::new(key::VAULT_TOKEN, item(agent), vault, &ISymbioticVault::collateralCall {})
}

fn strategy_token_call(strategy: Address, agent: Address) -> Call {
    Call::new(key::STRATEGY_TOKEN, item(agent), strategy, &IEigenStrategy::underlyingTokenCall {})
}
