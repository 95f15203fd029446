//! Lines, marks and words on a plotters backend, in units of 1/96 inch; PNG is drawn at twice that.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A point from the upper left corner.
pub type Point = (f64, f64);

/// The font of all text, which the crate brings along.
pub const FONT: &str = "DejaVu Sans";

/// Distinct in hue and in lightness, for colour-blind people too (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// The text's colour.
pub const INK: RGBColor = RGBColor(40, 40, 40);
/// The grid's.
pub const GRID: RGBColor = RGBColor(224, 224, 224);

/// Dash and gap; the first is a full line.
const DASHES: [Option<(f64, f64)>; 4] =
    [None, Some((7.0, 4.0)), Some((2.0, 3.0)), Some((12.0, 3.0))];

/// Colour, mark and dash of a series. The three repeat with different periods, so that no two of the first 140 series are
/// alike and neighbours differ in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(pub usize);

impl Look {
    fn color(self) -> RGBColor {
        COLORS[self.0 % COLORS.len()]
    }

    fn dash(self) -> Option<(f64, f64)> {
        DASHES[self.0 % DASHES.len()]
    }

    /// Corners of the mark, around 0, within a circle of radius 1; none for a circle.
    fn corners(self) -> Vec<Point> {
        let polygon = |n: usize, turn: f64| -> Vec<Point> {
            let angle = |at: usize| (turn + at as f64 / n as f64) * std::f64::consts::TAU;
            (0..n)
                .map(|at| (angle(at).sin(), -angle(at).cos()))
                .collect()
        };
        match self.0 % 5 {
            0 => Vec::new(),
            1 => polygon(4, 0.125),
            2 => polygon(3, 0.0),
            3 => polygon(4, 0.0),
            _ => polygon(3, 0.5),
        }
    }
}

/// Something to draw on.
pub struct Canvas<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    scale: f64,
}

/// Where a word stands at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It begins there.
    Right,
    /// It ends there.
    Left,
    /// It is centred there.
    Centre,
}

impl<'a, DB: DrawingBackend> Canvas<'a, DB> {
    /// Around an area whose pixels are `1 / scale` units.
    pub fn new(area: &'a DrawingArea<DB, Shift>, scale: f64) -> Self {
        Self { area, scale }
    }

    fn pixel(&self, (x, y): Point) -> (i32, i32) {
        (
            (x * self.scale).round() as i32,
            (y * self.scale).round() as i32,
        )
    }

    fn width(&self, units: f64) -> u32 {
        (units * self.scale).round().max(1.0) as u32
    }

    /// A straight line.
    ///
    /// # Errors
    ///
    /// The backend's, as for all that draws here.
    pub fn line(&self, from: Point, to: Point, color: RGBColor, width: f64) -> anyhow::Result<()> {
        let style = color.stroke_width(self.width(width));
        let path = PathElement::new([self.pixel(from), self.pixel(to)], style);
        self.area.draw(&path).map_err(fault)
    }

    /// A line of a series through points, with the series' dash.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn series(&self, points: &[Point], look: Look) -> anyhow::Result<()> {
        let Some((dash, gap)) = look.dash() else {
            return points
                .windows(2)
                .try_for_each(|pair| self.line(pair[0], pair[1], look.color(), 1.6));
        };
        // How far into dash and gap the line has come, over all its corners.
        let mut phase = 0.0;
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let at = |way: f64| {
                let share = way / length;
                (
                    from.0 + share * (to.0 - from.0),
                    from.1 + share * (to.1 - from.1),
                )
            };
            let mut way = 0.0;
            while way < length {
                let (end, drawn) = match phase < dash {
                    true => (dash - phase, true),
                    false => (dash + gap - phase, false),
                };
                let next = (way + end.max(0.1)).min(length);
                if drawn {
                    self.line(at(way), at(next), look.color(), 1.6)?;
                }
                phase = (phase + next - way) % (dash + gap);
                way = next;
            }
        }
        Ok(())
    }

    /// The series' mark, filled (a mean) or hollow (one run).
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn mark(&self, at: Point, radius: f64, look: Look, filled: bool) -> anyhow::Result<()> {
        let corners = look.corners();
        let style = match filled {
            true => look.color().filled(),
            false => look.color().stroke_width(self.width(1.2)),
        };
        if corners.is_empty() {
            let circle = Circle::new(self.pixel(at), self.width(radius) as i32, style);
            return self.area.draw(&circle).map_err(fault);
        }
        // Of the same area as the circle, more or less.
        let mut corners: Vec<(i32, i32)> = corners
            .iter()
            .map(|(x, y)| self.pixel((at.0 + 1.3 * radius * x, at.1 + 1.3 * radius * y)))
            .collect();
        if filled {
            return self.area.draw(&Polygon::new(corners, style)).map_err(fault);
        }
        corners.push(corners[0]);
        self.area
            .draw(&PathElement::new(corners, style))
            .map_err(fault)
    }

    /// A bar of an error, with caps; upright or level.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn error_bar(&self, from: Point, to: Point, look: Look) -> anyhow::Result<()> {
        let upright = (from.0 - to.0).abs() < (from.1 - to.1).abs();
        let cap = if upright { (4.0, 0.0) } else { (0.0, 4.0) };
        self.line(from, to, look.color(), 1.4)?;
        for (x, y) in [from, to] {
            self.line(
                (x - cap.0, y - cap.1),
                (x + cap.0, y + cap.1),
                look.color(),
                1.4,
            )?;
        }
        Ok(())
    }

    /// Words, centred upright at `at`.
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn text(&self, text: &str, at: Point, side: Side, size: f64) -> anyhow::Result<()> {
        let across = match side {
            Side::Right => HPos::Left,
            Side::Left => HPos::Right,
            Side::Centre => HPos::Center,
        };
        let style = TextStyle::from((FONT, size * self.scale).into_font())
            .color(&INK)
            .pos(Pos::new(across, VPos::Center));
        self.area
            .draw_text(text, &style, self.pixel(at))
            .map_err(fault)
    }
}

/// A backend's errors borrow from it in part; their text does not.
pub fn fault(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("cannot draw: {error}")
}
