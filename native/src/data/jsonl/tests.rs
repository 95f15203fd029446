use super::*;

fn parse_with(
    line: &str,
    rename: &BTreeMap<String, String>,
    hashtags_apart: bool,
) -> anyhow::Result<Sample> {
    let options = Options {
        images: None,
        no_images: true,
        rename,
        hashtags_apart,
    };
    parse(7, line, Path::new(""), options)
}

fn parse_plain(line: &str) -> anyhow::Result<Sample> {
    parse_with(line, &BTreeMap::new(), false)
}

fn tagged(sample: &Sample) -> String {
    let tags = sample.tags.clone().unwrap_or_default();
    assert_eq!(tags.len(), sample.words.len());
    let pairs: Vec<_> = sample
        .words
        .iter()
        .zip(tags)
        .map(|(w, t)| format!("{w}/{t}"))
        .collect();
    pairs.join(" ")
}

#[test]
fn ids_and_sentiments_have_several_forms() {
    let table = [
        (r#"{"text": "a b"}"#, "7", None),
        (r#"{"id": null, "text": "a", "sentiment": null}"#, "7", None),
        (
            r#"{"id": 16, "words": ["a"], "sentiment": "positive"}"#,
            "16",
            Some("positive"),
        ),
        (
            r#"{"id": "O_1", "text": "", "sentiment": {"label": "neutral", "score": 0.5}}"#,
            "O_1",
            Some("neutral"),
        ),
        (r#"{"id": "x", "text": "a", "stars": [1, {}]}"#, "x", None),
    ];
    for (line, id, sentiment) in table {
        let sample = parse_plain(line).unwrap();
        let given = sample.classes.get(&Part::Sentiment);
        let given = given.map(|given| given.label.as_str());
        assert_eq!((sample.id.as_str(), given), (id, sentiment), "{line}");
        assert_eq!(sample.tags, None);
    }
    assert_eq!(parse_plain(r#"{"text": "a b"}"#).unwrap().words, ["a", "b"]);
    assert!(parse_plain(r#"{"text": ""}"#).unwrap().words.is_empty());
}

#[test]
fn a_sentiment_may_be_shares_of_the_classes() {
    let parse = |sentiment: &str| {
        let sample = parse_plain(&format!(r#"{{"text": "a", "sentiment": {sentiment}}}"#)).unwrap();
        let given = sample.classes[&Part::Sentiment].clone();
        let shares = given.shares;
        (
            given.label,
            shares.map(|shares| shares.into_iter().collect::<Vec<_>>()),
        )
    };
    let shares = |pairs: &[(&str, f64)]| {
        let pairs = pairs.iter();
        Some(
            pairs
                .map(|&(class, share)| (class.to_owned(), share))
                .collect(),
        )
    };
    assert_eq!(parse(r#""b""#), ("b".into(), None));
    assert_eq!(
        parse(r#"{"label": "b", "score": 0.25, "probabilities": {"c": 0.75, "b": 0.25}}"#),
        ("b".into(), shares(&[("b", 0.25), ("c", 0.75)]))
    );
    assert_eq!(
        parse(r#"{"probabilities": {"c": 0.75, "b": 0.25}}"#),
        ("c".into(), shares(&[("b", 0.25), ("c", 0.75)]))
    );
    assert_eq!(
        parse(r#"{"label": "b", "probabilities": null}"#),
        ("b".into(), None)
    );
    // Written with few digits.
    let third = 1.0 / 3.0;
    let (_, rounded) = parse(r#"{"probabilities": {"a": 0.33, "b": 0.33, "c": 0.33}}"#);
    for (_, share) in rounded.unwrap() {
        assert!((share - third).abs() < 1e-9, "{share}");
    }
}

/// Lines, and what their words are tagged with.
const ENTITIES: &[(&str, &str)] = &[
    (
        r#"{"text": "Eileen Collins at KSC", "entities": [[18, 21, "LOC"], [0, 14, "PER"]]}"#,
        "Eileen/B-PER Collins/I-PER at/O KSC/B-LOC",
    ),
    // Spans count scalars: the emoji is one, the e with its combining accent two.
    (
        r#"{"text": "😀 Ze\u0301 x", "entities": [[2, 5, "PER"]]}"#,
        "😀/O Ze\u{301}/B-PER x/O",
    ),
    // Two entities side by side stay two.
    (
        r#"{"text": "Ann Bob", "entities": [[0, 3, "PER"], [4, 7, "PER"]]}"#,
        "Ann/B-PER Bob/B-PER",
    ),
    // A span takes the whole of a word that it cuts; white space at its ends does not count.
    (
        r#"{"text": "in Parisian cafes", "entities": [[2, 8, "LOC"]]}"#,
        "in/O Parisian/B-LOC cafes/O",
    ),
    (
        r#"{"text": "Paris ", "entities": [[0, 6, "LOC"]]}"#,
        "Paris/B-LOC",
    ),
    (r#"{"text": "Paris", "entities": []}"#, "Paris/O"),
    // Without a text, spans are over the words joined by single spaces; with one, over the text.
    (
        r#"{"words": ["New York", "!"], "entities": [[4, 8, "LOC"]]}"#,
        "New York/B-LOC !/O",
    ),
    (
        r#"{"text": "Ann's  cat", "words": ["Ann", "'s", "cat"], "entities": [[7, 10, "X"]]}"#,
        "Ann/O 's/O cat/B-X",
    ),
    (
        r#"{"words": ["Ann"], "entities": [{"start": 0, "end": 3, "type": "PER", "text": "Ann", "score": 1}]}"#,
        "Ann/B-PER",
    ),
    (
        r#"{"words": ["Ann", "a"], "tags": ["I-PER", "O"], "entities": [[0, 3, "LOC"]]}"#,
        "Ann/I-PER a/O",
    ),
];

#[test]
fn entities_become_tags() {
    for &(line, expected) in ENTITIES {
        assert_eq!(tagged(&parse_plain(line).unwrap()), expected, "{line}");
    }
    let rename = BTreeMap::from([("OTHER".to_owned(), "MISC".to_owned())]);
    for labels in [r#""entities": [[0, 4, "OTHER"]]"#, r#""tags": ["B-OTHER"]"#] {
        let line = format!("{{\"words\": [\"#NBA\"], {labels}}}");
        assert_eq!(
            tagged(&parse_with(&line, &rename, true).unwrap()),
            "#/O NBA/B-MISC"
        );
        assert_eq!(
            tagged(&parse_with(&line, &rename, false).unwrap()),
            "#NBA/B-MISC"
        );
    }
    assert_eq!(
        parse_plain(r#"{"text": "", "tags": []}"#).unwrap().tags,
        None
    );
    assert_eq!(
        parse_plain(r#"{"text": "", "entities": []}"#).unwrap().tags,
        None
    );
}

/// Lines, and what their error says.
const FAULTS: &[(&str, &str)] = &[
    ("{", "EOF while parsing"),
    (
        "[\"a\", \"b\", null, null, null, null, null]",
        "not a JSON object",
    ),
    (
        "{\"text\": 3}",
        "column 10: invalid type: integer `3`, expected a string; each line",
    ),
    (r#"{"id": "a"}"#, "neither \"text\" nor \"words\""),
    (r#"{"id": [1], "text": "a"}"#, "\"id\" is [1]"),
    (r#"{"words": ["a", ""]}"#, "word 1 of \"words\""),
    (r#"{"text": "a", "sentiment": 1}"#, "\"sentiment\" is 1"),
    (
        r#"{"text": "a", "sentiment": {"probabilities": [0.5, 0.5]}}"#,
        "the \"probabilities\" of the sentiment are [0.5,0.5]",
    ),
    (
        r#"{"text": "a", "sentiment": {"label": "b", "probabilities": {"b": 0.5}}}"#,
        "shares of classes that sum to 1",
    ),
    (
        r#"{"text": "a", "sentiment": {"probabilities": {"b": 1.5, "c": -0.5}}}"#,
        "shares of classes that sum to 1",
    ),
    (
        r#"{"text": "a", "sentiment": " "}"#,
        "\"sentiment\" is \" \"",
    ),
    (
        r#"{"words": ["a", "b"], "tags": ["O"]}"#,
        "1 tags for 2 words",
    ),
    (
        r#"{"words": ["a"], "tags": ["PER"]}"#,
        "\"PER\" is not a tag",
    ),
    (
        r#"{"text": "a b", "entities": [[0, 4, "X"]]}"#,
        "ends beyond the text, which has 3 characters",
    ),
    (
        r#"{"text": "a  b", "entities": [[1, 3, "X"]]}"#,
        "holds no word",
    ),
    (
        r#"{"text": "a b", "entities": [[0, 3, "X"], [2, 3, "Y"]]}"#,
        "shares the word \"b\"",
    ),
    (
        r#"{"text": "a b", "entities": [[1, 1, "X"]]}"#,
        "is not [start, end, \"type\"]",
    ),
    (
        r#"{"text": "a b", "entities": [[-1, 1, "X"]]}"#,
        "is not [start, end",
    ),
    (
        r#"{"text": "a b", "entities": [[0, 1]]}"#,
        "is not [start, end",
    ),
    (
        r#"{"text": "a b", "entities": [[0, 1, ""]]}"#,
        "is not [start, end",
    ),
    (
        r#"{"text": "a b", "entities": [{"start": 0, "end": 1}]}"#,
        "is not [start, end",
    ),
    (
        r#"{"text": "ab c", "words": ["a", "c"], "entities": []}"#,
        "the word \"c\" does not follow in \"text\" at character 1",
    ),
];

#[test]
fn tags_may_be_shares_of_readings() {
    let line = r##"{"words": ["#NBA", "star"], "readings": {"B-ORG O": 0.2, "O O": 0.6, "B-LEAGUE O": 0.2}, "style": "wire", "labels": ["ORG"]}"##;
    let rename = BTreeMap::from([("LEAGUE".to_owned(), "ORG".to_owned())]);
    let sample = parse_with(line, &rename, true).unwrap();
    assert_eq!(tagged(&sample), "#/O NBA/O star/O");
    let readings = sample.readings.clone().unwrap();
    let of = |reading: &str| readings[reading];
    assert!((of("O B-ORG O") - 0.4).abs() < 1e-9 && (of("O O O") - 0.6).abs() < 1e-9);
    assert_eq!(sample.style.as_deref(), Some("wire"));
    assert_eq!(sample.marked.as_deref(), Some(&["ORG".to_owned()][..]));
    // What was read is written so that it is read again.
    let again = parse_plain(&super::line(&sample).unwrap().to_string()).unwrap();
    assert_eq!(
        again,
        Sample {
            id: again.id.clone(),
            ..sample
        }
    );

    let own = r#"{"words": ["a"], "tags": ["O"], "readings": {"B-X": 1.0}}"#;
    assert_eq!(tagged(&parse_plain(own).unwrap()), "a/O");
    for (readings, said) in [
        (r#"{"O O": 1.0}"#, "has 2 tags for 1 words"),
        (r#"{"O": 0.5}"#, "must be shares of whole sequences of tags"),
        (r#"["O"]"#, "must be shares of whole sequences of tags"),
        (r#"{"X": 1.0}"#, "is not a tag"),
    ] {
        let line = format!(r#"{{"words": ["a"], "readings": {readings}}}"#);
        let error = format!("{:#}", parse_plain(&line).unwrap_err());
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn faults_say_what_is_wrong() {
    for &(line, expected) in FAULTS {
        let error = format!("{:#}", parse_plain(line).unwrap_err());
        assert!(error.contains(expected), "{line}: {error}");
        assert!(!error.contains(" line 1 "), "{line}: {error}");
    }
}

#[test]
fn pictures_are_beside_the_file_or_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("posts.jsonl");
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(folder.path().join("a.jpg"), b"x").unwrap();
    std::fs::write(other.join("b.jpg"), b"x").unwrap();
    let rename = BTreeMap::new();
    let options = |images, no_images| Options {
        images,
        no_images,
        rename: &rename,
        hashtags_apart: false,
    };
    let line = |image: &str| {
        format!("\u{feff}{{\"text\": \"x\"}}\r\n\n{{\"text\": \"x\", \"image\": \"{image}\"}}\n")
    };

    std::fs::write(&path, line("a.jpg")).unwrap();
    let samples = read(&path, options(None, false)).unwrap();
    let shown: Vec<_> = samples
        .iter()
        .map(|s| (s.id.as_str(), s.image.clone()))
        .collect();
    assert_eq!(
        shown,
        [("1", None), ("3", Some(folder.path().join("a.jpg")))]
    );
    assert!(
        read(&path, options(None, true))
            .unwrap()
            .iter()
            .all(|sample| sample.image.is_none())
    );

    let error = format!(
        "{:#}",
        read(&path, options(Some(&other), false)).unwrap_err()
    );
    assert!(
        error.contains("posts.jsonl") && error.contains("line 3: the picture"),
        "{error}"
    );
    std::fs::write(&path, line("b.jpg")).unwrap();
    assert_eq!(
        read(&path, options(Some(&other), false)).unwrap()[1].image,
        Some(other.join("b.jpg"))
    );
}
