//! Where keys come from: the environment, or a file that nobody else may read.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Permissions of the group and of others.
const OTHERS: u32 = 0o077;

/// The values of variables that hold keys. It has no `Debug`: values are keys.
#[derive(Default)]
pub struct Keys {
    of_file: BTreeMap<String, String>,
}

/// Why keys cannot be read. No text holds a value.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the keys in {}: {source}\nhint: NAME=value lines, mode 600; or set the variables themselves", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Others than its owner may read it.
    #[error("{} has mode {mode:o}: others may read the keys in it\nhint: chmod 600 {}", file.display(), file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line is no `NAME=value`.
    #[error("{}: line {line} is no NAME=value\nhint: one variable a line, such as ALCHEMY_KEY_1=...; # begins a remark", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
}

impl Keys {
    /// Keys of a file with mode 600 or less, whose lines are `NAME=value`, with or without `export` and quotes. What the file
    /// does not name is looked for in the environment.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn load(file: &Path) -> Result<Self, KeysError> {
        let unreadable = |source| KeysError::Unreadable { file: file.to_owned(), source };
        let mode = std::fs::metadata(file).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & OTHERS != 0 {
            return Err(KeysError::Open { file: file.to_owned(), mode });
        }
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let mut of_file = BTreeMap::new();
        for (nth, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let malformed = || KeysError::Malformed { file: file.to_owned(), line: nth + 1 };
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) = line.split_once('=').ok_or_else(malformed)?;
            let name = name.trim();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(malformed());
            }
            of_file.insert(name.to_owned(), unquoted(value.trim()).to_owned());
        }
        Ok(Self { of_file })
    }

    /// The value of a variable: the file's, else the environment's.
    pub fn get(&self, name: &str) -> Option<String> {
        self.of_file.get(name).cloned().or_else(|| std::env::var(name).ok())
    }
}

fn unquoted(value: &str) -> &str {
    let within = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn lines_are_read_as_a_shell_would() {
        let file =
            file("# mine\nALCHEMY_KEY_1=one\n\n export ALCHEMY_KEY_2='two'\nINFURA_KEY_1=\"a=b\"\n", 0o600);
        let keys = Keys::load(file.path()).unwrap();
        let got = ["ALCHEMY_KEY_1", "ALCHEMY_KEY_2", "INFURA_KEY_1"].map(|name| keys.get(name).unwrap());
        assert_eq!(got, ["one", "two", "a=b"]);
        assert_eq!(keys.get("LENDLAKE_TEST_UNSET_KEY_1"), None);
        assert!(keys.get("PATH").is_some(), "what the file does not name is the environment's");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o620] {
            let file = file("ALCHEMY_KEY_1=sk_planted\n", mode);
            let error = Keys::load(file.path()).err().unwrap().to_string();
            assert!(
                error.contains(&format!("has mode {mode:o}")) && error.contains("hint: chmod 600"),
                "{error}"
            );
        }
        assert!(Keys::load(file("A=b\n", 0o400).path()).is_ok());
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number_alone() {
        for text in ["A=1\nsk_planted\n", "A=1\n=sk_planted\n", "A=1\nsk planted=1\n"] {
            let error = Keys::load(file(text, 0o600).path()).err().unwrap().to_string();
            assert!(error.contains("line 2 is no NAME=value") && !error.contains("planted"), "{error}");
        }
        let error = Keys::load(Path::new("nowhere.env")).err().unwrap().to_string();
        assert!(error.starts_with("cannot read the keys in nowhere.env"), "{error}");
    }
}
