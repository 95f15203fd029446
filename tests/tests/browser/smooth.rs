//! The main thread stays free for the user's hands.

use serde_json::Value;

use crate::support::setup::say;
use crate::support::{Browser, Gpu, Page, pictures, run_alone};

/// A task of the main thread that is longer than this is felt.
const LONG: f64 = 50.0;

const WATCH: &str = "
    window.long = [];
    new PerformanceObserver((list) => {
        for (const { startTime, duration } of list.getEntries()) long.push({ startTime, duration, state: document.documentElement.dataset.state });
    }).observe({ type: 'longtask', buffered: true });";

/// Other programs share the machine, and a task that was merely interrupted counts as long too. What the page itself does
/// too slowly is too slow every time, so each step is measured over and counts by its best.
#[test]
fn the_main_thread_is_never_blocked() {
    run_alone(|setup| {
        let site = setup.site();
        let folder = tempfile::tempdir().expect("a folder");
        let photo = muse_tests::write(folder.path(), "photo.jpg", pictures::photo());
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(WATCH);
        let steps = ["load", "caption", "picture", "long caption"];
        let mut best = [f64::INFINITY; 4];
        for round in 0..4 {
            let page = Page::ready(&browser, &site.url("?device=cpu"));
            let act: [&dyn Fn(); 4] =
                [
                    &|| {},
                    &|| drop(page.tag_expression("'Angela Merkel in Berlin'")),
                    &|| page.choose(&photo),
                    &|| {
                        drop(page.tag_expression(
                            "'Angela Merkel met Barack Obama in Berlin. '.repeat(240)",
                        ))
                    },
                ];
            for ((step, act), best) in steps.iter().zip(act).zip(&mut best) {
                act();
                // The observer is told a little later.
                std::thread::sleep(std::time::Duration::from_millis(300));
                let long: Vec<Value> = browser.run("return long.splice(0)", &[]);
                let worst = long
                    .iter()
                    .filter_map(|task| task["duration"].as_f64())
                    .fold(0.0, f64::max);
                say(&format!(
                    "round {round}, {step}: {} long tasks, {worst:.0} ms at most",
                    long.len()
                ));
                *best = best.min(worst);
            }
            if best.iter().all(|&worst| worst <= LONG) {
                return;
            }
        }
        panic!("{steps:?}: even at best {best:?} ms at a time");
    });
}

/// The measurement itself: a page that blocks is found out.
#[test]
fn a_blocked_thread_is_noticed() {
    run_alone(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(WATCH);
        browser.open(&site.url("?device=cpu"));
        browser.call(
            "await new Promise((resolve) => setTimeout(() => { const end = performance.now() + 120; while (performance.now() < end); resolve(); }));
             await new Promise((resolve) => setTimeout(resolve, 300));",
            &[],
        );
        let longest: f64 = browser.run(
            "return Math.max(0, ...long.map(({ duration }) => duration))",
            &[],
        );
        assert!(longest >= 110.0, "{longest}");
    });
}
