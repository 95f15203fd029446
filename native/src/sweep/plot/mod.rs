//! The figures of a sweep, each as SVG and PNG: the table as dots, a figure for each curve, and learning curves of both.

pub mod canvas;
pub mod panel;

use std::path::Path;

use anyhow::Context;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use self::canvas::{Canvas, FONT, Look, Point, Side, fault};
use self::panel::{Frame, Layer, Panel, SMALL, Scale, width};
use super::file::Axis;
use super::metrics::{Summary, Unit};
use super::plan::{Part, slug};
use super::report::Results;
use crate::output::{plain, write_file};

/// Pixels of a PNG for each of an SVG.
const SCALE: u32 = 2;
/// Width of the inside of a panel.
const INSIDE: f64 = 560.0;

/// Draws what there are complete runs for into files below `out`; `scores` as in the sweep file.
///
/// # Errors
///
/// When a file cannot be written.
pub fn draw(results: &Results, scores: &[String], out: &Path) -> anyhow::Result<()> {
    let registered = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
    registered.map_err(|_| fault("the built-in font cannot be read"))?;
    let known = results.scores();
    let scores: Vec<&str> = scores
        .iter()
        .map(String::as_str)
        .filter(|score| known.contains(score))
        .collect();
    for (number, part) in results.plan.parts.iter().enumerate() {
        if part
            .settings
            .iter()
            .all(|setting| results.complete(setting).next().is_none())
        {
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

/// Panels one below the other, and what explains them.
struct Figure {
    panels: Vec<Panel>,
    /// Room on the left for the upward axis' labels.
    left: f64,
    /// Height of the inside of a panel.
    height: f64,
    /// The names of series, beside the panels.
    legend: Vec<(String, Look)>,
    /// A line at the foot.
    note: &'static str,
}

impl Figure {
    /// Room below each panel for its axis, and above it for its title.
    const BELOW: f64 = 50.0;
    const ABOVE: f64 = 34.0;

    fn size(&self) -> (f64, f64) {
        let names = self
            .legend
            .iter()
            .map(|(name, _)| width(name, SMALL) + 60.0);
        let right = names.fold(24.0, f64::max);
        let panel = self.height + Self::ABOVE + Self::BELOW;
        let panels = panel * self.panels.len() as f64;
        let legend = Self::ABOVE + 20.0 * self.legend.len() as f64;
        let across = self.left + INSIDE + right;
        (
            across.max(width(self.note, SMALL) + 40.0),
            panels.max(legend) + 34.0,
        )
    }

    fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<DB>) -> anyhow::Result<()> {
        let (_, height) = self.size();
        for (at, panel) in self.panels.iter().enumerate() {
            let top = Self::ABOVE + at as f64 * (self.height + Self::ABOVE + Self::BELOW);
            let frame = Frame {
                left: self.left,
                top,
                right: self.left + INSIDE,
                bottom: top + self.height,
            };
            panel.draw(canvas, frame)?;
        }
        let x = self.left + INSIDE + 12.0;
        for (at, (name, look)) in self.legend.iter().enumerate() {
            let y = Self::ABOVE + 8.0 + 20.0 * at as f64;
            canvas.series(&[(x, y), (x + 32.0, y)], *look)?;
            canvas.mark((x + 16.0, y), 4.6, *look, true)?;
            canvas.text(name, (x + 40.0, y), Side::Right, SMALL)?;
        }
        canvas.text(self.note, (20.0, height - 16.0), Side::Right, SMALL)
    }

    /// Writes `path`.svg and `path`.png.
    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let (width, height) = self.size();
        let (width, height) = (width.ceil() as u32, height.ceil() as u32);
        // Not `with_extension`: the name may hold a dot.
        let file = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            std::path::PathBuf::from(name)
        };
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
            area.fill(&WHITE).map_err(fault)?;
            self.draw(&Canvas::new(&area, 1.0))?;
            area.present().map_err(fault)?;
        }
        write_file(&file(".svg"), svg.as_bytes())?;

        let (width, height) = (SCALE * width, SCALE * height);
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        {
            let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            let area = backend.into_drawing_area();
            area.fill(&WHITE).map_err(fault)?;
            self.draw(&Canvas::new(&area, f64::from(SCALE)))?;
            area.present().map_err(fault)?;
        }
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            .context("cannot encode a picture")?;
        write_file(&file(".png"), &png)
    }
}

fn title(score: &str, unit: Unit) -> String {
    format!("{} ({})", plain(score), unit.name)
}

/// Mean and deviation to both sides.
fn ends(values: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    let summary = Summary::of(values)?;
    let spread = summary.sd.map(|sd| (summary.mean - sd, summary.mean + sd));
    Some((summary.mean, spread))
}

/// A row for each setting: the runs, their mean, and a bar of one standard deviation to either side.
fn table(results: &Results, part: &Part, scores: &[&str]) -> Figure {
    let rows = part.settings.len() as f64;
    let names = part
        .settings
        .iter()
        .map(|setting| plain(&setting.name).into_owned());
    let names: Vec<String> = names.collect();
    let panel = |score: &&str| {
        let unit = results.unit(score);
        let mut layers = Vec::new();
        let mut shown = Vec::new();
        for (at, setting) in part.settings.iter().enumerate() {
            let y = rows - 1.0 - at as f64;
            let values: Vec<f64> = results.values(setting, score);
            let values: Vec<f64> = values.iter().map(|value| unit.factor * value).collect();
            let Some((mean, spread)) = ends(&values) else {
                continue;
            };
            // Rows have names; one look serves all.
            let look = Look(0);
            shown.extend(&values);
            if let Some((low, high)) = spread {
                layers.push(Layer::Spread((low, y), (high, y), look));
                shown.extend([low, high]);
            }
            layers.push(Layer::Mean((mean, y), look));
            layers.extend(values.iter().map(|&v| Layer::Seed((v, y - 0.3), Look(1))));
        }
        Panel {
            x: Scale::of(title(score, unit), shown),
            y: Scale {
                title: String::new(),
                low: -0.7,
                high: rows - 0.4,
                ticks: names
                    .iter()
                    .enumerate()
                    .map(|(at, name)| (rows - 1.0 - at as f64, name.clone()))
                    .collect(),
            },
            layers,
        }
    };
    let longest = names
        .iter()
        .map(|name| width(name, SMALL))
        .fold(40.0, f64::max);
    Figure {
        panels: scores.iter().map(panel).collect(),
        left: longest + 24.0,
        height: 36.0 * rows + 10.0,
        legend: Vec::new(),
        note: "disc and bar: mean ± sample standard deviation over the seeds; squares: single runs",
    }
}

/// The scores over a curve's values.
fn curve(results: &Results, part: &Part, axis: Axis, scores: &[&str]) -> Figure {
    let place = |at: usize| {
        let value = part.settings[at].value.unwrap_or(at as f64);
        match axis {
            Axis::Linear => value,
            Axis::Log => value.log10(),
            Axis::Steps => at as f64,
        }
    };
    let places: Vec<f64> = (0..part.settings.len()).map(place).collect();
    let mut ticks: Vec<(f64, String)> = places
        .iter()
        .zip(&part.settings)
        .map(|(&place, setting)| (place, plain(&setting.name).into_owned()))
        .collect();
    ticks.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&one, &other| places[one].total_cmp(&places[other]));
    let panel = |score: &&str| {
        let unit = results.unit(score);
        let look = Look(0);
        let (mut line, mut above, mut shown) = (Vec::new(), Vec::new(), Vec::new());
        for &at in &order {
            let values = results.values(&part.settings[at], score);
            let values: Vec<f64> = values.iter().map(|value| unit.factor * value).collect();
            let Some((mean, spread)) = ends(&values) else {
                continue;
            };
            let x = places[at];
            line.push((x, mean));
            shown.extend(&values);
            if let Some((low, high)) = spread {
                above.push(Layer::Spread((x, low), (x, high), look));
                shown.extend([low, high]);
            }
            above.push(Layer::Mean((x, mean), look));
            above.extend(values.iter().map(|&v| Layer::Seed((x, v), Look(1))));
        }
        let mut layers = vec![Layer::Line(line, look)];
        layers.append(&mut above);
        let mut x = Scale::of(plain(&part.name).into_owned(), places.iter().copied());
        x.ticks.clone_from(&ticks);
        Panel {
            x,
            y: Scale::of(title(score, unit), shown),
            layers,
        }
    };
    Figure {
        panels: scores.iter().map(panel).collect(),
        left: 84.0,
        height: 240.0,
        legend: Vec::new(),
        note: "disc and bar: mean ± sample standard deviation over the seeds; squares: single runs",
    }
}

/// Scores and losses over the epochs: a line of means for each setting.
fn learning(results: &Results, part: &Part, scores: &[&str]) -> Figure {
    let mut columns = scores.to_vec();
    let known = results.scores();
    // Of the losses those that any run has; a loss of 0 throughout is one that nothing is trained on.
    columns.extend(known.iter().copied().filter(|name| {
        let used = |value: &f64| *value != 0.0;
        let all = part
            .settings
            .iter()
            .flat_map(|setting| results.complete(setting));
        name.ends_with("loss")
            && all
                .flat_map(|run| run.column(name))
                .flatten()
                .any(|v| used(&v))
    }));
    let runs = || {
        part.settings
            .iter()
            .flat_map(|setting| results.complete(setting))
    };
    let epochs = runs().map(|run| run.epochs()).max().unwrap_or(1);
    let panel = |column: &&str| {
        let unit = results.unit(column);
        let (mut layers, mut marks, mut shown) = (Vec::new(), Vec::new(), Vec::new());
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
                let Some((mean, _)) = ends(&values) else {
                    continue;
                };
                let x = epoch as f64 + aside;
                shown.extend(&values);
                line.push((x, mean));
                marks.extend(values.iter().map(|&value| Layer::Seed((x, value), look)));
                marks.push(Layer::Mean((x, mean), look));
            }
            layers.push(Layer::Line(line, look));
        }
        layers.append(&mut marks);
        // Room for what stands aside, even of a single epoch.
        let mut x = Scale::of("epoch".into(), [0.8, epochs as f64 + 0.2]);
        x.ticks = (1..=epochs)
            .map(|epoch| (epoch as f64, epoch.to_string()))
            .collect();
        Panel {
            x,
            y: Scale::of(title(column, unit), shown),
            layers,
        }
    };
    let legend = part
        .settings
        .iter()
        .enumerate()
        .filter_map(|(at, setting)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::folder::State;
    use crate::sweep::metrics::Metrics;
    use crate::sweep::plan::{Plan, Setting};

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
