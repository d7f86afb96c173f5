//! A machine for the few bytes of code that a client lends a node to see what it does with them: straight on, without
//! jumps, calls or storage.

use alloy_primitives::{Bytes, U256};

/// Bytes of memory that code may use.
const MEMORY: usize = 1_024;
/// Words on the stack.
const STACK: usize = 64;

mod op {
    pub(super) const STOP: u8 = 0x00;
    pub(super) const POP: u8 = 0x50;
    pub(super) const MSTORE: u8 = 0x52;
    pub(super) const PUSH0: u8 = 0x5f;
    pub(super) const PUSH32: u8 = 0x7f;
    pub(super) const RETURN: u8 = 0xf3;
    pub(super) const REVERT: u8 = 0xfd;
    pub(super) const INVALID: u8 = 0xfe;
}

/// What code returns, or reverts with. `None` for code with more in it than this machine knows.
pub(super) fn run(code: &[u8]) -> Option<Result<Bytes, Bytes>> {
    let mut memory = [0_u8; MEMORY];
    let mut stack: Vec<U256> = Vec::new();
    let mut rest = code;
    while let Some((&opcode, after)) = rest.split_first() {
        rest = after;
        match opcode {
            op::STOP => return Some(Ok(Bytes::new())),
            op::INVALID => return Some(Err(Bytes::new())),
            op::PUSH0..=op::PUSH32 if stack.len() < STACK => {
                // Code that ends within a word is followed by zeros.
                let length = usize::from(opcode - op::PUSH0);
                let (word, after) = rest.split_at(length.min(rest.len()));
                let mut padded = word.to_vec();
                padded.resize(length, 0);
                stack.push(U256::from_be_slice(&padded));
                rest = after;
            }
            op::POP => drop(stack.pop()?),
            op::MSTORE => {
                let (at, word) = (stack.pop()?, stack.pop()?);
                let at = usize::try_from(at).ok()?;
                memory.get_mut(at..at.checked_add(32)?)?.copy_from_slice(&word.to_be_bytes::<32>());
            }
            op::RETURN | op::REVERT => {
                let (at, length) = (stack.pop()?, stack.pop()?);
                let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
                let data = Bytes::copy_from_slice(memory.get(at..at.checked_add(length)?)?);
                return Some(if opcode == op::RETURN { Ok(data) } else { Err(data) });
            }
            _ => return None,
        }
    }
    // The end of code is a stop.
    Some(Ok(Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn a_word_is_returned_reverted_with_or_forgotten() {
        let word = |last: u8| Bytes::from([&[0; 31][..], &[last]].concat());
        for (code, expected) in [
            (&hex!("602a60005260206000f3")[..], Some(Ok(word(42)))),
            (&hex!("602a5f5260205ffd"), Some(Err(word(42)))),
            (&hex!("6007602a5f52505f5ff3"), Some(Ok(Bytes::new()))),
            (&hex!("602a60005200"), Some(Ok(Bytes::new()))),
            (&hex!("61ff"), Some(Ok(Bytes::new()))),
            (&hex!("fe"), Some(Err(Bytes::new()))),
            // A jump, an empty stack, and more memory than there is.
            (&hex!("600056"), None),
            (&hex!("52"), None),
            (&hex!("60206103f1f3"), None),
        ] {
            assert_eq!(run(code), expected, "{}", hex::encode(code));
        }
    }
}
