//! `muse train` from end to end: the real binary, tiny encoders, data made by formula.

#[path = "train/cases.rs"]
mod cases;
#[cfg(feature = "studies")]
#[path = "train/crossfit.rs"]
mod crossfit;
#[path = "train/decoders.rs"]
mod decoders;
#[path = "train/faults.rs"]
mod faults;
#[cfg(feature = "studies")]
#[path = "train/label.rs"]
mod label;
#[path = "train/pretrain.rs"]
mod pretrain;
#[cfg(unix)]
#[path = "train/resume.rs"]
mod resume;
#[path = "train/styles.rs"]
mod styles;
#[path = "train/tune.rs"]
mod tune;
#[path = "train/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use muse_core::file::ModelFile;
use serde_json::json;

use self::world::{Data, Run, STEPS, World, done, eval, failed, muse, part};

/// Names in a folder, those that begin with a dot apart.
fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| !name.starts_with('.'))
        .collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(String::from).into()
}

/// The epoch whose model was kept: the first of the best.
fn best_epoch(run: &Run) -> usize {
    let choices = run.column("choice");
    let best = choices.iter().copied().fold(f64::MIN, f64::max);
    choices
        .iter()
        .position(|&choice| choice == best)
        .expect("a choice")
}

#[test]
fn a_run_trains_scores_and_leaves_its_folder_in_order() {
    let world = World::new(Data::Both);
    let overrides = ["train.epochs=12", "seed=3"];
    let run = world.trained("run", &overrides);

    assert_eq!(
        names(&run.folder),
        set(["best.muse", "checkpoints", "config.toml", "metrics.csv"])
    );
    let mut kept = BTreeSet::new();
    for step in [11 * STEPS, 12 * STEPS] {
        kept.extend(["model", "optimizer", "scheduler"].map(|part| format!("{part}-{step}.bpk")));
    }
    assert_eq!(names(&run.folder.join("checkpoints")), kept);

    let echo = std::fs::read_to_string(run.folder.join("config.toml")).expect("the echo");
    let echo: toml::Table = toml::from_str(&echo).expect("TOML");
    assert_eq!(echo["seed"].as_integer(), Some(3));
    assert_eq!(echo["train"]["epochs"].as_integer(), Some(12));
    assert_eq!(echo["data"]["train"].as_array().map(Vec::len), Some(2));

    for (at, epoch) in (1..=12).enumerate() {
        assert_eq!(run.column("epoch")[at], f64::from(epoch));
        assert_eq!(run.column("steps")[at], f64::from(epoch) * STEPS as f64);
    }
    for loss in ["loss", "entities loss", "sentiment loss"] {
        let losses = run.column(loss);
        assert!(losses[11] < 0.5 * losses[0], "{loss}: {losses:?}");
    }
    // The choice is the mean of the two, over all sets.
    let (f1, accuracy) = (run.column("all F1"), run.column("all accuracy"));
    for (epoch, choice) in run.column("choice").into_iter().enumerate() {
        assert!((choice - (f1[epoch] + accuracy[epoch]) / 2.0).abs() < 2e-6);
    }
    let best = best_epoch(&run);
    assert!(f1[best] > 0.9 && accuracy[best] > 0.8, "{:?}", run.metrics);

    // What `muse eval` says of the best model: of each set and pooled.
    let report = eval(
        &world,
        &run.folder.join("best.muse"),
        &["valid.txt", "valid.jsonl"],
    );
    for (title, scores) in [
        ("sentences", &report["sets"][0]),
        ("posts", &report["sets"][1]),
        ("all", &report["pooled"]),
    ] {
        let mut pairs = vec![
            ("P", &scores["entities"]["micro"]["precision"]),
            ("R", &scores["entities"]["micro"]["recall"]),
            ("F1", &scores["entities"]["micro"]["f1"]),
            ("LOC", &scores["entities"]["per_type"]["LOC"]["f1"]),
        ];
        if title == "sentences" {
            pairs.push(("PER", &scores["entities"]["per_type"]["PER"]["f1"]));
            assert!(!run.metrics[0].contains_key("sentences accuracy"));
        } else {
            pairs.push(("accuracy", &scores["sentiment"]["accuracy"]));
            pairs.push(("weighted F1", &scores["sentiment"]["weighted_f1"]));
        }
        for (name, value) in pairs {
            let here = run.column(&format!("{title} {name}"))[best];
            let there = value.as_f64().expect("a score");
            assert!(
                (here - there).abs() < 1e-6,
                "{title} {name}: {here}, {there}"
            );
        }
    }

    let mut tag = muse(&["tag", "--json", "Ann met Bob in Rome", "--model"]);
    tag.arg(run.folder.join("best.muse"));
    let answer: serde_json::Value = serde_json::from_str(&done(&mut tag).out).expect("JSON");
    assert!(answer["sentiment"]["label"].is_string(), "{answer}");
    let kinds: Vec<_> = answer["entities"]
        .as_array()
        .expect("entities")
        .iter()
        .map(|entity| entity["type"].clone())
        .collect();
    assert_eq!(kinds, ["PER", "PER", "LOC"], "{answer}");

    let again = failed(&mut world.train("run", &overrides));
    assert!(again.contains("holds a run already; --resume"), "{again}");
    let mut resume = world.train("run", &overrides);
    resume.arg("--resume");
    assert!(done(&mut resume).err.contains("this run is complete"));
}

#[test]
fn the_seed_alone_decides() {
    let world = World::new(Data::Both);
    let noise = [
        "train.stray_photos=0.5",
        "train.withheld_photos=0.3",
        "train.photo_views=3",
        "train.epochs=2",
    ];
    let with = |out: &str, threads: &str, seed: &str| {
        let workers = format!("train.workers={threads}");
        let mut train = world.train(out, &[&noise[..], &[&workers, seed]].concat());
        world.run(out, done(train.env("RAYON_NUM_THREADS", threads)))
    };
    let one = with("one", "1", "seed=1");
    let three = with("three", "3", "seed=1");
    let other = with("other", "3", "seed=2");
    assert!(one.equals(&three));
    assert_ne!(one.results().0, other.results().0);
}

#[test]
fn photos_are_withheld_and_lent() {
    let world = World::new(Data::Both);
    let run = |out: &str, more: &[&str]| {
        // Validation without photos, so that only training differs.
        let fixed = ["data.valid.1.no_images=true", "train.epochs=1"];
        world.trained(out, &[&fixed[..], more].concat())
    };
    let own = run("own", &[]);
    let withheld = run("withheld", &["train.withheld_photos=1"]);
    let without = run("without", &["data.train.1.no_images=true"]);
    assert!(
        withheld.equals(&without),
        "withholding all photos is having none"
    );
    assert!(!withheld.equals(&own));
    let lent = run("lent", &["train.stray_photos=1"]);
    assert!(!lent.equals(&own));

    let error = failed(&mut world.train(
        "none",
        &["train.stray_photos=1", "data.train.1.no_images=true"],
    ));
    assert!(error.contains("train.stray_photos is 1"), "{error}");
}

#[test]
fn photos_are_shown_in_several_views() {
    let world = World::new(Data::Posts);
    let entries = || {
        let folders = std::fs::read_dir(world.path("cache")).expect("a cache");
        let files = |folder: std::io::Result<std::fs::DirEntry>| {
            let files = std::fs::read_dir(folder.expect("a folder").path());
            files.expect("files").count()
        };
        folders.map(files).sum::<usize>()
    };
    let whole = world.trained("whole", &["train.epochs=1"]);
    assert_eq!(entries(), 3, "there are three photos");
    let views = world.trained("views", &["train.epochs=1", "train.photo_views=4"]);
    assert_eq!(entries(), 3 * 4, "validation sees whole photos");
    assert!(!views.equals(&whole));
    // A CNN that is trained sees them, too.
    let tuned = |out: &str, views: &str| {
        world.trained(out, &["train.epochs=1", "model.image.tune=whole", views])
    };
    let whole = tuned("tuned whole", "train.photo_views=1");
    assert!(!tuned("tuned views", "train.photo_views=4").equals(&whole));
    assert_eq!(entries(), 3 * 4);
}

#[test]
fn image_dropout_reaches_the_model() {
    let world = World::new(Data::Posts);
    let trained = |out: &str, dropout: &str| world.trained(out, &["train.epochs=1", dropout]);
    let none = trained("none", "model.image.dropout=0");
    let half = trained("half", "model.image.dropout=0.5");
    assert_ne!(half.column("loss"), none.column("loss"));
    assert!(half.equals(&trained("again", "model.image.dropout=0.5")));
}

#[test]
fn sentiment_labels_can_be_smoothed_and_weighed() {
    let world = World::new(Data::Posts);
    let run = |out: &str, setting: &str| world.trained(out, &["train.epochs=2", setting]);
    let plain = run("plain", "train.label_smoothing=0");
    // Nothing is left of the labels: no answer is better than all classes alike, which costs ln 3.
    let smooth = run("smooth", "train.label_smoothing=1");
    let losses = smooth.column("sentiment loss");
    let even = 3f64.ln();
    assert!(losses[0] > even && losses[1] > even - 1e-6, "{losses:?}");
    assert!(
        losses[1] < losses[0] && losses[1] < even + 0.1,
        "{losses:?}"
    );
    assert!(!smooth.equals(&plain));
    // Labels may be soft in the data themselves: the labels alone, or all classes alike.
    let soft = |name: &str, shares: &dyn Fn(&str, &str) -> f64| {
        let text = std::fs::read_to_string(world.path("train.jsonl")).expect("posts");
        let lines = text.lines().map(|line| {
            let mut post: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let label = post["sentiment"].as_str().expect("a label").to_owned();
            let shares = ["negative", "neutral", "positive"]
                .map(|class| (class.to_owned(), shares(class, &label).into()));
            let shares: serde_json::Map<_, _> = shares.into_iter().collect();
            post["sentiment"] = serde_json::json!({"label": label, "probabilities": shares});
            format!("{post}\n")
        });
        let lines: String = lines.collect();
        world.write(&format!("{name}.jsonl"), lines);
        run(name, &format!("data.train.0.path={name}.jsonl"))
    };
    let hard = soft("hard", &|class, label| f64::from(u8::from(class == label)));
    assert!(hard.equals(&plain));
    assert!(soft("even", &|_, _| 1.0 / 3.0).equals(&smooth));
    assert!(!run("weighed", "train.class_balance=1").equals(&plain));
}

#[test]
fn the_image_encoder_is_trained_as_far_as_asked() {
    let world = World::new(Data::Posts);
    let start =
        ModelFile::from_bytes(&world.trained("start", &["train.epochs=1"]).best).expect("a model");
    let tuned = |out: &str, tune: &str| {
        let mut command = world.train(out, &["train.epochs=1", "data.train.0.limit=8", tune]);
        command.arg("--init").arg(world.path("start/best.muse"));
        let ran = done(&mut command);
        world.run(out, ran).model()
    };
    let frozen = tuned("frozen", "model.image.tune=frozen");
    assert_eq!(part(&frozen, "image."), part(&start, "image."));
    assert_ne!(part(&frozen, "cross."), part(&start, "cross."));

    let names: Vec<String> = part(&start, "image.").into_keys().collect();
    let changed = |tuned: &ModelFile| -> BTreeSet<String> {
        let changed = names
            .iter()
            .filter(|name| tuned.state[*name] != start.state[*name]);
        changed.cloned().collect()
    };
    let is_statistic = |name: &String| name.contains("running");
    let last = changed(&tuned("last", "model.image.tune.last=2"));
    let expected = |name: &&String| {
        (name.contains(".head.") || name.contains(".blocks.15.")) && !is_statistic(name)
    };
    assert_eq!(last, names.iter().filter(expected).cloned().collect());
    let whole = changed(&tuned("whole", "model.image.tune=whole"));
    let expected = names.iter().filter(|name| !is_statistic(name));
    assert_eq!(whole, expected.cloned().collect());

    let error = failed(&mut world.train("far", &["model.image.tune.last=99"]));
    assert!(error.contains("1 to 18 stages"), "{error}");
}

#[test]
fn features_are_computed_once_and_again_when_damaged() {
    let world = World::new(Data::Posts);
    let entries = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut entries = Vec::new();
        for folder in names(&world.path("cache")) {
            let folder = world.path("cache").join(folder);
            for name in names(&folder) {
                let bytes = std::fs::read(folder.join(&name)).expect("an entry");
                entries.push((folder.join(name), bytes));
            }
        }
        entries
    };
    let run = |out: &str| world.trained(out, &["train.epochs=1"]);
    let first = run("first");
    let kept = entries();
    assert_eq!(kept.len(), 3, "a file for each photo");

    for (at, (path, bytes)) in kept.iter().enumerate() {
        match at {
            0 => std::fs::write(path, &bytes[..1000]),
            1 => std::fs::write(path, []),
            _ => {
                let mut bytes = bytes.clone();
                *bytes.last_mut().expect("values") ^= 1;
                std::fs::write(path, bytes)
            }
        }
        .expect("a damaged entry");
    }
    assert!(run("damaged").equals(&first));
    assert_eq!(entries(), kept);

    // An entry that is whole is believed, so no photo is decoded or looked at again.
    for (path, bytes) in &kept {
        let values = bytes.len() - 2 * 64 * 1280;
        let mut forged = bytes.clone();
        forged[values..].fill(0);
        let checksum: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&forged[values..]).into();
        forged[values - 32..values].copy_from_slice(&checksum);
        std::fs::write(path, forged).expect("a forged entry");
    }
    assert!(!run("forged").equals(&first));

    // The key is the photo's bytes, not its name.
    std::fs::copy(world.path("photos/0.png"), world.path("photos/1.png")).expect("a copy");
    run("copied");
    assert_eq!(entries().len(), 3);
}

#[test]
fn long_captions_are_trained_and_scored_in_windows() {
    let world = World::new(Data::Sentences);
    let text = std::fs::read_to_string(world.path("train.txt")).expect("sentences");
    // Eight captions of four sentences each, some twenty words.
    let mut long = String::new();
    for (number, sentence) in text.split("\n\n").filter(|s| !s.is_empty()).enumerate() {
        let (_, words) = sentence.split_once('\n').expect("an id");
        if number % 4 == 0 {
            long += &format!("\nIMGID:{number}\n");
        }
        long += words;
        long.push('\n');
    }
    world.write("long.txt", long);
    let overrides = [
        "model.max_pieces=12",
        "train.batch_size=2",
        "train.epochs=4",
        "data.train.0.path=long.txt",
        "data.valid.0.path=long.txt",
    ];
    let run = world.trained("run", &overrides);
    // A window has room for ten words.
    let windows = 2.0 * run.column("steps")[0];
    assert!(windows >= 8.0 * 2.0, "{windows} windows");
    let f1 = run.column("sentences F1");
    let best = best_epoch(&run);
    assert!(f1[best] > 0.7, "{f1:?}");
    let report = eval(&world, &run.folder.join("best.muse"), &["long.txt"]);
    let there = report["pooled"]["entities"]["micro"].clone();
    assert!(
        (there["f1"].as_f64().expect("a score") - f1[best]).abs() < 1e-6,
        "{there}"
    );
    let gold = text.matches("\tB-").count();
    assert_eq!(there["gold"], json!(gold), "no word is cut off");
}
