//! What a layer was made from and what it holds: digests of inputs and outputs, and no clock.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Manifest of a layer (`silver/manifest.json`, `gold/manifest.json`). Its inputs are an entry for each object of bronze: who has
/// something to do meanwhile reads them as `Manifest<Box<serde_json::value::RawValue>>`, and takes them apart later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest<Inputs = BTreeMap<String, String>> {
    /// Layer and version, such as `silver/1`.
    pub schema: String,
    /// Version of the program that made it.
    pub code_version: String,
    /// Digest of the registry it was made with.
    pub registry_sha256: String,
    /// Path and sha256 of everything read.
    pub inputs: Inputs,
    /// Path and sha256 of everything written.
    pub outputs: BTreeMap<String, String>,
    /// What each month of a layer in months was built from: a digest for each kind of thing that, if it differs, makes
    /// the month stale.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub months: BTreeMap<String, BTreeMap<String, String>>,
}

impl Manifest {
    /// The manifest as indented JSON with a newline at its end.
    ///
    /// # Errors
    /// Only what the JSON writer reports; a map with text keys has nothing it refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
