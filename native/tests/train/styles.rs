//! Sources that disagree: what they mark, and how.

use super::best_epoch;
use super::world::{Data, World, done, failed, muse};

#[test]
fn types_that_a_source_does_not_mark_are_not_unlearned() {
    let world = World::new(Data::Sentences);
    let whole = std::fs::read_to_string(world.path("train.txt")).expect("sentences");
    let people = whole.replace("\tB-LOC", "\tO").replace("\tI-LOC", "\tO");
    world.write("people.txt", people);
    let config = std::fs::read_to_string(world.path("train.toml")).expect("a configuration");
    world.write(
        "train.toml",
        config + "\n[[data.train]]\npath = \"people.txt\"\n",
    );
    let common = ["train.epochs=12", "data.train.0.limit=8"];
    let places = |out: &str, more: &[&str]| {
        let run = world.trained(out, &[&common[..], more].concat());
        run.column("sentences LOC").pop().expect("epochs")
    };
    let told = places("told", &["data.train.1.labels=[\"PER\"]"]);
    let untold = places("untold", &[]);
    assert!(told > untold + 0.2, "{told}, {untold}");

    for (setting, said) in [
        (
            "data.train.0.labels=[\"PER\"]",
            "has the type LOC, but labels names only PER",
        ),
        (
            "data.train.1.labels=[\"PER\", \"FOOD\"]",
            "names the type \"FOOD\"",
        ),
        (
            "data.valid.0.labels=[\"PER\", \"LOC\"]",
            "what it does not mark cannot be scored",
        ),
    ] {
        let error = failed(&mut world.train("fault", &[setting]));
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_model_keeps_styles_apart() {
    let world = World::new(Data::Sentences);
    // The same sentences, once with places and once without.
    for name in ["train.txt", "valid.txt"] {
        let text = std::fs::read_to_string(world.path(name)).expect("sentences");
        let people = text.replace("\tB-LOC", "\tO").replace("\tI-LOC", "\tO");
        world.write(&format!("people-{name}"), people);
    }
    let config = std::fs::read_to_string(world.path("train.toml")).expect("a configuration");
    let (own, _) = config.split_once("[[data.train]]").expect("a source");
    let source = |list: &str, path: &str, style: &str| {
        format!("[[data.{list}]]\npath = \"{path}\"\nname = \"{style}\"\nstyle = \"{style}\"\n")
    };
    let sources = [
        source("train", "train.txt", "whole"),
        source("train", "people-train.txt", "people"),
        source("valid", "valid.txt", "whole"),
        source("valid", "people-valid.txt", "people"),
    ];
    world.write("train.toml", own.to_owned() + &sources.concat());
    let epochs = ["train.epochs=14"];
    let run = world.trained(
        "run",
        &[&epochs[..], &["model.default_style=people"]].concat(),
    );
    let best = best_epoch(&run);
    for style in ["whole", "people"] {
        assert!(
            run.column(&format!("{style} F1"))[best] > 0.9,
            "{:?}",
            run.metrics
        );
    }

    let model = run.folder.join("best.muse");
    let places = |style: &[&str]| {
        let mut tag = muse(&["tag", "--json", "Ann met Bob in Rome", "--model"]);
        let answer = done(tag.arg(&model).args(style)).out;
        answer.matches("\"LOC\"").count()
    };
    assert_eq!(places(&["--style", "whole"]), 1);
    assert_eq!(places(&["--style", "people"]), 0);
    assert_eq!(places(&[]), 0, "the default");
    let mut stream = muse(&["tag", "--conll", "--style", "whole", "--input"]);
    let lines = world.write("lines.jsonl", "{\"text\": \"Ann met Bob in Rome\"}\n");
    let tagged = done(stream.arg(lines).arg("--model").arg(&model)).out;
    assert!(tagged.contains("Rome\tB-LOC"), "{tagged}");
    let mut tag = muse(&["tag", "a", "--style", "none", "--model"]);
    let error = failed(tag.arg(&model));
    assert!(
        error.contains("no style \"none\"; its styles are whole, people"),
        "{error}"
    );
    let mut info = muse(&["info"]);
    let told = done(info.arg(&model)).out;
    assert!(
        told.contains("styles     whole people; without --style people"),
        "{told}"
    );
    let mut score = muse(&["eval", "--json", "--style", "whole", "--model"]);
    score.arg(&model).arg("--data").arg(world.path("valid.txt"));
    let report: serde_json::Value = serde_json::from_str(&done(&mut score).out).expect("JSON");
    let f1 = report["pooled"]["entities"]["micro"]["f1"]
        .as_f64()
        .expect("a score");
    assert!((f1 - run.column("whole F1")[best]).abs() < 1e-6);

    // A model that is trained on keeps its styles, and takes in another that begins as what all share.
    let init = model.to_str().expect("UTF-8");
    let new = [
        "train.epochs=1",
        "data.train.1.style=third",
        "data.valid.1.style=third",
    ];
    let mut more = world.train("more", &new);
    done(more.args(["--init", init]));
    let mut info = muse(&["info"]);
    let told = done(info.arg(world.path("more/best.muse"))).out;
    assert!(
        told.contains("styles     whole people third; without --style people"),
        "{told}"
    );

    for (setting, said) in [
        ("model.default_style=fourth", "no style \"fourth\""),
        (
            "data.valid.1.style=fourth",
            "the style \"fourth\" is not one that the model knows",
        ),
    ] {
        let error = failed(&mut world.train("fault", &[setting]));
        assert!(error.contains(said), "{error}");
    }
}
