//! From the first visit to results, as a user goes.

use std::time::Duration;

use muse_tests::server::Answer;
use serde_json::{Value, json};

use crate::support::page::{Found, plain};
use crate::support::setup::{MODEL, say};
use crate::support::{Browser, Gpu, Page, pictures, run};

/// Names that the model knows for sure.
const CAPTION: &str = "Barack Obama meets Angela Merkel in Berlin";
const NAMES: [(&str, &str); 3] = [
    ("PER", "Barack Obama"),
    ("PER", "Angela Merkel"),
    ("LOC", "Berlin"),
];

/// Writes down each state, and what the progress bar showed in it.
const RECORD: &str = "
    window.recorded = [];
    new MutationObserver(() => {
        const { state } = document.documentElement.dataset;
        const bar = document.querySelector('#progress');
        recorded.push({ state, value: bar?.value, max: bar?.max, bytes: document.querySelector('#bytes')?.textContent });
    }).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-state', 'value'] });";

#[test]
fn first_visit_on_the_cpu() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(RECORD);
        // Slow enough for a progress to be seen.
        let pace = Some((1 << 20, Duration::from_millis(20)));
        site.answer(
            MODEL,
            Answer {
                pace,
                ..Answer::default()
            },
        );
        let page = Page::ready(&browser, &site.url(""));

        let recorded: Vec<Value> = browser.run("return recorded", &[]);
        let mut states: Vec<&str> = recorded
            .iter()
            .filter_map(|r| r["state"].as_str())
            .collect();
        states.dedup();
        assert_eq!(states, ["loading", "preparing", "ready"]);
        let whole = setup.model_entry()["bytes"].as_f64().expect("a size");
        let mut seen: Vec<u64> = recorded
            .iter()
            .filter(|r| r["state"] == "loading" && r["max"].as_f64() == Some(whole))
            .filter_map(|r| r["value"].as_f64())
            .filter(|&value| value > 1.0)
            .map(|value| value as u64)
            .collect();
        seen.dedup();
        assert!(
            seen.len() > 4 && seen.is_sorted(),
            "progress in bytes: {seen:?}"
        );
        let told = recorded
            .iter()
            .any(|r| r["bytes"].as_str().is_some_and(|t| t.contains("MB")));
        assert!(told, "the bytes are told in words too");
        assert!(page.device().contains("CPU"), "{}", page.device());
        assert_eq!(site.count(MODEL), 1);

        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        assert!(!browser.shows("#exchange"), "nothing to exchange with");
        the_mood_and_the_times_are_told(&browser);
        a_picture_takes_part(page);
        samples_are_one_click_away(page);
        what_is_less_sure_is_left_out(page);
        the_answer_can_be_copied(page, &site.origin());
        browser.expect_no_errors(&[]);
    });
}

fn the_mood_and_the_times_are_told(browser: &Browser) {
    let mood = browser.text("#sentiment");
    for class in ["negative", "neutral", "positive"] {
        assert!(mood.contains(class), "{mood}");
    }
    let times: Vec<String> = browser.run(
        "return [...document.querySelectorAll('#timings dd')].map((time) => time.textContent)",
        &[],
    );
    assert!(times.len() >= 3, "{times:?}");
    for time in &times {
        let number = time.strip_suffix(" ms").and_then(|t| t.parse::<f64>().ok());
        assert!(number.is_some_and(|ms| ms >= 0.0), "{time}");
    }
}

fn a_picture_takes_part(page: Page<'_>) {
    let browser = page.browser;
    let folder = tempfile::tempdir().expect("a folder");
    let photo = muse_tests::write(folder.path(), "photo.jpg", pictures::photo());
    page.choose(&photo);
    assert_eq!(page.caption(), CAPTION, "what was typed stays");
    assert!(!page.found().is_empty());
    assert!(browser.shows("#image-preview"));
    page.expect_exchange();
    page.after(|| browser.click("#image-remove"));
    assert!(!browser.shows("#image-preview"));
    assert!(!browser.shows("#exchange"));
    assert_eq!(plain(&page.found()), NAMES);
}

fn samples_are_one_click_away(page: Page<'_>) {
    let browser = page.browser;
    assert_eq!(browser.count("#samples button"), 3);
    for sample in 1..=3 {
        let button = format!("#samples figure:nth-child({sample}) button");
        page.after(|| browser.click(&button));
        assert!(browser.shows("#image-preview") && browser.shows("#exchange"));
        let found = page.found();
        assert!(!found.is_empty(), "sample {sample}: {}", page.caption());
        say(&format!("sample {sample}: {:?}", plain(&found)));
    }
}

/// Of the last sample's entities not all are sure; it leaves all of them shown.
fn what_is_less_sure_is_left_out(page: Page<'_>) {
    let browser = page.browser;
    let shown = |least: u32| {
        browser.run::<()>(
            "const slider = document.querySelector('#threshold');
             slider.value = arguments[0];
             slider.dispatchEvent(new Event('input', { bubbles: true }));",
            &[json!(least)],
        );
        page.found()
    };
    let percent = |found: &Found| -> u32 {
        let number = found.label.split_whitespace().rev().nth(1);
        number.and_then(|n| n.parse().ok()).expect("per cent")
    };
    let (all, sure) = (shown(0), shown(95));
    assert!(sure.len() < all.len(), "{all:?}");
    let expected = all.iter().filter(|found| percent(found) >= 95);
    assert_eq!(plain(&sure).len(), expected.count(), "{all:?}");
    let said = browser.text("#unsure");
    let hidden = all.len() - sure.len();
    assert!(said.ends_with(&format!(" {hidden}.")), "{said}");
    assert_eq!(shown(0).len(), all.len());
    assert_eq!(browser.text("#unsure"), "");
}

fn the_answer_can_be_copied(page: Page<'_>, origin: &str) {
    let browser = page.browser;
    let permissions = json!(["clipboardReadWrite", "clipboardSanitizedWrite"]);
    browser.cdp(
        "Browser.grantPermissions",
        json!({ "origin": origin, "permissions": permissions }),
    );
    browser.click("#copy-json");
    let copied = browser.until("a copy", Duration::from_secs(10), || {
        let text = browser.call("return navigator.clipboard.readText()", &[]);
        serde_json::from_str::<Value>(text.as_str()?).ok()
    });
    assert_eq!(copied["caption"], page.caption());
    let caption: Vec<u16> = copied["caption"]
        .as_str()
        .expect("text")
        .encode_utf16()
        .collect();
    let entities = copied["entities"].as_array().expect("entities");
    assert_eq!(entities.len(), page.found().len());
    for entity in entities {
        let at = |name: &str| entity[name].as_u64().expect("an offset") as usize;
        let text = String::from_utf16_lossy(&caption[at("start")..at("end")]);
        assert_eq!(entity["text"], text);
    }
    assert_eq!(
        copied["exchange"]["layers"][0]["regions"]
            .as_array()
            .map(Vec::len),
        Some(64)
    );
}

#[test]
fn pictures_can_be_dropped_and_pasted() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        for event in [
            "new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })",
            "new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true })",
        ] {
            page.after(|| {
                let script = format!(
                    "const transfer = new DataTransfer();
                     const bytes = Uint8Array.from(arguments[0]);
                     transfer.items.add(new File([bytes], 'photo.jpg', {{ type: 'image/jpeg' }}));
                     document.querySelector('#drop').dispatchEvent({event});"
                );
                browser.run::<()>(&script, &[json!(pictures::photo())]);
            });
            assert!(browser.shows("#image-preview"), "{event}");
            page.after(|| browser.click("#image-remove"));
        }
        browser.expect_no_errors(&[]);
    });
}

/// What was typed since makes an answer worthless: it is not waited for, and only the last is shown.
#[test]
fn the_running_one_is_superseded() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        let before = page.results();
        let steps = 12;
        browser.call(
            "const field = document.querySelector('#caption');
             for (let step = 1; step <= arguments[0]; step++) {
                 field.value = `${'Angela Merkel in Berlin. '.repeat(40)} ${step}`;
                 field.dispatchEvent(new Event('input', { bubbles: true }));
                 await new Promise((resolve) => setTimeout(resolve, 300));
             }",
            &[json!(steps)],
        );
        browser.until("the last", crate::support::page::PATIENCE, || {
            browser
                .text("#result")
                .ends_with(&format!(" {steps}"))
                .then_some(())
        });
        let results = page.results() - before;
        assert!(
            (1..steps).contains(&results),
            "{results} results of {steps} captions"
        );
    });
}

/// The harness itself: without this, a fault in a worker might pass unseen.
#[test]
fn faults_in_workers_are_seen() {
    run(|setup| {
        let own = crate::support::setup::own_site(&[
            (
                "index.html",
                b"<!doctype html><script>new Worker('worker.js')</script>",
            ),
            (
                "worker.js",
                b"console.error('a fault of the worker'); postMessage(1)",
            ),
        ]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        browser.until("the fault", Duration::from_secs(10), || {
            let mut log = browser.log().into_iter();
            log.find(|e| e.level == "SEVERE" && e.message.contains("a fault of the worker"))
        });
    });
}
