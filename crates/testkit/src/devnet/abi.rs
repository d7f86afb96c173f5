//! The small part of the contract ABI the devnet needs, written out by hand.
//!
//! Lendlake decodes with `alloy-sol-types`. The devnet and its expected answers must not agree with lendlake merely
//! because both share a decoder, so calls are encoded and answers are read here, word by word.

use alloy_primitives::{Address, U256, keccak256};
use anyhow::{Context, Result, ensure};

/// One ABI value to encode.
#[derive(Clone, Debug)]
pub enum Value {
    /// Any unsigned integer.
    Uint(U256),
    /// An address.
    Address(Address),
    /// A boolean.
    Bool(bool),
    /// A string (dynamic).
    Str(String),
    /// Bytes (dynamic).
    Bytes(Vec<u8>),
    /// `T[]` (dynamic).
    Array(Vec<Value>),
    /// A struct, or the argument list of a call.
    Tuple(Vec<Value>),
}

impl From<Address> for Value {
    fn from(value: Address) -> Self {
        Self::Address(value)
    }
}
impl From<U256> for Value {
    fn from(value: U256) -> Self {
        Self::Uint(value)
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Uint(U256::from(value))
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.to_owned())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl Value {
    fn is_dynamic(&self) -> bool {
        match self {
            Self::Uint(_) | Self::Address(_) | Self::Bool(_) => false,
            Self::Str(_) | Self::Bytes(_) | Self::Array(_) => true,
            Self::Tuple(items) => items.iter().any(Self::is_dynamic),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Uint(n) => word(*n),
            Self::Address(a) => a.into_word().to_vec(),
            Self::Bool(b) => word(U256::from(u64::from(*b))),
            Self::Str(s) => encode_bytes(s.as_bytes()),
            Self::Bytes(b) => encode_bytes(b),
            Self::Array(items) => {
                let mut out = word(U256::from(items.len()));
                out.extend(encode_tuple(items));
                out
            }
            Self::Tuple(items) => encode_tuple(items),
        }
    }
}

fn word(n: U256) -> Vec<u8> {
    n.to_be_bytes::<32>().to_vec()
}

fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = word(U256::from(bytes.len()));
    out.extend_from_slice(bytes);
    out.resize(32 + bytes.len().div_ceil(32) * 32, 0);
    out
}

fn encode_tuple(items: &[Value]) -> Vec<u8> {
    let encoded: Vec<(bool, Vec<u8>)> = items.iter().map(|v| (v.is_dynamic(), v.encode())).collect();
    let head_len: usize = encoded.iter().map(|(dynamic, e)| if *dynamic { 32 } else { e.len() }).sum();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for (dynamic, bytes) in encoded {
        if dynamic {
            head.extend(word(U256::from(head_len + tail.len())));
            tail.extend(bytes);
        } else {
            head.extend(bytes);
        }
    }
    head.extend(tail);
    head
}

/// The argument block of a constructor.
pub fn arguments(args: &[Value]) -> Vec<u8> {
    encode_tuple(args)
}

/// Call data: the selector of `signature` (such as `mint(address,uint256)`) and the arguments.
pub fn call(signature: &str, args: &[Value]) -> Vec<u8> {
    let mut out = keccak256(signature.as_bytes())[..4].to_vec();
    out.extend(encode_tuple(args));
    out
}

/// The `index`-th 32-byte word of an answer as an integer.
///
/// # Errors
/// When the answer is too short, which also catches calls to an address without code.
pub fn uint_at(answer: &[u8], index: usize) -> Result<U256> {
    let start = index * 32;
    let bytes = answer.get(start..start + 32).with_context(|| {
        format!(
            "an answer of {} bytes has no word {index} (is there a contract at the address?)",
            answer.len()
        )
    })?;
    Ok(U256::from_be_slice(bytes))
}

/// The `index`-th word of an answer as an address.
///
/// # Errors
/// When the answer is too short or the word is wider than an address.
pub fn address_at(answer: &[u8], index: usize) -> Result<Address> {
    let n = uint_at(answer, index)?;
    ensure!(n.bit_len() <= 160, "word {index} is not an address: {n:#x}");
    Ok(Address::from_word(n.into()))
}

/// A whole answer that is one `string`.
///
/// # Errors
/// When the answer is not a well-formed string.
pub fn string(answer: &[u8]) -> Result<String> {
    let len = usize::try_from(uint_at(answer, 1)?).context("the length of a string answer")?;
    let bytes = answer.get(64..64 + len).context("a string answer shorter than its length")?;
    Ok(String::from_utf8(bytes.to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_example_of_the_abi_specification() {
        // f(uint256,uint32[],bytes10,bytes) of the Solidity documentation, with bytes10 written as an integer word
        let mut ten = [0u8; 32];
        ten[..10].copy_from_slice(b"1234567890");
        let got = arguments(&[
            Value::from(0x123),
            Value::Array(vec![Value::from(0x456), Value::from(0x789)]),
            Value::Uint(U256::from_be_bytes(ten)),
            Value::Bytes(b"Hello, world!".to_vec()),
        ]);
        let want = concat!(
            "0000000000000000000000000000000000000000000000000000000000000123",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "3132333435363738393000000000000000000000000000000000000000000000",
            "00000000000000000000000000000000000000000000000000000000000000e0",
            "0000000000000000000000000000000000000000000000000000000000000002",
            "0000000000000000000000000000000000000000000000000000000000000456",
            "0000000000000000000000000000000000000000000000000000000000000789",
            "000000000000000000000000000000000000000000000000000000000000000d",
            "48656c6c6f2c20776f726c642100000000000000000000000000000000000000",
        );
        assert_eq!(alloy_primitives::hex::encode(got), want);
    }

    #[test]
    fn an_empty_answer_is_an_error_and_not_zero() {
        assert!(uint_at(&[], 0).is_err());
        assert!(string(&[0; 32]).is_err());
    }
}
