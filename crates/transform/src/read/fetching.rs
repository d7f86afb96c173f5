//! Objects out of the lake: many at a time, decoded in a pool while the next are read.

use super::{Flaw, Object};
use futures::{StreamExt, TryStreamExt, stream};
use lake::bronze::{BronzeError, LARGEST};
use lake::digest::sha256_hex;
use lake::store::{Got, Lake, StoreError};
use object_store::path::Path;
use rayon::prelude::*;

/// Requests to the object store that are under way at one time.
pub(super) const REQUESTS: usize = 32;
/// Objects that are held as bytes at one time, twice: those that are decoded and those that are read.
const CHUNK: usize = 256;

/// Reads objects and makes something of each, in order: a chunk is decoded in the pool while the next is read.
pub(super) async fn each<K, T>(
    lake: &Lake,
    pool: &rayon::ThreadPool,
    keys: Vec<K>,
    path: impl Fn(&K) -> Path,
    make: impl Fn(K, Path, Got) -> Option<T> + Sync,
) -> Result<Vec<T>, StoreError>
where
    K: Send,
    T: Send,
{
    let paths: Vec<Path> = keys.iter().map(path).collect();
    let mut chunks = stream::iter(paths.chunks(CHUNK).map(<[Path]>::to_vec))
        .map(|paths| {
            let lake = lake.clone();
            let reading = tokio::spawn(async move { fetch(&lake, paths).await });
            async move {
                reading.await.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(stopped) => Err(StoreError::Stopped { why: stopped.to_string() }),
                })
            }
        })
        .buffered(2);
    let mut keys = keys.into_iter();
    let mut made = Vec::new();
    while let Some(read) = chunks.try_next().await? {
        let read: Vec<_> = keys.by_ref().zip(read).collect();
        let of_chunk: Vec<T> = pool.install(|| {
            read.into_par_iter().filter_map(|(key, (path, got))| make(key, path, got?)).collect()
        });
        made.extend(of_chunk);
    }
    Ok(made)
}

/// Objects in the order of their paths, several at a time.
pub(super) async fn fetch(lake: &Lake, paths: Vec<Path>) -> Result<Vec<(Path, Option<Got>)>, StoreError> {
    stream::iter(paths)
        .map(|path| async move {
            let bytes = lake.get_at_most(&path, LARGEST).await?;
            Ok((path, bytes))
        })
        .buffered(REQUESTS)
        .try_collect()
        .await
}

pub(super) fn object<T>(path: Path, got: &Got, decode: impl FnOnce(&[u8]) -> Result<T, Flaw>) -> Object<T> {
    let path = path.to_string();
    match got {
        Got::Whole(bytes) => Object { path, sha256: sha256_hex(bytes), content: decode(bytes) },
        Got::TooLarge { size, sha256 } => {
            let content = Err(BronzeError::TooLarge { size: *size }.into());
            Object { path, sha256: sha256.clone(), content }
        }
    }
}
