//! `muse sweep` from end to end: the real binary trains tiny models.

#[path = "sweep/faults.rs"]
mod faults;
#[cfg(unix)]
#[path = "sweep/resume.rs"]
mod resume;
#[path = "train/world.rs"]
#[expect(dead_code, reason = "most of it serves the tests of `muse train`")]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use self::world::{Data, Ran, World, done, metrics, muse};

type Rows = Vec<BTreeMap<String, String>>;

/// `muse sweep sweep.toml --out sweep` on the CPU.
pub(crate) fn sweep(world: &World, arguments: &[&str]) -> Command {
    let mut command = muse(&["sweep", "--device", "cpu"]);
    command
        .arg(world.path("sweep.toml"))
        .arg("--out")
        .arg(world.path("sweep"))
        .args(arguments);
    command
}

pub(crate) fn table(path: &Path) -> Rows {
    let mut reader = csv::Reader::from_path(path).expect("a CSV file");
    let rows = reader.deserialize().collect::<Result<_, _>>();
    rows.expect("rows of equal length")
}

pub(crate) fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.into_string().expect("UTF-8")
    };
    entries
        .map(name)
        .filter(|name| !name.starts_with('.'))
        .collect()
}

/// Everything of a run's metrics but the time it took.
pub(crate) fn timeless(run: &Path) -> Rows {
    let mut rows = metrics(run);
    rows.iter_mut().for_each(|row| drop(row.remove("seconds")));
    rows
}

/// How many trainings a sweep began.
pub(crate) fn trainings(ran: &Ran) -> usize {
    ran.err.matches("  training: ").count()
}

const SWEEP: &str = "
base = \"train.toml\"
seeds = [1, 2]
scores = [\"choice\", \"sentences F1\"]
set.train.epochs = 3

[[row]]
name = \"full | model\"
[[row]]
name = \"without exchange\"
set.model.exchange.theta = 0

[[curve]]
name = \"exchange ratio θ\"
set = \"model.exchange.theta\"
values = [0, 0.2, 0.6]
";

/// The best epoch's row of a run: the first with the greatest choice.
fn best(run: &Path) -> (usize, BTreeMap<String, String>) {
    let rows = metrics(run);
    let choice = |row: &BTreeMap<String, String>| row["choice"].parse::<f64>().expect("a number");
    let greatest = rows.iter().map(choice).fold(f64::MIN, f64::max);
    let at = rows
        .iter()
        .position(|row| choice(row) == greatest)
        .expect("an epoch");
    (at + 1, rows[at].clone())
}

#[test]
fn a_sweep_trains_each_configuration_once_and_reports_it() {
    let world = World::new(Data::Both);
    world.write("sweep.toml", SWEEP);
    let ran = done(&mut sweep(&world, &[]));
    assert_eq!(trainings(&ran), 6, "{}", ran.err);
    let out = world.path("sweep");

    // Of five settings two are the same: three configurations with two seeds each.
    let folders = names(&out.join("runs"));
    assert_eq!(folders.len(), 6, "{folders:?}");
    for folder in &folders {
        let left = names(&out.join("runs").join(folder));
        let small = ["config.toml", "done", "log.txt", "metrics.csv"];
        assert_eq!(left, small.map(String::from).into(), "{folder}");
    }

    let runs = table(&out.join("runs.csv"));
    assert_eq!(runs.len(), 5 * 2);
    for row in &runs {
        let folder = out.join(&row["folder"]);
        let (epoch, scores) = best(&folder);
        assert_eq!((row["state"].as_str(), row["error"].as_str()), ("done", ""));
        assert_eq!(
            (row["epochs"].as_str(), &row["best epoch"]),
            ("3", &epoch.to_string())
        );
        let echo = std::fs::read_to_string(folder.join("config.toml")).expect("the echo");
        let echo: toml::Table = toml::from_str(&echo).expect("TOML");
        assert_eq!(echo["seed"].to_string(), row["seed"]);
        let theta = match row["setting"].as_str() {
            "full | model" => 0.2,
            "without exchange" => 0.0,
            value => value.parse().expect("a point's value"),
        };
        let exchange = &echo["model"]["exchange"];
        assert_eq!(exchange["theta"].as_float(), Some(theta), "{row:?}");
        for (name, value) in &scores {
            if !["epoch", "steps", "seconds"].contains(&name.as_str()) {
                // A column that no run fills, such as the loss of a decoder that there is none of, is left out.
                let cell = row.get(name).map_or("", String::as_str);
                assert_eq!(cell, value, "{name}");
            }
        }
    }
    let folder = |setting: &str, seed: &str| {
        let row = runs
            .iter()
            .find(|row| row["setting"] == setting && row["seed"] == seed);
        row.expect("a row")["folder"].clone()
    };
    for seed in ["1", "2"] {
        assert_eq!(folder("full | model", seed), folder("0.2", seed));
        assert_eq!(folder("without exchange", seed), folder("0", seed));
    }
    assert_ne!(folder("0.6", "1"), folder("0.6", "2"));

    // A run of the sweep is what `muse train` would have made.
    let overrides = ["train.epochs=3", "model.exchange.theta=0.6", "seed=2"];
    let alone = world.trained("alone", &overrides);
    assert_eq!(
        timeless(&out.join(folder("0.6", "2"))),
        timeless(&alone.folder)
    );

    let summary = table(&out.join("summary.csv"));
    assert_eq!(summary.len(), 5);
    for row in &summary {
        let of = |seed: &str, score: &str| -> f64 {
            let (_, scores) = best(&out.join(folder(&row["setting"], seed)));
            scores[score].parse().expect("a number")
        };
        assert_eq!((row["n"].as_str(), row["failed"].as_str()), ("2", "0"));
        for score in ["choice", "sentences F1", "posts accuracy", "loss"] {
            let (one, two) = (of("1", score), of("2", score));
            let value = |name: &str| {
                row[&format!("{score} {name}")]
                    .parse::<f64>()
                    .expect("a number")
            };
            assert!(
                (value("mean") - (one + two) / 2.0).abs() < 2e-6,
                "{score}: {row:?}"
            );
            // Of two values: |a − b| / √2.
            let sd = (one - two).abs() / 2f64.sqrt();
            assert!((value("sd") - sd).abs() < 2e-6, "{score}: {row:?}");
        }
        let percent = |score: &str| {
            let (one, two) = (of("1", score), of("2", score));
            let sd = (one - two).abs() / 2f64.sqrt();
            format!("{:.2} ± {:.2}", 50.0 * (one + two), 100.0 * sd)
        };
        let line = ran.out.lines().find(|line| {
            let name = row["setting"].replace('|', "\\|");
            line.split(" | ")
                .next()
                .is_some_and(|cell| cell.trim_start_matches("| ").trim() == name)
        });
        let line = line.unwrap_or_else(|| panic!("{row:?}: {}", ran.out));
        for score in ["choice", "sentences F1"] {
            assert!(line.contains(&percent(score)), "{line}: {}", percent(score));
        }
    }
    figures(&out);

    // Nothing is left to do, and the same is found again.
    let before = std::fs::read(out.join("runs.csv")).expect("the runs");
    let again = done(&mut sweep(&world, &[]));
    assert_eq!(trainings(&again), 0, "{}", again.err);
    assert_eq!(again.out, ran.out);
    assert_eq!(
        std::fs::read(out.join("runs.csv")).expect("the runs"),
        before
    );
}

/// The figures say what they show, and show every run.
fn figures(out: &Path) {
    let seed = "stroke=\"#D55E00\"";
    let axis = [
        "sentences F1 (%)",
        "choice (%)",
        "sample standard deviation",
    ];
    // Two panels; a square for each run.
    let table = ["full | model", "without exchange"];
    let curve = ["exchange ratio θ", "0.2", "0.6"];
    for (name, texts, squares) in [
        ("table", &table[..], 2 * 2 * 2),
        ("curve-1-exchange-ratio", &curve, 2 * 3 * 2),
    ] {
        let svg = std::fs::read_to_string(out.join(format!("{name}.svg"))).expect("a figure");
        for text in texts.iter().chain(&axis) {
            assert!(svg.contains(text), "{name}: {text}");
        }
        assert_eq!(svg.matches(seed).count(), squares, "{name}");

        let learning = format!("{name}-learning");
        let text = std::fs::read_to_string(out.join(format!("{learning}.svg"))).expect("a figure");
        for text_wanted in [
            "epoch",
            "loss (weighted sum, nats)",
            "sentiment loss (nats)",
            "choice (%)",
        ] {
            assert!(text.contains(text_wanted), "{learning}: {text_wanted}");
        }
        assert!(text.contains(texts[1]), "{learning}: the legend");

        for (name, svg) in [(name, svg), (&learning, text)] {
            let png = image::open(out.join(format!("{name}.png")))
                .expect("a picture")
                .into_rgb8();
            let size = |name: &str| {
                let (_, rest) = svg.split_once(&format!("{name}=\"")).expect("a size");
                let (size, _) = rest.split_once('"').expect("a size");
                size.parse::<u32>().expect("a number")
            };
            assert_eq!(png.dimensions(), (2 * size("width"), 2 * size("height")));
            let has = |color: [u8; 3]| png.pixels().any(|pixel| pixel.0 == color);
            // Means, single runs, axes and words.
            assert!(
                has([0, 114, 178]) && has([213, 94, 0]) && has([40, 40, 40]),
                "{name}"
            );
            let left: usize = (0..png.height())
                .map(|y| {
                    (0..60)
                        .filter(|&x| png.get_pixel(x, y).0 != [255; 3])
                        .count()
                })
                .sum();
            assert!(left > 100, "{name}: words on the left: {left}");
        }
    }
}

#[test]
fn a_changed_file_trains_what_is_new_and_only_what_is_asked_for() {
    let world = World::new(Data::Posts);
    let with = |values: &str| {
        let head = "base = \"train.toml\"\nseeds = [5]\nkeep_models = true\nset.train.epochs = 1\n";
        let row = "[[row]]\nname = \"a\"\n[[row]]\nname = \"b\"\nset.train.rates.text = 0\n";
        let curve =
            format!("[[curve]]\nname = \"rate\"\nscale = \"train.rates\"\nvalues = {values}\n");
        world.write("sweep.toml", format!("{head}{row}{curve}"))
    };
    let states = || -> Vec<String> {
        let runs = table(&world.path("sweep/runs.csv"));
        runs.into_iter()
            .map(|mut row| row.remove("state").expect("a state"))
            .collect()
    };
    with("[0.5]");
    let listed = done(&mut sweep(&world, &["--dry-run"]));
    assert_eq!(listed.out.matches("open ").count(), 3, "{}", listed.out);
    assert!(
        listed.out.contains("train.rates.exchange=0.0015"),
        "{}",
        listed.out
    );
    assert!(!world.path("sweep").exists(), "a dry run writes nothing");

    assert_eq!(trainings(&done(&mut sweep(&world, &["--only", "b"]))), 1);
    assert_eq!(states(), ["open", "done", "open"]);
    assert_eq!(trainings(&done(&mut sweep(&world, &["--only", "rate"]))), 1);
    assert_eq!(states(), ["open", "done", "done"]);
    let figure = world.path("sweep/curve-1-rate.svg");
    assert!(
        std::fs::read_to_string(&figure)
            .expect("a figure")
            .contains("×0.5")
    );

    // The new value is trained, and the one that is gone is not shown.
    with("[0.25]");
    let ran = done(&mut sweep(&world, &["--redraw"]));
    assert_eq!(
        (trainings(&ran), states()),
        (0, vec!["open".into(), "done".into(), "open".into()])
    );
    assert_eq!(trainings(&done(&mut sweep(&world, &[]))), 2);
    assert_eq!(states(), ["done"; 3]);
    assert!(
        std::fs::read_to_string(&figure)
            .expect("a figure")
            .contains("×0.25")
    );
    let folders = names(&world.path("sweep/runs"));
    assert_eq!(folders.len(), 4, "{folders:?}");
    for folder in folders {
        let left = names(&world.path("sweep/runs").join(folder));
        assert!(
            left.contains("best.muse") && !left.contains("checkpoints"),
            "{left:?}"
        );
    }
    // An override of the command line is another configuration.
    let ran = done(&mut sweep(
        &world,
        &["--set", "train.clip=0.5", "--only", "a"],
    ));
    assert_eq!(trainings(&ran), 1);
}
