//! A browser and its driver, for the tests.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, Result, bail};

use super::debian;
use crate::command;

/// Debian's packages.
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// The programs, as `CHROME` and `CHROMEDRIVER` name them to the tests.
pub(crate) struct Browser {
    pub(crate) chrome: OsString,
    pub(crate) driver: OsString,
}

/// Finds or installs Chromium and ChromeDriver of the same version.
pub(crate) fn ensure() -> Result<Browser> {
    let find = || Some((chrome()?, driver()?));
    if find().is_none() && cfg!(target_os = "linux") {
        debian::install("Chromium with its ChromeDriver", &PACKAGES)?;
    }
    let (chrome, driver) = find().context(
        "Chromium or ChromeDriver is missing; the environment variables CHROME and CHROMEDRIVER name them",
    )?;
    let versions = [major(&chrome)?, major(&driver)?];
    if versions[0] != versions[1] {
        bail!(
            "{} is version {}, {} is {}: they must be the same",
            chrome.display(),
            versions[0],
            driver.display(),
            versions[1]
        );
    }
    Ok(Browser { chrome, driver })
}

fn chrome() -> Option<OsString> {
    named("CHROME", &["chromium", "chromium-browser", "google-chrome"])
}

fn driver() -> Option<OsString> {
    named("CHROMEDRIVER", &["chromedriver", "chromium.chromedriver"])
}

/// What the variable names, else the first of the candidates on the PATH, in full: not every reader searches the PATH.
fn named(variable: &str, candidates: &[&str]) -> Option<OsString> {
    if let Some(program) = std::env::var_os(variable).filter(|program| !program.is_empty()) {
        return Some(program);
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    candidates
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .map(Into::into)
}

/// `150` of `Chromium 150.0.7871.46 built on …`.
fn major(program: &OsString) -> Result<String> {
    let line = command::output(program, &["--version"])
        .with_context(|| format!("{} does not run", Path::new(program).display()))?;
    version(&line).with_context(|| format!("{} tells no version", program.display()))
}

fn version(line: &str) -> Option<String> {
    line.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .and_then(|word| word.split('.').next())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_both_programs_lines() {
        let chrome = version("Chromium 150.0.7871.46 built on Debian GNU/Linux 12 (bookworm)");
        let driver = version("ChromeDriver 149.0.7871.46 (abcdef0123)");
        assert_eq!(chrome.as_deref(), Some("150"));
        assert_eq!(driver.as_deref(), Some("149"));
        assert_eq!(version("no version"), None);
    }
}
