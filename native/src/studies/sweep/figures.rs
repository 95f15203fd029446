//! The figures of a sweep: the table as dots, a figure for each curve, and learning curves of both.

use std::path::Path;

use super::file::Axis;
use super::metrics::{Metrics, Summary, Unit};
use super::plan::{Part, Setting, slug};
use super::report::Results;
use crate::output::plain;
use crate::studies::plot::look::Look;
use crate::studies::plot::panel::{Layer, Panel, Point, Scale};
use crate::studies::plot::{self, Figure};

const NOTE: &str =
    "disc and bar: mean ± sample standard deviation over the seeds; squares: single runs";

/// Draws what there are complete runs for into files below `out`; `scores` as in the sweep file.
///
/// # Errors
///
/// When a file cannot be written.
pub fn draw(results: &Results, scores: &[String], out: &Path) -> anyhow::Result<()> {
    let known = results.scores();
    let scores: Vec<&str> = scores
        .iter()
        .map(String::as_str)
        .filter(|score| known.contains(score))
        .collect();
    for (number, part) in results.plan.parts.iter().enumerate() {
        if complete(results, part).next().is_none() {
            continue;
        }
        let (name, figure) = match part.axis {
            None => ("table".to_owned(), table(results, part, &scores)),
            Some(axis) => {
                // Counted from 1, the table apart.
                let number = number + usize::from(results.plan.parts[0].axis.is_some());
                let name = format!("curve-{number}-{}", slug(&part.name));
                let name = name.trim_end_matches('-').to_owned();
                (name, curve(results, part, axis, &scores))
            }
        };
        figure.save(&out.join(&name))?;
        learning(results, part, &scores).save(&out.join(format!("{name}-learning")))?;
    }
    Ok(())
}

fn complete<'a>(results: &'a Results, part: &'a Part) -> impl Iterator<Item = &'a Metrics> {
    let settings = part.settings.iter();
    settings.flat_map(|setting| results.complete(setting))
}

fn title(score: &str, unit: Unit) -> String {
    format!("{} ({})", plain(score), unit.name)
}

/// A setting's values of a score, in its unit.
fn values(results: &Results, setting: &Setting, score: &str) -> Vec<f64> {
    let factor = results.unit(score).factor;
    let values = results.values(setting, score).into_iter();
    values.map(|value| factor * value).collect()
}

/// The mean of a setting's values, its deviation, and the single values; `mean` and `single` say where a value stands.
fn summarised(
    values: &[f64],
    mean: impl Fn(f64) -> Point,
    single: impl Fn(f64) -> Point,
) -> Vec<Layer> {
    let Some(summary) = Summary::of(values) else {
        return Vec::new();
    };
    // Settings have places and names; one look serves all.
    let mut layers = Vec::new();
    if let Some(sd) = summary.sd {
        let ends = [summary.mean - sd, summary.mean + sd].map(&mean);
        layers.push(Layer::Spread(ends, Look(0)));
    }
    layers.push(Layer::Mean(mean(summary.mean), Look(0)));
    layers.extend(
        values
            .iter()
            .map(|&value| Layer::Seed(single(value), Look(1))),
    );
    layers
}

/// What the axes of a panel have to have room for.
fn points(layers: &[Layer]) -> impl Iterator<Item = &Point> {
    layers.iter().flat_map(Layer::points)
}

/// A row for each setting: the runs, their mean, and a bar of one standard deviation to either side.
fn table(results: &Results, part: &Part, scores: &[&str]) -> Figure {
    let rows = part.settings.len() as f64;
    let row = |at: usize| rows - 1.0 - at as f64;
    let names = part.settings.iter().enumerate();
    let names: Vec<(f64, String)> = names
        .map(|(at, setting)| (row(at), plain(&setting.name).into_owned()))
        .collect();
    let panel = |score: &&str| {
        let rows_of = part.settings.iter().enumerate().flat_map(|(at, setting)| {
            let y = row(at);
            let values = values(results, setting, score);
            summarised(&values, |value| (value, y), |value| (value, y - 0.3))
        });
        let layers: Vec<Layer> = rows_of.collect();
        let title = title(score, results.unit(score));
        Panel {
            x: Scale::of(title, points(&layers).map(|point| point.0)),
            y: Scale {
                title: String::new(),
                low: -0.7,
                high: rows - 0.4,
                ticks: names.clone(),
            },
            layers,
        }
    };
    let widths = names.iter().map(|(_, name)| plot::label_width(name));
    Figure {
        panels: scores.iter().map(panel).collect(),
        left: widths.fold(40.0, f64::max) + 24.0,
        height: 36.0 * rows + 10.0,
        legend: Vec::new(),
        note: NOTE,
    }
}

/// The scores over a curve's values.
fn curve(results: &Results, part: &Part, axis: Axis, scores: &[&str]) -> Figure {
    let place = |(at, setting): (usize, &Setting)| {
        let value = setting.value.unwrap_or(at as f64);
        match axis {
            Axis::Linear => value,
            Axis::Log => value.log10(),
            Axis::Steps => at as f64,
        }
    };
    let settings = part.settings.iter().enumerate();
    let mut placed: Vec<(f64, &Setting)> = settings
        .map(|numbered| (place(numbered), numbered.1))
        .collect();
    placed.sort_by(|one, other| one.0.total_cmp(&other.0));
    let panel = |score: &&str| {
        let at_each = placed.iter().flat_map(|&(x, setting)| {
            let values = values(results, setting, score);
            summarised(&values, |value| (x, value), |value| (x, value))
        });
        let mut layers: Vec<Layer> = at_each.collect();
        let means = layers.iter().filter_map(|layer| match layer {
            Layer::Mean(at, _) => Some(*at),
            _ => None,
        });
        layers.insert(0, Layer::Line(means.collect(), Look(0)));
        let mut x = Scale::of(
            plain(&part.name).into_owned(),
            placed.iter().map(|placed| placed.0),
        );
        let ticks = placed.iter();
        x.ticks = ticks
            .map(|(place, setting)| (*place, plain(&setting.name).into_owned()))
            .collect();
        let title = title(score, results.unit(score));
        let y = Scale::of(title, points(&layers).map(|point| point.1));
        Panel { x, y, layers }
    };
    Figure {
        panels: scores.iter().map(panel).collect(),
        left: 84.0,
        height: 240.0,
        legend: Vec::new(),
        note: NOTE,
    }
}

/// Scores and losses over the epochs: a line of means for each setting.
fn learning(results: &Results, part: &Part, scores: &[&str]) -> Figure {
    let mut columns = scores.to_vec();
    let known = results.scores();
    columns.extend(
        known
            .iter()
            .filter(|name| is_used_loss(results, part, name)),
    );
    let panel = |column: &&str| learning_panel(results, part, column);
    let legend = part.settings.iter().enumerate();
    let legend = legend.filter_map(|(at, setting)| {
        results.complete(setting).next()?;
        Some((plain(&setting.name).into_owned(), Look(at)))
    });
    Figure {
        panels: columns.iter().map(panel).collect(),
        left: 84.0,
        height: 200.0,
        legend: legend.collect(),
        note: "lines and filled marks: means over the seeds; hollow marks: single runs",
    }
}

/// Whether any run has this loss; one of 0 throughout is one that nothing is trained on.
fn is_used_loss(results: &Results, part: &Part, name: &str) -> bool {
    let mut values = complete(results, part).flat_map(|run| run.column(name));
    name.ends_with("loss") && values.any(|value| value.is_some_and(|value| value != 0.0))
}

fn learning_panel(results: &Results, part: &Part, column: &str) -> Panel {
    let unit = results.unit(column);
    let epochs = complete(results, part).map(Metrics::epochs);
    let epochs = epochs.max().unwrap_or(1);
    let (mut layers, mut marks) = (Vec::new(), Vec::new());
    for (at, setting) in part.settings.iter().enumerate() {
        let look = Look(at);
        // Side by side, so that equal values do not hide one another.
        let aside = 0.2 * ((at as f64 + 0.5) / part.settings.len() as f64 - 0.5);
        let mut line: Vec<Point> = Vec::new();
        for epoch in 1..=epochs {
            let values = results.complete(setting).filter_map(|run| {
                let value = run.column(column).get(epoch - 1).copied().flatten()?;
                Some(unit.factor * value)
            });
            let values: Vec<f64> = values.collect();
            let Some(summary) = Summary::of(&values) else {
                continue;
            };
            let x = epoch as f64 + aside;
            line.push((x, summary.mean));
            marks.extend(values.iter().map(|&value| Layer::Seed((x, value), look)));
            marks.push(Layer::Mean((x, summary.mean), look));
        }
        layers.push(Layer::Line(line, look));
    }
    layers.append(&mut marks);
    // Room for what stands aside, even of a single epoch.
    let mut x = Scale::of("epoch".into(), [0.8, epochs as f64 + 0.2]);
    x.ticks = (1..=epochs)
        .map(|epoch| (epoch as f64, epoch.to_string()))
        .collect();
    let y = Scale::of(title(column, unit), points(&layers).map(|point| point.1));
    Panel { x, y, layers }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::sweep::folder::State;
    use crate::studies::sweep::plan::Plan;

    /// A table of so many rows, a run each.
    fn plan(rows: usize) -> Plan {
        let setting = |run: usize| Setting {
            name: format!("row {run}"),
            value: None,
            overrides: Vec::new(),
            runs: vec![run],
        };
        Plan {
            base: "base.toml".into(),
            seeds: vec![1],
            parts: vec![Part {
                name: "table".into(),
                axis: None,
                settings: (0..rows).map(setting).collect(),
            }],
            runs: Vec::new(),
        }
    }

    fn metrics(text: &str) -> Metrics {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.csv");
        std::fs::write(&path, text).expect("the file");
        Metrics::read(&path).expect("metrics")
    }

    #[test]
    fn all_rows_of_a_single_epoch_stand_within_the_frame() {
        let plan = plan(8);
        let run = || metrics("epoch,choice,loss,F1\n1,0.5,1.25,0.5\n");
        let results = Results {
            plan: &plan,
            states: (0..8).map(|_| State::Done(run())).collect(),
            folders: Vec::new(),
        };
        let figure = learning(&results, &plan.parts[0], &["F1"]);
        let mut marks = 0;
        for Panel { x, y, layers } in &figure.panels {
            for layer in layers {
                if let Layer::Seed(at, _) | Layer::Mean(at, _) = layer {
                    assert!(x.low < at.0 && at.0 < x.high, "{at:?}, {x:?}");
                    assert!(y.low < at.1 && at.1 < y.high, "{at:?}, {y:?}");
                    marks += 1;
                }
            }
        }
        assert_eq!((figure.panels.len(), marks), (2, 2 * 2 * 8));
    }
}
