//! The element's life: attributes that come, change and go, and documents that it moves through.

use std::process::Command;

use serde_json::{Value, json};

use crate::element::{event, page, shown};
use crate::support::page::PATIENCE;
use crate::support::setup::MODEL;
use crate::support::{Browser, run};

/// Whether the element's bar is there.
fn bar(browser: &Browser) -> bool {
    browser.run(
        "return !document.getElementById('a').shadowRoot.querySelector('[part=progress]').hidden",
        &[],
    )
}

#[test]
fn a_source_that_goes_leaves_nothing_behind() {
    run(|setup| {
        let (browser, cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" caption=\"Angela Merkel\"></muse-tagger>",
        );
        event(&browser, "a", "muse-result", 1);
        assert!(!bar(&browser));
        // Another one that fails: what the first said is not the second's.
        browser.run::<()>(
            "document.getElementById('a').setAttribute('src', 'nowhere.muse')",
            &[],
        );
        event(&browser, "a", "muse-error", 1);
        let after = shown(&browser, "a");
        assert_eq!(after["marks"], json!([]), "{after}");
        assert_eq!(after["sentiment"], "", "{after}");
        assert_ne!(after["message"], "");
        let result: Value = browser.run("return document.getElementById('a').result", &[]);
        assert_eq!(result, Value::Null);
        // One that goes while it loads.
        let pace = Some((1 << 18, std::time::Duration::from_millis(50)));
        cdn.answer(
            MODEL,
            muse_tests::server::Answer {
                pace,
                ..Default::default()
            },
        );
        let model = cdn.url(MODEL.trim_start_matches('/'));
        browser.call("await caches.delete('muse-web')", &[]);
        browser.run::<()>(
            "document.getElementById('a').setAttribute('src', arguments[0])",
            &[json!(model)],
        );
        browser.until("the bar", PATIENCE, || bar(&browser).then_some(()));
        browser.run::<()>("document.getElementById('a').removeAttribute('src')", &[]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!bar(&browser));
    });
}

/// Another device starts behind the scenes: no bar is left standing, and nothing is read out again.
#[test]
fn another_device_leaves_no_bar() {
    run(|setup| {
        let (browser, _cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" caption=\"Angela Merkel\"></muse-tagger>",
        );
        event(&browser, "a", "muse-result", 1);
        browser.run::<()>(
            "window.told = 0;
             const live = document.getElementById('a').shadowRoot.querySelector('[part=live]');
             new MutationObserver(() => told++).observe(live, { childList: true, characterData: true, subtree: true });
             document.getElementById('a').setAttribute('device', 'webgpu');",
            &[],
        );
        event(&browser, "a", "muse-devicechange", 1);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(!bar(&browser));
        browser.run::<()>("document.getElementById('a').tag()", &[]);
        event(&browser, "a", "muse-result", 2);
        assert_eq!(browser.run::<u32>("return told", &[]), 0);
    });
}

#[test]
fn another_hash_is_another_try() {
    run(|setup| {
        let wrong = "0".repeat(64);
        let body = format!(
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" sha256=\"{wrong}\" caption=\"NASA\"></muse-tagger>"
        );
        let (browser, _cdn, _own) = page(setup, &body);
        event(&browser, "a", "muse-error", 1);
        let right = setup.model_entry()["sha256"].clone();
        browser.run::<()>(
            "document.getElementById('a').setAttribute('sha256', arguments[0])",
            &[right],
        );
        event(&browser, "a", "muse-result", 1);
        assert_eq!(shown(&browser, "a")["message"], "");
    });
}

#[test]
fn what_is_set_before_the_upgrade_counts() {
    run(|setup| {
        let (browser, _cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" caption=\"by attribute\"></muse-tagger>
             <script>document.getElementById('a').caption = 'Angela Merkel';</script>",
        );
        event(&browser, "a", "muse-result", 1);
        let caption =
            || -> String { browser.run("return document.getElementById('a').caption", &[]) };
        assert_eq!(caption(), "Angela Merkel");
        assert_eq!(
            shown(&browser, "a")["marks"],
            json!([["PER", "Angela Merkel"]])
        );
        // Later the attribute counts again.
        browser.run::<()>(
            "document.getElementById('a').setAttribute('caption', 'NASA')",
            &[],
        );
        assert_eq!(caption(), "NASA");
    });
}

#[test]
fn it_keeps_its_style_in_another_document() {
    run(|setup| {
        let (browser, _cdn, _own) = page(
            setup,
            "<muse-tagger id=\"a\" src=\"MODEL\" device=\"cpu\" caption=\"Angela Merkel\"></muse-tagger><iframe></iframe>",
        );
        event(&browser, "a", "muse-result", 1);
        let styles = browser.call(
            "const element = document.getElementById('a');
             const look = () => {
                 const view = element.ownerDocument.defaultView;
                 const style = (part) => view.getComputedStyle(element.shadowRoot.querySelector(part));
                 return [style('[part=live]').position, style('textarea').display, element.shadowRoot.adoptedStyleSheets.length];
             };
             const before = look();
             const frame = document.querySelector('iframe').contentDocument;
             frame.body.append(element);
             const within = look();
             element.caption = 'NASA in Houston';
             const { promise, resolve } = Promise.withResolvers();
             element.addEventListener('muse-result', ({ detail }) => resolve(detail.entities.length), { once: true });
             const found = await promise;
             document.body.append(element);
             return { before, within, back: look(), found };",
            &[],
        );
        assert_eq!(styles["before"], json!(["absolute", "block", 1]));
        assert_eq!(styles["within"], styles["before"]);
        assert_eq!(styles["back"], styles["before"]);
        assert_eq!(styles["found"], 2);
    });
}

/// Where pages are rendered on a server.
#[test]
fn it_can_be_imported_without_a_browser() {
    run(|setup| {
        let script =
            "const { MuseTagger } = await import(process.argv[1]); console.log(typeof MuseTagger);";
        let output = Command::new("node")
            .args(["--input-type=module", "--eval", script])
            .arg(setup.package.join("element.js"))
            .output()
            .expect("node runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said.trim(),
            "function",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}
