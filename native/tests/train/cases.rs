//! Captions in other cases than those of the data; data in another folder, and data that are blocked.

use sha2::Digest;

use super::world::{Data, World, eval, failed};

#[test]
fn captions_are_understood_in_any_case() {
    let world = World::new(Data::Sentences);
    let valid = std::fs::read_to_string(world.path("valid.txt")).expect("sentences");
    let recased = |change: fn(&str) -> String| -> String {
        let lines = valid.lines().map(|line| match line.split_once('\t') {
            Some((word, tag)) => format!("{}\t{tag}\n", change(word)),
            None => format!("{line}\n"),
        });
        lines.collect()
    };
    world.write("small.txt", recased(str::to_lowercase));
    world.write("capitals.txt", recased(str::to_uppercase));
    let f1 = |out: &str, share: &str| {
        let share = format!("train.recased={share}");
        let run = world.trained(out, &["train.epochs=12", &share]);
        let model = run.folder.join("best.muse");
        ["valid.txt", "small.txt", "capitals.txt"].map(|name| {
            let report = eval(&world, &model, &[name]);
            report["pooled"]["entities"]["micro"]["f1"]
                .as_f64()
                .expect("an F1")
        })
    };
    let [plain, taught] = [f1("plain", "0"), f1("taught", "0.3")];
    assert!(plain[0] > 0.9 && taught[0] > 0.9, "{plain:?}, {taught:?}");
    assert!(
        plain[1] + plain[2] < taught[1] + taught[2] - 0.2,
        "{plain:?}, {taught:?}"
    );
    assert!(taught[1] > 0.9 && taught[2] > 0.9, "{taught:?}");

    let error = failed(&mut world.train("fault", &["train.recased=0.6"]));
    assert!(error.contains("train.recased, twice, is 1.2"), "{error}");
}

#[test]
fn sources_may_lie_in_a_folder_of_their_own() {
    let world = World::new(Data::Sentences);
    let plain = world.trained("plain", &["train.epochs=1"]);
    std::fs::create_dir(world.path("elsewhere")).expect("a folder");
    for name in ["train.txt", "valid.txt"] {
        let to = world.path(&format!("elsewhere/{name}"));
        std::fs::rename(world.path(name), to).expect("moved");
    }
    let moved = world.trained("moved", &["train.epochs=1", "data.folder=elsewhere"]);
    assert!(moved.equals(&plain));
}

#[test]
fn what_is_blocked_is_not_learned_from() {
    let world = World::new(Data::Sentences);
    let text = std::fs::read_to_string(world.path("train.txt")).expect("sentences");
    let posts: Vec<&str> = text.split_inclusive("\n\n").collect();
    let words = |post: &str| -> String {
        let words = post.lines().filter_map(|line| line.split_once('\t'));
        words.map(|(word, _)| word).collect::<Vec<_>>().join(" ")
    };
    let listed = words(posts[0]);
    let rest = posts.iter().filter(|post| words(post) != listed);
    let rest: Vec<&str> = rest.copied().collect();
    assert!(rest.len() < posts.len());
    world.write("rest.txt", rest.concat());
    let key = listed.to_lowercase();
    let key = key.chars().filter(char::is_ascii_alphanumeric);
    let hash = sha2::Sha256::digest(key.collect::<String>());
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    world.write("blocked.txt", digits.collect::<String>());

    let without = world.trained("without", &["train.epochs=1", "data.train.0.path=rest.txt"]);
    let blocking = ["train.epochs=1", "data.blocklist=blocked.txt"];
    assert!(world.trained("blocked", &blocking).equals(&without));
    let error = failed(&mut world.train("fault", &["data.blocklist=train.txt"]));
    assert!(error.contains("is not a SHA-256"), "{error}");
}
