//! Nothing leaves the machine, and nothing foreign runs in the page.

use muse_tests::server::{Options, Request};
use serde_json::json;

use crate::support::page::plain;
use crate::support::setup::MODEL;
use crate::support::{Browser, Gpu, Page, pictures, run};

#[test]
fn no_request_leaves_the_page_and_no_policy_is_broken() {
    run(|setup| {
        // Below a path, as project pages are.
        let options = Options {
            prefix: "/some/where".into(),
            ..Options::default()
        };
        let site = setup.site_with(options);
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(
            "window.violations = [];
             document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => violations.push([violatedDirective, blockedURI]));",
        );
        let page = Page::ready(&browser, &site.url(""));
        let policy: String = browser.run(
            "return document.querySelector('meta[http-equiv=\"Content-Security-Policy\" i]').content",
            &[],
        );
        assert!(
            policy.contains("default-src 'none'")
                && !policy.contains("unsafe-inline")
                && !policy.contains("'unsafe-eval'"),
            "{policy}"
        );
        page.tag("Angela Merkel in Berlin");
        let folder = tempfile::tempdir().expect("a folder");
        page.choose(&muse_tests::write(
            folder.path(),
            "photo.jpg",
            pictures::photo(),
        ));
        for sample in 1..=3 {
            page.after(|| browser.click(&format!("#samples figure:nth-child({sample}) button")));
        }
        // The second visit, with the service worker in between.
        browser.until("kept", crate::support::page::PATIENCE, || {
            (!browser.text("#offline").is_empty()).then_some(())
        });
        assert_eq!(
            browser.run::<serde_json::Value>("return violations", &[]),
            json!([])
        );
        browser.reload();
        page.wait_ready();
        assert_eq!(
            plain(&page.tag("Angela Merkel in Berlin")),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );
        assert_eq!(
            browser.run::<serde_json::Value>("return violations", &[]),
            json!([])
        );

        assert!(
            browser.outside.asked().is_empty(),
            "{:?}",
            browser.outside.asked()
        );
        let faults: Vec<Request> = site
            .requests()
            .into_iter()
            .filter(|r| r.method != "GET" || r.status >= 400)
            .collect();
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(site.count(MODEL), 1);
        browser.expect_no_errors(&[]);

        // The proxy does see what goes out, and the policy does hold: without these the test could not fail.
        let sent = browser.try_call("await fetch('http://elsewhere.example/')", &[]);
        assert!(sent.is_err());
        assert_eq!(
            browser.run::<serde_json::Value>("return violations", &[]),
            json!([["connect-src", "http://elsewhere.example/"]])
        );
        browser.open("http://elsewhere.example/");
        assert_eq!(browser.outside.asked(), ["elsewhere.example"]);
    });
}
