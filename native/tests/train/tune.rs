//! `--init` and `model.init`: fine-tuning from a model file.

use std::process::Command;

use muse_core::file::{ModelFile, Precision};
use muse_core::objective::Part;

use super::world::{Data, Run, World, done, failed, muse, part};

/// All rates 0: what the model starts with is what the run ends with.
const STILL: [&str; 6] = [
    "train.epochs=1",
    "train.rates.text=0",
    "train.rates.image=0",
    "train.rates.exchange=0",
    "train.rates.heads=0",
    "train.rates.crf=0",
];

fn from(mut command: Command, model: &str, world: &World) -> Command {
    command.arg("--init").arg(world.path(model));
    command
}

/// A run that goes on from what [`started`] has left.
fn continued(world: &World, overrides: &[&str]) -> Run {
    let ran = done(&mut from(
        world.train("run", overrides),
        "start/best.muse",
        world,
    ));
    world.run("run", ran)
}

fn started(world: &World) -> ModelFile {
    world.trained("start", &["train.epochs=1"]).model()
}

#[test]
fn a_head_that_knows_the_labels_is_kept() {
    let world = World::new(Data::Both);
    let mut start = started(&world);
    let temperature = [(Part::Sentiment, 2.0)];
    start.config.calibration.temperatures = temperature.into();
    world.write("start/best.muse", start.to_bytes(Precision::F32));
    // The posts alone have no PER, and other settings of the model do not count: its shape is the file's.
    world.write("people.txt", "IMGID:1\nAnn\tB-PER\nmet\tO\nBob\tB-PER\n");
    let overrides = [
        &STILL[..],
        &[
            "data.train.0.path=people.txt",
            "model.exchange.layers=1",
            "model.exchange.last_layer=0",
            "model.max_pieces=8",
        ],
    ]
    .concat();
    let run = continued(&world, &overrides);
    assert!(!run.err.contains("anew"), "{}", run.err);
    let end = run.model();
    assert!(end.state == start.state);
    // A trained model is as sure as training made it.
    assert!(!start.config.calibration.is_empty() && end.config.calibration.is_empty());
    let mut config = start.config;
    config.calibration = end.config.calibration.clone();
    assert_eq!(end.config, config);
    assert_eq!(
        end.config.names.tags,
        ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    );
}

#[test]
fn the_entity_head_takes_in_new_labels() {
    let world = World::new(Data::Both);
    let start = started(&world);
    world.write("teams.txt", "IMGID:1\nThe\tO\nLions\tB-ORG\nwon\tO\n");
    let overrides = [
        &STILL[..],
        &["data.train.0.path=teams.txt", "data.valid.0.path=teams.txt"],
    ]
    .concat();
    let run = continued(&world, &overrides);
    assert!(
        run.err.contains("learns B-ORG, I-ORG beside what it knows"),
        "{}",
        run.err
    );
    let end = run.model();
    let old = start.config.names.tags.len();
    assert_eq!(end.config.names.tags[..old], start.config.names.tags);
    assert_eq!(end.config.names.tags[old..], ["B-ORG", "I-ORG"]);
    let outside = |model: &ModelFile| -> Vec<_> {
        let all = model.state.iter();
        all.filter(|(name, _)| {
            !name.starts_with("entities.emissions.") && !name.starts_with("entities.crf.")
        })
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect()
    };
    assert!(outside(&end) == outside(&start));
    // What is known of the old tags stays, to the last bit; the new ones begin with something.
    for (name, tensor) in &start.state {
        if !(name.starts_with("entities.emissions.") || name.starts_with("entities.crf.")) {
            continue;
        }
        let grown = &end.state[name];
        let (narrow, wide) = (
            tensor.shape.last().expect("an axis"),
            grown.shape.last().expect("an axis"),
        );
        assert_eq!((*narrow, *wide), (old, old + 2), "{name}");
        for (row, place) in tensor.data.chunks(*narrow).zip(grown.data.chunks(*wide)) {
            assert_eq!(row, &place[..old], "{name}");
        }
    }
    let transitions = &end.state["entities.crf.transitions"];
    assert!(
        transitions.data[old * (old + 2)..]
            .iter()
            .any(|&x| x != 0.0)
    );
}

#[test]
fn a_sentiment_head_without_the_classes_begins_anew() {
    let world = World::new(Data::Posts);
    let start = started(&world);
    let posts = "{\"text\": \"Ann met Bob\", \"sentiment\": \"joy\"}\n{\"text\": \"a day\", \"sentiment\": \"fear\"}\n";
    world.write("moods.jsonl", posts);
    let overrides = [
        &STILL[..],
        &[
            "data.train.0.path=moods.jsonl",
            "data.valid.0.path=moods.jsonl",
        ],
    ]
    .concat();
    let run = continued(&world, &overrides);
    let said = run.err.lines().find(|line| line.contains("anew"));
    assert!(said.is_some_and(|line| line.contains("joy")), "{}", run.err);
    let end = run.model();
    assert_eq!(end.config.names.classes, ["fear", "joy"]);
    assert_eq!(end.config.names.tags, start.config.names.tags);
    assert!(part(&end, "sentiment.") != part(&start, "sentiment."));
    assert!(part(&end, "text.") == part(&start, "text."));
}

#[test]
fn a_fine_tuned_run_resumes_from_its_own_copy() {
    let world = World::new(Data::Both);
    started(&world);
    // Another shape and fewer labels than the configuration and the data would give.
    let overrides = [
        "data.train.0.limit=1",
        "model.exchange.layers=1",
        "model.exchange.last_layer=0",
        "train.epochs=2",
    ];
    let whole = done(&mut from(
        world.train("whole", &overrides),
        "start/best.muse",
        &world,
    ));
    let whole = world.run("whole", whole);

    done(&mut from(
        world.train("run", &overrides),
        "start/best.muse",
        &world,
    ));
    // As if it had been stopped after the first epoch, and the model it started from had been removed.
    let checkpoints = world.path("run/checkpoints");
    let last = whole.column("steps")[1];
    std::fs::remove_file(checkpoints.join(format!("scheduler-{last}.bpk"))).expect("a checkpoint");
    std::fs::remove_file(world.path("start/best.muse")).expect("the model");
    let mut resume = world.train("run", &overrides);
    resume.arg("--resume");
    let ran = done(&mut resume);
    assert!(
        ran.err
            .contains(&format!("going on after step {}", last / 2.0)),
        "{ran:?}"
    );
    assert!(world.run("run", ran).equals(&whole));
}

#[test]
fn a_model_that_is_none_is_refused() {
    let world = World::new(Data::Sentences);
    let error = failed(&mut from(world.train("run", &[]), "train.txt", &world));
    assert!(error.contains("train.txt"), "{error}");
    let error = failed(&mut from(world.train("run", &[]), "nothing.muse", &world));
    assert!(error.contains("nothing.muse"), "{error}");
    // Nothing has begun, so the folder is free.
    world.trained("run", &["train.epochs=1"]);
}

/// A configuration that names a model needs nothing else of the model's shape, and no encoders.
#[test]
fn a_configuration_can_name_the_model() {
    let world = World::new(Data::Both);
    let start = started(&world);
    let config = "seed = 1\n[model]\ninit = \"start/best.muse\"\n[train]\nepochs = 1\nbatch_size = 8\n\
        [train.rates]\ntext = 0\nimage = 0\nexchange = 0\nheads = 0\ncrf = 0\n\
        [[data.train]]\npath = \"train.txt\"\n[[data.valid]]\npath = \"valid.txt\"\n";
    world.write("short.toml", config);
    let train = |name: &str, more: &[&str]| {
        let mut command = muse(&["train", "--device", "cpu"]);
        command.current_dir(world.path(""));
        command.arg(name).args(more);
        command
    };
    done(&mut train("short.toml", &[]));
    // The folder's name is the configuration's.
    let bytes = std::fs::read(world.path("runs/short/best.muse")).expect("the best model");
    let end = ModelFile::from_bytes(&bytes).expect("a model");
    assert!(end.state == start.state);
    // Without it, what is missing is named.
    for (setting, said) in [
        ("model.init=nothing.muse", "nothing.muse"),
        ("model.weights=5", "weights"),
    ] {
        let error = failed(&mut train(
            "short.toml",
            &["--out", "other", "--set", setting],
        ));
        assert!(error.contains(said), "{error}");
    }
    world.write(
        "bare.toml",
        config.replace("init = \"start/best.muse\"\n", ""),
    );
    let error = failed(&mut train("bare.toml", &[]));
    assert!(
        error.contains("model.text.folder is needed, unless model.init"),
        "{error}"
    );
}
