use proptest::prelude::*;

use super::*;

fn texts(caption: &str) -> Vec<String> {
    split(caption).into_iter().map(|word| word.text).collect()
}

/// The caption on the left is split as the spaces on the right say.
#[track_caller]
fn splits(caption: &str, spaced: &str) {
    assert_eq!(
        texts(caption),
        spaced.split(' ').collect::<Vec<_>>(),
        "{caption:?}"
    );
}

#[test]
fn plain_captions() {
    splits(
        "Eileen Collins at Kennedy Space Center.",
        "Eileen Collins at Kennedy Space Center .",
    );
    splits(
        "  He said:\t\"Hi!\"\r\n(twice)  ",
        "He said : \" Hi ! \" ( twice )",
    );
    splits(
        "J.K. Rowling, in the U.S.",
        "J . K . Rowling , in the U . S .",
    );
    splits("Wait... what?!", "Wait . . . what ? !");
    splits("R&B -- and/or AT&T", "R & B - - and / or AT & T");
    assert!(split("").is_empty());
    assert!(split(" \t\u{a0}\u{3000}\r\n").is_empty());
}

#[test]
fn offsets_count_scalars() {
    let words = split("é 🏀🔥 İstanbul");
    let spans: Vec<_> = words.iter().map(|word| (word.start, word.end)).collect();
    assert_eq!(spans, [(0, 1), (2, 3), (3, 4), (5, 13)]);
    assert_eq!(words[3].text, "İstanbul");
}

#[test]
fn contractions_as_in_twitter_2017() {
    splits(
        "Can't believe it's Rosie O'Donnell's",
        "Can ' t believe it ' s Rosie O ' Donnell ' s",
    );
    splits("we’re ‘here’", "we ’ re ‘ here ’");
}

#[test]
fn hashtags_apart_mentions_whole() {
    splits(
        "#NBAFinals with @nba_fan23!",
        "# NBAFinals with @nba_fan23 !",
    );
    splits("##x #", "# # x #");
    splits("RT @_HS_Soccer: hi", "RT @_HS_Soccer : hi");
    splits("RT@NBA .@ericbolling's", "RT @NBA . @ericbolling ' s");
    splits(
        "@eileen.collins, @NBA.Great @NBA.",
        "@eileen.collins , @NBA . Great @NBA .",
    );
    splits("@nba.1\u{fe0f}\u{20e3}", "@nba . 1\u{fe0f}\u{20e3}");
    splits(
        "@a@mastodon.social @a@b @ home",
        "@a@mastodon.social @a @b @ home",
    );
    splits("@NASAの写真", "@NASA の 写 真");
}

#[test]
fn links_whole() {
    splits(
        "see http://t.co/Ab1?x=1&y=2#z.",
        "see http://t.co/Ab1?x=1&y=2#z .",
    );
    splits(
        "(https://en.wikipedia.org/wiki/Rust_(film))!",
        "( https://en.wikipedia.org/wiki/Rust_(film) ) !",
    );
    splits(
        "HTTP://X.ORG, www.a.org/b; MLB.com. t.co/x",
        "HTTP://X.ORG , www.a.org/b ; MLB.com . t.co/x",
    );
    splits("http://", "http://");
    splits("mail me@a-b.co.uk.", "mail me@a-b.co.uk .");
    splits("first.last+tag@x.org", "first.last+tag@x.org");
    splits("http://t.co/abをご覧", "http://t.co/ab を ご 覧");
    splits("\"http://t.co/ab\"", "\" http://t.co/ab \"");
    splits("x+a.com@x.y", "x + a.com @x.y");
}

#[test]
fn links_cut_off_by_an_ellipsis() {
    splits(
        "http://t.co/ab… http://… http:/… https… ht… h…",
        "http://t.co/ab… http://… http:/… https… ht… h…",
    );
    splits("ho… #zwogro… …", "ho … # zwogro … …");
}

#[test]
fn what_only_looks_like_a_link() {
    splits(
        "the end.Then it.is over.now a.b.c e.g. u.s/x",
        "the end . Then it . is over . now a . b . c e . g . u . s / x",
    );
    splits("http https: www x@y", "http https : www x @y");
}

#[test]
fn numbers() {
    splits(
        "10,000 13.5 $4.99 21, 100%",
        "10,000 13.5 $ 4.99 21 , 100 %",
    );
    splits(
        "7:30pm 9/11 3-1 1st F-16s 07.05.16",
        "7 : 30pm 9/11 3-1 1st F-16s 07.05.16",
    );
    splits("1,a .5 5. -3 A/B", "1 , a . 5 5 . - 3 A / B");
}

#[test]
fn hyphens_join_inside_a_word() {
    splits(
        "Gordon-Levitt t-shirt 12-year-old",
        "Gordon-Levitt t-shirt 12-year-old",
    );
    splits(
        "-Joe girl- a--b non\u{2011}stop",
        "- Joe girl - a - - b non\u{2011}stop",
    );
}

#[test]
fn entities_and_smileys() {
    splits(
        "a &amp; b &lt;3 M&amp;M &ampx &amp ;",
        "a &amp; b &lt; 3 M &amp; M & ampx &amp ;",
    );
    splits(
        "hi :) ;-) :D :( Note:D (x:) :)x",
        "hi :) ;-) :D :( Note : D ( x : ) : ) x",
    );
}

#[test]
fn emoji_one_cluster_each() {
    splits("😂😂 ❤️👏🏽", "😂 😂 ❤️ 👏🏽");
    splits("🇺🇸🇨🇦🇺", "🇺🇸 🇨🇦 🇺");
    splits("Go👩🏽‍🚀go 🏳️‍🌈", "Go 👩🏽‍🚀 go 🏳️‍🌈");
    splits("1️⃣2️⃣ #️⃣ ©️ ℹ️a", "1️⃣ 2️⃣ #️⃣ ©️ ℹ️ a");
}

#[test]
fn marks_and_scripts() {
    splits(
        "Beyonce\u{301} Zu\u{308}rich",
        "Beyonce\u{301} Zu\u{308}rich",
    );
    splits("東京タワーへ行く。", "東 京 タワー へ 行 く 。");
    splits("レオナルド・ディカプリオ", "レオナルド ・ ディカプリオ");
    splits("서울에서 دبي हिन्दी", "서울에서 دبي हिन्दी");
    splits("ประเทศที่", "ป ร ะ เ ท ศ ที่");
    splits(
        "화양연화onstageEpilogue 𝓗𝓮𝓵𝓵𝓸",
        "화양연화onstageEpilogue 𝓗𝓮𝓵𝓵𝓸",
    );
}

/// The tweets hold variation selectors, joiners and zero-width spaces as words of their own.
#[test]
fn unseen_characters_stick_to_a_neighbour() {
    splits("⚽ \u{fe0f} ☔", "⚽ \u{fe0f} ☔");
    splits("🏳 \u{fe0f} \u{200d} 🌈", "🏳 \u{fe0f} \u{200d} 🌈");
    splits("👏 🏽", "👏 🏽");
    splits("Lennon \u{200b} and", "Lennon \u{200b} and");
    splits(
        "\u{feff}Kim\u{200d} \u{2068}@nba\u{2069}",
        "\u{feff}Kim\u{200d} \u{2068}@nba\u{2069}",
    );
    splits(
        "Eli\u{ad}sabeth foo\u{200b}bar",
        "Eli\u{ad}sabeth foo\u{200b} bar",
    );
    splits("a\u{200b}\u{301}b", "a\u{200b}\u{301} b");
    splits("\u{301}a \u{200b}\u{200b}", "\u{301}a \u{200b}\u{200b}");
    splits("\u{92} don\u{92}t \u{fffd}", "\u{92} don \u{92} t \u{fffd}");
}

/// White space inside a grapheme cluster (after an Arabic number sign) still parts words.
#[test]
fn white_space_inside_a_cluster() {
    assert_eq!(texts("\u{600} a\u{600}b"), ["\u{600}", "a", "\u{600}b"]);
}

/// Ten times the length takes about ten times the time, not a hundred times.
#[test]
fn hostile_captions_are_split_in_linear_time() {
    for pattern in [
        "#",
        ".",
        "a.",
        "a@",
        "@a",
        "@a@",
        "a.a@",
        "a+",
        "1,",
        "a-",
        "http://",
        "http://(",
        "h…",
        "🇺🇸",
        "\u{200b}",
        "\u{301}",
        "&amp",
        ":-",
        "a@a.",
        "(",
        "東",
        "\u{600}",
        "www.",
        "@a.b@c.d9",
    ] {
        let caption = pattern.repeat(300_000 / pattern.len());
        let words = split(&caption);
        let length: usize = words.iter().map(|word| word.end - word.start).sum();
        assert_eq!(length, caption.chars().count(), "{pattern:?}");
    }
}

/// Text that looks like captions, with what is hard about them.
fn captions() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[ A-Za-z0-9.,:;/@#&'()_-]{0,12}",
        prop::sample::select(vec![
            " ", "  ", "\u{200b}", "\u{fe0f}", "\u{200d}", "\u{301}", "\u{600}", "\u{3000}",
            "\r\n", "🇺", "🇸", "👩", "🏽", "🚀", "❤️", "1️⃣", "http://", "https", "www.", ".com",
            "@", "me@a.org", "…", "&amp;", "&", ":)", "東", "の", "タ", "ก็", "한", "א", "क्",
            "\u{feff}", "\u{ad}", "\u{92}", "(", ")", "-", "9", "/",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn words_cover_all_but_white_space_once_and_in_order(caption in captions()) {
        let scalars: Vec<char> = caption.chars().collect();
        let mut at = 0;
        for word in split(&caption) {
            prop_assert!(at <= word.start && word.start < word.end);
            prop_assert!(scalars[at..word.start].iter().all(|c| c.is_whitespace()));
            prop_assert_eq!(scalars[word.start..word.end].iter().collect::<String>(), word.text.clone());
            prop_assert!(!word.text.contains(char::is_whitespace));
            at = word.end;
        }
        prop_assert!(scalars[at..].iter().all(|c| c.is_whitespace()));
    }

    #[test]
    fn words_joined_by_spaces_are_the_same_words(caption in captions()) {
        let words = texts(&caption);
        prop_assert_eq!(texts(&words.join(" ")), words);
    }

    #[test]
    fn mentions_and_links_stay_whole(
        before in "[(\"]{0,2}", name in "[A-Za-z0-9_]{1,12}", path in "[A-Za-z0-9]{1,10}", after in "[.,!?:)\"]{0,3}",
    ) {
        for whole in [format!("@{name}"), format!("https://t.co/{path}")] {
            let words = texts(&format!("{before}{whole}{after} x"));
            prop_assert!(words.contains(&whole), "{:?}", words);
        }
    }
}
