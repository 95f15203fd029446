//! Captions that people really write, and those that somebody writes to break things.

use serde_json::{Value, json};

use crate::support::setup::{BLANK, own_site};
use crate::support::{Browser, Gpu, Page, run};

/// Names, as expressions of JavaScript: JSON cannot hold half of a surrogate pair.
const CAPTIONS: [(&str, &str); 14] = [
    ("empty", "''"),
    ("one character", "'I'"),
    ("a space", "' '"),
    (
        "10 000 characters",
        "'Angela Merkel met Barack Obama in Berlin. '.repeat(250).slice(0, 10000)",
    ),
    ("one word of 10 000 characters", "'x'.repeat(10000)"),
    (
        "HTML",
        "'<b>Angela Merkel</b> & <img src=x onerror=\"window.hacked = true\"> in <script>window.hacked = true</script> Berlin'",
    ),
    (
        "right to left",
        "'\u{202b}أنغيلا ميركل تزور Berlin مع Barack Obama\u{202c}'",
    ),
    ("emoji", "'🎉🎉 Angela Merkel 👩‍🚀👨‍👩‍👧‍👦 in 🇩🇪 Berlin 🏳️‍🌈'"),
    (
        "lone surrogates",
        "'\\ud83d Angela Merkel \\udc4d\\ud83d in Berlin \\udfff'",
    ),
    (
        "combining marks",
        "'Z̸̢̡a̵l̶g̷o̸ meets Bjo\u{308}rk in Sa\u{303}o Paulo'",
    ),
    (
        "control characters",
        "'Angela\\u0000Merkel\\u0007 in\\r\\n\\tBerlin\\u2028\\ufeff'",
    ),
    (
        "outside of the first plane",
        "'𝓐𝓷𝓰𝓮𝓵𝓪 Merkel in 𝔅𝔢𝔯𝔩𝔦𝔫 with Barack Obama'",
    ),
    ("Chinese", "'安格拉·默克尔在柏林 with Barack Obama'"),
    (
        "hashtags and links",
        "'RT @BarackObama: #Berlin was great http://example.org/a?b=c#d via @AngelaMerkel'",
    ),
];

#[test]
fn offsets_are_those_of_the_callers_string() {
    run(|setup| {
        let cdn = setup.cdn();
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        browser.call(
            "const { Muse } = await import(arguments[0]);
             window.muse = await Muse.load(arguments[1], { device: 'cpu', warm: false });",
            &[
                json!(cdn.url("muse.js")),
                json!(cdn.url("models/muse-small.muse")),
            ],
        );
        // The expressions are checked where the string is, since half a pair does not survive the way to here.
        let check = "
            const problems = [];
            const of = (kind, list) => {
                let last = 0;
                for (const { start, end, text } of list) {
                    if (!(Number.isInteger(start) && last <= start && start < end && end <= caption.length)) problems.push([kind, start, end]);
                    if (kind === 'entity' && caption.slice(start, end) !== text) problems.push([kind, start, end, text]);
                    if (/^\\p{White_Space}+$/u.test(caption.slice(start, end))) problems.push([kind, 'blank', start, end]);
                    if (start && /[\\ud800-\\udbff]/.test(caption[start - 1]) && /[\\udc00-\\udfff]/.test(caption[start])) problems.push([kind, 'cuts a pair', start]);
                    last = end;
                }
            };
            const { entities, words, sentiment } = await muse.tag({ caption });
            of('entity', entities);
            of('word', words);
            return { problems, words: words.length, texts: entities.map(({ text }) => text.isWellFormed() ? text : '?'), sentiment };";
        for (name, expression) in CAPTIONS {
            let answer = browser.call(&format!("const caption = {expression}; {check}"), &[]);
            assert_eq!(answer["problems"], json!([]), "{name}: {answer}");
            let texts: Vec<&str> = answer["texts"]
                .as_array()
                .expect("texts")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            match name {
                "empty" | "a space" => {
                    assert_eq!((texts.len(), &answer["words"]), (0, &json!(0)), "{name}")
                }
                "one character" | "one word of 10 000 characters" => {
                    assert_eq!(answer["words"], 1, "{name}")
                }
                "10 000 characters" => assert!(texts.len() > 400, "{name}: {}", texts.len()),
                "emoji" | "HTML" => assert!(texts.contains(&"Berlin"), "{name}: {texts:?}"),
                "right to left" => assert!(
                    texts.iter().any(|t| t.starts_with("Barack Obama")),
                    "{name}: {texts:?}"
                ),
                "lone surrogates" => assert!(texts.contains(&"Angela Merkel"), "{name}: {texts:?}"),
                _ => {}
            }
        }
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn the_page_shows_captions_as_text() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        page.tag("Angela Merkel in Berlin");
        for (name, expression) in CAPTIONS {
            page.tag_expression(expression);
            let shown = "const copy = document.querySelector('#result').cloneNode(true);
                 for (const label of copy.querySelectorAll('.label')) label.remove();
                 // As the field has it, whose line ends are all alike.
                 const caption = document.querySelector('#caption').value;
                 const foreign = [...document.querySelectorAll('#result *, #entities tbody *, #words *')]
                     .filter((element) => /^(img|script|b|a|iframe)$/i.test(element.tagName)).length;
                 return {
                     same: copy.textContent === caption || caption.trim() === '',
                     shown: copy.textContent.length,
                     foreign,
                     hacked: !!window.hacked,
                     wide: document.documentElement.scrollWidth > innerWidth,
                 };";
            let shown: Value = browser.run(shown, &[]);
            assert_eq!(shown["same"], true, "{name}: {shown}");
            assert_eq!(shown["foreign"], 0, "{name}: {shown}");
            assert_eq!(shown["hacked"], false, "{name}");
            assert_eq!(
                shown["wide"], false,
                "{name}: the page is wider than its window"
            );
        }
        browser.expect_no_errors(&[]);
    });
}
