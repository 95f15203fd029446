//! Captions of many pages: they can be stopped, replaced and watched, and never hold the page.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::page::{PATIENCE, plain};
use crate::support::setup::{BLANK, own_site, say};
use crate::support::{Browser, Gpu, Page, run_alone};

const SENTENCE: &str = "Angela Merkel met Barack Obama in Berlin. ";

/// Puts a caption into the field, as pasting does.
#[track_caller]
fn paste(page: Page<'_>, caption: &str) {
    page.browser.run::<()>(
        "const field = document.querySelector('#caption');
         field.value = arguments[0];
         field.dispatchEvent(new Event('input', { bubbles: true }));",
        &[json!(caption)],
    );
}

#[track_caller]
fn wait_parts(page: Page<'_>) {
    page.browser.until("progress in parts", PATIENCE, || {
        (page.browser.shows("#cancel") && page.browser.text("#bytes").contains("parts"))
            .then_some(())
    });
}

#[test]
fn a_long_caption_is_watched_stopped_and_replaced() {
    run_alone(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.tag("NASA");
        let long = SENTENCE.repeat(1100);

        // Superseded: the short one does not wait for the long one.
        paste(page, &long);
        wait_parts(page);
        let bar: Value = browser.run(
            "const { value, max } = document.querySelector('#progress'); return [value, max]",
            &[],
        );
        assert!(bar[0].as_f64() < bar[1].as_f64(), "{bar}");
        assert!(
            browser.text("#bytes").contains("left"),
            "{}",
            browser.text("#bytes")
        );
        let began = Instant::now();
        page.after(|| paste(page, "Paris"));
        let took = began.elapsed();
        assert_eq!(plain(&page.found()), [("LOC", "Paris")]);
        say(&format!("Paris after {:.1} s", took.as_secs_f64()));
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert!(!browser.shows("#cancel"));

        // Stopped: nothing of another caption stays, and it can be asked for again.
        paste(page, &long);
        wait_parts(page);
        page.after(|| browser.click("#cancel"));
        assert!(browser.shows("#ask-tag") && !browser.shows("#cancel"));
        assert!(!browser.shows("#findings") && browser.count("#result mark") == 0);
        assert!(browser.text("#ask-text").contains("Stopped"));
        browser.click("#ask-tag");
        wait_parts(page);
        page.after(|| paste(page, "Paris in spring"));
        assert!(!browser.shows("#ask-tag"));
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn a_very_long_caption_is_asked_about() {
    run_alone(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.tag("NASA");
        let long = SENTENCE.repeat(25_000); // a megabyte
        page.after(|| paste(page, &long));
        assert!(browser.shows("#ask-tag"));
        assert!(
            browser.text("#ask-text").contains("1,050,000"),
            "{}",
            browser.text("#ask-text")
        );
        assert_eq!(browser.count("#result mark"), 0);
        browser.click("#ask-tag");
        wait_parts(page);
        page.after(|| paste(page, "Paris"));
        assert_eq!(plain(&page.found()), [("LOC", "Paris")]);
        page.after(|| paste(page, ""));
        assert!(!browser.shows("#ask-tag"));
        browser.expect_no_errors(&[]);
    });
}

/// A megabyte's worth of entities, without the minutes that the model takes for them.
#[test]
fn many_entities_are_drawn_in_slices() {
    run_alone(|setup| {
        let cdn = setup.cdn();
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let drawn = browser.call(
            "const { draw } = await import(arguments[0]);
             const word = 'Berlin, ';
             const caption = word.repeat(131072);
             const entities = Array.from({ length: 131072 }, (_, i) => ({ type: 'LOC', text: 'Berlin', start: 8 * i, end: 8 * i + 6, score: 1 }));
             const mark = ({ text }) => Object.assign(document.createElement('mark'), { textContent: text });
             const parent = document.createElement('div');
             document.body.append(parent);
             const long = [];
             new PerformanceObserver((list) => long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
             const start = performance.now();
             const all = draw(parent, caption, entities, mark);
             const first = parent.querySelectorAll('mark').length;
             await all;
             const took = performance.now() - start;
             await new Promise((resolve) => setTimeout(resolve, 500));
             const control = new AbortController();
             const same = parent.textContent === caption;
             const marks = parent.querySelectorAll('mark').length;
             const stopped = draw(parent, caption, entities, mark, control.signal);
             control.abort();
             await stopped;
             return { first, took, marks, same, left: parent.querySelectorAll('mark').length, longest: Math.max(0, ...long) };",
            &[json!(cdn.url("draw.js"))],
        );
        say(&drawn.to_string());
        assert_eq!(
            (&drawn["marks"], &drawn["same"]),
            (&json!(131_072), &json!(true))
        );
        assert!(drawn["first"].as_u64() > Some(100), "the beginning at once");
        assert!(
            drawn["left"].as_u64() < Some(1000),
            "what is superseded ends"
        );
        // Quadratic it would be minutes, and in one piece seconds; other programs share the machine.
        assert!(drawn["took"].as_f64() < Some(30_000.0));
        assert!(drawn["longest"].as_f64() < Some(300.0));
    });
}

/// Slices are cut after lines and words, never within an entity or a character.
#[test]
fn slices_are_cut_where_it_does_no_harm() {
    run_alone(|setup| {
        let cdn = setup.cdn();
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let cut = browser.call(
            "const { draw } = await import(arguments[0]);
             const mark = ({ text }) => Object.assign(document.createElement('mark'), { textContent: text });
             const slices = async (caption, entities = []) => {
                 const parent = document.createElement('div');
                 document.body.append(parent);
                 await draw(parent, caption, entities, mark);
                 const texts = [...parent.children].map(({ textContent }) => textContent);
                 const directions = [...parent.children].map((block) => getComputedStyle(block).direction);
                 return { texts, directions, whole: texts.join('') === caption };
             };
             const words = await slices('word '.repeat(2000));
             const lines = await slices(('x'.repeat(99) + '\\n').repeat(90));
             const pairs = await slices('\u{1F680}'.repeat(5000));
             const odd = await slices('a' + '\u{1F680}'.repeat(5000));
             const name = 'Long '.repeat(1000);
             const entity = await slices('y '.repeat(1900) + name + ' z', [{ text: name, start: 3800, end: 3800 + name.length }]);
             const hebrew = await slices('\u{5d0} '.repeat(2500) + 'a '.repeat(2500));
             return { words, lines, pairs, odd, entity, hebrew };",
            &[json!(cdn.url("draw.js"))],
        );
        let texts = |name: &str| -> Vec<String> {
            assert_eq!(cut[name]["whole"], true, "{name}");
            serde_json::from_value(cut[name]["texts"].clone()).expect("texts")
        };
        assert!(texts("words").len() == 3 && texts("words").iter().all(|t| t.ends_with(' ')));
        assert!(texts("lines").len() == 3 && texts("lines").iter().all(|t| t.ends_with('\n')));
        for name in ["pairs", "odd"] {
            let whole = texts(name).iter().all(|t| !t.contains('\u{fffd}'));
            assert!(whole && texts(name).len() == 3, "{name}");
        }
        assert_eq!(texts("entity").len(), 2);
        assert!(texts("hebrew").len() > 1);
        let directions = cut["hebrew"]["directions"].as_array().expect("directions");
        assert!(directions.iter().all(|d| d == "rtl"), "{directions:?}");
    });
}
