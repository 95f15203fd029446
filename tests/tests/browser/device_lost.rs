//! A graphics device that is there and then is not.

use serde_json::json;
use xtask::server::Answer;

use crate::support::page::{PATIENCE, plain};
use crate::support::{Browser, Gpu, Page, Setup, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// The package's worker, which destroys its device when it is told so; `when` says at which moment.
fn worker(setup: &Setup, when: &str) -> Answer {
    let source = std::fs::read_to_string(setup.dist.join("muse-web/worker.js")).expect("a worker");
    let body = format!(
        "{{
            const {{ requestDevice }} = GPUAdapter.prototype;
            GPUAdapter.prototype.requestDevice = async function (...rest) {{
                const device = await requestDevice.apply(this, rest);
                {when}
                return device;
            }};
        }}
        {source}"
    );
    Answer {
        body: Some(body.into_bytes()),
        ..Answer::default()
    }
}

#[test]
fn a_lost_device_costs_no_word() {
    run(|setup| {
        let site = setup.site();
        let told = "new BroadcastChannel('lose').onmessage = () => device.destroy();";
        site.answer("/muse-web/worker.js", worker(setup, told));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::ready(&browser, &site.url("?device=webgpu"));
        assert!(page.device().contains("WebGPU"), "{}", page.device());

        // While it works on a caption.
        browser.type_into("#caption", CAPTION);
        page.wait_state("tagging");
        browser.run::<()>("new BroadcastChannel('lose').postMessage(1)", &[]);
        browser.until("the result", PATIENCE, || {
            (page.results() > 0 && page.state() == "ready").then_some(())
        });
        assert_eq!(page.caption(), json!(CAPTION));
        assert_eq!(plain(&page.found()), NAMES);
        assert!(page.device().contains("CPU"), "{}", page.device());
        assert_one_line(page);
        // And it goes on.
        assert_eq!(
            plain(&page.tag("Barack Obama was there")),
            [("PER", "Barack Obama")]
        );
    });
}

#[test]
fn a_device_lost_while_idle_is_noticed() {
    run(|setup| {
        let site = setup.site();
        // As soon as the page is ready: the passes before would take minutes in software.
        let soon = "setTimeout(() => device.destroy(), 1500);";
        site.answer("/muse-web/worker.js", worker(setup, soon));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::open(&browser, &site.url("?device=webgpu"));
        browser.until("the CPU", PATIENCE, || {
            (page.state() == "ready" && page.device().contains("CPU")).then_some(())
        });
        assert_one_line(page);
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
    });
}

#[track_caller]
fn assert_one_line(page: Page<'_>) {
    let message = page.message();
    assert!(
        message.contains("CPU") && !message.contains('\n'),
        "{message}"
    );
}
