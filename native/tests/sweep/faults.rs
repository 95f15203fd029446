//! What goes wrong is said, with an exit code, and does no harm.

use super::world::{Data, World, done, failed, run};
use super::{sweep, table, trainings};

const HEAD: &str = "base = \"train.toml\"\nseeds = [1]\nset.train.epochs = 1\n";

#[test]
fn a_run_that_fails_does_not_stop_the_others() {
    let world = World::new(Data::Posts);
    let rows = "[[row]]\nname = \"lost\"\nset.data.train.0.path = \"lost.jsonl\"\n[[row]]\nname = \"good\"\n";
    world.write("sweep.toml", format!("{HEAD}{rows}"));
    let error = failed(&mut sweep(&world, &[]));
    assert!(error.contains("1 of 2 runs failed"), "{error}");
    assert!(
        error.contains("failed: lost, seed 1: cannot read the data file"),
        "{error}"
    );

    let state = |at: usize| {
        let mut row = table(&world.path("sweep/runs.csv")).remove(at);
        (
            row.remove("state").expect("a state"),
            row.remove("error").expect("an error"),
        )
    };
    assert_eq!(state(0).0, "failed");
    assert!(state(0).1.contains("lost.jsonl"), "{:?}", state(0));
    assert_eq!(state(1), ("done".into(), String::new()));
    let summary = table(&world.path("sweep/summary.csv"));
    assert_eq!(
        (summary[0]["n"].as_str(), summary[0]["failed"].as_str()),
        ("0", "1")
    );
    assert_eq!(summary[0]["choice mean"], "");
    // It stays known until it is tried again.
    let ran = run(&mut sweep(&world, &["--redraw"]));
    assert!(
        ran.code == Some(1) && ran.out.contains("| lost |   0 |"),
        "{ran:?}"
    );
    assert_eq!(state(0).0, "failed");

    let posts = std::fs::read(world.path("train.jsonl")).expect("posts");
    world.write("lost.jsonl", posts);
    assert_eq!(trainings(&done(&mut sweep(&world, &[]))), 1);
    assert_eq!(state(0), ("done".into(), String::new()));

    // The folder's name says what its configuration is.
    let folder = table(&world.path("sweep/runs.csv"))[1]["folder"].clone();
    let echo = world.path("sweep").join(folder).join("config.toml");
    let text = std::fs::read_to_string(&echo).expect("the echo");
    std::fs::write(&echo, text.replace("seed = 1", "seed = 2")).expect("a change");
    let error = failed(&mut sweep(&world, &[]));
    assert!(
        error.contains("not the configuration that the folder is named after"),
        "{error}"
    );
}

#[test]
fn faults_of_the_file_are_told_before_anything_is_trained() {
    let world = World::new(Data::Posts);
    let row = "[[row]]\nname = \"a\"\n";
    for (text, arguments, named) in [
        (String::new(), &[][..], &["sweep.toml", "base"][..]),
        (HEAD.to_owned(), &[], &["sweep.toml", "nothing to train"]),
        (
            format!("{HEAD}{row}epochs = 3\n"),
            &[],
            &["sweep.toml", "unknown field", "epochs"],
        ),
        (
            format!("{HEAD}{row}set.train.speed = 3\n"),
            &[],
            &["\"a\"", "train.toml", "speed"],
        ),
        (
            format!("{HEAD}{row}"),
            &["--set", "seed=5"],
            &["--set seed=5", "the sweep file"],
        ),
        (
            format!("{HEAD}{row}set.model.exchange.last_layer = 7\n"),
            &[],
            &["\"a\"", "last_layer = 7"],
        ),
        (
            format!("{HEAD}{row}"),
            &["--set", "train.epochs=0"],
            &["train.epochs"],
        ),
        (
            format!("{HEAD}{row}"),
            &["--only", "c"],
            &["no row or curve \"c\"", "\"a\""],
        ),
        (
            format!("{HEAD}{row}").replace("train.toml", "none.toml"),
            &[],
            &["none.toml"],
        ),
    ] {
        world.write("sweep.toml", &text);
        let error = failed(&mut sweep(&world, arguments));
        for name in named {
            assert!(error.contains(name), "{text}: {error}");
        }
        assert!(!world.path("sweep").exists(), "{text}");
    }

    // A score that no run has is told with those that there are, and is no reason to train again.
    let scores = |name: &str| {
        let head = HEAD.replace("set.", &format!("scores = [{name:?}]\nset."));
        world.write("sweep.toml", format!("{head}{row}"))
    };
    scores("posts F2");
    let error = failed(&mut sweep(&world, &[]));
    assert!(
        error.contains("\"posts F2\"") && error.contains("posts F1"),
        "{error}"
    );
    scores("posts F1");
    let ran = done(&mut sweep(&world, &["--redraw"]));
    assert!(ran.out.contains("posts F1, %"), "{}", ran.out);
    assert!(world.path("sweep/table.png").exists());

    let lock = std::fs::File::create(world.path("sweep/.lock")).expect("the lock");
    lock.lock().expect("nobody else has it");
    let error = failed(&mut sweep(&world, &[]));
    assert!(error.contains("another muse"), "{error}");
}
