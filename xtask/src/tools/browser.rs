//! A browser and its driver, for the tests.

use std::{ffi::OsString, path::Path};

use anyhow::{Context, Result, ensure};

use super::debian;
use crate::command;

/// The programs, as `CHROME` and `CHROMEDRIVER` name them to the tests.
pub(crate) struct Browser {
    pub(crate) chrome: OsString,
    pub(crate) driver: OsString,
}

/// Finds or installs Chromium and ChromeDriver of the same version.
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
    let found = find().context(
        "Chromium or ChromeDriver is missing; the environment variables CHROME and CHROMEDRIVER name them",
    )?;
    let [chrome, driver] = [major(&found.chrome)?, major(&found.driver)?];
    ensure!(
        chrome == driver,
        "{} is version {chrome}, {} is {driver}: they must be the same",
        found.chrome.display(),
        found.driver.display()
    );
    Ok(found)
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
    line.split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .and_then(|word| word.split('.').next())
        .map(str::to_owned)
        .with_context(|| format!("{} tells no version", program.display()))
}
