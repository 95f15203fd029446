//! The package on somebody else's page, from a CDN's address.

mod errors;
mod images;
mod policies;
mod traps;

use muse_tests::server::{Answer, Server};
use serde_json::{Value, json};

use crate::support::setup::{MODEL, Own, own_site};
use crate::support::{Browser, Gpu, Setup, pictures, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";

/// A page that does what the package's readme says, and leaves its imports where the test finds them.
fn plain_page(cdn: &Server) -> Own {
    let page = format!(
        "<!doctype html><link rel=\"icon\" href=\"data:,\"><title>Plain</title><script type=\"module\">
         import {{ Muse, MuseError }} from \"{}\";
         Object.assign(window, {{ Muse, MuseError, model: \"{}\" }});
         </script>",
        cdn.url("muse.js"),
        cdn.url(MODEL.trim_start_matches('/'))
    );
    own_site(&[("index.html", page.as_bytes())])
}

/// A browser with that page in it.
fn embedded(setup: &Setup, gpu: Gpu) -> (Browser, Server, Own) {
    let cdn = setup.cdn();
    let own = plain_page(&cdn);
    let browser = Browser::start(setup, gpu);
    browser.open(&own.server.url("index.html"));
    (browser, cdn, own)
}

fn found(answer: &Value) -> Vec<(&str, &str)> {
    let entities = answer["entities"].as_array().map_or(&[][..], Vec::as_slice);
    entities
        .iter()
        .map(|e| {
            (
                e["type"].as_str().unwrap_or(""),
                e["text"].as_str().unwrap_or(""),
            )
        })
        .collect()
}

const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

#[test]
fn it_runs_from_another_origin() {
    run(|setup| {
        let (browser, cdn, _own) = embedded(setup, Gpu::None);
        let answer = browser.call(
            "const phases = [];
             window.muse = await Muse.load(model, { onProgress: ({ phase, loaded, total }) => phases.push([phase, loaded, total]) });
             const changed = await new Promise((resolve) => {
                 muse.addEventListener('devicechange', ({ detail }) => resolve(detail));
                 setTimeout(() => resolve(null), 2000);
             });
             const answer = await muse.tag({ caption: arguments[0] });
             return { answer, phases, changed, device: muse.device, info: muse.info, source: muse.source, memory: await muse.memory() };",
            &[json!(CAPTION)],
        );
        assert_eq!(found(&answer["answer"]), NAMES);
        let phases: Vec<&str> = answer["phases"]
            .as_array()
            .expect("phases")
            .iter()
            .filter_map(|p| p[0].as_str())
            .collect();
        for phase in ["download", "compile", "prepare"] {
            assert!(phases.contains(&phase), "{phases:?}");
        }
        let bytes = setup.model().len();
        let loaded: Vec<_> = answer["phases"]
            .as_array()
            .expect("phases")
            .iter()
            .filter(|p| p[0] == "download")
            .collect();
        assert_eq!(loaded.last().map(|p| &p[1]), Some(&json!(bytes)));
        assert_eq!(
            answer["source"],
            json!({ "from": "network", "bytes": bytes })
        );
        assert_eq!(answer["device"]["kind"], "cpu");
        assert_eq!(
            answer["changed"]["device"]["kind"], "cpu",
            "{}",
            answer["changed"]
        );
        let reason = answer["changed"]["reason"].as_str().expect("a reason");
        assert!(["no-webgpu", "no-adapter"].contains(&reason), "{reason}");
        assert_eq!(answer["info"]["maxPieces"], 64);
        assert!(answer["memory"]["wasmBytes"].as_u64() > Some(bytes as u64));
        let answer = &answer["answer"];
        assert_eq!(answer["words"].as_array().map(Vec::len), Some(5));
        assert!(answer["sentiment"]["score"].as_f64() > Some(0.0));
        for step in ["queue", "decode", "picture", "model", "total"] {
            assert!(
                answer["timings"][step].as_f64() >= Some(0.0),
                "{step}: {}",
                answer["timings"]
            );
        }
        assert_eq!(cdn.count(MODEL), 1);
        assert!(
            browser.outside.asked().is_empty(),
            "{:?}",
            browser.outside.asked()
        );
        browser.expect_no_errors(&[]);
    });
}

#[test]
fn a_batch_is_the_same_as_one_by_one() {
    run(|setup| {
        let (browser, _cdn, _own) = embedded(setup, Gpu::None);
        let answer = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const image = new Blob([Uint8Array.from(arguments[0])]);
             const items = Array.from({ length: 20 }, (_, i) => ({
                 caption: ['Angela Merkel', 'Barack Obama spoke in Berlin', 'x', '', 'NASA in Houston'][i % 5],
                 image: i % 2 ? image : null,
             }));
             const together = await muse.tagBatch(items);
             const single = [];
             for (const item of items) single.push(await muse.tag(item));
             const overlapping = await Promise.all(items.map((item) => muse.tag(item)));
             const bare = await muse.tagBatch(items.slice(0, 2), { exchange: false });
             const told = ({ entities, words, sentiment }) => ({ entities, words, sentiment });
             return { together: together.map(told), single: single.map(told), overlapping: overlapping.map(told), bare: bare.map(({ exchange }) => exchange) };",
            &[json!(pictures::photo())],
        );
        let list = |name: &str| answer[name].as_array().expect("answers").clone();
        let (together, single, overlapping) =
            (list("together"), list("single"), list("overlapping"));
        assert_eq!((together.len(), single.len()), (20, 20));
        assert_eq!(single, overlapping);
        for (a, b) in together.iter().zip(&single) {
            assert_eq!(found(a), found(b));
            assert_eq!(a["words"], b["words"]);
            for (a, b) in a["entities"]
                .as_array()
                .into_iter()
                .flatten()
                .zip(b["entities"].as_array().into_iter().flatten())
            {
                let score = |e: &Value| e["score"].as_f64().expect("a score");
                assert!((score(a) - score(b)).abs() < 1e-3, "{a} and {b}");
            }
        }
        assert_eq!(list("bare"), [Value::Null, Value::Null]);
    });
}

#[test]
fn two_on_a_page_share_one_model() {
    run(|setup| {
        let (browser, cdn, _own) = embedded(setup, Gpu::None);
        let counts = browser.call(
            "const Real = Worker;
             let workers = 0;
             globalThis.Worker = class extends Real { constructor(...rest) { super(...rest); workers++; } };
             const options = { device: 'cpu', warm: false };
             const [a, b] = await Promise.all([Muse.load(model, options), Muse.load(model, options)]);
             const c = await Muse.load(new URL(model), options);
             const shared = workers;
             a.dispose();
             a.dispose();
             const after = (await b.tag({ caption: 'Angela Merkel' })).entities.length + (await c.tag({ caption: 'Angela Merkel' })).entities.length;
             b.dispose();
             c.dispose();
             const d = await Muse.load(model, options);
             const again = (await d.tag({ caption: 'Angela Merkel' })).entities.length;
             return { shared, after, again, workers, from: d.source.from };",
            &[],
        );
        assert_eq!(
            counts,
            json!({ "shared": 1, "after": 2, "again": 1, "workers": 2, "from": "cache" })
        );
        assert_eq!(cdn.count(MODEL), 1);
    });
}

#[test]
fn the_device_can_be_changed() {
    run(|setup| {
        let (browser, cdn, _own) = embedded(setup, Gpu::None);
        let told = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const events = [];
             muse.addEventListener('devicechange', ({ detail }) => events.push([detail.device.kind, detail.reason]));
             await muse.useDevice('webgpu');
             await new Promise((resolve) => setTimeout(resolve, 100));
             const { entities } = await muse.tag({ caption: 'Angela Merkel' });
             const cached = await Muse.cached(model);
             await Muse.clearCache();
             return { events, entities: entities.length, kind: muse.device.kind, cached, cleared: !(await Muse.cached(model)) };",
            &[],
        );
        // There is none: it goes on with the CPU, and says so.
        assert_eq!(told["kind"], "cpu");
        assert_eq!(told["events"].as_array().map(Vec::len), Some(1), "{told}");
        assert_eq!(told["entities"], 1);
        assert_eq!(
            (&told["cached"], &told["cleared"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(cdn.count(MODEL), 1, "the model is taken from memory");
    });
}

#[test]
fn it_works_within_a_worker() {
    run(|setup| {
        let (browser, cdn, own) = embedded(setup, Gpu::None);
        let worker = format!(
            "import {{ Muse }} from \"{}\";
             onmessage = async ({{ data: {{ model, caption }} }}) => {{
                 try {{
                     const muse = await Muse.load(model, {{ device: 'cpu', warm: false }});
                     postMessage(await muse.tag({{ caption }}));
                 }} catch (error) {{ postMessage({{ error: `${{error.code}}: ${{error.message}}` }}); }}
             }};",
            cdn.url("muse.js")
        );
        own.server.answer(
            "/own-worker.js",
            Answer {
                body: Some(worker.into_bytes()),
                ..Answer::default()
            },
        );
        let answer = browser.call(
            "const worker = new Worker('own-worker.js', { type: 'module' });
             return new Promise((resolve) => {
                 worker.onmessage = ({ data }) => resolve(data);
                 worker.onerror = ({ message }) => resolve({ error: message });
                 worker.postMessage({ model, caption: arguments[0] });
             });",
            &[json!(CAPTION)],
        );
        assert_eq!(answer.get("error"), None, "{answer}");
        assert_eq!(found(&answer), NAMES);
    });
}
