use muse_core::heads::Names;

use super::*;

const CONLL: &str = "IMGID:1\n#NBA\tB-OTHER\nnews\tO\n\nIMGID:2\nb\tI-PER\n\nIMGID:3\nc\tO\n";
const JSONL: &str = "{\"text\": \"#NBA news\", \"sentiment\": \"good\", \"image\": \"1.jpg\"}\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    std::fs::create_dir(folder.path().join("set")).unwrap();
    for (name, text) in [
        ("set/train.txt", CONLL),
        ("set/train.jsonl", JSONL),
        ("set/odd", CONLL),
        ("set/empty.txt", "\n"),
        ("images/1.jpg", "x"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn source(text: &str) -> Source {
    toml::from_str(text).unwrap()
}

#[test]
fn sources_are_read_as_they_say() {
    let folder = folder();
    let read = |text: &str| read_source(&source(text), folder.path());
    let names = |samples: &[Sample]| names_of(Names::default(), samples.iter());

    let samples = read("path = 'set/train.txt'").unwrap();
    assert_eq!(samples.len(), 3);
    assert_eq!(
        names(&samples).tags,
        ["O", "B-OTHER", "I-OTHER", "B-PER", "I-PER"]
    );
    assert!(samples.iter().all(|sample| sample.image.is_none()));

    let samples = read(
        "path = 'set/train.txt'\nimages = 'images'\nrename = { OTHER = 'MISC' }\nsplit_hashtags = true\nlimit = 2",
    )
    .unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0].words, ["#", "NBA", "news"]);
    assert_eq!(samples[0].tags.as_ref().unwrap(), &["O", "B-MISC", "O"]);
    assert_eq!(samples[0].image, Some(folder.path().join("images/1.jpg")));
    assert_eq!(samples[1].image, None);
    let rest = read("path = 'set/train.txt'\nskip = 1\nlimit = 1").unwrap();
    assert_eq!(rest[0].words, ["b"]);
    assert_eq!(rest.len(), 1);

    let samples =
        read("path = 'set/train.txt'\nimages = 'images'\nno_images = true\nno_text = true")
            .unwrap();
    assert!(
        samples
            .iter()
            .all(|s| s.words.is_empty() && s.tags.is_none() && s.image.is_none())
    );

    let samples = read("path = 'set/train.jsonl'\nimages = 'images'\nno_text = true").unwrap();
    assert_eq!(samples[0].image, Some(folder.path().join("images/1.jpg")));
    assert!(samples[0].words.is_empty());
    assert_eq!(names(&samples).classes, ["good"]);
    assert_eq!(
        read("path = 'set/train.jsonl'\nno_images = true").unwrap()[0].image,
        None
    );

    assert_eq!(read("path = 'set/odd'\nformat = 'conll'").unwrap().len(), 3);
    // An absolute path does not need the base.
    let absolute = Source::new(folder.path().join("set/train.txt"));
    assert_eq!(
        read_source(&absolute, Path::new("elsewhere"))
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_sample_is_drawn_from_all_parts_and_stays_in_order() {
    let folder = folder();
    let lines: Vec<String> = (0..300)
        .map(|i| format!("{{\"id\": {i}, \"text\": \"x\"}}\n"))
        .collect();
    std::fs::write(folder.path().join("set/long.jsonl"), lines.concat()).unwrap();
    let ids = |more: &str| -> Vec<usize> {
        let text = format!("path = 'set/long.jsonl'\n{more}");
        let samples = read_source(&source(&text), folder.path()).unwrap();
        samples
            .iter()
            .map(|sample| sample.id.parse().unwrap())
            .collect()
    };
    let drawn = ids("sample = 60");
    assert_eq!(drawn.len(), 60);
    assert!(drawn.is_sorted_by(|one, next| one < next), "{drawn:?}");
    for third in [0..100, 100..200, 200..300] {
        let share = drawn.iter().filter(|id| third.contains(*id)).count();
        assert!((10..=30).contains(&share), "{third:?}: {share}");
    }
    assert_eq!(ids("sample = 60"), drawn);
    assert_eq!(ids("sample = 999").len(), 300);
    assert!(ids("sample = 40\nlimit = 50").into_iter().all(|id| id < 50));
}

#[test]
fn sources_that_cannot_be_read_say_why() {
    let folder = folder();
    std::fs::write(folder.path().join("set/latin.txt"), b"a\tO\nb\xe9\tO\n").unwrap();
    let table = [
        ("path = 'set/none.txt'", "cannot read the data file"),
        ("path = 'set/odd'", "set format to"),
        ("path = 'set/train.jsonl'", "1.jpg is not there"),
        ("path = 'set/train.jsonl'\nformat = 'conll'", "line 1: "),
        ("path = 'set/train.txt'\nformat = 'jsonl'", "line 1: "),
        (
            "path = 'set/train.txt'\nimages = 'pictures'",
            "the image folder",
        ),
        (
            "path = 'set/train.txt'\nrename = { OTHER = '' }",
            "a type must have a name",
        ),
        ("path = 'set/empty.txt'", "not one sample"),
        (
            "path = 'set/train.txt'\nlimit = 0",
            "leave nothing of the 3",
        ),
        ("path = 'set/train.txt'\nskip = 3", "leave nothing of the 3"),
        ("path = 'set/train.txt'\nsample = 0", "sample is 0"),
        ("path = 'set/latin.txt'", "latin.txt, line 2: not UTF-8"),
    ];
    for (text, expected) in table {
        let error = format!(
            "{:#}",
            read_source(&source(text), folder.path()).unwrap_err()
        );
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn sources_come_from_toml_and_go_back() {
    let text = "path = \"a/b.txt\"\nno_images = true\nlimit = 3\n\n[rename]\nOTHER = \"MISC\"\n";
    let read = source(text);
    assert_eq!(source(&toml::to_string(&read).unwrap()), read);
    assert_eq!(
        toml::to_string(&Source::new("x.txt")).unwrap(),
        "path = \"x.txt\"\n"
    );
    let unknown = toml::from_str::<Source>("path = 'x'\nno_image = true")
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("no_image"), "{unknown}");
    assert!(toml::from_str::<Source>("name = 'x'").is_err());
}

#[test]
fn titles_tell_sets_of_one_name_apart() {
    for (path, title) in [
        ("../data/twitter2017/valid.txt", "twitter2017/valid"),
        ("valid.txt", "valid"),
        ("../a.b.txt", "a.b"),
    ] {
        assert_eq!(Source::new(path).title(), title);
    }
    assert_eq!(source("path = 'a/b.txt'\nname = 'c'").title(), "c");
}

#[test]
fn a_source_says_which_types_it_marks() {
    let folder = folder();
    let read = |labels: &str| {
        let text = format!("path = 'set/train.txt'\nlabels = {labels}");
        read_source(&source(&text), folder.path())
    };
    let samples = read("['OTHER', 'PER']").unwrap();
    let marked = samples[0].marked.as_deref().unwrap();
    assert_eq!(marked, ["OTHER", "PER"]);
    let error = format!("{:#}", read("['PER']").unwrap_err());
    assert!(
        error.contains("sample 1 has the type OTHER, but labels names only PER"),
        "{error}"
    );
}
