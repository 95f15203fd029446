//! What a sweep found: `runs.csv`, `summary.csv`, and tables for people.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use super::folder::State;
use super::metrics::{Metrics, Summary, Unit};
use super::plan::{Part, Plan, Setting};
use crate::output::{plain, write_file};

/// A plan with what became of its runs.
#[derive(Debug)]
pub struct Results<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How far each run has come.
    pub states: Vec<State>,
    /// The runs' folders, seen from the sweep's.
    pub folders: Vec<String>,
}

impl Results<'_> {
    /// The complete runs of a setting.
    pub fn complete(&self, setting: &Setting) -> impl Iterator<Item = &Metrics> {
        setting
            .runs
            .iter()
            .filter_map(|&run| match &self.states[run] {
                State::Done(metrics) => Some(metrics),
                _ => None,
            })
    }

    /// A score of a setting's complete runs, in their best epochs.
    pub fn values(&self, setting: &Setting, score: &str) -> Vec<f64> {
        let runs = self.complete(setting);
        runs.filter_map(|metrics| metrics.best(score)).collect()
    }

    /// A score's unit; the same in every table and figure.
    pub fn unit(&self, score: &str) -> Unit {
        let settings = self.plan.parts.iter().flat_map(|part| &part.settings);
        Unit::of(
            score,
            settings.flat_map(|setting| self.values(setting, score)),
        )
    }

    /// Every score that any complete run has, in the order of the first that has it.
    pub fn scores(&self) -> Vec<&str> {
        let mut scores: Vec<&str> = Vec::new();
        for state in &self.states {
            if let State::Done(metrics) = state {
                for score in metrics.scores() {
                    if !scores.contains(&score) {
                        scores.push(score);
                    }
                }
            }
        }
        scores
    }

    /// Writes `runs.csv` (a row for each setting and seed) and `summary.csv` (a row for each setting).
    ///
    /// # Errors
    ///
    /// When one cannot be written.
    pub fn write(&self, out: &Path) -> anyhow::Result<()> {
        write_csv(&out.join("runs.csv"), &self.runs())?;
        write_csv(&out.join("summary.csv"), &self.summary())
    }

    fn runs(&self) -> Vec<Vec<String>> {
        let scores = self.scores();
        let fixed = [
            "part",
            "setting",
            "overrides",
            "seed",
            "state",
            "epochs",
            "best epoch",
            "seconds",
            "folder",
            "error",
        ];
        let mut rows = vec![
            fixed
                .iter()
                .chain(&scores)
                .map(|&name| name.to_owned())
                .collect(),
        ];
        for (part, setting) in self.settings() {
            for (seed, &run) in self.plan.seeds.iter().zip(&setting.runs) {
                let state = &self.states[run];
                let (metrics, error) = match state {
                    State::Done(metrics) => (Some(metrics), ""),
                    State::Failed(error) => (None, error.as_str()),
                    State::Open | State::Begun => (None, ""),
                };
                let cell =
                    |value: &dyn Fn(&Metrics) -> String| metrics.map_or(String::new(), value);
                let mut row = vec![
                    part.name.clone(),
                    setting.name.clone(),
                    setting.overrides.join("; "),
                    seed.to_string(),
                    state.name().to_owned(),
                    cell(&|metrics| metrics.epochs().to_string()),
                    cell(&|metrics| metrics.best_epoch().to_string()),
                    cell(&|metrics| format!("{:.1}", metrics.seconds())),
                    self.folders[run].clone(),
                    error.to_owned(),
                ];
                row.extend(scores.iter().map(|score| {
                    let value = metrics.and_then(|metrics| metrics.best(score));
                    value.map_or(String::new(), digits)
                }));
                rows.push(row);
            }
        }
        rows
    }

    fn summary(&self) -> Vec<Vec<String>> {
        let scores = self.scores();
        let mut header: Vec<String> = ["part", "setting", "overrides", "n", "failed"]
            .map(String::from)
            .into();
        for score in &scores {
            header.extend(["mean", "sd", "n"].map(|what| format!("{score} {what}")));
        }
        let mut rows = vec![header];
        for (part, setting) in self.settings() {
            let mut row = vec![
                part.name.clone(),
                setting.name.clone(),
                setting.overrides.join("; "),
                self.complete(setting).count().to_string(),
                self.failed(setting).to_string(),
            ];
            for score in &scores {
                let summary = Summary::of(&self.values(setting, score));
                row.push(summary.map_or(String::new(), |summary| digits(summary.mean)));
                row.push(summary.and_then(|s| s.sd).map_or(String::new(), digits));
                row.push(summary.map_or(0, |summary| summary.n).to_string());
            }
            rows.push(row);
        }
        rows
    }

    fn settings(&self) -> impl Iterator<Item = (&Part, &Setting)> {
        let parts = self.plan.parts.iter();
        parts.flat_map(|part| part.settings.iter().map(move |setting| (part, setting)))
    }

    fn failed(&self, setting: &Setting) -> usize {
        let failed = |run: &&usize| matches!(self.states[**run], State::Failed(_));
        setting.runs.iter().filter(failed).count()
    }

    /// The table and the curves in Markdown, aligned for people: mean ± sample standard deviation of `scores`.
    pub fn markdown(&self, scores: &[String]) -> String {
        let mut text = String::new();
        for part in &self.plan.parts {
            let first = if part.axis.is_some() {
                part.name.as_str()
            } else {
                ""
            };
            let mut rows = vec![vec![first.to_owned(), "n".to_owned()]];
            for score in scores {
                rows[0].push(format!("{score}, {}", self.unit(score).name));
            }
            for setting in &part.settings {
                let n = self.complete(setting).count();
                let mut row = vec![setting.name.clone(), n.to_string()];
                for score in scores {
                    let unit = self.unit(score);
                    let summary = Summary::of(&self.values(setting, score));
                    row.push(match summary {
                        None => "–".into(),
                        Some(s) if s.n == n => s.shown(unit.factor, unit.digits),
                        // The others have no such score, or none that is a number.
                        Some(s) => {
                            format!("{} ({} of {n})", s.shown(unit.factor, unit.digits), s.n)
                        }
                    });
                }
                rows.push(row);
            }
            text.push_str(&aligned(&rows));
            text.push('\n');
        }
        text
    }
}

/// Six decimals, as `metrics.csv` has them; of a mean too, whose error is far above.
fn digits(value: f64) -> String {
    format!("{value:.6}")
}

/// A Markdown table; all columns but the first are numbers and stand to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let clean = |cell: &str| plain(cell).replace('|', "\\|");
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| clean(cell)).collect())
        .collect();
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(at));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string does not fail.
            let _ = match at {
                0 => write!(text, "| {cell:width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for (at, &width) in widths.iter().enumerate() {
                let _ = match at {
                    0 => write!(text, "|:{:-<1$}", "", width + 1),
                    _ => write!(text, "|{:-<1$}:", "", width + 1),
                };
            }
            text.push_str("|\n");
        }
    }
    text
}

fn write_csv(path: &Path, rows: &[Vec<String>]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row)?;
    }
    let bytes = writer
        .into_inner()
        .with_context(|| format!("cannot write {}", path.display()))?;
    write_file(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_of_fewer_runs_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.csv");
        let run = |f1: &str| {
            std::fs::write(&path, format!("epoch,choice,F1\n1,0.5,{f1}\n")).expect("the file");
            State::Done(Metrics::read(&path).expect("metrics"))
        };
        let plan = Plan {
            base: "base.toml".into(),
            seeds: vec![1, 2, 3],
            parts: vec![Part {
                name: "table".into(),
                axis: None,
                settings: vec![Setting {
                    name: "row".into(),
                    value: None,
                    overrides: Vec::new(),
                    runs: vec![0, 1, 2],
                }],
            }],
            runs: Vec::new(),
        };
        let results = Results {
            plan: &plan,
            states: vec![run("0.5"), run(""), run("0.7")],
            folders: Vec::new(),
        };
        let text = results.markdown(&["F1".to_owned(), "choice".to_owned()]);
        assert!(text.contains("60.00 ± 14.14 (2 of 3)"), "{text}");
        assert!(text.contains("50.00 ± 0.00 |"), "{text}");
        let summary = results.summary();
        let at = |name: &str| {
            summary[0]
                .iter()
                .position(|column| column == name)
                .expect(name)
        };
        assert_eq!(summary[1][at("n")], "3");
        assert_eq!(summary[1][at("F1 n")], "2");
        assert_eq!(summary[1][at("choice n")], "3");
    }

    #[test]
    fn a_table_is_aligned_by_characters() {
        let rows = [["θ|", "n", "F1, %"], ["0.1", "3", "71.23 ± 0.41"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            aligned(&rows),
            "| θ\\| |   n |        F1, % |\n\
             |:----|----:|-------------:|\n\
             | 0.1 |   3 | 71.23 ± 0.41 |\n"
        );
    }
}
