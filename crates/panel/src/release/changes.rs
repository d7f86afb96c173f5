//! What the changelog says of the data.

use super::ReleaseName;

/// Why the changelog tells nothing of the data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} has no heading `### Data`\nhint: CHANGELOG.md of the project has one a version; name it with --changelog"
)]
pub struct ChangesError {
    /// The file.
    pub file: String,
}

/// Versions in the order of the changelog, each with what stands under its heading *Data*.
///
/// # Errors
/// [`ChangesError`] when no version has such a heading.
pub fn data_changes(file: &str, changelog: &str) -> Result<Vec<(String, String)>, ChangesError> {
    let versions = versions(changelog);
    if versions.is_empty() { Err(ChangesError { file: file.to_owned() }) } else { Ok(versions) }
}

fn versions(changelog: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut version = String::new();
    let mut is_data = false;
    for line in changelog.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            version = heading.trim().to_owned();
            is_data = false;
        } else if let Some(heading) = line.strip_prefix("### ") {
            is_data = heading.trim() == "Data";
            if is_data {
                found.push((version.clone(), String::new()));
            }
        } else if is_data && let Some((_, text)) = found.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    for (_, text) in &mut found {
        *text = text.trim().to_owned();
    }
    found
}

/// The page `CHANGES.md`. What is not yet under a version's heading belongs to this release.
pub(super) fn page(name: &ReleaseName, changelog: &str) -> String {
    let mut page = format!("# Changes of the data, up to {}\n", name.as_str());
    for (version, text) in versions(changelog) {
        let heading = if version == "Unreleased" { name.as_str() } else { &version };
        let text = if text.is_empty() { "Nothing." } else { &text };
        page.push_str(&format!("\n## {heading}\n\n{text}\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "# Changelog\n\n## Unreleased\n\n### Code\n\n- a\n\n### Data\n\n- b\n  c\n\n## v2024.11.0\n\n### Data\n\n- d\n\n### Code\n\n- e\n";

    #[test]
    fn only_what_moved_in_the_data_is_kept() {
        let name = ReleaseName::parse("v2024.12.0").unwrap();
        assert_eq!(
            page(&name, LOG),
            "# Changes of the data, up to v2024.12.0\n\n## v2024.12.0\n\n- b\n  c\n\n## v2024.11.0\n\n- d\n"
        );
    }

    #[test]
    fn a_changelog_without_data_is_refused() {
        let error = data_changes("x.md", "# x\n## 1\n### Code\n").unwrap_err();
        assert!(error.to_string().starts_with("x.md has no heading `### Data`\nhint: "));
        assert_eq!(data_changes("x.md", LOG).unwrap().len(), 2);
    }
}
