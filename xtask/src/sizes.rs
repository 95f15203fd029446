//! `cargo xtask sizes`: how much a visitor loads, beside what it was when that was last agreed to.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use brotli::enc::BrotliEncoderParams;

use crate::{
    site::Site,
    stamp::{Stamp, files},
};

/// Bytes as they are, and as a server sends them compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Size {
    raw: u64,
    brotli: u64,
}

/// By name.
type Sizes = BTreeMap<String, Size>;

/// What must not be exceeded: name, raw, brotli. Decimal megabytes and kilobytes.
const BUDGET: [(&str, u64, u64); 2] = [
    ("webgpu wasm", 12_000_000, 2_500_000),
    (OWN_JS, 34_000, u64::MAX),
];

/// Our own JavaScript that a visitor of the page loads: the sum of two lines.
const OWN_JS: &str = "own js";

/// Growth beyond this share is an error until it is agreed to with `--update`.
const GROWTH: f64 = 0.05;

/// Measures the page; `update` writes what it finds instead of comparing.
pub(crate) fn run(site: &Site, update: bool) -> Result<()> {
    let project = site.project();
    let dist = site.dist();
    site.build(&dist)?;
    let sizes = measure(&dist, &project.target.join("site/brotli"))?;
    let agreed = project.root.join("xtask/sizes.toml");
    if update {
        fs::write(&agreed, render(&sizes))
            .with_context(|| format!("cannot write {}", agreed.display()))?;
    }
    let text = fs::read_to_string(&agreed)
        .with_context(|| format!("cannot read {}; --update makes it", agreed.display()))?;
    let before = parse(&text).context("xtask/sizes.toml")?;
    print(&sizes, &before);
    let faults = faults(&sizes, &before);
    for fault in &faults {
        eprintln!("{fault}");
    }
    match faults.len() {
        0 => Ok(()),
        n => bail!("{n} faults; `cargo xtask sizes --update` agrees to growth, the budget stays"),
    }
}

/// Which line of the table a file of the page counts for.
fn line(file: &str) -> Option<String> {
    let ending = file.rsplit_once('.')?.1;
    let name = match (file.split_once('/'), ending) {
        (Some(("models", _)), "muse") => file.rsplit('/').next()?.to_owned(),
        (Some(("models" | "samples", _)), _) => return None,
        (Some((folder, rest)), _) if folder.starts_with("muse-web") => {
            match (rest.split_once('/'), ending) {
                (Some((module, _)), "wasm") => format!("{module} wasm"),
                (Some((module, _)), "js") => format!("{module} glue"),
                // For embedders; the page does without it.
                (None, "js") if rest == "element.js" => "element js".to_owned(),
                (None, "js") => "module js".to_owned(),
                _ => return None,
            }
        }
        (_, "js") => "page js".to_owned(),
        (_, "html" | "css") => "page html and css".to_owned(),
        _ => return None,
    };
    Some(name)
}

fn measure(dist: &Path, cache: &Path) -> Result<Sizes> {
    let mut sizes = Sizes::new();
    for file in files(dist)? {
        let Some(name) = line(&file) else { continue };
        let bytes = fs::read(dist.join(&file)).with_context(|| format!("cannot read {file}"))?;
        let size = Size {
            raw: bytes.len() as u64,
            brotli: brotli(&bytes, cache)?,
        };
        let mut add = |name: &str| {
            let sum = sizes.entry(name.to_owned()).or_default();
            sum.raw += size.raw;
            sum.brotli += size.brotli;
        };
        add(&name);
        if matches!(name.as_str(), "module js" | "page js") {
            add(OWN_JS);
        }
    }
    Ok(sizes)
}

/// The compressed size, at the best quality. That takes a minute for a module, so it is remembered.
fn brotli(bytes: &[u8], cache: &Path) -> Result<u64> {
    let mut known = Stamp::new(Path::new(""));
    known.add("brotli, quality 11, window 24", bytes);
    let place: PathBuf = cache.join(known.value());
    if let Some(size) = fs::read_to_string(&place).ok().and_then(|s| s.parse().ok()) {
        return Ok(size);
    }
    let parameters = BrotliEncoderParams {
        quality: 11,
        lgwin: 24,
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters)?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    fs::write(&place, compressed.len().to_string())
        .with_context(|| format!("cannot write {}", place.display()))?;
    Ok(compressed.len() as u64)
}

fn faults(sizes: &Sizes, before: &Sizes) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, size) in sizes {
        let Some(old) = before.get(name) else {
            faults.push(format!("{name}: not yet agreed to"));
            continue;
        };
        for (what, new, old) in [
            ("raw", size.raw, old.raw),
            ("brotli", size.brotli, old.brotli),
        ] {
            if new as f64 > old as f64 * (1.0 + GROWTH) {
                faults.push(format!("{name}: {what} grew from {old} to {new} bytes"));
            }
        }
    }
    for name in before.keys().filter(|name| !sizes.contains_key(*name)) {
        faults.push(format!("{name}: is gone"));
    }
    for (name, raw, brotli) in BUDGET {
        let size = sizes.get(name).copied().unwrap_or_default();
        for (what, bytes, limit) in [("raw", size.raw, raw), ("brotli", size.brotli, brotli)] {
            if bytes > limit {
                faults.push(format!(
                    "{name}: {what} is {bytes} bytes, the budget is {limit}"
                ));
            }
        }
    }
    faults
}

fn print(sizes: &Sizes, before: &Sizes) {
    println!("{:<20} {:>12} {:>12}   raw, before", "", "raw", "brotli");
    for (name, size) in sizes {
        let change = match before.get(name) {
            Some(old) if old.raw > 0 => {
                format!("{:+.1} %", 100.0 * (size.raw as f64 / old.raw as f64 - 1.0))
            }
            _ => "new".to_owned(),
        };
        println!("{name:<20} {:>12} {:>12}   {change}", size.raw, size.brotli);
    }
}

fn render(sizes: &Sizes) -> String {
    let mut text =
        "# Bytes that a visitor loads, written by `cargo xtask sizes --update`.\n".to_owned();
    for (name, size) in sizes {
        text += &format!(
            "\n[\"{name}\"]\nraw = {}\nbrotli = {}\n",
            size.raw, size.brotli
        );
    }
    text
}

fn parse(text: &str) -> Result<Sizes> {
    let table: toml::Table = text.parse()?;
    table
        .into_iter()
        .map(|(name, entry)| {
            let number = |key: &str| {
                let number = entry.get(key).and_then(|value| value.as_integer());
                number
                    .and_then(|number| number.try_into().ok())
                    .with_context(|| format!("{name} has no {key}"))
            };
            let size = Size {
                raw: number("raw")?,
                brotli: number("brotli")?,
            };
            Ok((name, size))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(entries: &[(&str, u64, u64)]) -> Sizes {
        entries
            .iter()
            .map(|&(name, raw, brotli)| (name.to_owned(), Size { raw, brotli }))
            .collect()
    }

    #[test]
    fn growth_over_five_per_cent_and_a_full_budget_are_faults() {
        let before = sizes(&[("cpu wasm", 1000, 100), ("own js", 33_900, 9000)]);
        let check = |entries| faults(&sizes(entries), &before);
        assert!(check(&[("cpu wasm", 1050, 105), ("own js", 34_000, 9000)]).is_empty());
        assert!(check(&[("cpu wasm", 10, 1), ("own js", 3, 9)]).is_empty());
        let raw = check(&[("cpu wasm", 1051, 100), ("own js", 33_900, 9000)]);
        assert_eq!(raw, ["cpu wasm: raw grew from 1000 to 1051 bytes"]);
        let brotli = check(&[("cpu wasm", 1000, 106), ("own js", 33_900, 9000)]);
        assert_eq!(brotli, ["cpu wasm: brotli grew from 100 to 106 bytes"]);
        let budget = check(&[("cpu wasm", 1000, 100), ("own js", 34_001, 9000)]);
        assert_eq!(budget, ["own js: raw is 34001 bytes, the budget is 34000"]);
        let names = check(&[("own js", 33_900, 9000), ("gpu wasm", 1, 1)]);
        assert_eq!(names, ["gpu wasm: not yet agreed to", "cpu wasm: is gone"]);
        let wasm = sizes(&[("webgpu wasm", 12_000_001, 2_500_001)]);
        assert_eq!(faults(&wasm, &wasm).len(), 2);
    }

    #[test]
    fn every_file_counts_for_its_line() {
        for (file, name) in [
            ("muse-web-0123/cpu/muse_web_bg.wasm", Some("cpu wasm")),
            ("muse-web/webgpu/muse_web.js", Some("webgpu glue")),
            ("muse-web/worker.js", Some("module js")),
            ("muse-web/element.js", Some("element js")),
            ("sw.js", Some("page js")),
            ("page-0123.js", Some("page js")),
            ("index.html", Some("page html and css")),
            ("models/muse-small.muse", Some("muse-small.muse")),
            ("models/models.json", None),
            ("samples/rocket.jpg", None),
            ("precache.json", None),
        ] {
            assert_eq!(line(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn own_js_is_the_sum_and_sizes_are_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let dist = folder.path().join("dist");
        fs::create_dir_all(dist.join("muse-web")).unwrap();
        fs::write(dist.join("muse-web/a.js"), "x".repeat(1000)).unwrap();
        fs::write(dist.join("muse-web/b.js"), "y".repeat(500)).unwrap();
        fs::write(dist.join("page.js"), "z".repeat(300)).unwrap();
        let cache = folder.path().join("cache");
        let sizes = measure(&dist, &cache).unwrap();
        assert_eq!(sizes["module js"].raw, 1500);
        assert_eq!(sizes["own js"].raw, 1800);
        assert!((1..100).contains(&sizes["own js"].brotli), "{sizes:?}");
        // What is remembered is what was computed.
        assert_eq!(measure(&dist, &cache).unwrap(), sizes);
        assert_eq!(parse(&render(&sizes)).unwrap(), sizes);
        assert!(parse("[a]\nraw = 1\n").is_err());
    }
}
