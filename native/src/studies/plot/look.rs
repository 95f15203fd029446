//! How a series looks: its colour, mark and dash.

use plotters::coord::CoordTranslate;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::{fault, pixels};

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

/// Dash and gap; the first is a full line.
const DASHES: [Option<(f64, f64)>; 4] =
    [None, Some((7.0, 4.0)), Some((2.0, 3.0)), Some((12.0, 3.0))];

/// Colour, mark and dash of a series. The three repeat with different periods, so that no two of the first 140 series are
/// alike and neighbours differ in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look(pub usize);

impl Look {
    /// The colour.
    pub fn color(self) -> RGBColor {
        COLORS[self.0 % COLORS.len()]
    }

    /// Draws a line through points, with the series' dash; a unit is `scale` pixels.
    ///
    /// # Errors
    ///
    /// The backend's, as for all that draws here.
    pub fn line<DB: DrawingBackend, CT: CoordTranslate>(
        self,
        area: &DrawingArea<DB, CT>,
        points: Vec<CT::From>,
        scale: f64,
    ) -> anyhow::Result<()>
    where
        CT::From: Clone + 'static,
    {
        let style = self.color().stroke_width(pixels(1.6, scale));
        match DASHES[self.0 % DASHES.len()] {
            None => area.draw(&PathElement::new(points, style)),
            Some(lengths) => {
                let [dash, gap] = <[f64; 2]>::from(lengths).map(|units| pixels(units, scale));
                area.draw(&DashedPathElement::new(points, dash, gap, style))
            }
        }
        .map_err(fault)
    }

    /// Draws the series' mark, filled (a mean) or smaller and hollow (one run).
    ///
    /// # Errors
    ///
    /// The backend's.
    pub fn mark<DB: DrawingBackend, CT: CoordTranslate>(
        self,
        area: &DrawingArea<DB, CT>,
        at: CT::From,
        filled: bool,
        scale: f64,
    ) -> anyhow::Result<()>
    where
        CT::From: 'static,
    {
        let (radius, style) = match filled {
            true => (4.6, self.color().filled()),
            false => (3.2, self.color().stroke_width(pixels(1.2, scale))),
        };
        let at = EmptyElement::<_, DB>::at(at);
        let mut corners = self.corners(1.3 * radius * scale);
        if corners.is_empty() {
            area.draw(&(at + Circle::new((0, 0), pixels(radius, scale), style)))
        } else if filled {
            area.draw(&(at + Polygon::new(corners, style)))
        } else {
            corners.push(corners[0]);
            area.draw(&(at + PathElement::new(corners, style)))
        }
        .map_err(fault)
    }

    /// Corners of the mark, on a circle of so many pixels around it; none for a disc.
    fn corners(self, radius: f64) -> Vec<(i32, i32)> {
        let polygon = |n: usize, turn: f64| {
            let angle = |at: usize| (turn + at as f64 / n as f64) * std::f64::consts::TAU;
            let round = |length: f64| (radius * length).round() as i32;
            let corner = |at| (round(angle(at).sin()), round(-angle(at).cos()));
            (0..n).map(corner).collect()
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
