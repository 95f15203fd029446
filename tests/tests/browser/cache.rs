//! The second visit, the visit without network, and the visit after the cache was cleared.

use std::time::Instant;

use muse_tests::server::Options;

use crate::support::page::plain;
use crate::support::setup::{MODEL, say};
use crate::support::{Browser, Gpu, Page, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// Waits until the page's own files are kept too: from then on it needs no network.
#[track_caller]
fn wait_kept(page: Page<'_>) {
    page.browser
        .until("the page is kept", crate::support::page::PATIENCE, || {
            (!page.browser.text("#offline").is_empty()).then_some(())
        });
}

#[test]
fn later_visits_need_no_network() {
    run(|setup| {
        let site = setup.site();
        let url = site.url("");
        let port = site.port();
        let browser = Browser::start(setup, Gpu::None);
        let began = Instant::now();
        let page = Page::ready(&browser, &url);
        let first = began.elapsed();
        assert_eq!(site.count(MODEL), 1);
        assert!(
            !page
                .status()
                .to_lowercase()
                .contains("from this browser’s cache,")
        );
        wait_kept(page);

        site.clear_requests();
        let began = Instant::now();
        let page = Page::ready(&browser, &url);
        say(&format!(
            "ready after {:.2} s, on the second visit after {:.2} s",
            first.as_secs_f64(),
            began.elapsed().as_secs_f64()
        ));
        assert_eq!(site.count(MODEL), 0, "{:?}", site.requests());
        assert!(page.status().contains("cache"), "{}", page.status());
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        browser.expect_no_errors(&[]);

        drop(site);
        browser.reload();
        page.wait_ready();
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        assert_eq!(
            browser.count("#samples button"),
            3,
            "the samples are kept as well"
        );
        page.after(|| browser.click("#samples button"));
        assert!(!page.found().is_empty());

        let site = setup.site_with(Options {
            port,
            ..Options::default()
        });
        browser.reload();
        page.wait_ready();
        browser.click("#clear-cache");
        browser.until("the cache is cleared", crate::support::page::PATIENCE, || {
            let kept = browser.call(
                "const counts = await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).length));
                 return counts.reduce((sum, count) => sum + count, 0);",
                &[],
            );
            (kept == 0).then_some(())
        });
        site.clear_requests();
        browser.reload();
        page.wait_ready();
        assert_eq!(site.count(MODEL), 1, "cleared, so downloaded again");
    });
}

/// The first visit is enough, also when the page was not yet under its service worker's control.
#[test]
fn one_visit_is_enough_for_being_offline() {
    run(|setup| {
        let site = setup.site();
        let url = site.url("");
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &url);
        wait_kept(page);
        drop(site);
        let page = Page::ready(&browser, &url);
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
    });
}

/// A server's new version arrives, whole: the old and the new are never mixed.
#[test]
fn a_new_version_of_the_page_arrives() {
    run(|setup| {
        let site = setup.site();
        let url = site.url("");
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &url);
        wait_kept(page);

        let index = std::fs::read_to_string(setup.dist.join("index.html")).expect("index.html");
        let marked = index.replace("</title>", " (new)</title>");
        assert_ne!(index, marked);
        let list = std::fs::read_to_string(setup.dist.join("precache.json")).expect("the list");
        let mut list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        list["version"] = "0123456789abcdef".into();
        let body = |text: String| muse_tests::server::Answer {
            body: Some(text.into_bytes()),
            ..Default::default()
        };
        site.answer("/", body(marked.clone()));
        site.answer("/index.html", body(marked));
        site.answer("/precache.json", body(list.to_string()));

        // The first reload still shows the old one, and fetches the new one; a later one shows it. Between the two, the
        // page reloads itself.
        let title = || browser.run::<String>("return document.title", &[]);
        for _ in 0..4 {
            browser.reload();
            std::thread::sleep(std::time::Duration::from_secs(4));
            if title().ends_with("(new)") {
                break;
            }
        }
        assert!(
            title().ends_with("(new)"),
            "{:#?}\n{:#?}",
            browser.log(),
            site.requests()
        );
        page.wait_ready();
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        assert_eq!(site.count(MODEL), 1, "the model is the same");
    });
}
