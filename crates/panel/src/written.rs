//! Files that a person asked for by name.

use anyhow::{Result, anyhow};
use std::path::Path;

/// Writes a file, with the directories above it, and says so.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| {
        anyhow!("cannot write {}: {error}\nhint: name a place you may write to", path.display())
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::write(path, bytes).map_err(failed)?;
    eprintln!("wrote {} ({} bytes)", path.display(), bytes.len());
    Ok(())
}
