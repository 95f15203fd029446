//! What users drop, paste and type by mistake, and what somebody types to mislead.

use serde_json::{Value, json};

use crate::support::page::{PATIENCE, plain};
use crate::support::{Browser, Gpu, Page, pictures, run};

/// Drops files on the page. `files` is JavaScript: a list of `[name, type, bytes]`, a folder where there are no bytes.
#[track_caller]
fn drop_files(browser: &Browser, files: &str) {
    let script = format!(
        "const photo = Uint8Array.from(arguments[0]);
         const folder = {{ isDirectory: true }};
         const items = ({files}).map(([name, type, bytes]) => ({{
             kind: 'file', type,
             getAsFile: () => new File([bytes ?? ''], name, {{ type }}),
             webkitGetAsEntry: () => (bytes ? {{ isDirectory: false }} : folder),
         }}));
         const event = new Event('drop', {{ bubbles: true, cancelable: true }});
         const files = items.map((item) => item.getAsFile());
         event.dataTransfer = {{ types: ['Files'], items, files }};
         document.querySelector('#drop').dispatchEvent(event);"
    );
    browser.run::<()>(&script, &[json!(pictures::photo())]);
}

#[test]
fn what_is_dropped_is_looked_at() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.tag("Angela Merkel in Berlin");
        for files in [
            "[['holidays', ''], ['photo.jpg', 'image/jpeg', photo]]",
            "[['readme', '', 'text'], ['photo.jpg', 'image/jpeg', photo]]",
            "[['photo', '', photo]]",
        ] {
            page.after(|| drop_files(&browser, files));
            assert!(
                browser.shows("#exchange"),
                "{files}: the picture is taken; {}",
                page.message()
            );
            page.after(|| browser.click("#image-remove"));
        }
        for (files, named) in [
            (
                "[['paper.pdf', 'application/pdf', '%PDF-1.4']]",
                "paper.pdf",
            ),
            ("[['notes.txt', 'text/plain', 'Berlin']]", "notes.txt"),
            ("[['holidays', '']]", "a folder"),
        ] {
            drop_files(&browser, files);
            browser.until("a word", PATIENCE, || {
                page.message().contains(named).then_some(())
            });
            assert!(!browser.shows("#image-preview"), "{files}");
        }
        assert_eq!(
            plain(&page.found()),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );
    });
}

/// What is copied is what is shown, also while the next caption is on its way.
#[test]
fn what_is_copied_is_whole() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        browser.run::<()>(
            "navigator.clipboard.writeText = async (text) => { window.copied = text; };",
            &[],
        );
        page.tag("Angela Merkel in Berlin");
        let script = "const field = document.querySelector('#caption');
             field.value = 'Barack Obama in Paris. '.repeat(400);
             field.dispatchEvent(new Event('input', { bubbles: true }));";
        browser.run::<()>(script, &[]);
        page.wait_state("tagging");
        browser.click("#copy-json");
        let copied: Value = browser.until("a copy", PATIENCE, || {
            let text: Option<String> = browser.run("return window.copied ?? null", &[]);
            text.map(|text| serde_json::from_str(&text).expect("JSON"))
        });
        assert_eq!(copied["caption"], "Angela Merkel in Berlin");
        assert_eq!(copied["entities"].as_array().map(Vec::len), Some(2));
    });
}

/// An overriding mark turns the words after it, and not the labels of the entities among them.
#[test]
fn a_caption_does_not_turn_the_labels() {
    run(|setup| {
        let site = setup.site();
        let cdn = setup.cdn();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.tag_expression("'Seen: \\u202e Angela Merkel in Berlin'");
        assert!(!page.found().is_empty());
        // The places of a label's letters, from left to right.
        let forward = "
            const list = [...(arguments[0] ? document.querySelector('muse-tagger').shadowRoot : document).querySelectorAll(arguments[1])];
            const left = (node, at) => {
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + 1);
                return range.getBoundingClientRect().left;
            };
            return list.map(({ lastChild: node }) => left(node, node.length - 1) > left(node, node.textContent.search(/\\S/)));";
        let labels: Vec<bool> = browser.run(forward, &[json!(false), json!("#result mark .label")]);
        assert!(
            !labels.is_empty() && labels.iter().all(|&is| is),
            "{labels:?}"
        );
        // The same in the element.
        let own = crate::support::setup::own_site(&[crate::support::setup::BLANK]);
        browser.open(&own.server.url("index.html"));
        browser.call(
            "await import(arguments[0]);
             const element = document.createElement('muse-tagger');
             element.setAttribute('src', arguments[1]);
             element.setAttribute('device', 'cpu');
             element.caption = 'Seen: \\u202e Angela Merkel in Berlin';
             document.body.append(element);
             await new Promise((resolve, reject) => {
                 element.addEventListener('muse-result', resolve);
                 element.addEventListener('muse-error', ({ detail }) => reject(detail));
             });",
            &[
                json!(cdn.url("element.js")),
                json!(cdn.url("models/muse-small.muse")),
            ],
        );
        let labels: Vec<bool> = browser.run(forward, &[json!(true), json!("mark small")]);
        assert!(
            !labels.is_empty() && labels.iter().all(|&is| is),
            "{labels:?}"
        );
    });
}

#[test]
fn of_nothing_there_is_no_sentiment() {
    run(|setup| {
        let cdn = setup.cdn();
        let own = crate::support::setup::own_site(&[crate::support::setup::BLANK]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let told = browser.call(
            "const { Muse } = await import(arguments[0]);
             const muse = await Muse.load(arguments[1], { device: 'cpu', warm: false });
             const image = new Blob([Uint8Array.from(arguments[2])]);
             const items = [{ caption: '' }, { caption: ' \\n\\u200b' }, { caption: '', image }, { caption: 'x' }];
             return (await muse.tagBatch(items)).map(({ sentiment }) => sentiment !== null);",
            &[
                json!(cdn.url("muse.js")),
                json!(cdn.url("models/muse-small.muse")),
                json!(pictures::photo()),
            ],
        );
        // The zero-width space between white space is a word of its own.
        assert_eq!(told, json!([false, true, true, true]));
    });
}
