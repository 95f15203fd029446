//! "auto" finds out which device is faster. The GPU is one in software, which is made to look like a real one.

use muse_tests::server::Server;
use serde_json::{Value, json};

use crate::support::page::PATIENCE;
use crate::support::setup::{BLANK, MODEL, Own, own_site, with_body};
use crate::support::{Browser, Gpu, Page, Setup, run_alone};

const MODULE: &str = "/webgpu/muse_web_bg.wasm";

/// In front of a worker: an adapter as if in hardware.
const REAL: &str = "{
    const real = { get: () => false };
    for (const type of [GPUAdapter, GPUAdapterInfo]) Object.defineProperty(type.prototype, 'isFallbackAdapter', real);
}
";
/// Time passes a thousand times more slowly where the GPU is used.
const FAST: &str = "{
    const { requestDevice } = GPUAdapter.prototype;
    const now = performance.now.bind(performance);
    GPUAdapter.prototype.requestDevice = function (...rest) {
        performance.now = () => now() / 1000;
        return requestDevice.apply(this, rest);
    };
}
";
/// The adapter gives no device.
const BROKEN: &str =
    "GPUAdapter.prototype.requestDevice = () => Promise.reject(new Error('it is broken'));\n";

/// A page that loads the package, whose worker has something in front of it.
struct Visit {
    browser: Browser,
    cdn: Server,
    own: Own,
}

impl Visit {
    fn new(setup: &Setup, before: &str) -> Self {
        let cdn = setup.cdn();
        let worker = std::fs::read_to_string(setup.package.join("worker.js")).expect("the worker");
        cdn.answer("/worker.js", with_body(format!("{REAL}{before}{worker}")));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        Self {
            browser,
            cdn,
            own: own_site(&[BLANK]),
        }
    }

    /// Opens the page and loads the model on a device: what runs it, and what is known of the devices.
    fn load(&self, device: &str) -> Value {
        self.browser.open(&self.own.server.url("index.html"));
        self.browser.call(
            "const { Muse } = await import(arguments[0]);
             window.events = [];
             const Real = Worker;
             window.workers = 0;
             window.Worker = class extends Real {
                 constructor(...rest) { super(...rest); workers++; }
                 terminate() { super.terminate(); workers--; }
             };
             window.muse = await Muse.load(arguments[1], { device: arguments[2] });
             muse.addEventListener('devicechange', ({ detail }) => events.push(detail));
             return [muse.device.kind, muse.trial];",
            &[
                json!(self.cdn.url("muse.js")),
                json!(self.model()),
                json!(device),
            ],
        )
    }

    fn model(&self) -> String {
        self.cdn.url(MODEL.trim_start_matches('/'))
    }

    /// Waits until both devices were tried: what runs it then, what they took, and how many workers there are.
    fn tried(&self) -> Value {
        self.browser.call(
            "for (let wait = 0; !events.length && wait < 1500; wait++) await new Promise((resolve) => setTimeout(resolve, 100));
             await new Promise((resolve) => setTimeout(resolve, 100));
             if (events.length !== 1 || events[0].reason !== 'compared') throw new Error(JSON.stringify(events));
             const { entities, device } = await muse.tag({ caption: 'Angela Merkel speaks in Berlin' });
             if (entities.length !== 2 || device.kind !== muse.device.kind) throw new Error(JSON.stringify([entities, device]));
             return [muse.device.kind, muse.trial, workers];",
            &[],
        )
    }

    /// Changes what is kept of the trial.
    fn forge(&self, change: &str) {
        let body = format!(
            "const cache = await caches.open('muse-web');
             const place = `${{arguments[0]}}?muse-web=device`;
             const kept = await (await cache.match(place)).json();
             {change};
             await cache.put(place, Response.json(kept));"
        );
        self.browser.call(&body, &[json!(self.model())]);
    }
}

#[test]
fn the_faster_device_is_found_out_once_and_kept() {
    run_alone(|setup| {
        let visit = Visit::new(setup, "");
        // It is ready on the CPU before anything is tried.
        assert_eq!(visit.load("auto"), json!(["cpu", null]));
        assert_eq!(visit.cdn.count(MODULE), 0);
        let tried = visit.tried();
        assert_eq!(
            (&tried[0], &tried[2]),
            (&json!("cpu"), &json!(1)),
            "{tried}"
        );
        let time = |device: &str| tried[1][device].as_f64().expect("a time");
        assert!(0.0 < time("cpu") && time("cpu") < time("webgpu"), "{tried}");
        assert_eq!((visit.cdn.count(MODULE), visit.cdn.count(MODEL)), (1, 1));
        visit.browser.expect_no_errors(&[]);

        // The next visit knows it.
        assert_eq!(visit.load("auto"), json!(["cpu", tried[1]]));
        visit.browser.call(
            "await new Promise((resolve) => setTimeout(resolve, 3000))",
            &[],
        );
        assert_eq!(visit.cdn.count(MODULE), 1);

        // And so it would if the GPU had been the faster one.
        visit.forge("kept.trial.webgpu = kept.trial.cpu / 2");
        assert_eq!(visit.load("auto")[0], "webgpu");
        // Whoever asks for one of them gets it.
        assert_eq!(visit.load("cpu")[0], "cpu");
        assert_eq!(visit.load("webgpu")[0], "webgpu");

        // It does not hold for another adapter, version or model.
        for change in [
            "kept.trial.adapter = 'another'",
            "kept.version = 'another'",
            "kept.sha256 = 'another'",
        ] {
            visit.forge(&format!(
                "const before = JSON.stringify(kept); {change}; window.before = before"
            ));
            let before = visit.browser.run::<String>("return window.before", &[]);
            assert_eq!(visit.load("auto"), json!(["cpu", null]), "{change}");
            visit.forge(&format!(
                "Object.assign(kept, {before}); kept.sha256 = undefined"
            ));
        }
        assert_eq!(visit.load("auto")[0], "webgpu", "as it was");
    });
}

#[test]
fn it_moves_to_a_gpu_that_is_faster() {
    run_alone(|setup| {
        let visit = Visit::new(setup, FAST);
        assert_eq!(visit.load("auto"), json!(["cpu", null]));
        let tried = visit.tried();
        assert_eq!(
            (&tried[0], &tried[2]),
            (&json!("webgpu"), &json!(1)),
            "{tried}"
        );
        visit.browser.expect_no_errors(&[]);
        // It is lost like any other.
        let after = visit.browser.call(
            "await muse.loseDevice();
             const { device } = await muse.tag({ caption: 'Angela Merkel' });
             return device.kind;",
            &[],
        );
        assert_eq!(after, "cpu");
    });
}

#[test]
fn a_gpu_that_fails_is_left_alone() {
    run_alone(|setup| {
        let visit = Visit::new(setup, BROKEN);
        assert_eq!(visit.load("auto"), json!(["cpu", null]));
        let tried = visit.tried();
        assert_eq!(
            (&tried[0], &tried[2]),
            (&json!("cpu"), &json!(1)),
            "{tried}"
        );
        assert!(
            tried[1]["cpu"].is_number() && tried[1]["webgpu"].is_null(),
            "{tried}"
        );
        let again = visit.load("auto");
        assert_eq!((&again[0], &again[1]["cpu"]), (&tried[0], &tried[1]["cpu"]));
        // One that was faster and fails now is to be tried again.
        visit.forge("kept.trial.webgpu = 0.001");
        assert_eq!(visit.load("auto")[0], "cpu");
        assert_eq!(visit.load("auto"), json!(["cpu", null]));
    });
}

#[test]
fn nothing_is_tried_where_data_are_saved() {
    run_alone(|setup| {
        let visit = Visit::new(setup, "");
        visit.browser.before_each_page(
            "Object.defineProperty(navigator, 'connection', { value: { saveData: true } })",
        );
        assert_eq!(visit.load("auto"), json!(["cpu", null]));
        visit.browser.call(
            "await new Promise((resolve) => setTimeout(resolve, 4000))",
            &[],
        );
        assert_eq!(visit.cdn.count(MODULE), 0);
    });
}

#[test]
fn the_page_shows_what_was_found_out() {
    run_alone(|setup| {
        let site = setup.site();
        let path = setup.module_path("worker.js");
        let worker = std::fs::read_to_string(setup.dist.join(&path[1..])).expect("the worker");
        site.answer(&path, with_body(format!("{REAL}{worker}")));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::ready(&browser, &site.url(""));
        let shown = || Some(browser.text("#trial")).filter(|shown| !shown.is_empty());
        let text = browser.until("the times", PATIENCE, shown);
        assert!(text.matches(" ms").count() == 2, "{text}");
        assert!(page.device().contains("CPU"), "{}", page.device());
        // The next visit knows them from the beginning.
        let page = Page::ready(&browser, &site.url(""));
        assert_eq!(browser.text("#trial"), text);
        assert_eq!(page.message(), "");
    });
}
