//! A panel: a chart with two axes and what lies between them.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::look::Look;
use super::{INK, INSIDE, LARGE, SMALL, fault, font, label_width, pixels};

/// The grid's colour.
const GRID: RGBColor = RGBColor(224, 224, 224);

/// At most so many round numbers are marked on an axis.
const MOST_TICKS: usize = 5;

/// Where something is, by the panel's axes.
pub type Point = (f64, f64);

/// A panel, in the coordinates of its axes.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What goes from left to right.
    pub x: Scale,
    /// What goes upwards.
    pub y: Scale,
    /// What is drawn, in this order.
    pub layers: Vec<Layer>,
}

/// An axis: values from `low` to `high`, and its marked values.
#[derive(Clone, Debug)]
pub struct Scale {
    /// What it counts, with its unit.
    pub title: String,
    /// The value at the left or lower end.
    pub low: f64,
    /// The value at the other end.
    pub high: f64,
    /// Marked values and their labels.
    pub ticks: Vec<(f64, String)>,
}

/// Something drawn.
#[derive(Clone, Debug)]
pub enum Layer {
    /// A line through points.
    Line(Vec<Point>, Look),
    /// A value of one run.
    Seed(Point, Look),
    /// A mean.
    Mean(Point, Look),
    /// A standard deviation to either side of a mean: its ends, level or upright.
    Spread([Point; 2], Look),
}

impl Layer {
    /// What an axis has to have room for.
    pub fn points(&self) -> &[Point] {
        match self {
            Self::Line(points, _) => points,
            Self::Seed(at, _) | Self::Mean(at, _) => std::slice::from_ref(at),
            Self::Spread(ends, _) => ends,
        }
    }
}

impl Scale {
    /// An axis that holds all `values` with some room, marked at round numbers.
    pub fn of(title: String, values: impl IntoIterator<Item = f64>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        // Equal values stand in the middle.
        let room = match high - low {
            0.0 => 0.05 * low.abs().max(0.1),
            span => 0.06 * span,
        };
        let (low, high) = (low - room, high + room);
        let marked = RangedCoordf64::from(low..high).key_points(MOST_TICKS);
        let step = marked.windows(2).map(|pair| pair[1] - pair[0]).next();
        let digits = step.map_or(0.0, |step| (-(1.001 * step).log10().floor()).max(0.0)) as usize;
        let ticks = marked.into_iter();
        Self {
            title,
            low,
            high,
            ticks: ticks.map(|at| (at, format!("{at:.digits$}"))).collect(),
        }
    }

    /// Of a level axis: a label that would run into the one before is left out.
    fn with_room(mut self) -> Self {
        let mut free = f64::NEG_INFINITY;
        for (value, label) in &mut self.ticks {
            let at = INSIDE * (*value - self.low) / (self.high - self.low);
            let half = label_width(label) / 2.0;
            match at - half > free {
                true => free = at + half + 6.0,
                false => label.clear(),
            }
        }
        self
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.iter().map(|&(value, _)| value).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.0 == *value);
        tick.map_or(String::new(), |(_, label)| label.clone())
    }
}

impl Panel {
    /// Draws the panel with `left` units for the labels of its upward axis; a unit is `scale` pixels.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        left: f64,
        scale: f64,
    ) -> anyhow::Result<()> {
        let pixels = |units| pixels(units, scale);
        let mut builder = ChartBuilder::on(area);
        if !self.y.title.is_empty() {
            builder.caption(&self.y.title, font(LARGE, scale));
        }
        let mut chart = builder
            .margin_top(pixels(8.0))
            .x_label_area_size(pixels(44.0))
            .y_label_area_size(pixels(left))
            .build_cartesian_2d(self.x.clone().with_room(), self.y.clone())
            .map_err(fault)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(pixels(1.0)))
            .axis_style(INK.stroke_width(pixels(1.0)))
            .label_style(font(SMALL, scale))
            .axis_desc_style(font(LARGE, scale))
            .x_desc(&self.x.title)
            .draw()
            .map_err(fault)?;
        let area = chart.plotting_area();
        for layer in &self.layers {
            match layer {
                Layer::Line(points, look) => look.line(area, points.clone(), scale)?,
                Layer::Seed(at, look) => look.mark(area, *at, false, scale)?,
                Layer::Mean(at, look) => look.mark(area, *at, true, scale)?,
                Layer::Spread([low, high], look) => {
                    let style = look.color().stroke_width(pixels(1.4));
                    let (x, y) = ((low.0 + high.0) / 2.0, (low.1 + high.1) / 2.0);
                    let cap = pixels(8.0);
                    match low.1 == high.1 {
                        true => {
                            area.draw(&ErrorBar::new_horizontal(y, low.0, x, high.0, style, cap))
                        }
                        false => {
                            area.draw(&ErrorBar::new_vertical(x, low.1, y, high.1, style, cap))
                        }
                    }
                    .map_err(fault)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_are_marked_at_round_numbers() {
        for values in [
            vec![0.0, 1.0],
            vec![71.2, 73.9, 72.0],
            vec![-3e-5, 2e-5],
            vec![5.0],
            vec![0.0],
            vec![],
        ] {
            let scale = Scale::of(String::new(), values.clone());
            assert!(scale.low < scale.high, "{scale:?}");
            assert!(
                values.iter().all(|&v| scale.low < v && v < scale.high),
                "{scale:?}"
            );
            assert!(
                (2..=7).contains(&scale.ticks.len()),
                "{values:?}: {scale:?}"
            );
            for (value, label) in &scale.ticks {
                assert!((scale.low..=scale.high).contains(value));
                let read: f64 = label.parse().unwrap();
                assert!(
                    (read - value).abs() < 1e-9 * (scale.high - scale.low),
                    "{label}"
                );
            }
        }
        let labels: Vec<String> = Scale::of(String::new(), [71.2, 73.9])
            .ticks
            .into_iter()
            .map(|(_, label)| label)
            .collect();
        assert_eq!(labels, ["72", "73", "74"]);
    }
}
