//! `<muse-tagger>` on somebody else's page.

use muse_tests::server::Server;
use serde_json::{Value, json};

use crate::support::page::PATIENCE;
use crate::support::setup::{MODEL, Own, own_site};
use crate::support::{Browser, Gpu, Setup, pictures, run};

/// A page with these elements in it, which writes down all of their events.
pub(crate) fn page(setup: &Setup, body: &str) -> (Browser, Server, Own) {
    let cdn = setup.cdn();
    let body = body.replace("MODEL", &cdn.url(MODEL.trim_start_matches('/')));
    let page = format!(
        "<!doctype html><link rel=\"icon\" href=\"data:,\"><title>Elements</title>
         <style>p {{ color: rgb(1, 2, 3) }} mark {{ background: rgb(4, 5, 6) }} muse-tagger::part(entity-per) {{ outline: 3px solid rgb(7, 8, 9) }}</style>
         <p id=\"mine\">A paragraph with a <mark id=\"marked\">mark</mark> of the page's own</p>
         <script>
             window.events = [];
             for (const name of ['ready', 'progress', 'result', 'error', 'devicechange'])
                 addEventListener(`muse-${{name}}`, ({{ type, target, detail }}) => events.push({{ type, id: target.id, detail: JSON.parse(JSON.stringify(detail ?? null)) }}));
             const Real = Worker;
             window.workers = 0;
             window.Worker = class extends Real {{ constructor(...rest) {{ super(...rest); workers++; }} }};
         </script>
         <script type=\"module\" src=\"{}\"></script>
         {body}",
        cdn.url("element.js")
    );
    let own = own_site(&[("index.html", page.as_bytes())]);
    let browser = Browser::start(setup, Gpu::None);
    browser.open(&own.server.url("index.html"));
    (browser, cdn, own)
}

/// Waits for the n-th event of this name from this element.
#[track_caller]
pub(crate) fn event(browser: &Browser, id: &str, name: &str, nth: usize) -> Value {
    browser.until(&format!("{name} of {id}"), PATIENCE, || {
        let events: Vec<Value> = browser.run(
            "return events.filter(({ type, id }) => type === arguments[0] && id === arguments[1])",
            &[json!(name), json!(id)],
        );
        events.get(nth - 1).map(|event| event["detail"].clone())
    })
}

/// What the element shows.
#[track_caller]
pub(crate) fn shown(browser: &Browser, id: &str) -> Value {
    browser.run(
        "const root = document.getElementById(arguments[0]).shadowRoot;
         const text = (part) => root.querySelector(`[part=${part}]`)?.textContent ?? null;
         return {
             marks: [...root.querySelectorAll('mark')].map((mark) => [mark.dataset.type, mark.querySelector('bdi').textContent]),
             parts: [...root.querySelectorAll('mark')].map((mark) => mark.getAttribute('part')),
             elements: root.querySelectorAll('[part=result] :not(.slice, mark, small, mark *)').length,
             result: text('result'), sentiment: text('sentiment'), message: text('message'),
         }",
        &[json!(id)],
    )
}

#[test]
fn elements_share_a_model_and_leave_the_page_alone() {
    run(|setup| {
        let (browser, cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" caption=\"Angela Merkel in Berlin\"></muse-tagger>
             <muse-tagger id=\"b\" src=\"MODEL\" device=\"cpu\"></muse-tagger>",
        );
        let result = event(&browser, "a", "muse-result", 1);
        assert_eq!(result["entities"].as_array().map(Vec::len), Some(2));
        event(&browser, "b", "muse-ready", 1);
        let ready = event(&browser, "a", "muse-ready", 1);
        assert_eq!(ready["device"]["kind"], "cpu");
        assert!(event(&browser, "a", "muse-progress", 1)["phase"].is_string());
        assert_eq!(
            (cdn.count(MODEL), browser.run::<u32>("return workers", &[])),
            (1, 1)
        );

        let a = shown(&browser, "a");
        assert_eq!(
            a["marks"],
            json!([["PER", "Angela Merkel"], ["LOC", "Berlin"]])
        );
        assert!(
            a["parts"][0]
                .as_str()
                .is_some_and(|p| p.split(' ').any(|p| p == "entity-per")),
            "{a}"
        );
        assert!(
            a["sentiment"]
                .as_str()
                .is_some_and(|text| !text.trim().is_empty()),
            "{a}"
        );
        assert_eq!(shown(&browser, "b")["marks"], json!([]));

        // Styles go neither in nor out, but for parts.
        let styles: Value = browser.run(
            "const style = (element) => getComputedStyle(element);
             const mark = document.getElementById('a').shadowRoot.querySelector('mark');
             return {
                 mine: style(document.getElementById('mine')).color, marked: style(document.getElementById('marked')).backgroundColor,
                 inner: style(mark).backgroundColor, outline: style(mark).outlineColor,
                 sheets: document.styleSheets.length + document.adoptedStyleSheets.length,
             };",
            &[],
        );
        assert_eq!(styles["mine"], "rgb(1, 2, 3)");
        assert_eq!(styles["marked"], "rgb(4, 5, 6)");
        assert_ne!(styles["inner"], "rgb(4, 5, 6)");
        assert_eq!(styles["outline"], "rgb(7, 8, 9)");
        assert_eq!(styles["sheets"], 1);

        // The other's caption, by attribute, is text whatever it holds.
        let html = "<img src=x onerror=\"window.hacked = 1\"> Barack Obama <b>spoke</b>";
        browser.run::<()>(
            "document.getElementById('b').setAttribute('caption', arguments[0])",
            &[json!(html)],
        );
        event(&browser, "b", "muse-result", 1);
        let b = shown(&browser, "b");
        assert_eq!(b["elements"], 0, "{b}");
        assert!(
            b["result"]
                .as_str()
                .is_some_and(|text| text.starts_with("<img src=x")),
            "{b}"
        );
        assert!(!browser.run::<bool>("return 'hacked' in window", &[]));

        // A picture by property, and one that cannot be read.
        browser.run::<()>(
            "document.getElementById('a').image = new Blob([Uint8Array.from(arguments[0])])",
            &[json!(pictures::photo())],
        );
        let result = event(&browser, "a", "muse-result", 2);
        assert_eq!(
            result["exchange"]["layers"][0]["regions"]
                .as_array()
                .map(Vec::len),
            Some(64)
        );
        browser.run::<()>(
            "document.getElementById('a').image = new Blob(['nothing'])",
            &[],
        );
        event(&browser, "a", "muse-error", 1);
        assert_ne!(shown(&browser, "a")["message"], "");

        // One leaves: the other stays in use.
        browser.run::<()>("document.getElementById('a').remove()", &[]);
        browser.run::<()>(
            "document.getElementById('b').caption = 'NASA in Houston'",
            &[],
        );
        event(&browser, "b", "muse-result", 2);
        assert_eq!(
            shown(&browser, "b")["marks"],
            json!([["ORG", "NASA"], ["LOC", "Houston"]])
        );
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn it_is_typed_into_and_sent_with_a_form() {
    run(|setup| {
        let (browser, _cdn, _own) = page(
            setup,
            "<form><muse-tagger id=\"a\" name=\"post\" src=\"MODEL\" device=\"cpu\" caption=\"NASA\"></muse-tagger></form>",
        );
        event(&browser, "a", "muse-result", 1);
        browser.run::<()>("document.getElementById('a').focus()", &[]);
        browser.press(" in Houston");
        browser.until("what was typed", PATIENCE, || {
            (shown(&browser, "a")["marks"] == json!([["ORG", "NASA"], ["LOC", "Houston"]]))
                .then_some(())
        });
        let sent: Value = browser.run(
            "return Object.fromEntries(new FormData(document.forms[0]))",
            &[],
        );
        assert_eq!(sent, json!({ "post": "NASA in Houston" }));
        browser.run::<()>("document.forms[0].reset()", &[]);
        assert_eq!(
            browser.run::<String>("return document.getElementById('a').caption", &[]),
            "NASA"
        );
    });
}

#[test]
fn a_missing_model_is_told() {
    run(|setup| {
        let (browser, _cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"nowhere.muse\" caption=\"NASA\"></muse-tagger>",
        );
        event(&browser, "a", "muse-error", 1);
        assert_ne!(shown(&browser, "a")["message"], "");
    });
}
