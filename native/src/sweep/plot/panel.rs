//! A panel: two axes and what lies between them.

use plotters::prelude::DrawingBackend;

use super::canvas::{Canvas, GRID, INK, Look, Point, Side};

/// Size of the axes' text.
pub const SMALL: f64 = 12.0;
/// Size of titles.
pub const LARGE: f64 = 13.5;

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
    /// A standard deviation to either side of a mean, between two points.
    Spread(Point, Point, Look),
    /// Words beside a point.
    Note(Point, String),
}

/// A rectangle in units of the canvas: left, top, right, bottom.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Left end.
    pub left: f64,
    /// Upper end.
    pub top: f64,
    /// Right end.
    pub right: f64,
    /// Lower end.
    pub bottom: f64,
}

impl Scale {
    /// An axis that holds all `values` with some room, marked at round numbers (1, 2 or 5 times a power of ten).
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
        let step = round_step((high - low) / 5.0);
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks = (first..=last).map(|at| {
            let value = at as f64 * step;
            (value, format!("{value:.digits$}"))
        });
        Self {
            title,
            low,
            high,
            ticks: ticks.collect(),
        }
    }

    fn share(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= least * 0.999);
    step.unwrap_or(10.0) * power
}

impl Panel {
    /// Draws the panel: the inside fills `frame`, the labels stand around it.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn draw<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<DB>,
        frame: Frame,
    ) -> anyhow::Result<()> {
        let Frame {
            left,
            top,
            right,
            bottom,
        } = frame;
        let x = |value: f64| left + self.x.share(value) * (right - left);
        let y = |value: f64| bottom - self.y.share(value) * (bottom - top);
        let place = |point: &Point| (x(point.0), y(point.1));

        for (value, label) in &self.y.ticks {
            canvas.line((left, y(*value)), (right, y(*value)), GRID, 1.0)?;
            canvas.text(label, (left - 8.0, y(*value)), Side::Left, SMALL)?;
        }
        // A label that would run into the one before is left out.
        let mut free = f64::NEG_INFINITY;
        for (value, label) in &self.x.ticks {
            canvas.line((x(*value), top), (x(*value), bottom), GRID, 1.0)?;
            let half = width(label, SMALL) / 2.0;
            if x(*value) - half > free {
                canvas.text(label, (x(*value), bottom + 13.0), Side::Centre, SMALL)?;
                free = x(*value) + half + 6.0;
            }
        }
        canvas.line((left, top), (left, bottom), INK, 1.0)?;
        canvas.line((left, bottom), (right, bottom), INK, 1.0)?;
        canvas.text(&self.y.title, (left, top - 14.0), Side::Right, LARGE)?;
        let middle = (left + right) / 2.0;
        canvas.text(&self.x.title, (middle, bottom + 34.0), Side::Centre, LARGE)?;

        for layer in &self.layers {
            match layer {
                Layer::Line(points, look) => {
                    let points: Vec<Point> = points.iter().map(place).collect();
                    canvas.series(&points, *look)?;
                }
                Layer::Seed(at, look) => canvas.mark(place(at), 3.2, *look, false)?,
                Layer::Mean(at, look) => canvas.mark(place(at), 4.6, *look, true)?,
                Layer::Spread(from, to, look) => canvas.error_bar(place(from), place(to), *look)?,
                Layer::Note(at, text) => canvas.text(text, place(at), Side::Right, SMALL)?,
            }
        }
        Ok(())
    }
}

/// About how wide a text is.
pub fn width(text: &str, size: f64) -> f64 {
    0.62 * size * text.chars().count() as f64
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
