//! Browsers that lack what the model needs get a plain sentence.

use crate::support::setup::MODEL;
use crate::support::{Browser, Gpu, Page, run};

#[test]
fn a_browser_that_cannot_is_told_so() {
    run(|setup| {
        let site = setup.site();
        for (lack, word) in [
            // SIMD is one of many features: whoever validates a module with it is told no.
            ("WebAssembly.validate = () => false", "SIMD"),
            ("delete globalThis.WebAssembly", "WebAssembly"),
            ("delete globalThis.Worker", "orker"),
        ] {
            let browser = Browser::start(setup, Gpu::None);
            browser.before_each_page(lack);
            let page = Page::open(&browser, &site.url(""));
            page.wait_state("unsupported");
            let status = page.status();
            assert!(
                status.contains(word) && status.ends_with('.') && status.contains(' '),
                "{lack}: {status}"
            );
            browser.expect_no_errors(&[]);
        }
        assert_eq!(site.count(MODEL), 0, "nothing is downloaded for nothing");
    });
}

/// Without storage and service workers, as in private windows, it works all the same, if not offline.
#[test]
fn a_browser_that_keeps_nothing_still_works() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(
            "CacheStorage.prototype.open = () => Promise.reject(new DOMException('no', 'SecurityError'));
             Object.defineProperty(Navigator.prototype, 'serviceWorker', { get: () => undefined });",
        );
        let page = Page::ready(&browser, &site.url(""));
        assert_eq!(page.tag("Angela Merkel in Berlin").len(), 2);
        browser.expect_no_errors(&[]);
    });
}
