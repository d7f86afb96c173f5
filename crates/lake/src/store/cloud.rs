//! Lakes in object stores: S3 and what speaks its language, Azure Blob Storage, Google Cloud Storage.
//!
//! Credentials, region and endpoint come from the variables that `object_store` reads for each (`AWS_ACCESS_KEY_ID`,
//! `AWS_ENDPOINT`, `AZURE_STORAGE_ACCOUNT_NAME`, `GOOGLE_SERVICE_ACCOUNT`, ...), never from the lake's URL. A connection
//! without TLS is refused unless the store's own variable allows it (`AWS_ALLOW_HTTP=true`).

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore};
use std::sync::Arc;
use url::Url;

/// The URL without user, password and query, where it has any of them.
pub(super) fn without_secrets(url: &Url) -> Option<String> {
    let has_secret = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    has_secret.then(|| format!("{}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path()))
}

/// Opens the store that a URL names, at the URL's path.
pub(super) fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    let prefix = Path::from_url_path(url.path())?;
    // The builders take bucket and container from the URL, and would take its path for a part of them.
    let mut root = url.clone();
    root.set_path("");
    Ok(match url.scheme() {
        "s3" | "s3a" => {
            Arc::new(PrefixStore::new(AmazonS3Builder::from_env().with_url(root).build()?, prefix))
        }
        "gs" => {
            Arc::new(PrefixStore::new(GoogleCloudStorageBuilder::from_env().with_url(root).build()?, prefix))
        }
        _ => Arc::new(PrefixStore::new(MicrosoftAzureBuilder::from_env().with_url(root).build()?, prefix)),
    })
}
