//! Multicall3's one function: many view calls in one `eth_call`.
//!
//! Source: mds1/multicall3 `src/Multicall3.sol`. Every call allows failure, so that one contract's revert is that
//! contract's answer and not its neighbours' loss.

use crate::answers::Call;
use alloy_sol_types::{SolCall, sol};
use lake::Bytes;

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
    use lake::Address;

    #[test]
    fn a_call_costs_192_bytes_as_measured() {
        // facts/protocols.md 1.2: 100 trivial calls are 19,268 bytes.
        let call =
            Call { key: "k".into(), item: String::new(), to: Address::ZERO, input: vec![1, 2, 3, 4].into() };
        assert_eq!(encode(&vec![call; 100]).len(), 19_268);
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
