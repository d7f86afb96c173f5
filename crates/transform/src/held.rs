//! Files that wait until everything is built: in memory up to a limit, beyond it in a temporary file without a name.

use bytes::Bytes;
use lake::digest::sha256_hex;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes that are held in memory.
const IN_MEMORY: usize = 64 << 20;

/// Files by path, each with its digest.
#[derive(Debug, Default)]
pub(crate) struct Held {
    files: BTreeMap<Path, (String, Place)>,
    in_memory: usize,
    spilled: Option<(File, u64)>,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    File { at: u64, length: usize },
}

impl Held {
    /// Takes a file in.
    ///
    /// # Errors
    /// When the temporary file cannot be made or written.
    pub(crate) fn add(&mut self, path: Path, bytes: Bytes) -> io::Result<()> {
        self.add_within(IN_MEMORY, path, bytes)
    }

    fn add_within(&mut self, limit: usize, path: Path, bytes: Bytes) -> io::Result<()> {
        let sha256 = sha256_hex(&bytes);
        let length = bytes.len();
        let place = if self.in_memory + length <= limit {
            self.in_memory += length;
            Place::Memory(bytes)
        } else {
            let (file, end) = match &mut self.spilled {
                Some(spilled) => spilled,
                none => none.insert((tempfile::tempfile()?, 0)),
            };
            file.write_all(&bytes)?;
            let at = *end;
            *end += length as u64;
            Place::File { at, length }
        };
        self.files.insert(path, (sha256, place));
        Ok(())
    }

    /// Path and digest of every file.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(path, (sha256, _))| (path.to_string(), sha256.clone())).collect()
    }

    /// The files in order of path, each read back when its turn comes.
    pub(crate) fn into_files(self) -> impl Iterator<Item = io::Result<(Path, Bytes)>> {
        let mut spilled = self.spilled.map(|(file, _)| file);
        self.files.into_iter().map(move |(path, (_, place))| {
            let bytes = match (place, &mut spilled) {
                (Place::Memory(bytes), _) => bytes,
                (Place::File { at, length }, Some(file)) => {
                    let mut bytes = vec![0; length];
                    file.seek(SeekFrom::Start(at))?;
                    file.read_exact(&mut bytes)?;
                    Bytes::from(bytes)
                }
                (Place::File { .. }, None) => return Err(io::ErrorKind::NotFound.into()),
            };
            Ok((path, bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_memory_comes_back_from_the_file() {
        let mut held = Held::default();
        let files =
            ["cc", "a", "bbb", "", "dd"].map(|text| (Path::from(format!("x/{text}")), Bytes::from(text)));
        for (path, bytes) in &files {
            held.add_within(3, path.clone(), bytes.clone()).unwrap();
        }
        assert_eq!((held.in_memory, held.spilled.as_ref().map(|(_, end)| *end)), (3, Some(5)));
        assert_eq!(held.digests()["x/bbb"], sha256_hex(b"bbb"));
        let mut sorted = files.to_vec();
        sorted.sort();
        assert_eq!(held.into_files().map(Result::unwrap).collect::<Vec<_>>(), sorted);
    }
}
