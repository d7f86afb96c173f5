//! One suite that every kind of store must pass: in memory, a directory, and (with `make test-stores`) real servers.

use lake::Lake;
use lake::path::Path;
use lake::store::{Put, StoreError};
use std::sync::Arc;

/// A listing of S3 is cut into pages of a thousand.
const MORE_THAN_A_PAGE: usize = 1_030;

async fn behaves(lake: Lake) {
    lake.check_writable().await.unwrap();
    let promises = lake.promises().await.unwrap();
    assert!(promises.are_kept(), "{promises:?}");

    let path = Path::from("bronze/tvl/a/2024-12-01.json");
    assert_eq!((lake.get(&path).await.unwrap(), lake.written_at(&path).await.unwrap()), (None, None));
    assert_eq!(lake.put_once(&path, "one").await.unwrap(), Put::Created);
    assert_eq!(lake.put_once(&path, "one").await.unwrap(), Put::AlreadyThere);
    let conflict = lake.put_once(&path, "two").await.unwrap_err();
    assert!(matches!(conflict, StoreError::Conflict { .. }), "{conflict}");
    assert_eq!(lake.get(&path).await.unwrap().unwrap(), "one");

    // Two processes that write the same object at once both succeed.
    let same = Path::from("bronze/tvl/a/2024-12-02.json");
    let writes = (0..16).map(|_| lake.put_once(&same, "the chain's bytes"));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }

    let gold = Path::from("gold/panel_daily.csv");
    lake.replace(&gold, "old").await.unwrap();
    lake.replace(&gold, "new").await.unwrap();
    assert_eq!(lake.get(&gold).await.unwrap().unwrap(), "new");
    let first = lake.written_at(&gold).await.unwrap().unwrap();
    // Stores of S3's kind stamp whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    lake.overwrite(&gold, "newer").await.unwrap();
    assert!(lake.written_at(&gold).await.unwrap().unwrap() > first, "the store's clock stands still");

    let large = vec![7_u8; 6 << 20];
    let silver = Path::from("silver/price/month=2024-12/part.parquet");
    lake.replace(&silver, large.clone()).await.unwrap();
    assert_eq!(lake.get(&silver).await.unwrap().unwrap(), large);
    for name in ["c", "a", "b"] {
        lake.replace(&Path::from(format!("silver/{name}")), "y").await.unwrap();
    }
    let listed: Vec<String> =
        lake.list(&Path::from("silver")).await.unwrap().iter().map(Path::to_string).collect();
    assert_eq!(listed, ["silver/a", "silver/b", "silver/c", "silver/price/month=2024-12/part.parquet"]);

    let lake = Arc::new(lake);
    let name = |nth: usize| Path::from(format!("bronze/blocks/c/{nth:05}.json"));
    for chunk in (0..MORE_THAN_A_PAGE).rev().collect::<Vec<_>>().chunks(50) {
        let puts = chunk.iter().map(|nth| {
            let lake = Arc::clone(&lake);
            async move { lake.put_once(&name(*nth), "x").await }
        });
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let listed = lake.list(&Path::from("bronze/blocks/c")).await.unwrap();
    assert_eq!(
        listed,
        (0..MORE_THAN_A_PAGE).map(name).collect::<Vec<_>>(),
        "all, sorted, relative to the lake"
    );

    let names = lake.names(&Path::from("bronze/blocks/c")).await.unwrap();
    assert_eq!((names.len(), names[0].as_str()), (MORE_THAN_A_PAGE, "00000.json"));
    assert!(lake.names(&Path::from("nowhere")).await.unwrap().is_empty());

    lake.delete(&gold).await.unwrap();
    lake.delete(&gold).await.unwrap();
    assert_eq!(lake.get(&gold).await.unwrap(), None);
    assert!(lake.list(&Path::from("nowhere")).await.unwrap().is_empty());
}

#[tokio::test]
async fn memory_behaves() {
    behaves(Lake::open("memory:///").unwrap()).await;
}

#[tokio::test]
async fn a_directory_behaves() {
    let directory = tempfile::tempdir().unwrap();
    behaves(Lake::open(directory.path().join("new lake").to_str().unwrap()).unwrap()).await;
}

#[tokio::test]
async fn a_file_url_behaves() {
    let directory = tempfile::tempdir().unwrap();
    behaves(Lake::open(&format!("file://{}", directory.path().display())).unwrap()).await;
}

fn of_the_test() -> Lake {
    Lake::open(&std::env::var("LENDLAKE_TEST_LAKE").expect("`make test-stores` says which lake")).unwrap()
}

#[tokio::test]
#[ignore = "needs a server: make test-stores"]
async fn a_store_that_keeps_its_promises_behaves() {
    behaves(of_the_test()).await;
}

#[tokio::test]
#[ignore = "needs a server: make test-stores"]
async fn a_store_that_lies_is_found_out() {
    let promises = of_the_test().promises().await.unwrap();
    assert!(!promises.creates_once && !promises.are_kept(), "{promises:?}");
    assert!(promises.broken.iter().any(|broken| broken.contains("created a second time")), "{promises:?}");
}

#[test]
fn a_cloud_lake_that_cannot_be_opened_says_why() {
    for (location, why) in [
        ("s3://key:secret@bucket/lake", "credentials do not belong into the lake's URL"),
        ("az://container/lake?sig=secret", "credentials do not belong into the lake's URL"),
        ("ftp://somewhere/x", "this build has no store for `ftp://`"),
    ] {
        let error = Lake::open(location).unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }
}
