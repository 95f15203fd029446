//! For everybody: by keyboard alone, on a small screen, in the dark, read aloud, and without motion.

use serde_json::{Value, json};
use thirtyfour::Key;

use crate::support::page::plain;
use crate::support::{Browser, Gpu, Page, Setup, run};

const RULES: [&str; 7] = [
    "wcag2a",
    "wcag2aa",
    "wcag21a",
    "wcag21aa",
    "wcag22aa",
    "best-practice",
    "section508",
];

/// Lets axe-core look at the page as it is now.
#[track_caller]
fn examine(setup: &Setup, browser: &Browser, view: &str) {
    let axe = setup.npm.join("node_modules/axe-core/axe.min.js");
    let axe =
        std::fs::read_to_string(&axe).unwrap_or_else(|error| panic!("{}: {error}", axe.display()));
    browser.run::<()>(&axe, &[]);
    let found = browser.call(
        "const { violations, passes } = await axe.run(document, { runOnly: arguments[0] });
         return {
             passes: passes.length,
             violations: violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, failureSummary }) => [html, failureSummary]) })),
         };",
        &[json!(RULES)],
    );
    assert!(
        found["passes"].as_u64() > Some(20),
        "axe-core looked at nothing: {found}"
    );
    assert_eq!(
        found["violations"],
        json!([]),
        "{view}: {:#}",
        found["violations"]
    );
}

fn screen(browser: &Browser, width: u32, height: u32) {
    browser.cdp(
        "Emulation.setDeviceMetricsOverride",
        json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
    );
}

fn prefer(browser: &Browser, feature: &str, value: &str) {
    browser.cdp(
        "Emulation.setEmulatedMedia",
        json!({ "features": [{ "name": feature, "value": value }] }),
    );
}

#[track_caller]
fn fits(browser: &Browser, view: &str) {
    let wide: Value = browser.run(
        "const [width, window] = [document.documentElement.scrollWidth, document.documentElement.clientWidth];
         const out = [...document.querySelectorAll('body *')].filter((element) => element.getBoundingClientRect().right > window + 1).slice(0, 5);
         return { width, window, out: out.map((element) => element.outerHTML.slice(0, 120)) };",
        &[],
    );
    assert_eq!(wide["width"], wide["window"], "{view}: {wide:#}");
}

#[test]
fn axe_finds_nothing() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        examine(setup, &browser, "empty");
        page.after(|| browser.click("#samples button"));
        assert!(browser.shows("#exchange"));
        examine(setup, &browser, "light");
        prefer(&browser, "prefers-color-scheme", "dark");
        let dark: String = browser.run("return getComputedStyle(document.documentElement).backgroundColor + getComputedStyle(document.body).backgroundColor", &[]);
        examine(setup, &browser, "dark");
        prefer(&browser, "prefers-color-scheme", "light");
        let light: String = browser.run("return getComputedStyle(document.documentElement).backgroundColor + getComputedStyle(document.body).backgroundColor", &[]);
        assert_ne!(dark, light, "there is a dark view");
        for (width, view) in [(320, "320 px"), (768, "768 px")] {
            screen(&browser, width, 640);
            fits(&browser, view);
            examine(setup, &browser, view);
        }
        // A failure is to be as good to read as a success.
        site.answer(
            crate::support::setup::MODEL,
            muse_tests::server::Answer {
                status: Some(404),
                ..Default::default()
            },
        );
        browser.click("#clear-cache");
        browser.until("cleared", crate::support::page::PATIENCE, || {
            (browser.call("return (await caches.keys()).length", &[]) == 0).then_some(())
        });
        browser.reload();
        page.wait_state("failed");
        fits(&browser, "failed");
        examine(setup, &browser, "failed");
    });
}

/// From the page's top to a result, with the keyboard alone, and a ring that shows where one is.
#[test]
fn the_keyboard_is_enough() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        let focus = || -> Value {
            browser.run(
                "const element = document.activeElement;
                 const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(element);
                 const near = element.labels?.[0] ? getComputedStyle(element.labels[0]) : { outlineStyle: 'none', boxShadow: 'none' };
                 return {
                     id: element.id, tag: element.tagName,
                     ring: outlineStyle !== 'none' && outlineWidth !== '0px' || boxShadow !== 'none' || near.outlineStyle !== 'none' || near.boxShadow !== 'none',
                     sample: !!element.closest('#samples') && element.tagName === 'BUTTON',
                 };",
                &[],
            )
        };
        let tab_to = |what: &str, there: &dyn Fn(&Value) -> bool| {
            for _ in 0..40 {
                browser.press(Key::Tab);
                let now = focus();
                assert!(
                    now["tag"] == "BODY" || now["ring"] == true,
                    "{now} shows no focus"
                );
                if there(&now) {
                    return;
                }
            }
            panic!("no way to {what} by the tab key");
        };
        tab_to("the caption", &|now| now["id"] == "caption");
        page.after(|| browser.press("Angela Merkel in Berlin"));
        assert_eq!(
            plain(&page.found()),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );
        tab_to("a sample", &|now| now["sample"] == true);
        page.after(|| browser.press(Key::Enter));
        assert!(browser.shows("#image-preview"));
        // What was found is read aloud.
        let live = browser.text("#live");
        assert!(
            page.found().iter().all(|found| live.contains(&found.text)),
            "{live}"
        );
        tab_to("the layers", &|now| {
            now["tag"] == "INPUT" && now["id"] == ""
        });
        let before: String =
            browser.run("return document.querySelector('#regions').outerHTML", &[]);
        browser.press(Key::Right);
        let after: String = browser.run("return document.querySelector('#regions').outerHTML", &[]);
        assert_ne!(before, after, "the arrow shows the next layer");
        tab_to("the picture's end", &|now| now["id"] == "image-remove");
        page.after(|| browser.press(Key::Enter));
        assert!(!browser.shows("#image-preview"));
        assert_ne!(focus()["tag"], "BODY", "the focus is not lost");
    });
}

#[test]
fn nothing_moves_for_those_who_asked_so() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let moving = "
            let longest = 0;
            for (const element of document.querySelectorAll('*')) for (const pseudo of [null, '::before', '::after']) {
                const { transitionDuration, animationName, animationDuration, scrollBehavior } = getComputedStyle(element, pseudo);
                const times = [...transitionDuration.split(', '), ...(animationName === 'none' ? [] : animationDuration.split(', '))];
                longest = Math.max(longest, ...times.map(parseFloat), scrollBehavior === 'smooth' ? 1 : 0);
            }
            return longest;";
        prefer(&browser, "prefers-reduced-motion", "reduce");
        let page = Page::ready(&browser, &site.url(""));
        page.after(|| browser.click("#samples button"));
        assert!(browser.run::<f64>(moving, &[]) < 0.011);
    });
}

/// A screen reader reads what is put into these places each time: the same words are not put there twice.
#[test]
fn nothing_is_read_out_twice() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        assert_ne!(page.message(), "", "it says why it runs on the CPU");
        browser.run::<()>(
            "window.told = [];
             for (const place of document.querySelectorAll('[role=status], [aria-live]'))
                 new MutationObserver(() => told.push([place.id, place.textContent])).observe(place, { childList: true, characterData: true, subtree: true });",
            &[],
        );
        page.tag("Angela Merkel in Berlin");
        page.after(|| browser.type_into("#caption", " and again"));
        let told: Vec<(String, String)> = browser.run("return told", &[]);
        assert!(!told.is_empty(), "the findings are told");
        assert!(told.iter().all(|(id, _)| id == "live"), "{told:?}");
    });
}

/// Large letters on a small screen, as the browser's own settings have them.
#[test]
fn large_letters_fit_a_small_screen() {
    run(|setup| {
        let site = setup.site();
        let large = json!({ "webkit.webprefs.default_font_size": 20 });
        let browser = Browser::with_preferences(setup, Gpu::None, &large);
        screen(&browser, 320, 640);
        let page = Page::ready(&browser, &site.url(""));
        let size: String = browser.run(
            "return getComputedStyle(document.documentElement).fontSize",
            &[],
        );
        assert_eq!(size, "20px");
        fits(&browser, "empty");
        page.after(|| browser.click("#samples button"));
        fits(&browser, "with a result");
    });
}
