//! Digests the code that silver depends on, so that a month is built again when it changed. A version number changes with a
//! release only; between two of them a decoder may be mended.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut digest = Sha256::new();
    for room in ["lake", "protocols", "transform"] {
        let source = crates.join(room).join("src");
        println!("cargo::rerun-if-changed={}", source.display());
        let mut files = Vec::new();
        walk(&source, &mut files)?;
        files.sort();
        for file in files {
            let name = file.strip_prefix(&crates).unwrap_or(&file).display().to_string().replace('\\', "/");
            let bytes = std::fs::read(&file)?;
            digest.update(format!("{name} {}\n", bytes.len()));
            digest.update(bytes);
        }
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=SILVER_CODE_SHA256={hex}");
    Ok(())
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
