//! WebGPU, on a GPU in software; and a graphics device that is there and then is not.

use std::time::Instant;

use muse_tests::server::Answer;
use serde_json::json;

use crate::support::page::{PATIENCE, plain};
use crate::support::setup::say;
use crate::support::{Browser, Gpu, Page, Setup, pictures, run_alone};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const LATER: &str = "Barack Obama was there";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// The package's worker, which destroys its device when it is told so; `when` says at which moment.
fn worker(setup: &Setup, when: &str) -> Answer {
    let path = setup.dist.join(&setup.module_path("worker.js")[1..]);
    let source = std::fs::read_to_string(path).expect("a worker");
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

/// All in one visit, since that alone takes minutes.
#[test]
fn it_finds_the_same_until_it_is_lost_and_then_too() {
    run_alone(|setup| {
        let site = setup.site();
        let told = "new BroadcastChannel('lose').onmessage = () => device.destroy();";
        site.answer(&setup.module_path("worker.js"), worker(setup, told));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let began = Instant::now();
        let time = |what: &str| {
            say(&format!(
                "WebGPU: {what} after {:.0} s",
                began.elapsed().as_secs_f64()
            ))
        };
        let page = Page::ready(&browser, &site.url("?device=webgpu"));
        time("ready");
        assert!(
            page.device().contains("WebGPU"),
            "{}: {}",
            page.device(),
            page.message()
        );
        assert_eq!(page.message(), "");
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        time("caption");
        let folder = tempfile::tempdir().expect("a folder");
        page.choose(&muse_tests::write(
            folder.path(),
            "photo.jpg",
            pictures::photo(),
        ));
        page.expect_exchange();
        time("picture");
        assert!(page.device().contains("WebGPU"), "{}", page.device());
        // Faults of shaders and of validation are logged, and nothing else tells of them.
        browser.expect_no_errors(&[]);

        // The device goes while it works on a caption: no word of it is lost.
        let before = page.results();
        browser.empty("#caption");
        browser.type_into("#caption", LATER);
        page.wait_state("tagging");
        browser.run::<()>("new BroadcastChannel('lose').postMessage(1)", &[]);
        browser.until("the result", PATIENCE, || {
            (page.results() > before && page.state() == "ready").then_some(())
        });
        time("loss and result");
        assert_eq!(page.caption(), json!(LATER));
        assert_eq!(plain(&page.found()), [("PER", "Barack Obama")]);
        assert!(page.device().contains("CPU"), "{}", page.device());
        expect_one_line(page);
        // And it goes on, with the picture too.
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        page.expect_exchange();
    });
}

#[test]
fn a_device_lost_while_idle_is_noticed() {
    run_alone(|setup| {
        let site = setup.site();
        // As soon as the page is ready: the passes before would take minutes in software.
        let soon = "setTimeout(() => device.destroy(), 1500);";
        site.answer(&setup.module_path("worker.js"), worker(setup, soon));
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::open(&browser, &site.url("?device=webgpu"));
        browser.until("the CPU", PATIENCE, || {
            (page.state() == "ready" && page.device().contains("CPU")).then_some(())
        });
        expect_one_line(page);
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
    });
}

#[track_caller]
fn expect_one_line(page: Page<'_>) {
    let message = page.message();
    assert!(
        message.contains("CPU") && !message.contains('\n'),
        "{message}"
    );
}

/// Without a word to the contrary, a GPU in software is not taken: it is slower than the CPU.
#[test]
fn a_gpu_in_software_is_not_chosen() {
    run_alone(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::ready(&browser, &site.url(""));
        assert!(page.device().contains("CPU"), "{}", page.device());
        assert_ne!(page.message(), "", "the page says why");
    });
}
