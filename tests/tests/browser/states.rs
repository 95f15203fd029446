//! The page comes to rest after whatever has happened, and says then what is so.

use std::time::Duration;

use muse_tests::server::Answer;
use serde_json::{Value, json};

use crate::support::page::{PATIENCE, plain};
use crate::support::setup::{lose_device, with_status};
use crate::support::{Browser, Gpu, Page, pictures, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// Nothing is kept, so that what the server refuses is missed.
const KEEPS_NOTHING: &str =
    "Object.defineProperty(Navigator.prototype, 'serviceWorker', { get: () => undefined });";

#[track_caller]
fn type_at_once(browser: &Browser, caption: &str) {
    browser.run::<()>(
        "const field = document.querySelector('#caption');
         field.value = arguments[0];
         field.dispatchEvent(new Event('input', { bubbles: true }));",
        &[json!(caption)],
    );
}

/// Nothing is on its way, and nothing looks as if it were.
#[track_caller]
fn expect_rest(page: Page<'_>) {
    page.browser
        .until("rest", PATIENCE, || (page.state() == "ready").then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(page.state(), "ready", "{}", page.status());
    assert!(!page.browser.shows("#loading") && !page.browser.shows("#cancel"));
    assert!(page.status().starts_with("Ready"), "{}", page.status());
}

#[test]
fn a_first_caption_that_is_taken_back() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        type_at_once(&browser, &"Berlin ".repeat(2000));
        page.wait_state("tagging");
        type_at_once(&browser, "");
        expect_rest(page);
        // A first picture that cannot be read, on a page that has shown nothing yet.
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        let mut cut = pictures::photo();
        cut.truncate(100);
        let folder = tempfile::tempdir().expect("a folder");
        let cut = muse_tests::write(folder.path(), "cut.jpg", cut);
        browser.choose_file("#image-input", &cut);
        browser.until("a word", PATIENCE, || {
            page.message().contains("cannot be read").then_some(())
        });
        expect_rest(page);
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn a_device_that_is_lost_while_idle() {
    run(|setup| {
        let site = setup.fragile_site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        lose_device(&browser);
        browser.until("the notice", PATIENCE, || {
            page.message().contains("was lost").then_some(())
        });
        expect_rest(page);
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        // While it tags: the answer comes, and then it rests.
        let before = page.results();
        type_at_once(&browser, &format!("{CAPTION}. ").repeat(100));
        page.wait_state("tagging");
        lose_device(&browser);
        browser.until("the answer", PATIENCE, || {
            (page.results() > before).then_some(())
        });
        expect_rest(page);
    });
}

#[test]
fn a_failure_is_over_when_it_is_over() {
    run(|setup| {
        let site = setup.fragile_site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(KEEPS_NOTHING);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        assert_eq!(plain(&page.tag("NASA in Houston")).len(), 2);
        let glue = setup.module_path("cpu/muse_web.js");
        site.answer(&glue, with_status(503));
        lose_device(&browser);
        std::thread::sleep(Duration::from_millis(500));
        type_at_once(&browser, CAPTION);
        page.wait_state("failed");
        assert!(page.status().contains("failed"), "{}", page.status());
        // Of the other caption nothing stays.
        assert_eq!(browser.count("#result mark"), 0);
        assert!(!browser.shows("#findings"));
        let disabled: bool =
            browser.run("return document.querySelector('#copy-json').disabled", &[]);
        assert!(disabled);
        site.restore(&glue);
        page.after(|| browser.click("#retry"));
        assert_eq!(plain(&page.found()), NAMES);
        expect_rest(page);
    });
}

#[test]
fn a_sample_that_does_not_arrive() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(&format!(
            "{KEEPS_NOTHING} window.uncaught = [];
             addEventListener('unhandledrejection', ({{ reason }}) => uncaught.push(String(reason)));"
        ));
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        site.answer("/samples/rocket.jpg", with_status(404));
        browser.click("#samples figure:nth-child(2) button");
        browser.until("a word", PATIENCE, || {
            page.message().contains("cannot be fetched").then_some(())
        });
        assert!(!browser.shows("#image-preview"));
        // One that is late does not overwrite what was typed since.
        let delay = Duration::from_secs(2);
        site.answer(
            "/samples/coffee.jpg",
            Answer {
                delay,
                ..Answer::default()
            },
        );
        browser.click("#samples figure:nth-child(3) button");
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        std::thread::sleep(delay);
        assert_eq!(page.caption(), CAPTION);
        assert!(!browser.shows("#image-preview"));
        let uncaught: Vec<String> = browser.run("return uncaught", &[]);
        assert!(uncaught.is_empty(), "{uncaught:?}");
    });
}

/// The cache is cleared while the page still wants to be kept.
#[test]
fn what_is_cleared_early_stays_cleared() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        browser.until("kept", PATIENCE, || {
            (!browser.text("#offline").is_empty()).then_some(())
        });
        let delay = Duration::from_secs(4);
        site.answer(
            "/precache.json",
            Answer {
                delay,
                ..Answer::default()
            },
        );
        browser.reload();
        page.wait_ready();
        browser.until("the button", PATIENCE, || {
            browser.shows("#clear-cache").then_some(())
        });
        browser.click("#clear-cache");
        std::thread::sleep(2 * delay);
        let kept: Value = browser.call(
            "return [await caches.keys(), (await navigator.serviceWorker.getRegistrations()).length]",
            &[],
        );
        assert_eq!(kept, json!([[], 0]));
        assert!(page.status().contains("empty"), "{}", page.status());
    });
}
