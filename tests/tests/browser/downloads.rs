//! Downloads that go wrong.

use muse_tests::server::Answer;
use serde_json::json;

use crate::support::page::plain;
use crate::support::setup::MODEL;
use crate::support::{Browser, Gpu, Page, Setup, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// The model with one bit turned; its length is right.
fn corrupted(setup: &Setup) -> Vec<u8> {
    let mut bytes = setup.model();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes
}

/// Once it goes wrong, the second time it works.
fn once(setup: &Setup, bad: Answer) {
    let site = setup.site();
    site.answer(
        MODEL,
        Answer {
            times: Some(1),
            ..bad
        },
    );
    let browser = Browser::start(setup, Gpu::None);
    let page = Page::ready(&browser, &site.url(""));
    assert_eq!(site.count(MODEL), 2, "{:?}", site.requests());
    assert_eq!(plain(&page.tag(CAPTION)), NAMES);
    // What was kept is the good copy.
    browser.reload();
    page.wait_ready();
    assert_eq!(site.count(MODEL), 2);
}

#[test]
fn a_corrupted_download_is_fetched_again() {
    run(|setup| {
        let body = Some(corrupted(setup));
        once(
            setup,
            Answer {
                body,
                ..Answer::default()
            },
        );
    });
}

#[test]
fn half_a_download_is_fetched_again() {
    run(|setup| {
        let keep = Some(setup.model().len() / 2);
        once(
            setup,
            Answer {
                keep,
                ..Answer::default()
            },
        );
    });
}

/// Once the page has given up, it says why, and another try works without a reload.
fn hopeless(setup: &Setup, bad: Answer, requests: usize) {
    let site = setup.site();
    site.answer(MODEL, bad);
    let browser = Browser::start(setup, Gpu::None);
    let page = Page::open(&browser, &site.url(""));
    page.wait_state("failed");
    let status = page.status();
    assert!(status.len() > 20, "{status}");
    assert!(
        !status.contains("undefined") && !status.contains("[object"),
        "{status}"
    );
    assert_eq!(site.count(MODEL), requests, "{:?}", site.requests());
    site.restore(MODEL);
    browser.click("#retry");
    page.wait_ready();
    assert_eq!(plain(&page.tag(CAPTION)), NAMES);
}

#[test]
fn a_download_that_stays_corrupted_is_a_clear_failure() {
    run(|setup| {
        let body = Some(corrupted(setup));
        hopeless(
            setup,
            Answer {
                body,
                ..Answer::default()
            },
            2,
        );
    });
}

#[test]
fn a_missing_model_is_a_clear_failure() {
    run(|setup| {
        let status = Some(404);
        let body = Some(b"<h1>Not here</h1>".to_vec());
        hopeless(
            setup,
            Answer {
                status,
                body,
                ..Answer::default()
            },
            1,
        );
    });
}

#[test]
fn a_corrupted_copy_in_the_cache_is_fetched_again() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url(""));
        for spoil in [
            "const bytes = new Uint8Array(await response.arrayBuffer()); bytes[bytes.length >> 1] ^= 16; return bytes;",
            "return (await response.blob()).slice(0, 1000);",
        ] {
            let script = format!(
                "let spoilt = 0;
                 const spoil = async (response) => {{ {spoil} }};
                 for (const name of await caches.keys()) {{
                     const cache = await caches.open(name);
                     for (const request of await cache.keys()) {{
                         if (!request.url.endsWith(arguments[0])) continue;
                         const response = await cache.match(request);
                         const {{ headers }} = response;
                         await cache.put(request, new Response(await spoil(response), {{ headers }}));
                         spoilt++;
                     }}
                 }}
                 return spoilt;"
            );
            assert_eq!(browser.call(&script, &[json!(MODEL)]), 1);
            site.clear_requests();
            browser.reload();
            page.wait_ready();
            assert_eq!(site.count(MODEL), 1, "a fresh one is fetched");
            assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        }
    });
}
