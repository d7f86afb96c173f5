//! SHA-256 of bytes, as lower-case hex.

use sha2::{Digest, Sha256};

/// SHA-256 of `bytes` in 64 lower-case hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(Sha256::digest(bytes))
}

/// SHA-256 of bytes that come in pieces.
#[derive(Debug, Clone, Default)]
pub struct Sha256Stream(Sha256);

impl Sha256Stream {
    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest in 64 lower-case hex digits.
    pub fn hex(self) -> String {
        alloy_primitives::hex::encode(self.0.finalize())
    }
}

/// One digest for a set of named digests: SHA-256 over `name SPACE digest NEWLINE` lines in order of name.
///
/// This is how gold's `inputs_hash` stands for all the bronze objects below it.
pub fn sha256_of_listing<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let line = |(name, digest): (&str, &str)| [name, " ", digest, "\n"].concat();
    let mut lines: Vec<_> = entries.into_iter().map(line).collect();
    lines.sort();
    let mut digest = Sha256Stream::default();
    lines.iter().for_each(|line| digest.add(line.as_bytes()));
    digest.hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_input_has_the_digest_of_fips_180() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let mut pieces = Sha256Stream::default();
        pieces.add(b"lend");
        pieces.add(b"lake");
        assert_eq!(pieces.hex(), sha256_hex(b"lendlake"));
    }

    #[test]
    fn a_listing_does_not_depend_on_order() {
        let one = sha256_of_listing([("a", "1"), ("b", "2")]);
        assert_eq!(one, sha256_of_listing([("b", "2"), ("a", "1")]));
        assert_ne!(one, sha256_of_listing([("a", "2"), ("b", "1")]));
    }
}
