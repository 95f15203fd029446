//! Where the browser asks to save data, the page asks before it loads the model.

use std::time::Duration;

use crate::support::page::plain;
use crate::support::setup::MODEL;
use crate::support::{Browser, Gpu, Page, run};

#[test]
fn it_asks_before_the_model_is_loaded() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(
            "Object.defineProperty(NetworkInformation.prototype, 'saveData', { get: () => true })",
        );
        let page = Page::open(&browser, &site.url(""));
        page.wait_state("asking");
        assert!(
            browser.text("#save-data").contains("MB"),
            "the size is told: {}",
            browser.text("#save-data")
        );
        std::thread::sleep(Duration::from_secs(2));
        let large = |path: &str| path == MODEL || path.ends_with(".wasm");
        let early: Vec<_> = site
            .requests()
            .into_iter()
            .filter(|r| large(&r.path))
            .collect();
        assert!(early.is_empty(), "{early:?}");
        // What is typed before is tagged after.
        browser.type_into("#caption", "Angela Merkel in Berlin");
        page.after(|| browser.click("#save-data-load"));
        assert_eq!(
            plain(&page.found()),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );
        assert_eq!(site.count(MODEL), 1);
        // What is there already costs nothing: no question.
        browser.reload();
        page.wait_ready();
        assert_eq!(site.count(MODEL), 1);
    });
}
