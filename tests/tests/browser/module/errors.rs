//! What goes wrong has a code, and breaks nothing.

use muse_tests::server::Answer;
use serde_json::json;

use super::{CAPTION, NAMES, embedded, found};
use crate::support::{Gpu, run};

#[test]
fn errors_have_codes() {
    run(|setup| {
        let (browser, cdn, own) = embedded(setup, Gpu::None);
        let mut damaged = setup.model();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        cdn.answer(
            "/damaged.muse",
            Answer {
                body: Some(damaged),
                ..Answer::default()
            },
        );
        cdn.answer(
            "/zeros.muse",
            Answer {
                body: Some(vec![0; 5000]),
                ..Answer::default()
            },
        );
        own.server.answer(
            "/missing.png",
            Answer {
                status: Some(404),
                body: Some(Vec::new()),
                ..Answer::default()
            },
        );
        let sha256 = setup.model_entry()["sha256"].clone();
        let code = |body: &str| -> String {
            let script = format!(
                "try {{ {body} }} catch (error) {{
                     if (!(error instanceof MuseError && error instanceof Error && error.message)) throw error;
                     return error.code;
                 }}
                 return 'no error';"
            );
            let answer = browser.call(&script, &[json!(cdn.url("")), json!(sha256)]);
            answer.as_str().expect("a code").to_owned()
        };
        assert_eq!(
            code("await Muse.load(arguments[0] + 'nowhere.muse')"),
            "network"
        );
        assert_eq!(
            code("await Muse.load('http://127.0.0.1:9/model.muse')"),
            "network"
        );
        let bad = code("await Muse.load(arguments[0] + 'damaged.muse')");
        assert!(["model", "damaged"].contains(&bad.as_str()), "{bad}");
        assert_eq!(
            code("await Muse.load(arguments[0] + 'damaged.muse', { sha256: arguments[1] })"),
            "damaged"
        );
        assert_eq!(
            code("await Muse.load(arguments[0] + 'zeros.muse')"),
            "model"
        );
        assert_eq!(code("await Muse.load(new Uint8Array(100))"), "model");
        assert_eq!(code("await Muse.load(42)"), "argument");
        assert_eq!(
            code("await Muse.load(model, { device: 'abacus' })"),
            "argument"
        );
        for call in [
            "Muse.load()",
            "Muse.load(null)",
            "Muse.load('http://[bad')",
            "Muse.load(model, null)",
            "Muse.load(model, 'cpu')",
            "Muse.load(model, { device: Symbol() })",
            "Muse.load(model, { signal: 5 })",
            "Muse.load(model, { signal: {} })",
            "Muse.load(model, { sha256: 42 })",
            "Muse.load(model, { sha256: 'abc' })",
            "Muse.load(model, { onProgress: true })",
            "Muse.load(structuredClone(new ArrayBuffer(8), { transfer: [window.gone = new ArrayBuffer(8)] }) && gone)",
            "Muse.cached(null)",
            "Muse.cached('http://[bad')",
            "Muse.cached(model, null)",
            "Muse.cached(model, { sha256: 5 })",
        ] {
            let code = code(&format!("await {call}"));
            // Of the detached buffer some browsers make an empty file.
            let right = ["argument", "model"].contains(&code.as_str())
                && (code == "argument" || call.contains("gone"));
            assert!(right, "{call}: {code}");
        }
        assert_eq!(
            code("await Muse.load(model, { signal: AbortSignal.abort() })"),
            "aborted"
        );
        assert_eq!(
            code(
                "const stop = new AbortController(); await Muse.load(model, { cache: false, signal: stop.signal, onProgress: () => stop.abort() })"
            ),
            "aborted"
        );
        browser.call(
            "window.muse = await Muse.load(model, { device: 'cpu', warm: false })",
            &[],
        );
        for call in [
            "tag()",
            "tag(null)",
            "tag('Berlin')",
            "tag({ caption: 42 })",
            "tag({ caption: 'a', signal: 'stop' })",
            "tag({ caption: 'a', onProgress: 1 })",
            "tag({ caption: 'a', image: 5 })",
            "tag({ caption: 'a', image: {} })",
            "tag({ caption: 'a', image: 'http://[bad' })",
            "tag({ caption: 'x'.repeat(2 ** 22 + 1) })",
            "tagBatch()",
            "tagBatch(null)",
            "tagBatch(5)",
            "tagBatch({})",
            "tagBatch('ab')",
            "tagBatch([null])",
            "tagBatch([{ caption: 'a' }, 'b'])",
            "tagBatch([{ caption: 'a' }], null)",
            "useDevice()",
            "useDevice(Symbol())",
            "useDevice({ toString: null })",
        ] {
            assert_eq!(code(&format!("await muse.{call}")), "argument", "{call}");
        }
        assert_eq!(
            code("await muse.tag({ caption: 'a', image: 'missing.png' })"),
            "network"
        );
        for image in [
            "new Blob([new Uint8Array(100)])",
            "new Blob([])",
            "new Image()",
            "Object.assign(document.createElement('canvas'), { width: 0 })",
        ] {
            assert_eq!(
                code(&format!(
                    "await muse.tag({{ caption: 'a', image: {image} }})"
                )),
                "image",
                "{image}"
            );
        }
        assert_eq!(
            code("await muse.tag({ caption: 'a', signal: AbortSignal.abort() })"),
            "aborted"
        );
        assert_eq!(
            code(
                "const stop = new AbortController(); const work = muse.tag({ caption: 'Berlin '.repeat(500), signal: stop.signal }); stop.abort(); await work"
            ),
            "aborted"
        );
        // After all of that it still works.
        let answer = browser.call(
            "return muse.tag({ caption: arguments[0] })",
            &[json!(CAPTION)],
        );
        assert_eq!(found(&answer), NAMES);
        assert_eq!(
            code(
                "const work = muse.tag({ caption: 'Berlin '.repeat(500) }); muse.dispose(); await work"
            ),
            "disposed"
        );
        for call in [
            "tag({ caption: 'a' })",
            "tagBatch([{ caption: 'a' }])",
            "memory()",
            "loseDevice()",
            "useDevice('cpu')",
        ] {
            assert_eq!(code(&format!("await muse.{call}")), "disposed", "{call}");
        }
        browser.call(
            "window.muse = await Muse.load(model, { device: 'cpu', warm: false })",
            &[],
        );
        assert_eq!(
            code("const work = muse.memory(); muse.dispose(); await work"),
            "disposed"
        );
        browser.expect_no_errors(&["Failed to load resource"]);
    });
}
