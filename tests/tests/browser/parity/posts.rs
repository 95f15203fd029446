//! Posts that nobody wrote: captions from patterns, photos from shapes, always the same.

use image::{ImageFormat, Rgb, RgbImage};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::pictures::encoded;

/// A caption and the file of its photo.
pub(super) struct Post {
    pub(super) caption: String,
    pub(super) photo: Vec<u8>,
}

const PATTERNS: [&str; 24] = [
    "{person} meets {person} in {place}",
    "Great night at {place} with {person} and {person} {emoji}",
    "RT @{handle}: {person} joins {organisation} for the new season!",
    "{organisation} opens an office in {place}, says {person}",
    "{emoji}{emoji} {person} wins the final of #{tag} {emoji}",
    "Sunset over {place} {emoji} no filter needed",
    "I miss you so much {emoji}",
    "BREAKING: {person} of {organisation} has arrived in {place} http://example.org/{tag}",
    "Can't believe that {organisation} lost to {organisation} again... so sad",
    "{person}, {person} and {person} on stage at {place}",
    "throwback to {place} with my best friends, what a lovely day",
    "The mayor of {place} thanks {organisation}",
    "#{tag} #{place} #{organisation}",
    "{person}'s new album is out: \"{tag}\" (via {organisation})",
    "worst. service. ever. never flying {organisation} again {emoji}",
    "«{person}» in {place} — día 3",
    "{place} – {place}: 3 hrs 20 min by train, 45 € with {organisation}",
    "good morning",
    "{emoji}",
    "Who is the best? {person} or {person}? Vote now: t.co/{tag}",
    "The {organisation} players visit a school in {place} this afternoon, and {person} reads from a book that was written by {person} of {place} for the children of the {organisation} of {place}, which nobody expected",
    "so so so so so so happy to be back in {place}",
    "{person}\n{organisation}\n{place}",
    "JUST IN {person} LEAVES {organisation} {emoji}",
];
const PEOPLE: [&str; 20] = [
    "Barack Obama",
    "Angela Merkel",
    "Lionel Messi",
    "Taylor Swift",
    "Serena Williams",
    "Kanye West",
    "José Mourinho",
    "Björk",
    "Malala Yousafzai",
    "Steve Jobs",
    "Emma Watson",
    "LeBron James",
    "Shakira",
    "Ban Ki-moon",
    "Zoë Saldaña",
    "Usain Bolt",
    "Hermione Featherstonehaugh",
    "Dr. Ángel Ñuñoa",
    "O'Neal",
    "李小龍",
];
const PLACES: [&str; 18] = [
    "Berlin",
    "New York",
    "São Paulo",
    "Paris",
    "London",
    "Los Angeles",
    "Kraków",
    "Tokyo",
    "Madison Square Garden",
    "Rio de Janeiro",
    "Lagos",
    "Central Park",
    "Houston",
    "Montreal",
    "the Grand Canyon",
    "Reykjavík",
    "Wagga Wagga",
    "Москва",
];
const ORGANISATIONS: [&str; 16] = [
    "NASA",
    "Google",
    "Manchester United",
    "the United Nations",
    "FC Barcelona",
    "Apple",
    "BBC News",
    "Lakers",
    "SpaceX",
    "Greenpeace",
    "Real Madrid",
    "CNN",
    "Nike",
    "Médecins Sans Frontières",
    "AT&T",
    "Ludwig & Söhne",
];
const HANDLES: [&str; 6] = [
    "someone",
    "news_24",
    "BBCBreaking",
    "a",
    "x_X_x",
    "theRealOne",
];
const TAGS: [&str; 6] = ["WorldCup", "tbt", "2016", "NoFilter", "love", "aB3xYz"];
const EMOJI: [&str; 8] = ["😀", "🎉", "👩‍🚀", "🏳️‍🌈", "❤️", "🇩🇪", "👍🏽", "😭"];

/// The first so many posts; each pattern comes by turns.
pub(super) fn posts(count: usize) -> Vec<Post> {
    let mut random = StdRng::seed_from_u64(2309);
    (0..count)
        .map(|index| Post {
            caption: caption(PATTERNS[index % PATTERNS.len()], &mut random),
            photo: photo(index, &mut random),
        })
        .collect()
}

fn caption(pattern: &str, random: &mut StdRng) -> String {
    let mut caption = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').expect("a closed brace");
        let list: &[&str] = match name {
            "person" => &PEOPLE,
            "place" => &PLACES,
            "organisation" => &ORGANISATIONS,
            "handle" => &HANDLES,
            "tag" => &TAGS,
            _ => &EMOJI,
        };
        caption.push_str(before);
        caption.push_str(list[random.random_range(0..list.len())]);
        rest = after;
    }
    caption + rest
}

/// A gradient with discs and bars on it, more or less noisy; JPEG and PNG by turns.
fn photo(index: usize, random: &mut StdRng) -> Vec<u8> {
    let width = random.random_range(40..700);
    let height = random.random_range(40..700);
    let corners: [[f32; 3]; 4] = std::array::from_fn(|_| color(random));
    let mut picture = RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        Rgb(std::array::from_fn(|c| {
            let above = corners[0][c] * (1.0 - u) + corners[1][c] * u;
            let below = corners[2][c] * (1.0 - u) + corners[3][c] * u;
            (above * (1.0 - v) + below * v) as u8
        }))
    });
    for shape in 0..random.random_range(0..8) {
        let paint = Rgb(color(random).map(|value| value as u8));
        let (x0, y0) = (
            random.random_range(0..width),
            random.random_range(0..height),
        );
        let size = random.random_range(5..=width.min(height) / 2);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let (dx, dy) = (x.abs_diff(x0), y.abs_diff(y0));
            let inside = if shape % 2 == 0 {
                dx * dx + dy * dy < size * size
            } else {
                dx < size && dy < size / 3
            };
            if inside {
                *pixel = paint;
            }
        }
    }
    let noise = [0, 0, 10, 60][index % 4];
    if noise > 0 {
        for value in picture.iter_mut() {
            *value = value.saturating_add_signed(random.random_range(-noise..=noise));
        }
    }
    let format = [ImageFormat::Jpeg, ImageFormat::Png][index % 2];
    encoded(&picture, format)
}

fn color(random: &mut StdRng) -> [f32; 3] {
    std::array::from_fn(|_| random.random_range(0.0..=255.0))
}
