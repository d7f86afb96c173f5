//! View calls and their answers, looked up by name instead of by position.

use alloy_sol_types::SolCall;
use lake::bronze::CallRecord;
use lake::{Address, Bytes, I256};
use std::collections::{BTreeSet, HashMap};

/// A view call that a family wants made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is asked, in the family's words: `pool.getReserveData`.
    pub key: String,
    /// Of which market, reserve or vault; empty when the question has no object.
    pub item: String,
    /// Contract to call.
    pub to: Address,
    /// Call data.
    pub input: Bytes,
}

impl Call {
    /// The call `call` to the contract `to`, to be found again as `key` of `item`.
    pub fn new<C: SolCall>(key: &str, item: impl ToString, to: Address, call: &C) -> Self {
        Self { key: key.to_owned(), item: item.to_string(), to, input: call.abi_encode().into() }
    }

    /// The call with its answer, as it goes into bronze.
    pub fn answered(self, ok: bool, output: Bytes) -> CallRecord {
        CallRecord { key: self.key, item: self.item, to: self.to, input: self.input, ok, output }
    }
}

/// Why a call has no value. None of these is zero.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The plan did not hold the call.
    #[error("{key} was not asked")]
    NotAsked {
        /// The call.
        key: String,
    },
    /// The call reverted.
    #[error("{key} reverted{}", revert_text(data))]
    Reverted {
        /// The call.
        key: String,
        /// What the contract returned with the revert.
        data: Bytes,
    },
    /// The call succeeded and returned nothing: no code answered.
    #[error("{key} returned nothing: there is no contract at {to}")]
    NoCode {
        /// The call.
        key: String,
        /// The address that was called.
        to: Address,
    },
    /// The return data is not what the function returns.
    #[error("{key} returned {length} bytes that are not its type")]
    Undecodable {
        /// The call.
        key: String,
        /// Length of the return data.
        length: usize,
    },
    /// The call returned a negative number where only a positive one has a meaning.
    #[error("{key} returned {value}")]
    Negative {
        /// The call.
        key: String,
        /// The number.
        value: I256,
    },
    /// The answers are there, and what they say cannot be used.
    #[error("{key}: {why}")]
    Unusable {
        /// The call, or the figure made of several.
        key: String,
        /// What is wrong.
        why: String,
    },
}

impl Missing {
    /// An answer that cannot be used: the call or figure it belongs to, and what is wrong with it.
    pub fn unusable(key: impl Into<String>, why: impl ToString) -> Self {
        Self::Unusable { key: key.into(), why: why.to_string() }
    }

    /// Whether the contract refused the call, which is how a contract without the function answers.
    pub fn is_revert(&self) -> bool {
        matches!(self, Self::Reverted { .. })
    }
}

fn revert_text(data: &Bytes) -> String {
    if crate::multicall::says_call_failed(data) {
        return ": a call within it failed, without a word why".to_owned();
    }
    match alloy_sol_types::decode_revert_reason(data) {
        Some(reason) => {
            let reason = reason.strip_prefix("revert: ").unwrap_or(&reason);
            format!(": {}", crate::token::printable(reason, 120))
        }
        None => String::new(),
    }
}

/// The answers of one group of calls, by name.
#[derive(Debug, Clone, Default)]
pub struct Answers<'a> {
    by_name: HashMap<(&'a str, &'a str), &'a CallRecord>,
}

impl<'a> Answers<'a> {
    /// Answers by key and item. Of two calls with one name the later counts.
    pub fn new(calls: impl IntoIterator<Item = &'a CallRecord>) -> Self {
        Self {
            by_name: calls.into_iter().map(|call| ((call.key.as_str(), call.item.as_str()), call)).collect(),
        }
    }

    /// Whether the plan held this call.
    pub fn asked(&self, key: &str, item: &str) -> bool {
        self.by_name.contains_key(&(key, item))
    }

    /// The objects that this question was asked of, in order.
    pub fn items(&self, key: &str) -> BTreeSet<&'a str> {
        self.by_name.keys().filter(|(asked, _)| *asked == key).map(|(_, item)| *item).collect()
    }

    /// The contract that this call went to.
    pub fn contract(&self, key: &str, item: &str) -> Option<Address> {
        self.by_name.get(&(key, item)).map(|call| call.to)
    }

    /// The return data of a call that succeeded and returned something.
    ///
    /// # Errors
    /// [`Missing`], with the reason.
    pub fn data(&self, key: &str, item: &str) -> Result<&'a Bytes, Missing> {
        let name = || if item.is_empty() { key.to_owned() } else { format!("{key} of {item}") };
        let call = self.by_name.get(&(key, item)).ok_or_else(|| Missing::NotAsked { key: name() })?;
        if !call.ok {
            return Err(Missing::Reverted { key: name(), data: call.output.clone() });
        }
        if call.output.is_empty() {
            return Err(Missing::NoCode { key: name(), to: call.to });
        }
        Ok(&call.output)
    }

    /// The decoded return value of a call.
    ///
    /// # Errors
    /// [`Missing`], with the reason.
    pub fn value<C: SolCall>(&self, key: &str, item: &str) -> Result<C::Return, Missing> {
        let data = self.data(key, item)?;
        C::abi_decode_returns_validate(data).map_err(|_| Missing::Undecodable {
            key: if item.is_empty() { key.to_owned() } else { format!("{key} of {item}") },
            length: data.len(),
        })
    }
}

/// The value of an answer; without one, its reason goes where reasons are gathered.
pub(crate) fn keep<T>(answer: Result<T, Missing>, missing: &mut Vec<Missing>) -> Option<T> {
    answer.map_err(|why| missing.push(why)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::sol;

    sol! { function totalSupply() external view returns (uint256); }

    fn record(ok: bool, output: Vec<u8>) -> CallRecord {
        Call::new("t.totalSupply", "", Address::ZERO, &totalSupplyCall {}).answered(ok, output.into())
    }

    fn read(record: &CallRecord) -> Result<lake::U256, Missing> {
        Answers::new([record]).value::<totalSupplyCall>("t.totalSupply", "")
    }

    #[test]
    fn zero_is_a_value_and_nothing_else_is() {
        assert_eq!(read(&record(true, vec![0; 32])), Ok(lake::U256::ZERO));
        assert!(matches!(read(&record(true, vec![])), Err(Missing::NoCode { .. })));
        assert!(matches!(read(&record(false, vec![])), Err(Missing::Reverted { .. })));
        assert!(matches!(read(&record(true, vec![0; 31])), Err(Missing::Undecodable { length: 31, .. })));
        let none = Answers::default().value::<totalSupplyCall>("t.totalSupply", "");
        assert!(matches!(none, Err(Missing::NotAsked { .. })));
    }

    #[test]
    fn multicalls_own_words_are_no_reason() {
        use alloy_sol_types::SolError;
        let data = alloy_sol_types::Revert { reason: "Multicall3: call failed".to_owned() }.abi_encode();
        let error = Missing::Reverted { key: "morpho.market".into(), data: data.into() };
        let told = "morpho.market reverted: a call within it failed, without a word why";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn a_revert_reason_is_told_without_control_characters() {
        use alloy_sol_types::SolError;
        let data = alloy_sol_types::Revert { reason: "paused\u{1b}[31m".into() }.abi_encode();
        let error = read(&record(false, data)).unwrap_err();
        assert_eq!(error.to_string(), "t.totalSupply reverted: paused[31m");
    }
}
