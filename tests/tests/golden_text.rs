//! The splitter, the tokenizer and the scorer against the reference fixtures.

use std::path::{Path, PathBuf};

use muse_core::heads::entities::{EntityCounter, spans};
use muse_core::heads::score::{Mean, Prf};
use muse_core::text::splitter::split;
use muse_core::text::tokenizer::TextTokenizer;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn fixture(name: &str) -> Value {
    let path = root().join("tests/fixtures").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// The default encoder's tokenizer.
fn tokenizer() -> TextTokenizer {
    let weights =
        std::env::var_os("MUSE_WEIGHTS").map_or_else(|| root().join("weights"), PathBuf::from);
    let path = weights.join("all-MiniLM-L6-v2/tokenizer.json");
    let json = std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}\nrun cargo xtask weights", path.display()));
    TextTokenizer::from_bytes(&json).expect("the default tokenizer")
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().expect("a list").iter().map(item).collect()
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a whole number") as usize
}

fn strings(value: &Value) -> Vec<String> {
    list(value, |v| v.as_str().expect("a string").to_owned())
}

#[test]
fn pieces_of_split_words() {
    let tokenizer = tokenizer();
    assert_eq!(tokenizer.vocab_size(), 30_522);
    assert_eq!(
        [
            tokenizer.pad(),
            tokenizer.unk(),
            tokenizer.cls(),
            tokenizer.sep()
        ],
        [0, 100, 101, 102]
    );
    for sentence in fixture("minilm.json")["sentences"]
        .as_array()
        .expect("sentences")
    {
        let words = strings(&sentence["words"]);
        let gold = &sentence["split"];
        let ids = list(&gold["ids"], |id| number(id) as u32);
        let word_ids = list(&gold["word_ids"], |id| id.as_u64().map(|id| id as usize));
        let starts = list(&gold["offsets_char_in_word"], |span| number(&span[0]));
        let pieces = tokenizer.encode_words(&words);
        let windows = tokenizer.windows(&words, 512);
        assert_eq!(windows.len(), 1);
        let encoded = &windows[0].encoded;
        assert_eq!(encoded.first_pieces.len(), words.len());
        assert_eq!(
            (encoded.pieces[0], encoded.pieces.last()),
            (ids[0], ids.last())
        );
        for (word, text) in words.iter().enumerate() {
            let at: Vec<usize> = (0..ids.len())
                .filter(|&i| word_ids[i] == Some(word))
                .collect();
            let vanishes = list(&sentence["words_without_tokens"], number).contains(&word);
            assert_eq!(vanishes, at.is_empty(), "{text:?}");
            let gold: Vec<u32> = if vanishes {
                vec![tokenizer.unk()]
            } else {
                at.iter().map(|&i| ids[i]).collect()
            };
            assert_eq!(pieces[word], gold, "{text:?}");
            let first = encoded.first_pieces[word];
            assert_eq!(encoded.pieces[first..first + gold.len()], gold, "{text:?}");
            // The first piece is the one that holds the word's beginning.
            assert!(
                at.first()
                    .is_none_or(|&i| at.iter().all(|&j| starts[i] <= starts[j]))
            );
        }
        let inserted = list(&sentence["words_without_tokens"], number).len();
        assert_eq!(encoded.pieces.len(), ids.len() + inserted);
    }
}

/// The encoder's own pre-tokenizer knows no words of captions, but what it cuts at, the splitter never joins the
/// wrong way: no known piece of the raw text reaches over one of our words' ends, at its offsets.
#[test]
fn words_of_the_splitter_hold_whole_pieces() {
    let tokenizer = tokenizer();
    for sentence in fixture("minilm.json")["sentences"]
        .as_array()
        .expect("sentences")
    {
        let words = split(sentence["text"].as_str().expect("a text"));
        let ids = list(&sentence["raw"]["ids"], |id| number(id) as u32);
        let offsets = list(&sentence["raw"]["offsets_char"], |span| {
            (number(&span[0]), number(&span[1]))
        });
        let mut pieces = vec![Vec::new(); words.len()];
        for (&id, &(start, end)) in ids.iter().zip(&offsets) {
            if start == end || id == tokenizer.unk() {
                continue;
            }
            let word = words
                .iter()
                .position(|word| word.start <= start && end <= word.end);
            pieces[word.unwrap_or_else(|| panic!("no word holds {start}..{end}: {words:?}"))]
                .push(id);
        }
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        for ((text, gold), mut ours) in texts
            .iter()
            .zip(&pieces)
            .zip(tokenizer.encode_words(&texts))
        {
            ours.retain(|&id| id != tokenizer.unk());
            assert_eq!(&ours, gold, "{text:?}");
        }
    }
}

#[test]
fn strict_scores() {
    let fixture = fixture("seqeval.json");
    for group in ["random30", "edge_cases"] {
        let group = &fixture[group];
        let mut counter = EntityCounter::default();
        for pair in group["pairs"].as_array().expect("pairs") {
            let (gold, predicted) = (strings(&pair["gold"]), strings(&pair["pred"]));
            for (tags, name) in [(&gold, "strict_gold"), (&predicted, "strict_pred")] {
                let ours: Vec<_> = spans(tags)
                    .into_iter()
                    .map(|s| (s.kind, s.first, s.last))
                    .collect();
                let reference = list(&pair[name], |e| {
                    (
                        e[0].as_str().expect("a type").to_owned(),
                        number(&e[1]),
                        number(&e[2]),
                    )
                });
                assert_eq!(ours, reference, "{tags:?}");
            }
            counter.add(&gold, &predicted);
        }
        let scores = counter.scores();
        let strict = &group["strict"];
        let close = |ours: f64, gold: &Value, what: &str| {
            let gold = gold.as_f64().expect("a number");
            assert!((ours - gold).abs() < 1e-12, "{what}: {ours}, not {gold}");
        };
        let same = |ours: &Prf, gold: &Value, what: &str| {
            close(ours.precision, &gold["precision"], what);
            close(ours.recall, &gold["recall"], what);
            close(ours.f1, &gold["f1"], what);
            let counts = ["correct", "predicted", "support"].map(|name| number(&gold[name]));
            assert_eq!([ours.tp, ours.predicted, ours.gold], counts, "{what}");
        };
        let same_mean = |ours: &Mean, gold: &Value, what: &str| {
            close(ours.precision, &gold["precision"], what);
            close(ours.recall, &gold["recall"], what);
            close(ours.f1, &gold["f1"], what);
        };
        same(&scores.micro, &strict["micro"], "micro");
        same_mean(&scores.macro_, &strict["macro"], "macro");
        same_mean(&scores.weighted, &strict["weighted"], "weighted");
        let types = strict["per_type"].as_object().expect("types");
        assert_eq!(types.len(), scores.per_type.len());
        for (kind, gold) in types {
            same(&scores.per_type[kind], gold, kind);
        }
    }
}
