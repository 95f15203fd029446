use proptest::prelude::*;

use super::*;

/// A BERT's tokenizer with a small vocabulary: letters and a few words, truncation and padding switched on.
fn tokenizer() -> TextTokenizer {
    TextTokenizer::from_bytes(json().as_bytes()).expect("a valid tokenizer")
}

fn json() -> String {
    let mut pieces = vec![
        "[PAD]".to_owned(),
        "[UNK]".to_owned(),
        "[CLS]".to_owned(),
        "[SEP]".to_owned(),
    ];
    pieces.extend(["eileen", "collins", "##s", "sep", "[", "]", "#", "."].map(str::to_owned));
    pieces.extend(('a'..='z').map(String::from));
    pieces.extend(('a'..='z').map(|c| format!("##{c}")).filter(|p| p != "##s"));
    let vocab: serde_json::Map<_, _> = pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.clone(), id.into()))
        .collect();
    let special = |id: usize| {
        serde_json::json!({"id": id, "content": pieces[id], "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    serde_json::json!({
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
    .to_string()
}

#[test]
fn words_become_pieces() {
    let tokenizer = tokenizer();
    let id = |piece: &str| tokenizer.tokenizer.token_to_id(piece).expect("a piece");
    assert_eq!(
        tokenizer.encode_words(&["Eileen", "Collinss", "#", "hi", "\u{fe0f}", "", "日"]),
        [
            vec![id("eileen")],
            vec![id("collins"), id("##s")],
            vec![id("#")],
            vec![id("h"), id("##i")],
            vec![tokenizer.unk()],
            vec![tokenizer.unk()],
            vec![tokenizer.unk()],
        ]
    );
    assert_eq!(
        [
            tokenizer.pad(),
            tokenizer.unk(),
            tokenizer.cls(),
            tokenizer.sep()
        ],
        [0, 1, 2, 3]
    );
    assert_eq!(tokenizer.vocab_size(), 63);
}

/// The file has truncation to 8 pieces and padding to 8 switched on.
#[test]
fn neither_truncates_nor_pads() {
    let pieces = tokenizer().encode_words(&["eileen"; 20]);
    assert_eq!(pieces, vec![vec![4]; 20]);
}

/// A caption is text: it cannot bring in the pieces that mean the end of a text.
#[test]
fn special_pieces_cannot_be_typed() {
    let tokenizer = tokenizer();
    let id = |piece: &str| tokenizer.tokenizer.token_to_id(piece).expect("a piece");
    assert_eq!(
        tokenizer.encode_words(&["[SEP]"]),
        [vec![id("["), id("sep"), id("]")]]
    );
}

#[test]
fn json_reads_back() {
    let tokenizer = tokenizer();
    let again = TextTokenizer::from_bytes(tokenizer.json().as_bytes()).expect("its own JSON");
    let words = ["Eileen", "[CLS]", "xyz", "."];
    assert_eq!(again.encode_words(&words), tokenizer.encode_words(&words));
    assert_eq!(again.json(), tokenizer.json());
}

#[test]
fn what_is_wrong_is_named() {
    let error = |json: &[u8]| {
        TextTokenizer::from_bytes(json)
            .expect_err("no tokenizer")
            .to_string()
    };
    assert!(error(b"").starts_with("not a tokenizer.json"));
    assert!(error(b"{}").starts_with("not a tokenizer.json"));
    assert!(error(&json().as_bytes()[..500]).starts_with("not a tokenizer.json"));
    assert!(error(json().replace("[CLS]", "<s>").as_bytes()).contains("[CLS]"));
    let no_unknown = json().replace("\"unk_token\":\"[UNK]\"", "\"unk_token\":\"?!\"");
    assert!(error(no_unknown.as_bytes()).starts_with("the tokenizer cannot cut"));
}

#[test]
fn a_short_caption_is_one_window() {
    let tokenizer = tokenizer();
    let windows = tokenizer.windows(&["Eileen", "Collinss", "."], 64);
    assert_eq!(windows.len(), 1);
    assert_eq!(
        (windows[0].words.clone(), windows[0].keep.clone()),
        (0..3, 0..3)
    );
    assert_eq!(windows[0].encoded.pieces, [2, 4, 5, 6, 11, 3]);
    assert_eq!(windows[0].encoded.shapes, [0, 2, 2, 2, 13, 0]);
    assert_eq!(windows[0].encoded.first_pieces, [1, 2, 4]);
}

#[test]
fn no_words_are_one_window() {
    let tokenizer = tokenizer();
    let windows = tokenizer.windows::<&str>(&[], 64);
    assert_eq!(windows.len(), 1);
    assert_eq!(
        (windows[0].words.clone(), windows[0].keep.clone()),
        (0..0, 0..0)
    );
    assert_eq!(windows[0].encoded.pieces, [2, 3]);
    assert_eq!(windows[0].encoded.shapes, [0, 0]);
    assert!(windows[0].encoded.first_pieces.is_empty());
}

#[test]
fn a_long_caption_is_cut_with_a_quarter_shared() {
    let windows = tokenizer().windows(&["a"; 40], 18);
    let words: Vec<_> = windows.iter().map(|window| window.words.clone()).collect();
    let keeps: Vec<_> = windows.iter().map(|window| window.keep.clone()).collect();
    assert_eq!(words, [0..16, 12..28, 24..40]);
    assert_eq!(keeps, [0..14, 14..26, 26..40]);
}

#[test]
fn a_word_beyond_the_window_is_cut_to_fit() {
    let long = "x".repeat(90);
    let windows = tokenizer().windows(&["a", long.as_str(), "b"], 10);
    assert_eq!(
        windows.iter().map(|w| w.keep.clone()).collect::<Vec<_>>(),
        [0..1, 1..2, 2..3]
    );
    assert_eq!(windows[1].encoded.pieces.len(), 10);
}

proptest! {
    #[test]
    fn windows_hold_every_word_and_decide_it_where_it_has_most_context(
        lengths in prop::collection::vec(1..30_usize, 0..80), max_pieces in 0..50_usize,
    ) {
        let words: Vec<String> = lengths.iter().map(|&n| "x".repeat(n)).collect();
        let tokenizer = tokenizer();
        let windows = tokenizer.windows(&words, max_pieces);
        let mut at = 0;
        for window in &windows {
            prop_assert!(window.words.start <= window.keep.start && window.keep.end <= window.words.end);
            prop_assert_eq!(window.keep.start, at);
            prop_assert!(!window.keep.is_empty() || words.is_empty());
            at = window.keep.end;
            let encoded = &window.encoded;
            prop_assert!(encoded.pieces.len() <= max_pieces.max(3));
            prop_assert_eq!(encoded.pieces.len(), encoded.shapes.len());
            prop_assert_eq!(encoded.first_pieces.len(), window.words.len());
            let bounds = || encoded.first_pieces.iter().copied().chain([encoded.pieces.len() - 1]);
            for ((word, first), next) in window.words.clone().zip(bounds()).zip(bounds().skip(1)) {
                prop_assert_eq!(next - first, lengths[word].min(max_pieces.saturating_sub(2).max(1)));
                prop_assert!(encoded.shapes[first..next].iter().all(|&s| s == word_shape(&words[word])));
            }
        }
        prop_assert_eq!(at, words.len());

        // Words to the nearest cut; the ends of the caption are no cuts.
        let context = |window: &Window, word: usize| {
            let before = if window.words.start == 0 { usize::MAX } else { word - window.words.start };
            let after = if window.words.end == words.len() { usize::MAX } else { window.words.end - 1 - word };
            before.min(after)
        };
        for window in &windows {
            for word in window.keep.clone() {
                for other in windows.iter().filter(|other| other.words.contains(&word)) {
                    prop_assert!(context(window, word) >= context(other, word));
                }
            }
        }
    }

    #[test]
    fn any_words_are_encoded(words in prop::collection::vec(any::<String>(), 0..10), max_pieces in any::<usize>()) {
        let tokenizer = tokenizer();
        let pieces = tokenizer.encode_words(&words);
        prop_assert_eq!(pieces.len(), words.len());
        prop_assert!(pieces.iter().all(|word| !word.is_empty()));
        prop_assert_eq!(tokenizer.windows(&words, max_pieces).last().map(|w| w.keep.end), Some(words.len()));
    }
}
