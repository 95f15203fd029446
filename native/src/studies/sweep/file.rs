//! The sweep file: a base configuration, seeds, rows of a table and curves.
//!
//! ```toml
//! base = "muse-mvsa.toml"          # a configuration of `muse train`; paths are relative to this file
//! seeds = [1, 2, 3]
//! scores = ["choice"]              # columns of metrics.csv that tables and plots show, the headline first
//! keep_models = false              # keep best.muse of each run
//! set.train.epochs = 4             # for every run, under the keys of `muse train --set`
//!
//! [[row]]
//! name = "without exchange"
//! set.model.exchange.theta = 0
//!
//! [[curve]]
//! name = "exchange ratio θ"
//! set = "model.exchange.theta"     # or several keys, which move together
//! values = [0, 0.1, 0.2]
//!
//! [[curve]]
//! name = "learning rate, relative"
//! scale = "train.rates"            # multiplies what the configuration has: of a table, every number in it
//! values = [0.5, 1, 2]
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use toml::{Table, Value};

/// What the file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepFile {
    /// The training configuration that everything is a variation of.
    pub base: PathBuf,
    /// Each setting is trained once with each of these.
    pub seeds: Vec<u64>,
    /// What tables and plots show, by the names of `metrics.csv`; the CSV files have all.
    #[serde(default = "choice")]
    pub scores: Vec<String>,
    /// Keep the best model of each run.
    #[serde(default)]
    pub keep_models: bool,
    /// Settings of every run.
    #[serde(default)]
    pub set: Table,
    /// The table.
    #[serde(default, rename = "row")]
    pub rows: Vec<Row>,
    /// The curves.
    #[serde(default, rename = "curve")]
    pub curves: Vec<Curve>,
}

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What the table calls it.
    pub name: String,
    /// Its own settings.
    #[serde(default)]
    pub set: Table,
}

/// Scores over the values of one setting, or of several that move together.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// The name of its axis.
    pub name: String,
    /// What is set to each value. Of several keys each gets the value, or its own one of a list.
    #[serde(default)]
    pub set: Option<Keys>,
    /// What is multiplied by each value.
    #[serde(default)]
    pub scale: Option<Keys>,
    /// The values.
    pub values: Vec<Value>,
    /// Settings of all its points.
    #[serde(default)]
    pub with: Table,
    /// How the values are spaced; by default as suits them.
    #[serde(default)]
    pub axis: Option<Axis>,
}

/// One key or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Keys {
    /// One key.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Keys {
    /// As a list.
    pub fn list(&self) -> &[String] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

/// How the values of a curve are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// By their differences.
    Linear,
    /// By their ratios.
    Log,
    /// Evenly.
    Steps,
}

fn choice() -> Vec<String> {
    vec!["choice".into()]
}

impl SweepFile {
    /// Reads a file; its path to the base configuration becomes one from the current folder.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not of this form, names the same thing twice, or asks for no run at all.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the sweep file {}", path.display()))?;
        let mut file =
            Self::parse(&text).with_context(|| format!("in the sweep file {}", path.display()))?;
        file.base = path.parent().unwrap_or(Path::new("")).join(file.base);
        Ok(file)
    }

    /// From the file's text.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let file: Self = toml::from_str(text)?;
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.rows.is_empty() || !self.curves.is_empty(),
            "there is nothing to train; list at least one [[row]] or [[curve]]"
        );
        ensure!(
            !self.seeds.is_empty(),
            "seeds is empty; give at least one, such as [1, 2, 3]"
        );
        ensure!(
            !self.scores.is_empty(),
            "scores is empty; name a column of metrics.csv, or leave it out"
        );
        let seeds: BTreeSet<_> = self.seeds.iter().collect();
        ensure!(seeds.len() == self.seeds.len(), "seeds has one twice");
        let mut names = BTreeSet::from(["table"]);
        let all = self.rows.iter().map(|row| &row.name);
        for name in all.chain(self.curves.iter().map(|curve| &curve.name)) {
            ensure!(
                !name.trim().is_empty(),
                "a [[row]] or [[curve]] has no name"
            );
            ensure!(
                names.insert(name),
                "two are called {name:?} (\"table\" is what the rows are called together); give one another name"
            );
        }
        for (owner, table) in [("every run", &self.set)]
            .into_iter()
            .chain(self.rows.iter().map(|row| (row.name.as_str(), &row.set)))
            .chain(self.curves.iter().map(|c| (c.name.as_str(), &c.with)))
        {
            let keys = flatten(table);
            ensure!(
                keys.iter().all(|(key, _)| key != "seed"),
                "the settings of {owner:?} have a seed; list seeds under seeds"
            );
        }
        self.curves.iter().try_for_each(|curve| {
            curve
                .check()
                .with_context(|| format!("the curve {:?}", curve.name))
        })
    }
}

impl Curve {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.values.is_empty(), "values is empty");
        let keys = match (&self.set, &self.scale) {
            (Some(keys), None) | (None, Some(keys)) => keys.list(),
            _ => bail!("needs either set or scale, the key or keys that are varied"),
        };
        ensure!(!keys.is_empty(), "there is no key to vary");
        ensure!(
            keys.iter().all(|key| key != "seed"),
            "the seed is no setting to vary; list seeds under seeds"
        );
        let mut names = BTreeSet::new();
        for value in &self.values {
            let name = shown(value);
            ensure!(names.insert(name.clone()), "the value {name} occurs twice");
            if self.scale.is_some() {
                ensure!(
                    number(value).is_some_and(|factor| factor.is_finite()),
                    "the value {name} is not a number to multiply by"
                );
            } else if let (Value::Array(own), true) = (value, keys.len() > 1) {
                ensure!(
                    own.len() == keys.len(),
                    "the value [{name}] has {} numbers for {} keys",
                    own.len(),
                    keys.len()
                );
            }
        }
        if self.axis == Some(Axis::Linear) || self.axis == Some(Axis::Log) {
            let least = if self.axis == Some(Axis::Log) {
                f64::MIN_POSITIVE
            } else {
                f64::MIN
            };
            ensure!(
                self.values
                    .iter()
                    .all(|value| number(value).is_some_and(|v| v >= least && v.is_finite())),
                "the axis does not suit the values; axis = \"steps\" suits all"
            );
        }
        Ok(())
    }

    /// The axis: the file's, or steps where the values are not numbers, and otherwise logarithmic when they span more
    /// than a factor of twenty (or steps, when one is 0 or below and so has no place on such an axis).
    pub fn spacing(&self) -> Axis {
        if let Some(axis) = self.axis {
            return axis;
        }
        let numbers: Option<Vec<f64>> = self.values.iter().map(number).collect();
        let Some(numbers) = numbers else {
            return Axis::Steps;
        };
        let sizes = numbers.iter().map(|v| v.abs()).filter(|&v| v > 0.0);
        let (low, high) = sizes.fold((f64::MAX, 0.0f64), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        match (high > 20.0 * low, numbers.iter().all(|&v| v > 0.0)) {
            (false, _) => Axis::Linear,
            (true, true) => Axis::Log,
            (true, false) => Axis::Steps,
        }
    }
}

/// Every setting of a table with its dotted key: `a.b = 1` and `"a.b" = 1` are the same.
pub fn flatten(table: &Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                let inner = flatten(inner).into_iter();
                leaves.extend(inner.map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => leaves.push((key.clone(), value.clone())),
        }
    }
    leaves
}

/// A number, whole or not.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(whole) => Some(*whole as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// A value for people: `0.1`, `frozen`, `0, 1`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        // TOML writes 1 as 1.0.
        Value::Float(number) => number.to_string(),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "base = \"b.toml\"\nseeds = [1]\n";

    fn error(text: &str) -> String {
        format!("{:#}", SweepFile::parse(text).expect_err(text))
    }

    #[test]
    fn faults_are_named() {
        let row = "[[row]]\nname = \"a\"\n";
        for (text, named) in [
            (HEAD.to_owned(), "nothing to train"),
            (String::new(), "base"),
            (format!("{HEAD}speed = 1\n{row}"), "speed"),
            (format!("base = \"b\"\nseeds = []\n{row}"), "seeds is empty"),
            (format!("base = \"b\"\nseeds = [1, 1]\n{row}"), "twice"),
            (format!("base = \"b\"\nseeds = [-1]\n{row}"), "seeds"),
            (format!("{HEAD}scores = []\n{row}"), "scores is empty"),
            (format!("{HEAD}{row}{row}"), "\"a\""),
            (format!("{HEAD}[[row]]\nname = \" \""), "no name"),
            (format!("{HEAD}[[row]]\nname = \"table\""), "\"table\""),
            (format!("{HEAD}{row}seeds = 2"), "seeds"),
            (format!("{HEAD}{row}set.seed = 2"), "list seeds"),
            (format!("{HEAD}set.seed = 2\n{row}"), "every run"),
        ] {
            assert!(error(&text).contains(named), "{text}: {}", error(&text));
        }
        for (curve, named) in [
            ("set = \"a\"\nvalues = []", "values is empty"),
            ("values = [1]", "either set or scale"),
            (
                "set = \"a\"\nscale = \"a\"\nvalues = [1]",
                "either set or scale",
            ),
            ("set = []\nvalues = [1]", "no key"),
            ("set = \"seed\"\nvalues = [1]", "seeds"),
            ("set = \"a\"\nvalues = [1, 1]", "1 occurs twice"),
            ("set = [\"a\", \"b\"]\nvalues = [[1, 2], [3]]", "[3] has 1"),
            ("scale = \"a\"\nvalues = [\"x\"]", "x is not a number"),
            ("set = \"a\"\nvalues = [\"x\"]\naxis = \"linear\"", "axis"),
            ("set = \"a\"\nvalues = [0, 1]\naxis = \"log\"", "axis"),
        ] {
            let error = error(&format!("{HEAD}[[curve]]\nname = \"c\"\n{curve}"));
            assert!(error.contains(named), "{curve}: {error}");
            assert!(error.contains("\"c\""), "{error}");
        }
    }

    #[test]
    fn settings_may_be_nested_or_dotted() {
        let text = format!(
            "{HEAD}[[row]]\nname = \"a\"\n\
             set = {{ \"train.epochs\" = 2, model = {{ image = {{ tune.last = 1 }} }}, data.train.0.rename = {{}} }}"
        );
        let file = SweepFile::parse(&text).unwrap();
        let leaves: Vec<String> = flatten(&file.rows[0].set)
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        assert_eq!(
            leaves,
            [
                "train.epochs=2",
                "model.image.tune.last=1",
                "data.train.0.rename={}"
            ]
        );
        assert_eq!(file.scores, ["choice"]);
    }

    #[test]
    fn an_axis_suits_its_values() {
        let axis = |values: &str| {
            let text = format!("{HEAD}[[curve]]\nname = \"c\"\nset = \"k\"\nvalues = {values}");
            SweepFile::parse(&text).unwrap().curves[0].spacing()
        };
        assert_eq!(axis("[0, 0.1, 0.4]"), Axis::Linear);
        assert_eq!(axis("[1e-5, 1e-4, 0.01]"), Axis::Log);
        assert_eq!(axis("[0, 1e-5, 0.01]"), Axis::Steps);
        assert_eq!(axis("[\"frozen\", \"whole\"]"), Axis::Steps);
        assert_eq!(axis("[[0, 1], [1, 2]]"), Axis::Steps);
    }
}
