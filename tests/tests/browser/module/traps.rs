//! A worker that traps, hangs or loses its device while others wait: every call settles, and none is answered wrongly.

use muse_tests::server::Server;
use serde_json::{Value, json};

use super::{CAPTION, NAMES, found, plain_page};
use crate::support::setup::{LOSE, Own, with_body, with_status};
use crate::support::{Browser, Gpu, Setup, pictures, run, run_alone};

/// What the worker is made to do: `TRAP` in a caption is a panic within a promise of the module, as Rust's are: the promise
/// stays open for ever. `DEAF` never comes back.
const FAULTS: &str = "
    import { Job } from './real.js';
    export * from './real.js';
    export { default } from './real.js';
    const trap = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 5, 1, 3, 0, 0, 11);
    const { add, read } = Job.prototype;
    Job.prototype.add = function (caption) {
        this.caption = caption;
        return add.call(this, caption);
    };
    Job.prototype.read = function (windows) {
        if (/DEAF/.test(this.caption)) for (;;);
        if (!/TRAP/.test(this.caption)) return read.call(this, windows);
        Promise.resolve().then(() => new WebAssembly.Instance(new WebAssembly.Module(trap)).exports.f());
        return new Promise(() => {});
    };";

/// A page with the package, whose worker can be told to fail.
fn faulty(setup: &Setup, gpu: Gpu) -> (Browser, Server, Own) {
    let cdn = setup.cdn();
    let real = std::fs::read(setup.package.join("cpu/muse_web.js")).expect("the glue");
    for (path, body) in [
        ("/cpu/real.js", real),
        ("/cpu/muse_web.js", FAULTS.as_bytes().to_vec()),
    ] {
        cdn.answer(path, with_body(body));
    }
    let worker = std::fs::read_to_string(setup.package.join("worker.js")).expect("a worker");
    cdn.answer(
        "/worker.js",
        with_body(format!(
            "{LOSE}
{worker}"
        )),
    );
    let own = plain_page(&cdn);
    let browser = Browser::start(setup, gpu);
    browser.open(&own.server.url("index.html"));
    browser.run::<()>(
        "window.lose = () => new BroadcastChannel('lose').postMessage(1);
         window.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
         window.told = (promise) => promise.then((value) => value ?? 'nothing', (error) => `${error.code}: ${error.message}`);
         // What has not settled after so long never will.
         window.within = (ms, promise) => Promise.race([promise, sleep(ms).then(() => { throw new Error('it does not settle'); })]);",
        &[],
    );
    (browser, cdn, own)
}

#[test]
fn a_trap_settles_every_call() {
    run(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::None);
        for delay in [0, 1, 2, 300] {
            let answers = browser.call(
                "const muse = await Muse.load(model, { device: 'cpu', warm: false });
                 const trapped = told(muse.tag({ caption: 'TRAP' }));
                 const queued = told(muse.tag({ caption: arguments[1] }));
                 await sleep(arguments[0]);
                 const others = [muse.memory(), muse.loseDevice()].map(told);
                 const [first, second, memory, lost] = await within(60000, Promise.all([trapped, queued, ...others]));
                 const after = await within(60000, muse.tag({ caption: arguments[1] }));
                 muse.dispose();
                 return { first, second, memory, lost, after };",
                &[json!(delay), json!(CAPTION)],
            );
            let first = answers["first"].as_str().unwrap_or_default();
            assert!(first.starts_with("device: "), "{delay} ms: {answers}");
            assert_eq!(found(&answers["second"]), NAMES, "{delay} ms");
            assert!(answers["memory"]["wasmBytes"].as_u64() > Some(0));
            assert_eq!(answers["lost"], "nothing");
            assert_eq!(found(&answers["after"]), NAMES, "{delay} ms");
        }
        browser.expect_no_errors(&[]);
    });
}

/// Nobody tells of a worker that is within an endless loop; it is missed.
#[test]
fn a_worker_that_is_not_heard_any_more_is_replaced() {
    run_alone(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::None);
        let answers = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const real = setInterval;
             globalThis.setInterval = (work, ms) => real(work, ms / 20); // two minutes in six seconds
             const changes = [];
             muse.addEventListener('devicechange', ({ detail }) => changes.push(detail.message));
             const deaf = told(muse.tag({ caption: 'DEAF' }));
             const queued = muse.tag({ caption: arguments[0] });
             return within(120000, Promise.all([deaf, queued])).then(([deaf, queued]) => ({ deaf, queued, changes }));",
            &[json!(CAPTION)],
        );
        let deaf = answers["deaf"].as_str().unwrap_or_default();
        assert!(deaf.starts_with("device: "), "{answers}");
        assert_eq!(found(&answers["queued"]), NAMES);
        assert_eq!(answers["changes"].as_array().map(Vec::len), Some(2));
    });
}

/// What is tagged with a picture is tagged with it, whichever worker has seen it.
#[test]
fn no_picture_is_lost_with_the_worker() {
    run(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::None);
        let answers = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const blob = new Blob([Uint8Array.from(arguments[0])]);
             const kept = [blob, await createImageBitmap(blob), Object.assign(new Image(), { src: URL.createObjectURL(blob) })];
             const seen = ({ exchange }) => exchange.layers[0].regions.length;
             const counts = [];
             for (const delay of [0, 5, 50, 200, 500, 1000]) {
                 for (const image of kept) await muse.tag({ caption: 'a', image });
                 const canvases = [1, 2, 3].map(() => Object.assign(document.createElement('canvas'), { width: 1500, height: 1500 }));
                 for (const canvas of canvases) canvas.getContext('2d').fillRect(0, 0, 9, 9);
                 const batch = muse.tagBatch([...kept, ...canvases, ...kept].map((image) => ({ caption: 'a', image })));
                 await sleep(delay);
                 lose();
                 counts.push((await within(120000, batch)).map(seen));
             }
             return counts;",
            &[json!(pictures::photo())],
        );
        assert_eq!(answers, json!(vec![[64; 9]; 6]));
        browser.expect_no_errors(&[]);
    });
}

/// An element may show another picture by the time that the worker has to see it again: then that is said.
#[test]
fn a_picture_is_never_taken_for_another() {
    run(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::None);
        let answers = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: () => {}, cache: () => {} });
             const [one, two] = [arguments[0], arguments[1]].map((bytes) => URL.createObjectURL(new Blob([Uint8Array.from(bytes)])));
             const image = Object.assign(new Image(), { src: one });
             await image.decode();
             const seen = ({ exchange }) => exchange.layers[0].regions.map(({ attention }) => attention);
             const first = seen(await muse.tag({ caption: 'a', image, exchange: () => {} }));
             lose();
             await sleep(500);
             const late = muse.tag({ caption: 'a', image }).then(seen, ({ code }) => code);
             image.src = two;
             const answer = await within(60000, late);
             await image.decode();
             const second = seen(await muse.tag({ caption: 'a', image }));
             image.src = one;
             await image.decode();
             const again = seen(await muse.tag({ caption: 'a', image }));
             const alike = (a, b) => JSON.stringify(a) === JSON.stringify(b);
             return { late: answer === 'image' || alike(answer, first), differ: !alike(first, second), again: alike(first, again) };",
            &[
                json!(pictures::photo()),
                json!(pictures::gif(40, 30, &[[200, 30, 30]])),
            ],
        );
        assert_eq!(
            answers,
            json!({ "late": true, "differ": true, "again": true })
        );
        browser.expect_no_errors(&[]);
    });
}

/// A number that the worker does not know is never taken for no picture.
#[test]
fn an_unknown_picture_is_named() {
    run(|setup| {
        let cdn = setup.cdn();
        let browser = Browser::start(setup, Gpu::None);
        let own = crate::support::setup::own_site(&[crate::support::setup::BLANK]);
        browser.open(&own.server.url("index.html"));
        let answer = browser.call(
            "const [script, url] = arguments;
             const blob = new Blob([`import '${script}'`], { type: 'text/javascript' });
             const worker = new Worker(URL.createObjectURL(blob), { type: 'module' });
             const ask = (id, message) => new Promise((resolve) => {
                 worker.addEventListener('message', ({ data }) => data.id === id && resolve(data));
                 worker.postMessage({ id, ...message });
             });
             await ask(1, { operation: 'load', url, device: 'cpu' });
             return ask(2, { operation: 'tag', captions: ['a', 'b'], numbers: [7, null], pictures: [], exchange: true });",
            &[
                json!(cdn.url("worker.js")),
                json!(cdn.url("models/muse-small.muse")),
            ],
        );
        assert_eq!(answer["value"], json!({ "missing": [7] }));
    });
}

#[test]
fn a_failure_does_not_stay() {
    run(|setup| {
        let (browser, cdn, _own) = faulty(setup, Gpu::None);
        browser.call(
            "window.changes = [];
             window.muse = await Muse.load(model, { device: 'cpu', warm: false });
             muse.addEventListener('devicechange', ({ detail }) => changes.push(detail.reason));",
            &[],
        );
        cdn.answer("/cpu/muse_web.js", with_status(503));
        let tag = || -> Value {
            browser.call(
                "return within(60000, told(muse.tag({ caption: arguments[0] })))",
                &[json!(CAPTION)],
            )
        };
        browser.run::<()>("lose()", &[]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        for _ in 0..2 {
            let answer = tag();
            let answer = answer.as_str().unwrap_or_default();
            assert!(answer.starts_with("network: "), "{answer}");
        }
        cdn.restore("/cpu/muse_web.js");
        assert_eq!(found(&tag()), NAMES);
        let changes: Value = browser.run("return changes", &[]);
        assert_eq!(changes, json!(["device-lost"]), "told once it works");
    });
}

#[test]
fn of_several_devices_the_last_one_counts() {
    run(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::SwiftShader);
        let kinds = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const kinds = [];
             for (const wishes of [['webgpu', 'cpu'], ['webgpu', 'cpu', 'webgpu'], ['cpu', 'webgpu', 'webgpu', 'cpu']]) {
                 await within(120000, Promise.all(wishes.map((wish) => muse.useDevice(wish))));
                 await sleep(1000);
                 kinds.push(muse.device.kind);
             }
             const { entities } = await muse.tag({ caption: arguments[0] });
             return { kinds, entities: entities.length };",
            &[json!(CAPTION)],
        );
        assert_eq!(
            kinds,
            json!({ "kinds": ["cpu", "webgpu", "cpu"], "entities": 2 })
        );
    });
}

/// Nobody waits for what nobody wants any more.
#[test]
fn an_aborted_call_frees_the_queue() {
    run_alone(|setup| {
        let (browser, _cdn, _own) = faulty(setup, Gpu::None);
        let answers = browser.call(
            "const muse = await Muse.load(model, { device: 'cpu' });
             const control = new AbortController();
             const parts = [];
             const caption = 'Angela Merkel met Barack Obama in Berlin. '.repeat(2400);
             const long = told(muse.tag({ caption, signal: control.signal, onProgress: ({ done, total }) => parts.push([done, total]) }));
             while (parts.length < 3) await sleep(50);
             control.abort();
             const start = performance.now();
             const { entities } = await muse.tag({ caption: arguments[0] });
             return { took: performance.now() - start, long: await long, parts, entities: entities.length };",
            &[json!(CAPTION)],
        );
        let long = answers["long"].as_str().unwrap_or_default();
        assert!(long.starts_with("aborted: "), "{long}");
        assert_eq!(answers["entities"], 2);
        assert!(answers["took"].as_f64() < Some(5000.0), "{answers}");
        let parts = answers["parts"].as_array().expect("parts");
        let done: Vec<u64> = parts.iter().filter_map(|p| p[0].as_u64()).collect();
        assert!(done.len() > 2 && done.is_sorted(), "{parts:?}");
        assert!(parts[0][1].as_u64() > Some(300), "{parts:?}");
    });
}
