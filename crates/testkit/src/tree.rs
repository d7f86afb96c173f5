//! The files under a directory by their digests, to tell whether two lakes hold the same bytes.

use lake::digest::sha256_hex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Relative path and SHA-256 of every file under a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    digests: BTreeMap<String, String>,
}

impl Tree {
    /// Reads a directory. One that is not there holds nothing.
    ///
    /// # Errors
    /// When a file or directory cannot be read.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let mut digests = BTreeMap::new();
        for file in files(directory)? {
            let name = relative(directory, &file);
            digests.insert(name, sha256_hex(&std::fs::read(&file)?));
        }
        Ok(Self { digests })
    }

    /// The relative paths, with `/` between their parts.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// The tree without the files whose path begins so.
    pub fn without(self, prefix: &str) -> Self {
        self.only(|name| !name.starts_with(prefix))
    }

    /// The files of the tree that are wanted.
    #[must_use]
    pub fn only(mut self, is_wanted: impl Fn(&str) -> bool) -> Self {
        self.digests.retain(|name, _| is_wanted(name));
        self
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The files that are in one tree only, or differ.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.digests.keys().chain(other.digests.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.digests.get(*name) != other.digests.get(*name))
            .cloned()
            .collect()
    }
}

/// The files under a directory with these bytes in their content or in their name.
///
/// # Errors
/// When a file or directory cannot be read.
pub fn files_with(directory: &Path, needle: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files(directory)? {
        let name = relative(directory, &file);
        let bytes = std::fs::read(&file)?;
        if name.contains(needle) || bytes.windows(needle.len().max(1)).any(|part| part == needle.as_bytes()) {
            found.push(name);
        }
    }
    Ok(found)
}

fn relative(directory: &Path, file: &Path) -> String {
    let parts: Vec<_> = file
        .strip_prefix(directory)
        .unwrap_or(file)
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_and_a_missing_file_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("a")).unwrap();
        std::fs::write(path.join("a/one"), "1").unwrap();
        std::fs::write(path.join("two"), "2").unwrap();
        let before = Tree::of(path).unwrap();
        assert_eq!(before.files().collect::<Vec<_>>(), ["a/one", "two"]);
        std::fs::write(path.join("a/one"), "another").unwrap();
        std::fs::remove_file(path.join("two")).unwrap();
        assert_eq!(before.differences(&Tree::of(path).unwrap()), ["a/one", "two"]);
        assert_eq!(before.clone().without("a/").files().collect::<Vec<_>>(), ["two"]);
        assert_eq!(before.clone().only(|name| name.ends_with("one")).files().collect::<Vec<_>>(), ["a/one"]);
        assert_eq!(files_with(path, "noth").unwrap(), ["a/one"]);
        assert!(Tree::of(&path.join("nothing")).unwrap().is_empty());
    }
}
