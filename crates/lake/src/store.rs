//! The lake as a place: objects under one URL, written whole or not at all.
//!
//! Bronze is written once. Two workers may write the same object; since its bytes depend on the chain alone they
//! write the same bytes, and that is success. Different bytes under one path are an error that names both digests,
//! and the object that was there stays. Audits are no chain data and may be replaced, as may all above bronze.

mod cloud;
mod promise;

use crate::digest::{Sha256Stream, sha256_hex};
use crate::path::writing_prefix;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

pub use promise::Promises;

/// A create is tried so many times while nothing is there and the store says otherwise, or fails.
const CREATES: u32 = 3;

/// What can go wrong between a stage and the lake.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The lake's location is not one this program can open.
    #[error(
        "cannot open the lake at `{location}`: {why}\nhint: give a directory, file:///path, s3://bucket/path, az://container/path, gs://bucket/path or memory:///"
    )]
    Open {
        /// The location as given.
        location: String,
        /// Why not.
        why: String,
    },
    /// A write-once object is there with other bytes.
    #[error(
        "{path} exists with other bytes (there: sha256 {present}, now: sha256 {offered}); it was left as it is\n\
         hint: the chain reorganised, the registry changed or a file was edited; compare, then delete the object to have it collected again"
    )]
    Conflict {
        /// The object.
        path: Path,
        /// Digest of the bytes in the lake.
        present: String,
        /// Digest of the bytes that were not written.
        offered: String,
    },
    /// A value that cannot be written as JSON.
    #[error("cannot write {path} as JSON: {why}")]
    Encode {
        /// The object.
        path: Path,
        /// The writer's words.
        why: String,
    },
    /// The program was told to stop while objects were being read.
    #[error("reading the lake was stopped: {why}\nhint: run it again")]
    Stopped {
        /// Who stopped it, in the runtime's words.
        why: String,
    },
    /// The object store refused.
    #[error(
        "the lake at {location} refused to {action} {path}: {source}\nhint: is it there, and may you write to it?"
    )]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The object or prefix.
        path: Path,
        /// The lake.
        location: String,
        /// The store's own error.
        source: Box<object_store::Error>,
    },
}

/// Outcome of writing a write-once object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was not there.
    Created,
    /// The same bytes were there already.
    AlreadyThere,
}

/// What came of reading an object that should not be larger than a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// Its bytes.
    Whole(Bytes),
    /// It is larger, and was not held in memory.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// Digest of its bytes.
        sha256: String,
    },
}

/// A lake: an object store and a prefix in it.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    location: String,
    /// Where it is a directory of this machine.
    directory: Option<PathBuf>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Lake {
    /// Opens the lake at a directory or URL (`file://`, `s3://`, `az://`, `gs://`, `memory://`). A directory is made when it is
    /// missing; a bucket or container is not.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the location cannot be read as one, or cannot be written.
    pub fn open(location: &str) -> Result<Self, StoreError> {
        let fail = |why: String| StoreError::Open { location: location.to_owned(), why };
        let url = match url::Url::parse(location) {
            // A Windows drive letter or a plain path is no URL with a scheme of ours.
            Ok(url) if url.scheme().len() > 1 => url,
            _ => return Self::open_directory(std::path::Path::new(location), location),
        };
        match url.scheme() {
            "memory" => {
                Ok(Self { store: Arc::new(InMemory::new()), location: location.to_owned(), directory: None })
            }
            "file" => {
                let directory = url.to_file_path().map_err(|()| fail("not a path of this machine".into()))?;
                Self::open_directory(&directory, location)
            }
            "s3" | "s3a" | "az" | "azure" | "gs" => {
                if let Some(location) = cloud::without_secrets(&url) {
                    let why = "credentials do not belong into the lake's URL, which stands in reports; set the store's own variables";
                    return Err(StoreError::Open { location, why: why.into() });
                }
                let store = cloud::open(&url).map_err(|error| fail(error.to_string()))?;
                Ok(Self { store, location: location.to_owned(), directory: None })
            }
            other => Err(fail(format!("this build has no store for `{other}://`"))),
        }
    }

    fn open_directory(directory: &std::path::Path, location: &str) -> Result<Self, StoreError> {
        let fail = |why: String| StoreError::Open { location: location.to_owned(), why };
        if location.is_empty() {
            return Err(fail("the location is empty".into()));
        }
        std::fs::create_dir_all(directory).map_err(|error| fail(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(directory)
            .map_err(|error| fail(error.to_string()))?
            .with_automatic_cleanup(false);
        let directory = Some(directory.to_owned());
        Ok(Self { store: Arc::new(store), location: location.to_owned(), directory })
    }

    /// The location as it was given.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Writes and removes a small object under `state/`, so that a lake that cannot be written is noticed before any work
    /// is done.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let probe = Path::from("state/writable");
        let fail =
            |error: StoreError| StoreError::Open { location: self.location.clone(), why: error.to_string() };
        self.replace(&probe, "lendlake can write here\n").await.map_err(fail)?;
        self.delete(&probe).await.map_err(fail)
    }

    /// Writes an object that must never change.
    ///
    /// What a store says of a create is read back before it is believed: an answer may be lost after the object was written,
    /// and the client's second try then finds its own; some say that an object is there while none is.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when other bytes are there, [`StoreError::Refused`] when the store fails.
    pub async fn put_once(&self, path: &Path, bytes: impl Into<Bytes>) -> Result<Put, StoreError> {
        let bytes = bytes.into();
        let mut tries = 1;
        loop {
            let source = match self.put(path, bytes.clone().into(), PutMode::Create).await {
                Ok(()) => return Ok(Put::Created),
                Err(source) => source,
            };
            match self.get(path).await? {
                Some(present) if present == bytes => return Ok(Put::AlreadyThere),
                Some(present) => {
                    return Err(StoreError::Conflict {
                        path: path.clone(),
                        present: sha256_hex(&present),
                        offered: sha256_hex(&bytes),
                    });
                }
                None if tries < CREATES => tries += 1,
                None => return Err(self.refused("write", path, source)),
            }
        }
    }

    /// Writes an object over what is there, unless the same bytes are there already.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn replace(&self, path: &Path, content: impl Into<PutPayload>) -> Result<(), StoreError> {
        let content = content.into();
        if self.get(path).await?.is_some_and(|there| is_same(&there, &content)) {
            return Ok(());
        }
        self.overwrite(path, content).await
    }

    /// Writes an object over whatever is there, without looking.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn overwrite(&self, path: &Path, content: impl Into<PutPayload>) -> Result<(), StoreError> {
        let put = self.put(path, content.into(), PutMode::Overwrite).await;
        put.map_err(|source| self.refused("write", path, source))
    }

    /// Puts an object, whole or not at all.
    ///
    /// In a directory object_store writes `NAME#1` beside the object first. A process that is killed leaves that there, and who
    /// reads a directory as one table, as Spark does, takes it for a part. So files wait elsewhere until they are whole.
    async fn put(&self, path: &Path, payload: PutPayload, mode: PutMode) -> object_store::Result<()> {
        if self.directory.is_some() {
            let waiting = writing();
            self.store.put(&waiting, payload.clone()).await?;
            let moved = match mode {
                PutMode::Create => self.store.rename_if_not_exists(&waiting, path).await,
                _ => self.store.rename(&waiting, path).await,
            };
            let Err(error) = moved else { return Ok(()) };
            // What was refused is told, not what became of the leftover.
            let _ = self.store.delete(&waiting).await;
            if !crosses_devices(&error) {
                return Err(error);
            }
        }
        self.store.put_opts(path, payload, PutOptions::from(mode)).await.map(drop)
    }

    /// Removes what killed processes had not finished writing into a directory. A file of the last day may be another
    /// process's that lives.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub fn sweep_unfinished(&self) -> Result<(), StoreError> {
        let prefix = writing_prefix();
        let Some(writing) = self.directory.as_ref().map(|directory| directory.join(prefix.as_ref())) else {
            return Ok(());
        };
        let sweep = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(writing)? {
                let entry = entry?;
                let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
                if age >= UNFINISHED_AFTER {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        match sweep() {
            // No directory, or a file that was moved to its place or swept by another meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            swept => swept.map_err(|source| {
                let source = object_store::Error::Generic { store: "LocalFileSystem", source: source.into() };
                self.refused("sweep", &prefix, source)
            }),
        }
    }

    /// [`Lake::replace`] with a value as indented JSON.
    ///
    /// # Errors
    /// [`StoreError::Encode`], [`StoreError::Refused`].
    pub async fn replace_json(&self, path: &Path, value: &impl serde::Serialize) -> Result<(), StoreError> {
        let encode =
            |error: serde_json::Error| StoreError::Encode { path: path.clone(), why: error.to_string() };
        let mut text = serde_json::to_vec_pretty(value).map_err(encode)?;
        text.push(b'\n');
        self.replace(path, text).await
    }

    /// The bytes of an object, or `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn get(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        let read = async { self.store.get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.refused("read", path, source)),
        }
    }

    /// When an object was last written, by the store's own clock: milliseconds since 1970, or `None` when there is none. A
    /// store may count whole seconds only.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn written_at(&self, path: &Path) -> Result<Option<i64>, StoreError> {
        match self.store.head(path).await {
            Ok(object) => Ok(Some(object.last_modified.timestamp_millis())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.refused("look at", path, source)),
        }
    }

    /// The bytes of an object if there are at most `limit` of them; `None` when there is no object. Of a larger one the
    /// digest is made piece by piece.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn get_at_most(&self, path: &Path, limit: u64) -> Result<Option<Got>, StoreError> {
        let read = async {
            let found = self.store.get(path).await?;
            let size = found.meta.size;
            if size <= limit {
                return found.bytes().await.map(Got::Whole);
            }
            let mut digest = Sha256Stream::default();
            let mut pieces = found.into_stream();
            while let Some(piece) = pieces.try_next().await? {
                digest.add(&piece);
            }
            Ok(Got::TooLarge { size, sha256: digest.hex() })
        };
        match read.await {
            Ok(got) => Ok(Some(got)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.refused("read", path, source)),
        }
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn delete(&self, path: &Path) -> Result<(), StoreError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.refused("delete", path, source)),
        }
    }

    /// Every object under a prefix, sorted by path.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn list(&self, prefix: &Path) -> Result<Vec<Path>, StoreError> {
        let mut paths: Vec<Path> = self
            .store
            .list(Some(prefix))
            .map_ok(|object| object.location)
            .try_collect()
            .await
            .map_err(|source| self.refused("list", prefix, source))?;
        paths.sort();
        Ok(paths)
    }

    /// Names of the objects directly under a prefix, sorted. Of a directory only the names are read, where a listing asks for
    /// the size and time of each file.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub async fn names(&self, prefix: &Path) -> Result<Vec<String>, StoreError> {
        let mut names: Vec<String> = match &self.directory {
            Some(directory) => {
                let directory = directory.join(prefix.as_ref());
                let refused = |source: std::io::Error| {
                    let source =
                        object_store::Error::Generic { store: "LocalFileSystem", source: source.into() };
                    self.refused("list", prefix, source)
                };
                let entries = match std::fs::read_dir(directory) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(refused(error)),
                };
                let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
                let names: Vec<Option<String>> = names.collect::<Result<_, _>>().map_err(refused)?;
                names.into_iter().flatten().collect()
            }
            None => {
                let listed = self.store.list_with_delimiter(Some(prefix)).await;
                let listed = listed.map_err(|source| self.refused("list", prefix, source))?;
                listed
                    .objects
                    .iter()
                    .filter_map(|object| object.location.filename())
                    .map(str::to_owned)
                    .collect()
            }
        };
        names.sort();
        Ok(names)
    }

    fn refused(&self, action: &'static str, path: &Path, source: object_store::Error) -> StoreError {
        StoreError::Refused {
            action,
            path: path.clone(),
            location: self.location.clone(),
            source: Box::new(source),
        }
    }
}

/// Whether an object has this content, which may be in pieces.
fn is_same(there: &[u8], content: &PutPayload) -> bool {
    let mut rest = there;
    let mut begins_with = |piece: &Bytes| {
        let after = rest.strip_prefix(piece.as_ref());
        rest = after.unwrap_or_default();
        after.is_some()
    };
    content.iter().all(&mut begins_with) && rest.is_empty()
}

/// How long after its last byte a file in `state/writing` counts as left by a process that was killed.
const UNFINISHED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A name below `state/writing` that no other process has, on any machine.
fn writing() -> Path {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    writing_prefix().join(format!("{}-{now}-{write}", std::process::id()))
}

/// Whether a file could not be moved because its place is on another disk: a layer may be a link to one.
fn crosses_devices(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::CrossesDevices)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_in_pieces_is_compared_as_a_whole() {
        let pieces =
            |pieces: &[&'static str]| pieces.iter().copied().map(Bytes::from).collect::<PutPayload>();
        assert!(is_same(b"lendlake", &pieces(&["lend", "", "lake"])));
        assert!(is_same(b"", &pieces(&[])));
        for other in [&["lend"][..], &["lend", "lakes"], &["land", "lake"], &["lendlake", "lake"], &["x"]] {
            assert!(!is_same(b"lendlake", &pieces(other)), "{other:?}");
        }
    }

    /// Which files a directory has at some moment while objects are written over and over.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_is_being_written_is_never_seen_in_its_objects_directory() {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path().to_str().unwrap()).unwrap();
        let path = Path::from("silver/price/month=2024-11/part.parquet");
        let there = directory.path().join("silver/price/month=2024-11");
        let writer = tokio::spawn(async move {
            for round in 0..200_u32 {
                lake.overwrite(&path, vec![0; 20_000 + round as usize]).await.unwrap();
                lake.put_once(&Path::from(format!("bronze/{round}.json")), "{}").await.unwrap();
            }
        });
        let mut seen = std::collections::BTreeSet::new();
        while !writer.is_finished() {
            for entry in std::fs::read_dir(&there).into_iter().flatten() {
                seen.insert(entry.unwrap().file_name().into_string().unwrap());
            }
        }
        writer.await.unwrap();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["part.parquet"]);
        assert_eq!(std::fs::read_dir(directory.path().join("bronze")).unwrap().count(), 200);
        assert_eq!(std::fs::read_dir(directory.path().join("state/writing")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_process_left_unfinished_is_swept_a_day_later() {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open(directory.path().to_str().unwrap()).unwrap();
        lake.sweep_unfinished().unwrap();
        let writing = directory.path().join("state/writing");
        std::fs::create_dir_all(&writing).unwrap();
        let now = SystemTime::now();
        for (name, age) in [("old", UNFINISHED_AFTER), ("young", UNFINISHED_AFTER / 2)] {
            std::fs::File::create(writing.join(name)).unwrap().set_modified(now - age).unwrap();
        }
        lake.sweep_unfinished().unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&writing).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["young"]);
    }

    /// `/dev/shm` is a disk of its own nearly everywhere.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_layer_may_be_a_link_to_another_disk() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
        let disk = |path: &std::path::Path| path.metadata().unwrap().dev();
        if disk(directory.path()) == disk(elsewhere.path()) {
            println!("skipped: /dev/shm is on the disk of the temporary directory");
            return;
        }
        std::os::unix::fs::symlink(elsewhere.path(), directory.path().join("gold")).unwrap();
        let lake = Lake::open(directory.path().to_str().unwrap()).unwrap();
        let path = Path::from("gold/panel_daily.csv");
        assert_eq!(lake.put_once(&path, "one").await.unwrap(), Put::Created);
        assert_eq!(lake.put_once(&path, "one").await.unwrap(), Put::AlreadyThere);
        assert!(matches!(lake.put_once(&path, "two").await, Err(StoreError::Conflict { .. })));
        lake.replace(&path, "two").await.unwrap();
        assert_eq!(lake.get(&path).await.unwrap().unwrap(), "two");
        assert_eq!(std::fs::read_dir(directory.path().join("state/writing")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_a_lake_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let below_a_file = format!("{}/lake", file.path().display());
        for location in ["ftp://somewhere/x", "", below_a_file.as_str()] {
            let error = Lake::open(location).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("cannot open the lake at `{location}`")),
                "{error}"
            );
        }
    }
}
