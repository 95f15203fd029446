//! A browser and its driver, for the tests.

use std::ffi::OsString;

use anyhow::{Context, Result};

use super::debian;

/// The programs, as `CHROME` and `CHROMEDRIVER` name them to the tests.
pub(crate) struct Browser {
    pub(crate) chrome: OsString,
    pub(crate) driver: OsString,
}

/// Finds or installs Chromium and its ChromeDriver, which tells when their versions differ.
pub(crate) fn browser() -> Result<Browser> {
    let find = || {
        Some(Browser {
            chrome: named("CHROME", &["chromium", "chromium-browser", "google-chrome"])?,
            driver: named("CHROMEDRIVER", &["chromedriver", "chromium.chromedriver"])?,
        })
    };
    if find().is_none() && cfg!(target_os = "linux") {
        debian::install(
            "Chromium with its ChromeDriver",
            &["chromium", "chromium-driver"],
        )?;
    }
    find().context(
        "Chromium or ChromeDriver is missing; the environment variables CHROME and CHROMEDRIVER name them",
    )
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
