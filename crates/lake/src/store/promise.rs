//! What a lake's store does when it is put to the test, since the stages rest on it: bronze is written by
//! create-if-absent and believed when it is there.

use super::{Lake, StoreError};
use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{PutMode, PutOptions, PutPayload};
use serde::Serialize;
use std::time::SystemTime;

/// Creations of one object at once.
const AT_ONCE: usize = 16;

/// What a store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Promises {
    /// An object that is there is not created again, and keeps its bytes.
    pub creates_once: bool,
    /// Of many who create an object at once one succeeds, and its bytes are there.
    pub one_winner: bool,
    /// A listing shows an object as soon as it is written, and no longer when it is deleted.
    pub lists_at_once: bool,
    /// What was seen instead, in words.
    pub broken: Vec<String>,
}

impl Promises {
    /// Whether all are kept.
    pub fn are_kept(&self) -> bool {
        self.creates_once && self.one_winner && self.lists_at_once
    }
}

impl Lake {
    /// Puts the lake's store to the test, with small objects under `state/promise` that are gone afterwards.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the store cannot be read, written or listed at all.
    pub async fn promises(&self) -> Result<Promises, StoreError> {
        // Two who do this at the same time must not meet.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let folder = Path::from("state/promise");
        let name = format!("{}-{}", std::process::id(), now.as_nanos());
        let paths =
            [folder.clone().join(format!("{name}-once")), folder.clone().join(format!("{name}-at-once"))];
        let outcome = self.tested(&folder, &paths).await;
        for path in &paths {
            self.delete(path).await?;
        }
        let (creates_once, one_winner, is_listed) = outcome?;
        let is_gone = !self.list(&folder).await?.contains(&paths[0]);
        let listed = match (is_listed, is_gone) {
            (true, true) => Ok(()),
            (false, _) => Err("a listing does not show what was just written".to_owned()),
            (true, false) => Err("a listing shows what was just deleted".to_owned()),
        };
        Ok(Promises {
            creates_once: creates_once.is_ok(),
            one_winner: one_winner.is_ok(),
            lists_at_once: listed.is_ok(),
            broken: [creates_once, one_winner, listed].into_iter().filter_map(Result::err).collect(),
        })
    }

    async fn tested(
        &self,
        folder: &Path,
        [once, at_once]: &[Path; 2],
    ) -> Result<(Seen, Seen, bool), StoreError> {
        let creates_once = self.creates_once(once).await?;
        let one_winner = self.one_winner(at_once).await?;
        let is_listed = self.list(folder).await?.contains(once);
        Ok((creates_once, one_winner, is_listed))
    }

    async fn creates_once(&self, path: &Path) -> Result<Seen, StoreError> {
        match self.create(path, "first").await {
            Ok(()) => {}
            // A store that can do no more than overwrite says so here.
            Err(object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. }) => {
                self.overwrite(path, "first").await?;
                return Ok(Err("the store cannot create an object only if it is absent".to_owned()));
            }
            Err(source) => return Err(self.refused("write", path, source)),
        }
        let second = self.create(path, "second").await;
        let there = self.get(path).await?;
        Ok(match (second, there.as_deref()) {
            (Err(object_store::Error::AlreadyExists { .. }), Some(b"first")) => Ok(()),
            (Ok(()), _) => Err("an object that was there was created a second time".to_owned()),
            (Err(object_store::Error::AlreadyExists { .. }), _) => {
                Err("an object whose second creation was refused has lost its bytes".to_owned())
            }
            (Err(other), _) => return Err(self.refused("write", path, other)),
        })
    }

    async fn one_winner(&self, path: &Path) -> Result<Seen, StoreError> {
        let bytes = |number: usize| Bytes::from(format!("written by number {number}"));
        let outcomes = join_all((0..AT_ONCE).map(|number| self.create(path, bytes(number)))).await;
        let winners: Vec<usize> =
            (0..AT_ONCE).zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| n).collect();
        let there = self.get(path).await?;
        Ok(match winners.as_slice() {
            [winner] if there == Some(bytes(*winner)) => Ok(()),
            [_] => Err(format!(
                "of {AT_ONCE} who created an object at once one was told so, but others' bytes are there"
            )),
            winners => Err(format!(
                "of {AT_ONCE} who created an object at once {} were told that they did",
                winners.len()
            )),
        })
    }

    async fn create(&self, path: &Path, bytes: impl Into<Bytes>) -> Result<(), object_store::Error> {
        let payload = PutPayload::from_bytes(bytes.into());
        self.store.put_opts(path, payload, PutOptions::from(PutMode::Create)).await.map(drop)
    }
}

/// Whether a promise was kept, or what was seen instead.
type Seen = Result<(), String>;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
        ObjectStoreExt, PutMultipartOptions, PutResult, Result,
    };
    use std::sync::Arc;

    /// How a store breaks its promises.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        /// It takes a creation for a write.
        Overwrites,
        /// It says that it cannot create.
        CannotCreate,
        /// It looks, waits, and then writes.
        LooksFirst,
        /// It refuses a second creation and writes it all the same.
        RefusesAndWrites,
        /// Its listings are of yesterday.
        ListsLate,
    }

    #[derive(Debug)]
    struct Faulty(InMemory, Fault);

    impl std::fmt::Display for Faulty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.1)
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            if options.mode != PutMode::Create {
                return self.0.put_opts(path, payload, options).await;
            }
            match self.1 {
                Fault::Overwrites => self.0.put(path, payload).await,
                Fault::CannotCreate => Err(object_store::Error::NotImplemented {
                    operation: "create".into(),
                    implementer: "a test".into(),
                }),
                Fault::LooksFirst => {
                    let is_there = self.0.head(path).await.is_ok();
                    tokio::task::yield_now().await;
                    if is_there {
                        self.0.put_opts(path, payload, options).await
                    } else {
                        self.0.put(path, payload).await
                    }
                }
                Fault::RefusesAndWrites => {
                    let created = self.0.put_opts(path, payload.clone(), options).await;
                    if created.is_err() {
                        self.0.put(path, payload).await?;
                    }
                    created
                }
                Fault::ListsLate => self.0.put_opts(path, payload, options).await,
            }
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(path, options).await
        }

        async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(path, options).await
        }

        fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            let nowhere = Path::from("yesterday");
            self.0.list(if self.1 == Fault::ListsLate { Some(&nowhere) } else { prefix })
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    async fn keeps_all(lake: Lake) {
        let kept = Promises { creates_once: true, one_winner: true, lists_at_once: true, broken: Vec::new() };
        assert_eq!(lake.promises().await.unwrap(), kept);
        assert!(kept.are_kept());
        assert!(lake.list(&Path::from("state")).await.unwrap().is_empty(), "something was left behind");
    }

    #[tokio::test]
    async fn memory_keeps_every_promise() {
        keeps_all(Lake::open("memory:///").unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_directory_keeps_every_promise() {
        let directory = tempfile::tempdir().unwrap();
        keeps_all(Lake::open(directory.path().to_str().unwrap()).unwrap()).await;
    }

    #[tokio::test]
    async fn a_store_that_breaks_a_promise_is_found_out() {
        for (fault, kept, words) in [
            (Fault::Overwrites, [false, false, true], "was created a second time"),
            (Fault::CannotCreate, [false, false, true], "cannot create an object only if it is absent"),
            (Fault::LooksFirst, [true, false, true], "of 16 who created an object at once 16 were told"),
            (Fault::RefusesAndWrites, [false, false, true], "has lost its bytes"),
            (Fault::ListsLate, [true, true, false], "does not show what was just written"),
        ] {
            let store = Arc::new(Faulty(InMemory::new(), fault));
            let lake = Lake { store, location: "a test".into(), directory: None };
            let promises = lake.promises().await.unwrap();
            let Promises { creates_once, one_winner, lists_at_once, broken } = &promises;
            assert_eq!([*creates_once, *one_winner, *lists_at_once], kept, "{fault:?} {broken:?}");
            assert!(broken.concat().contains(words), "{fault:?} {broken:?}");
            assert!(!promises.are_kept());
        }
    }
}
