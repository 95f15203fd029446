//! What goes wrong is said, with an exit code, and does no harm.

use super::world::{Data, World, done, failed, run};

#[test]
fn faults_are_named() {
    let world = World::new(Data::Both);
    world.write("strange.txt", "IMGID:7\nAnn\tB-ALIEN\n");
    world.write(
        "mood.jsonl",
        "{\"text\": \"so\", \"sentiment\": \"angry\"}\n",
    );
    world.write("cut.txt", "IMGID:1\nAnn\tB-PER\nmet\n");
    world.write(
        "lost.jsonl",
        "{\"text\": \"so\", \"image\": \"none.png\", \"sentiment\": \"neutral\"}\n",
    );
    world.write("photos/broken.png", "not a picture");
    world.write(
        "broken.jsonl",
        "{\"text\": \"so\", \"sentiment\": \"positive\"}\n\
         {\"text\": \"so\", \"sentiment\": \"negative\"}\n\
         {\"text\": \"so\", \"image\": \"photos/broken.png\", \"sentiment\": \"neutral\"}\n",
    );
    world.write("unlabelled.jsonl", "{\"text\": \"so\"}\n");
    world.write("folder/config.json", "{}");
    let table: [(&[&str], &[&str]); 30] = [
        (
            &["train.speed=3"],
            &["train.toml", "unknown field", "speed"],
        ),
        (&["model.image.tune=sometimes"], &["sometimes"]),
        (&["train.epochs=0"], &["train.epochs"]),
        (&["train.batch_size=0"], &["train.batch_size"]),
        (&["train.stray_photos=2"], &["train.stray_photos"]),
        (&["train.label_smoothing=-1"], &["train.label_smoothing"]),
        (&["train.class_balance=2"], &["train.class_balance"]),
        (&["train.photo_views=0"], &["train.photo_views is 0"]),
        (&["model.max_pieces=2"], &["max_pieces"]),
        (&["model.exchange.heads=5"], &["exchange.heads"]),
        (
            &["model.exchange.theta=nan"],
            &["model.exchange.theta is NaN"],
        ),
        (
            &["model.exchange.last_layer=2"],
            &["last_layer = 2", "of 2 layers that is nothing"],
        ),
        (
            &[
                "model.exchange.first_layer=1",
                "model.exchange.last_layer=0",
            ],
            &["first_layer = 1"],
        ),
        (
            &["model.image.dropout=1"],
            &["model.image.dropout is 1", "at least 0 and below 1"],
        ),
        (&["model.fusion_dropout=1"], &["model.fusion_dropout is 1"]),
        (
            &["train.weights.entities=0", "train.weights.sentiment=0"],
            &[
                "no training sample carries a label that counts",
                "train.weights.sentiment is 0",
            ],
        ),
        (
            &["model.text.folder=nowhere"],
            &["nowhere", "config.json", "xtask weights"],
        ),
        (&["model.text.folder=folder"], &["config.json"]),
        (&["model.image.weights=nothing.pth"], &["nothing.pth"]),
        (&["model.image.weights=train.txt"], &["train.txt"]),
        (&["model.image.encoder=resnet18"], &["missing", "layer1"]),
        (&["data.train.0.path=nothing.txt"], &["nothing.txt"]),
        (&["data.train.0.path=cut.txt"], &["cut.txt", "line 3"]),
        (&["data.train.1.path=lost.jsonl"], &["line 1", "none.png"]),
        (&["data.train.1.path=broken.jsonl"], &["broken.png"]),
        (&["data.valid.1.path=broken.jsonl"], &["broken.png"]),
        (
            &["data.valid.0.path=strange.txt"],
            &["sentences", "sample 7", "B-ALIEN"],
        ),
        (
            &["data.valid.1.path=mood.jsonl"],
            &["posts", "sample 1", "angry"],
        ),
        (&["data.valid.1.name=sentences"], &["sentences", "name"]),
        (
            &[
                "data.train=[{path = \"unlabelled.jsonl\"}]",
                "data.valid=[]",
            ],
            &["no training sample carries a label"],
        ),
    ];
    for (overrides, named) in table {
        let error = failed(&mut world.train("run", overrides));
        for name in named {
            assert!(error.contains(name), "{overrides:?}: {error}");
        }
    }
    let error = failed(&mut world.train("run", &["data.train=[]"]));
    assert!(error.contains("training data"), "{error}");

    // None of them took the folder. Photos that a step reads are found out later.
    assert!(!world.path("run/config.toml").exists());
    let mut command = world.train(
        "run",
        &["data.train.1.path=broken.jsonl", "model.image.tune=whole"],
    );
    assert!(failed(&mut command).contains("broken.png"));
    command.arg("--resume");
    assert!(failed(&mut command).contains("broken.png"));
}

#[test]
fn a_training_that_diverges_is_no_success() {
    let world = World::new(Data::Posts);
    let overrides = [
        "train.epochs=3",
        "train.weight_decay=1e38",
        "train.warmup=0",
    ];
    let error = failed(&mut world.train("run", &overrides));
    assert!(
        error.contains("the loss is no longer a number in epoch 1")
            && error.contains("train.rates"),
        "{error}"
    );
    assert!(!world.path("run/best.muse").exists());
}

#[test]
fn a_cache_that_is_too_small_is_told() {
    let world = World::new(Data::Posts);
    let views = ["train.epochs=1", "train.photo_views=9", "cache.limit_mb=2"];
    let run = world.trained("run", &views);
    // 28 entries of 164 kB.
    assert!(
        run.err.contains("take 5 MB, of which the cache holds 2")
            && run.err.contains("cache.limit_mb"),
        "{}",
        run.err
    );
    assert!(
        !world
            .trained("whole", &["train.epochs=1"])
            .err
            .contains("limit_mb")
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    let world = World::new(Data::Sentences);
    for (arguments, named) in [
        (&["--set", "seed"][..], "KEY=VALUE"),
        (&["--precision", "f16"], "--precision"),
        (&["--resume", "--init", "model.muse"], "--init"),
    ] {
        let mut command = world.train("run", &[]);
        command.args(arguments);
        let ran = run(&mut command);
        assert!(ran.code == Some(2) && ran.err.contains(named), "{ran:?}");
    }
    let mut command = world.train("run", &[]);
    command.arg("--resume");
    let error = failed(&mut command);
    assert!(error.contains("there is no run in"), "{error}");
}

#[test]
fn a_run_is_resumed_with_its_own_configuration_only() {
    let world = World::new(Data::Sentences);
    let first = world.trained("run", &["train.epochs=1"]);
    let resume = |overrides: &[&str]| {
        let mut command = world.train("run", overrides);
        command.arg("--resume");
        command
    };
    for other in [&["train.epochs=2"][..], &["train.epochs=1", "seed=2"]] {
        let error = failed(&mut resume(other));
        assert!(
            error.contains("configuration is not that of the run"),
            "{error}"
        );
    }
    assert!(
        world
            .run("run", done(&mut resume(&["train.epochs=1"])))
            .equals(&first)
    );

    // Two at once would write the same files.
    let lock = std::fs::File::create(world.path("run/.lock")).expect("the lock");
    lock.lock().expect("nobody else has it");
    let error = failed(&mut resume(&["train.epochs=1"]));
    assert!(error.contains("another muse trains into"), "{error}");
    drop(lock);
}

#[test]
fn a_checkpoint_that_cannot_be_used_is_named() {
    let world = World::new(Data::Sentences);
    let overrides = ["train.epochs=2"];
    let run = world.trained("run", &overrides);
    let [first, last] = [0, 1].map(|epoch| run.column("steps")[epoch]);
    let checkpoints = run.folder.join("checkpoints");
    std::fs::remove_file(checkpoints.join(format!("optimizer-{last}.bpk"))).expect("a checkpoint");
    let mut resume = world.train("run", &overrides);
    resume.arg("--resume");

    let text = std::fs::read_to_string(world.path("train.txt")).expect("sentences");
    world.write(
        "train.txt",
        text.replace("PER", "ALIEN").replace("LOC", "ALIEN"),
    );
    let valid = std::fs::read_to_string(world.path("valid.txt")).expect("sentences");
    world.write(
        "valid.txt",
        valid.replace("PER", "ALIEN").replace("LOC", "ALIEN"),
    );
    let error = failed(&mut resume);
    assert!(
        error.contains(&format!("model-{first}.bpk does not fit")),
        "{error}"
    );
    world.write("train.txt", text);
    world.write("valid.txt", valid);

    let path = checkpoints.join(format!("optimizer-{first}.bpk"));
    let bytes = std::fs::read(&path).expect("a checkpoint");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("half a checkpoint");
    let error = failed(&mut resume);
    assert!(
        error.contains(&format!("optimizer-{first}.bpk is damaged")),
        "{error}"
    );
    std::fs::write(&path, bytes).expect("the whole");
    assert!(world.run("run", done(&mut resume)).equals(&run));
}
