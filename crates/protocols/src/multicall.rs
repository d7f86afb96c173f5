//! Multicall3's one function: many view calls in one `eth_call`, also where the contract is not deployed.
//!
//! Source: mds1/multicall3 `src/Multicall3.sol`. Every call allows failure, so that one contract's revert is that
//! contract's answer and not its neighbours' loss.
//!
//! Where the chain or the block has no Multicall3, a node can be lent its code: by a state override
//! ([`state_override`]), or in the call itself ([`deployless`]). docs/decisions/snapshot-means.md says which is taken when.

mod code;

use crate::answers::Call;
use alloy_sol_types::{SolCall, SolError, sol};
use lake::{Address, Bytes};
use serde::Serialize;
use std::collections::BTreeMap;

pub use code::{RUNTIME, RUNTIME_LENGTH};

/// Where Multicall3 is on every chain but those of the zkSync family.
pub const ADDRESS: Address = alloy_primitives::address!("0xcA11bde05977b3631167028862bE2a173976CA11");

/// Bytes of init code that a node takes (EIP-3860).
pub const MOST_INIT_CODE: usize = 49_152;

/// Bytes that init code may return (EIP-170).
pub const MOST_RETURNED: usize = 24_576;

sol! {
    /// <https://github.com/mds1/multicall3>
    interface IMulticall3 {
        /// One call of a batch.
        struct Call3 { address target; bool allowFailure; bytes callData; }
        /// Its answer.
        struct Result { bool success; bytes returnData; }
        function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory returnData);
    }
}

/// Call data of one `aggregate3` with all the calls.
pub fn encode(calls: &[Call]) -> Bytes {
    let calls = calls
        .iter()
        .map(|call| IMulticall3::Call3 { target: call.to, allowFailure: true, callData: call.input.clone() })
        .collect();
    IMulticall3::aggregate3Call { calls }.abi_encode().into()
}

/// What a state override sets of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountOverride {
    /// Its code.
    pub code: Bytes,
}

/// The third parameter of an `eth_call` to [`ADDRESS`] that lends it Multicall3's code for this one call (geth's state
/// override set; also reth, erigon, Nethermind, Nitro, anvil).
pub fn state_override() -> BTreeMap<Address, AccountOverride> {
    BTreeMap::from([(ADDRESS, AccountOverride { code: Bytes::from_static(&RUNTIME) })])
}

/// EVM opcodes, as the Yellow Paper numbers them. `PUSH0` is not among them: chains without Shanghai do not know it.
mod op {
    pub(super) const MUL: u8 = 0x02;
    pub(super) const SUB: u8 = 0x03;
    pub(super) const LT: u8 = 0x10;
    pub(super) const ISZERO: u8 = 0x15;
    pub(super) const OR: u8 = 0x17;
    pub(super) const CODESIZE: u8 = 0x38;
    pub(super) const CODECOPY: u8 = 0x39;
    pub(super) const RETURNDATASIZE: u8 = 0x3d;
    pub(super) const RETURNDATACOPY: u8 = 0x3e;
    pub(super) const JUMPI: u8 = 0x57;
    pub(super) const GAS: u8 = 0x5a;
    pub(super) const JUMPDEST: u8 = 0x5b;
    pub(super) const PUSH1: u8 = 0x60;
    pub(super) const PUSH2: u8 = 0x61;
    pub(super) const DUP1: u8 = 0x80;
    pub(super) const DUP2: u8 = 0x81;
    pub(super) const DUP3: u8 = 0x82;
    pub(super) const DUP7: u8 = 0x86;
    pub(super) const CREATE: u8 = 0xf0;
    pub(super) const CALL: u8 = 0xf1;
    pub(super) const RETURN: u8 = 0xf3;
    pub(super) const REVERT: u8 = 0xfd;
}

/// A number of at most two bytes, as `PUSH2` takes it. Only sizes of the constants below are given to it.
const fn two_bytes(number: usize) -> [u8; 2] {
    (number as u16).to_be_bytes()
}

const CONSTRUCTOR_LENGTH: usize = 12;
const RUNNER_LENGTH: usize = 66;
/// Bytes of constructor and code.
const CREATION_LENGTH: usize = CONSTRUCTOR_LENGTH + RUNTIME_LENGTH;
/// Where the call data begins in the init code: all that comes before it is always the same.
const CALL_DATA_AT: usize = RUNNER_LENGTH + CREATION_LENGTH;

/// Gives back the code that follows it.
const CONSTRUCTOR: [u8; CONSTRUCTOR_LENGTH] = {
    use op::{CODECOPY, DUP1, PUSH1, PUSH2, RETURN};
    let [length, length_] = two_bytes(RUNTIME_LENGTH);
    [PUSH2, length, length_, DUP1, PUSH1, CONSTRUCTOR_LENGTH as u8, PUSH1, 0, CODECOPY, PUSH1, 0, RETURN]
};

/// Creates Multicall3 from the bytes behind it, calls it with those behind that, and gives its answer back: returns it
/// if that may be returned from init code, else reverts with it, for which no size is forbidden. When there is no
/// answer it reverts with nothing.
#[rustfmt::skip]
const RUNNER: [u8; RUNNER_LENGTH] = {
    use op::*;
    const REVERT_AT: u8 = 62;
    let [creation, creation_] = two_bytes(CREATION_LENGTH);
    let [data, data_] = two_bytes(CALL_DATA_AT);
    let [most, most_] = two_bytes(MOST_RETURNED);
    [
        // Multicall3 to memory and into being                                          stack, top last
        PUSH2, creation, creation_, PUSH1, RUNNER_LENGTH as u8, PUSH1, 0, CODECOPY,
        PUSH2, creation, creation_, PUSH1, 0, PUSH1, 0, CREATE,                      // address
        // the call data to memory
        PUSH2, data, data_, CODESIZE, SUB,                                           // address length
        DUP1, PUSH2, data, data_, PUSH1, 0, CODECOPY,
        // the call with all the gas, without value
        PUSH1, 0, PUSH1, 0, DUP3, PUSH1, 0, PUSH1, 0, DUP7, GAS, CALL,               // address length success
        // its answer to memory; a failed call has none
        RETURNDATASIZE, PUSH1, 0, PUSH1, 0, RETURNDATACOPY,
        RETURNDATASIZE, MUL,                                                         // address length size
        // is there none, or more than may be returned?
        DUP1, ISZERO, DUP2, PUSH2, most, most_, LT, OR,
        PUSH1, REVERT_AT, JUMPI,
        PUSH1, 0, RETURN,
        JUMPDEST, PUSH1, 0, REVERT,
    ]
};

fn before_the_call_data() -> impl Iterator<Item = u8> {
    RUNNER.into_iter().chain(CONSTRUCTOR).chain(RUNTIME)
}

/// Init code whose answer is that of `aggregate3` with all the calls: the data of an `eth_call` without `to`, which
/// needs no contract on the chain and no override.
///
/// The answer comes back as the result up to [`MOST_RETURNED`] bytes, else as the data of a revert, and so must be
/// looked for in both. A revert without data means that it ran out of gas. See [`deployless_fits`] for its limit.
pub fn deployless(calls: &[Call]) -> Bytes {
    before_the_call_data().chain(encode(calls)).collect::<Vec<u8>>().into()
}

/// Bytes of one call in [`encode`]: its offset, address, flag, offset of its input, length of its input, input in words.
fn encoded_length(call: &Call) -> usize {
    call.input.len().div_ceil(32).saturating_add(5).saturating_mul(32)
}

/// How many of these calls, from the first on, fit into one [`deployless`] init code of [`MOST_INIT_CODE`] bytes: 235
/// if none has more than one word of input.
pub fn deployless_fits(calls: &[Call]) -> usize {
    // Selector, offset of the array, its length.
    let empty = CALL_DATA_AT.saturating_add(4 + 2 * 32);
    let mut length = empty;
    let fits = |call: &&Call| {
        length = length.saturating_add(encoded_length(call));
        length <= MOST_INIT_CODE
    };
    calls.iter().take_while(fits).count()
}

/// The `aggregate3` call data in a [`deployless`] init code; `None` if it is not one.
pub fn deployless_call_data(init_code: &[u8]) -> Option<&[u8]> {
    let (before, call_data) = init_code.split_at_checked(CALL_DATA_AT)?;
    before.iter().copied().eq(before_the_call_data()).then_some(call_data)
}

/// What `aggregate3` reverts with when a call in it fails that may not fail (`src/Multicall3.sol`, 100 bytes of `Error(string)`).
const CALL_FAILED: &str = "Multicall3: call failed";

/// Whether revert data is Multicall3's own word that a call within it failed. It says nothing of why: the call's contract may
/// have refused, or the gas was used up.
pub fn says_call_failed(revert: &[u8]) -> bool {
    alloy_sol_types::Revert::abi_decode(revert).is_ok_and(|error| error.reason == CALL_FAILED)
}

/// Return data that is no answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// Not what `aggregate3` returns.
    #[error("{length} bytes that are not a Multicall3 result")]
    Undecodable {
        /// Length of the return data.
        length: usize,
    },
    /// Another number of answers than calls.
    #[error("{answers} answers to {calls} calls")]
    Count {
        /// Answers.
        answers: usize,
        /// Calls.
        calls: usize,
    },
}

/// Success and return data of each call, in order.
///
/// # Errors
/// [`BadBatch`] when the data is not the answer to a batch of `count` calls.
pub fn decode(data: &[u8], count: usize) -> Result<Vec<(bool, Bytes)>, BadBatch> {
    let results = IMulticall3::aggregate3Call::abi_decode_returns_validate(data)
        .map_err(|_| BadBatch::Undecodable { length: data.len() })?;
    if results.len() != count {
        return Err(BadBatch::Count { answers: results.len(), calls: count });
    }
    Ok(results.into_iter().map(|result| (result.success, result.returnData)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_multicalls_own_words_are_its_own() {
        let words = |reason: &str| alloy_sol_types::Revert { reason: reason.to_owned() }.abi_encode();
        assert!(says_call_failed(&words("Multicall3: call failed")));
        assert_eq!(words("Multicall3: call failed").len(), 100);
        for other in
            [words("Multicall3: value mismatch"), words(""), words("call failed")[..40].to_vec(), vec![]]
        {
            assert!(!says_call_failed(&other), "{other:?}");
        }
    }
    use lake::Address;

    #[test]
    fn a_call_costs_192_bytes_as_measured() {
        // facts/protocols.md 1.2: 100 trivial calls are 19,268 bytes.
        let call =
            Call { key: "k".into(), item: String::new(), to: Address::ZERO, input: vec![1, 2, 3, 4].into() };
        assert_eq!(encode(&vec![call; 100]).len(), 19_268);
    }

    fn call(input: usize) -> Call {
        Call { key: "k".into(), item: String::new(), to: ADDRESS, input: vec![7; input].into() }
    }

    /// As it was run on anvil 1.7.1 (revm), ganache 7.9.2 (EthereumJS) and Hardhat 2.29.1 (EDR).
    #[test]
    fn the_runner_is_the_one_that_was_tried() {
        let tried = "610eec6042600039610eec60006000f0610f2e380380610f2e600039600060008260006000\
                     865af13d600060003e3d028015816160001017603e576000f35b6000fd610ee080600c6000396000f3";
        let init_code = deployless(&[]);
        assert_eq!(alloy_primitives::hex::encode(&init_code[..RUNNER_LENGTH + CONSTRUCTOR_LENGTH]), tried);
        assert_eq!(init_code[usize::from(RUNNER[RUNNER.len() - 4 - 5])], op::JUMPDEST);
    }

    #[test]
    fn the_number_that_fits_is_exact_for_inputs_of_any_length() {
        for input in [0, 4, 32, 33, 36, 1_000, 45_000, 50_000] {
            let calls = vec![call(input); 400];
            let fits = deployless_fits(&calls);
            assert!(fits == 0 || deployless(&calls[..fits]).len() <= MOST_INIT_CODE, "{input}");
            assert!(deployless(&calls[..=fits]).len() > MOST_INIT_CODE, "{input}: {fits} is not the most");
            assert_eq!(deployless_fits(&calls[..fits]), fits);
        }
        assert_eq!(deployless_fits(&vec![call(4); 400]), 235);
        assert_eq!(deployless_fits(&[call(50_000)]), 0);
        assert_eq!(deployless_fits(&[]), 0);
    }

    #[test]
    fn call_data_is_found_again_in_init_code_of_ours_only() {
        let calls = [call(4), call(40)];
        let init_code = deployless(&calls);
        assert_eq!(deployless_call_data(&init_code), Some(&encode(&calls)[..]));
        let mut other = init_code.to_vec();
        other[CALL_DATA_AT - 1] ^= 1;
        assert_eq!(deployless_call_data(&other), None);
        assert_eq!(deployless_call_data(&init_code[..CALL_DATA_AT - 1]), None);
        assert_eq!(deployless_call_data(&encode(&calls)), None);
    }

    #[test]
    fn the_override_lends_the_code_to_the_address() {
        let lent = state_override();
        assert_eq!(lent.keys().collect::<Vec<_>>(), [&ADDRESS]);
        assert_eq!(&lent[&ADDRESS].code[..], RUNTIME);
    }

    #[test]
    fn an_answer_of_another_length_is_refused() {
        let results = vec![IMulticall3::Result { success: true, returnData: vec![7].into() }];
        let data = IMulticall3::aggregate3Call::abi_encode_returns(&results);
        assert_eq!(decode(&data, 1).unwrap(), [(true, Bytes::from(vec![7]))]);
        assert_eq!(decode(&data, 2), Err(BadBatch::Count { answers: 1, calls: 2 }));
        assert_eq!(decode(&[], 1), Err(BadBatch::Undecodable { length: 0 }));
    }
}
