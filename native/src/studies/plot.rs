//! Figures, each as SVG and PNG: panels one below the other, and what explains them. Lengths are in units of 1/96 inch.

pub mod look;
pub mod panel;

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

use self::look::Look;
use self::panel::Panel;
use crate::output::write_file;

/// Pixels of a PNG for each of an SVG.
const SCALE: u32 = 2;
/// Width of the inside of a panel.
const INSIDE: f64 = 560.0;
/// What a panel takes above its inside and below it, for its titles and labels.
const AROUND: f64 = 84.0;
/// Height of a series' line in the legend.
const SERIES: f64 = 20.0;
/// Height of the line at the foot.
const FOOT: f64 = 34.0;

/// The font of all text, which the crate brings along.
const FONT: &str = "DejaVu Sans";
/// The text's colour.
const INK: RGBColor = RGBColor(40, 40, 40);
/// Size of the axes' text.
const SMALL: f64 = 12.0;
/// Size of titles.
const LARGE: f64 = 13.5;

/// Panels one below the other, and what explains them.
pub struct Figure {
    /// The panels.
    pub panels: Vec<Panel>,
    /// Room on the left for the upward axis' labels.
    pub left: f64,
    /// Height of the inside of a panel.
    pub height: f64,
    /// The names of series, beside the panels.
    pub legend: Vec<(String, Look)>,
    /// A line at the foot.
    pub note: &'static str,
}

impl Figure {
    fn size(&self) -> (f64, f64) {
        let names = self.legend.iter();
        let right = names.map(|(name, _)| label_width(name) + 60.0);
        let across = self.left + INSIDE + right.fold(24.0, f64::max);
        let panels = (self.height + AROUND) * self.panels.len() as f64;
        let legend = SERIES * (self.legend.len() + 2) as f64;
        (
            across.max(label_width(self.note) + 40.0),
            panels.max(legend) + FOOT,
        )
    }

    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: f64,
    ) -> anyhow::Result<()> {
        let place = |x: f64, y: f64| ((x * scale).round() as i32, (y * scale).round() as i32);
        area.fill(&WHITE).map_err(fault)?;
        let (_, height) = self.size();
        let (upper, foot) = area.split_vertically(pixels(height - FOOT, scale));
        let (left, right) = upper.split_horizontally(pixels(self.left + INSIDE, scale));
        let panels = left.split_evenly((self.panels.len(), 1));
        for (panel, area) in self.panels.iter().zip(&panels) {
            panel.draw(area, self.left, scale)?;
        }
        for (at, (name, look)) in self.legend.iter().enumerate() {
            let y = SERIES * (at + 2) as f64;
            look.line(&right, vec![place(12.0, y), place(44.0, y)], scale)?;
            look.mark(&right, place(28.0, y), true, scale)?;
            write(&right, name, place(52.0, y - SMALL / 2.0), scale)?;
        }
        write(&foot, self.note, place(20.0, 12.0), scale)?;
        area.present().map_err(fault)
    }

    /// Writes `path`.svg and `path`.png.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let registered = register_font(FONT, FontStyle::Normal, dejavu::sans::regular());
        registered.map_err(|_| fault("the built-in font cannot be read"))?;
        let (width, height) = self.size();
        let (width, height) = (width.ceil() as u32, height.ceil() as u32);
        // Not `with_extension`: the name may hold a dot.
        let file = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let mut svg = String::new();
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        self.draw(&backend.into_drawing_area(), 1.0)?;
        write_file(&file(".svg"), svg.as_bytes())?;

        let (width, height) = (SCALE * width, SCALE * height);
        let mut pixels = vec![0; 3 * width as usize * height as usize];
        let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
        self.draw(&backend.into_drawing_area(), f64::from(SCALE))?;
        let mut png = Vec::new();
        PngEncoder::new(&mut png)
            .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
            .context("cannot encode a picture")?;
        write_file(&file(".png"), &png)
    }
}

/// Words that begin at a pixel.
fn write<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    words: &str,
    at: (i32, i32),
    scale: f64,
) -> anyhow::Result<()> {
    area.draw_text(words, &font(SMALL, scale), at)
        .map_err(fault)
}

fn font(size: f64, scale: f64) -> TextStyle<'static> {
    (FONT, size * scale).into_font().color(&INK)
}

/// A length in whole pixels.
fn pixels(units: f64, scale: f64) -> u32 {
    (units * scale).round().max(1.0) as u32
}

/// About how wide a label is.
pub fn label_width(text: &str) -> f64 {
    0.62 * SMALL * text.chars().count() as f64
}

/// A backend's errors borrow from it in part; their text does not.
fn fault(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("cannot draw: {error}")
}
