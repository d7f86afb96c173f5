//! What a token contract says of itself, and how far it is believed.

use crate::answers::{Answers, Missing};
use crate::family::TokenAnswer;
use alloy_sol_types::{SolCall, sol};
use lake::Address;

sol! {
    /// The parts of ERC-20 that are read. `decimals` is declared uint256, which also reads the usual uint8.
    interface IErc20 {
        function symbol() external view returns (string);
        function decimals() external view returns (uint256);
        function totalSupply() external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
    }
}

/// Longest symbol that is kept, in characters.
const LONGEST_SYMBOL: usize = 32;

/// Name of the call that reads a token's symbol.
pub const SYMBOL: &str = "token.symbol";
/// Name of the call that reads a token's decimals.
pub const DECIMALS: &str = "token.decimals";

/// The calls that read a token's symbol and decimals.
pub fn calls(token: Address) -> [crate::Call; 2] {
    let item = item(token);
    [
        crate::Call::new(SYMBOL, &item, token, &IErc20::symbolCall {}),
        crate::Call::new(DECIMALS, &item, token, &IErc20::decimalsCall {}),
    ]
}

/// A token or contract as the item of a call, and as text in silver: lower-case hex.
pub fn item(address: Address) -> String {
    format!("{address:#x}")
}

/// What the answers say of a token. No default stands in for a missing answer.
pub fn answer(answers: &Answers<'_>, token: Address) -> TokenAnswer {
    let item = item(token);
    TokenAnswer { token, symbol: symbol(answers, &item), decimals: decimals(answers, &item).ok() }
}

/// The decimals of a token.
///
/// # Errors
/// [`Missing`] when the contract gave none, or a number that cannot be a token's.
pub fn decimals(answers: &Answers<'_>, item: &str) -> Result<u8, Missing> {
    let raw = answers.value::<IErc20::decimalsCall>(DECIMALS, item)?;
    u8::try_from(raw)
        .ok()
        .filter(|decimals| *decimals <= lake::amount::MAX_DECIMALS)
        .ok_or_else(|| Missing::Undecodable { key: format!("{DECIMALS} of {item}"), length: 32 })
}

/// A symbol is text, or in old tokens (MKR) 32 bytes filled with NULs. It is shown, never used as a key.
fn symbol(answers: &Answers<'_>, item: &str) -> Option<String> {
    let data = answers.data(SYMBOL, item).ok()?;
    let text = if data.len() == 32 {
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(32);
        String::from_utf8_lossy(&data[..end]).into_owned()
    } else {
        IErc20::symbolCall::abi_decode_returns(data).ok()?
    };
    Some(printable(&text, LONGEST_SYMBOL)).filter(|symbol| !symbol.is_empty())
}

/// Text made fit for a terminal and a table: on one line, no control characters, at most `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    let line: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    line.join(" ").chars().filter(|c| !c.is_control() && !is_invisible(*c)).take(longest).collect()
}

/// Marks that reorder or hide text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_sol_types::SolValue;
    use lake::U256;
    use lake::bronze::CallRecord;

    fn word(value: u64) -> Vec<u8> {
        U256::from(value).abi_encode()
    }

    fn token(symbol: Vec<u8>, decimals: Vec<u8>) -> TokenAnswer {
        let address = Address::repeat_byte(9);
        let [ask_symbol, ask_decimals] = calls(address);
        let records: Vec<CallRecord> =
            vec![ask_symbol.answered(true, symbol.into()), ask_decimals.answered(true, decimals.into())];
        answer(&Answers::new(&records), address)
    }

    fn text(symbol: &str) -> Vec<u8> {
        (symbol.to_owned(),).abi_encode_params()
    }

    #[test]
    fn the_symbol_of_mkr_is_32_bytes() {
        let mut mkr = b"MKR".to_vec();
        mkr.resize(32, 0);
        assert_eq!(token(mkr, word(18)).symbol.as_deref(), Some("MKR"));
    }

    #[test]
    fn hostile_symbols_are_tamed() {
        assert_eq!(token(text("US\u{1b}[2JD\u{202e}C\0"), word(6)).symbol.as_deref(), Some("US[2JDC"));
        assert_eq!(token(text(&"x".repeat(10_000)), word(6)).symbol.map(|s| s.len()), Some(32));
        assert_eq!(token(text(""), word(6)).symbol, None);
        assert_eq!(token(vec![1, 2, 3], word(6)).symbol, None);
    }

    #[test]
    fn lines_are_joined_by_a_space() {
        assert_eq!(
            printable(" not final\r\n\n  hint: run again later\n", 100),
            "not final hint: run again later"
        );
        assert_eq!(printable("\n", 100), "");
    }

    #[test]
    fn decimals_have_no_default() {
        assert_eq!(token(text("A"), word(0)).decimals, Some(0));
        assert_eq!(token(text("A"), word(78)).decimals, None);
        assert_eq!(token(text("A"), word(256)).decimals, None);
        assert_eq!(token(text("A"), vec![]).decimals, None);
    }
}
