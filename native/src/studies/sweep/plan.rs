//! From a sweep file to runs: every setting with every seed, each distinct configuration once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use toml::Value;

use super::file::{Axis, Curve, SweepFile, flatten, number, shown};
use crate::studies::id;
use crate::train::config::TrainConfig;

/// What is to be trained, and what it is for.
#[derive(Debug)]
pub struct Plan {
    /// The base configuration.
    pub base: PathBuf,
    /// The seeds, in the file's order.
    pub seeds: Vec<u64>,
    /// The table, then the curves.
    pub parts: Vec<Part>,
    /// The runs in the order of training: all settings with the first seed, then with the next.
    pub runs: Vec<Run>,
}

/// The table, or a curve.
#[derive(Debug)]
pub struct Part {
    /// `table`, or the curve's name.
    pub name: String,
    /// Of a curve, how its values are spaced.
    pub axis: Option<Axis>,
    /// Rows of the table, points of the curve.
    pub settings: Vec<Setting>,
}

/// A row of the table or a point of a curve.
#[derive(Debug)]
pub struct Setting {
    /// The row's name or the point's value.
    pub name: String,
    /// Of a point whose value is a number, the number.
    pub value: Option<f64>,
    /// What it sets beyond the common settings, as `key=value`.
    pub overrides: Vec<String>,
    /// Its runs, one for each seed; other settings may share them.
    pub runs: Vec<usize>,
}

/// One training.
#[derive(Debug)]
pub struct Run {
    /// What it was first wanted for: part, setting, seed.
    pub title: String,
    /// The folder's name: some of the title to tell people, and in [`Self::id`] what the configuration is.
    pub folder: String,
    /// Twelve hexadecimal digits of the configuration's SHA-256.
    pub id: String,
    /// All overrides of the base configuration.
    pub overrides: Vec<String>,
    /// The resolved configuration, as a run's `config.toml` has it.
    pub echo: String,
}

impl Plan {
    /// Resolves every configuration; `common` are `key=value` overrides after the file's own for every run.
    ///
    /// # Errors
    ///
    /// When a configuration is not one that `muse train` takes (the message names the row or the point), or `common` has a
    /// seed.
    pub fn new(file: &SweepFile, common: &[String]) -> anyhow::Result<Self> {
        for pair in common {
            let key = pair.split_once('=').map_or(pair.as_str(), |(key, _)| key);
            ensure!(
                key.trim() != "seed",
                "--set {pair}: the seeds are those of the sweep file; list them there under seeds"
            );
        }
        let common = [overrides(&file.set), common.to_vec()].concat();
        let mut parts = Vec::new();
        if !file.rows.is_empty() {
            let settings = file.rows.iter().map(|row| Setting {
                name: row.name.clone(),
                value: None,
                overrides: overrides(&row.set),
                runs: Vec::new(),
            });
            parts.push(Part {
                name: "table".into(),
                axis: None,
                settings: settings.collect(),
            });
        }
        for curve in &file.curves {
            let points = points(curve, file, &common)
                .with_context(|| format!("the curve {:?}", curve.name))?;
            parts.push(Part {
                name: curve.name.clone(),
                axis: Some(curve.spacing()),
                settings: points,
            });
        }
        let mut plan = Self {
            base: file.base.clone(),
            seeds: file.seeds.clone(),
            parts,
            runs: Vec::new(),
        };
        plan.expand(&common)?;
        Ok(plan)
    }

    fn expand(&mut self, common: &[String]) -> anyhow::Result<()> {
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        for &seed in &self.seeds {
            for part in &mut self.parts {
                for setting in &mut part.settings {
                    let name = match part.axis {
                        Some(_) => format!("{} {}", part.name, setting.name),
                        None => setting.name.clone(),
                    };
                    let seeded = [format!("seed={seed}")];
                    let all = [common, &setting.overrides, &seeded].concat();
                    let config = TrainConfig::load(&self.base, &all)
                        .with_context(|| format!("the setting {name:?}"))?;
                    let echo = toml::to_string(&config)?;
                    let run = *known.entry(echo.clone()).or_insert_with(|| {
                        let id = id(&echo);
                        self.runs.push(Run {
                            title: format!("{name}, seed {seed}"),
                            folder: format!("{}-seed-{seed}-{id}", stem(&name)),
                            id,
                            overrides: all,
                            echo,
                        });
                        self.runs.len() - 1
                    });
                    setting.runs.push(run);
                }
            }
        }
        Ok(())
    }

    /// The runs of the rows and curves of these names; of all, when there is none.
    ///
    /// # Errors
    ///
    /// When a name is not in the file.
    pub fn chosen(&self, names: &[String]) -> anyhow::Result<BTreeSet<usize>> {
        if names.is_empty() {
            return Ok((0..self.runs.len()).collect());
        }
        let mut chosen = BTreeSet::new();
        for name in names {
            let runs: Vec<usize> = self
                .parts
                .iter()
                .flat_map(|part| part.settings.iter().map(move |setting| (part, setting)))
                .filter(|(part, setting)| {
                    part.name == *name || (part.axis.is_none() && setting.name == *name)
                })
                .flat_map(|(_, setting)| setting.runs.iter().copied())
                .collect();
            ensure!(
                !runs.is_empty(),
                "there is no row or curve {name:?}; there are {}",
                self.names()
            );
            chosen.extend(runs);
        }
        Ok(chosen)
    }

    fn names(&self) -> String {
        let names = self.parts.iter().flat_map(|part| match part.axis {
            Some(_) => vec![part.name.as_str()],
            None => part.settings.iter().map(|row| row.name.as_str()).collect(),
        });
        let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
        names.join(", ")
    }
}

fn overrides(table: &toml::Table) -> Vec<String> {
    flatten(table)
        .into_iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn points(curve: &Curve, file: &SweepFile, common: &[String]) -> anyhow::Result<Vec<Setting>> {
    let with = overrides(&curve.with);
    let bases = match &curve.scale {
        Some(keys) => {
            let config = TrainConfig::load(&file.base, &[common, &with].concat())?;
            let config = Value::try_from(&config)?;
            let mut bases = Vec::new();
            for key in keys.list() {
                bases.extend(numbers(&config, key)?);
            }
            bases
        }
        None => Vec::new(),
    };
    let varied = |value: &Value| -> Vec<String> {
        let Some(keys) = &curve.set else {
            let factor = number(value).unwrap_or(1.0);
            return bases
                .iter()
                .map(|(key, base)| format!("{key}={}", scaled(base, factor)))
                .collect();
        };
        let keys = keys.list();
        keys.iter()
            .enumerate()
            .map(|(at, key)| match value {
                Value::Array(own) if keys.len() > 1 => format!("{key}={}", own[at]),
                _ => format!("{key}={value}"),
            })
            .collect()
    };
    Ok(curve
        .values
        .iter()
        .map(|value| Setting {
            name: match curve.scale {
                Some(_) => format!("×{}", shown(value)),
                None => shown(value),
            },
            value: number(value),
            overrides: [with.clone(), varied(value)].concat(),
            runs: Vec::new(),
        })
        .collect())
}

/// The number at a key of a configuration, or all numbers of the table there, with their keys.
fn numbers(config: &Value, key: &str) -> anyhow::Result<Vec<(String, Value)>> {
    let mut at = config;
    for name in key.split('.') {
        let next = match at {
            Value::Array(items) => name.parse().ok().and_then(|index: usize| items.get(index)),
            _ => at.get(name),
        };
        at = next.with_context(|| {
            format!("the configuration has no {key}, so there is nothing to scale")
        })?;
    }
    let leaves = match at {
        Value::Table(table) => flatten(table)
            .into_iter()
            .map(|(rest, value)| (format!("{key}.{rest}"), value))
            .collect(),
        value => vec![(key.to_owned(), value.clone())],
    };
    let numbers: Vec<_> = leaves
        .into_iter()
        .filter(|(_, value)| number(value).is_some())
        .collect();
    if numbers.is_empty() {
        bail!("{key} is not a number, so it cannot be scaled");
    }
    Ok(numbers)
}

/// A whole number stays one if it can; a rate is rounded to twelve digits, so that 3 · 0.1 is 0.3.
fn scaled(base: &Value, factor: f64) -> Value {
    let product = number(base).unwrap_or(f64::NAN) * factor;
    match base {
        Value::Integer(_) if product.fract() == 0.0 && product.abs() < 1e15 => {
            Value::Integer(product as i64)
        }
        _ => Value::Float(format!("{product:.12e}").parse().unwrap_or(product)),
    }
}

fn stem(name: &str) -> String {
    match slug(name) {
        slug if slug.is_empty() => "run".into(),
        slug => slug,
    }
}

/// Lower-case letters, digits and hyphens, at most forty.
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() || c == '.' => slug.push(c.to_ascii_lowercase()),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(40);
    slug.trim_matches(['-', '.']).to_owned()
}

#[cfg(test)]
mod tests;
