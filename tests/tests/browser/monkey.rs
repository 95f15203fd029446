//! Three hundred things that a user might do, in an order that none would: at the end the page shows what a fresh one does.

use std::time::Duration;

use muse_tests::server::Server;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::page::PATIENCE;
use crate::support::setup::{MODEL, lose_device, say, with_status};
use crate::support::{Browser, Gpu, Page, Setup, pictures, run};

const ACTIONS: usize = 300;

/// `MUSE_MONKEY` names another.
const SEED: u64 = 2;

const WORDS: [&str; 12] = [
    "Angela Merkel",
    "in Berlin",
    "and Barack Obama",
    "NASA",
    "<b>",
    "\u{202e}",
    "🚀",
    "#Paris",
    "@nba",
    "\n",
    "أنغيلا",
    "can't",
];

/// What an action needs in the page.
const TOOLS: &str = "
    window.uncaught = [];
    addEventListener('unhandledrejection', ({ reason }) => uncaught.push(String(reason)));
    addEventListener('error', ({ message }) => uncaught.push(message));
    // The policy lets nobody fetch what it is the address of.
    const address = URL.createObjectURL;
    URL.createObjectURL = (blob) => address.call(URL, (window.picture = blob));
    window.type = (change) => {
        const field = document.querySelector('#caption');
        field.value = change(field.value);
        field.dispatchEvent(new Event('input', { bubbles: true }));
    };
    window.give = (event, name, type, bytes) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(bytes)], name, { type }));
        const init = { dataTransfer: transfer, clipboardData: transfer, bubbles: true, cancelable: true };
        const made = event === 'drop' ? new DragEvent('drop', init) : new ClipboardEvent('paste', init);
        document.querySelector('#drop').dispatchEvent(made);
    };
    window.press = (selector) => {
        const element = document.querySelector(selector);
        if (element?.checkVisibility() && !element.disabled) element.click();
    };
    window.choose = (device) => {
        const select = document.querySelector('#device-switch');
        if (select.disabled) return;
        select.value = device;
        select.dispatchEvent(new Event('change'));
    };";

struct Monkey<'a> {
    rng: StdRng,
    setup: &'a Setup,
    site: &'a Server,
    browser: &'a Browser,
}

impl Monkey<'_> {
    fn act(&mut self) -> String {
        let run = |script: &str, arguments: &[Value]| {
            self.browser.run::<()>(script, arguments);
        };
        let rng = &mut self.rng;
        match rng.random_range(0..100) {
            0..30 => {
                let words = WORDS.choose(rng).expect("a word");
                run(
                    "type((text) => `${text} ${arguments[0]}`.slice(-400))",
                    &[json!(words)],
                );
                format!("types {words:?}")
            }
            30..40 => {
                let keep = rng.random_range(0..60);
                run(
                    "type((text) => text.slice(0, arguments[0]))",
                    &[json!(keep)],
                );
                format!("keeps {keep} characters")
            }
            40..45 => {
                let text =
                    "Angela Merkel met Barack Obama in Berlin. ".repeat(rng.random_range(50..1500));
                run("type(() => arguments[0])", &[json!(text)]);
                format!("pastes {} characters", text.len())
            }
            45..62 => {
                let mut cut = pictures::photo();
                cut.truncate(100);
                let all = [
                    ("photo.jpg", "image/jpeg", pictures::photo()),
                    ("grey.png", "image/png", pictures::grey_png(300, 200)),
                    (
                        "moving.gif",
                        "image/gif",
                        pictures::gif(40, 30, &[[200, 30, 30]]),
                    ),
                    ("cut.jpg", "image/jpeg", cut),
                    (
                        "huge.png",
                        "image/png",
                        pictures::claiming_png(60_000, 60_000),
                    ),
                    ("paper.pdf", "application/pdf", b"%PDF-1.4".to_vec()),
                ];
                let (name, kind, bytes) = all.choose(rng).expect("a picture");
                let event = if rng.random() { "drop" } else { "paste" };
                run(
                    "give(...arguments)",
                    &[json!(event), json!(name), json!(kind), json!(bytes)],
                );
                format!("{event}s {name}")
            }
            62..84 => {
                let buttons = [
                    "#image-remove",
                    "#samples figure:nth-child(1) button",
                    "#samples figure:nth-child(3) button",
                    "#cancel",
                    "#ask-tag",
                    "#retry",
                    "#copy-json",
                    "#layers label:last-of-type input",
                ];
                let button = buttons.choose(rng).expect("a button");
                run("press(arguments[0])", &[json!(button)]);
                format!("presses {button}")
            }
            84..90 => {
                let device = ["auto", "webgpu", "cpu"].choose(rng).expect("a device");
                run("choose(arguments[0])", &[json!(device)]);
                format!("wants {device}")
            }
            90..92 => {
                run("press('#clear-cache')", &[]);
                "clears the cache".into()
            }
            92..96 => {
                let there = rng.random();
                self.network(there);
                format!("network: {there}")
            }
            _ => {
                lose_device(self.browser);
                "loses the device".into()
            }
        }
    }

    /// The module and the model can be reached, or cannot.
    fn network(&self, there: bool) {
        let glue = self.setup.module_path("cpu/muse_web.js");
        let wasm = self.setup.module_path("cpu/muse_web_bg.wasm");
        for path in [MODEL, glue.as_str(), wasm.as_str()] {
            if there {
                self.site.restore(path);
            } else {
                self.site.answer(path, with_status(503));
            }
        }
    }
}

/// What is to be seen, once all is quiet; what failed for want of network, or was stopped, is asked for again.
#[track_caller]
fn settled(page: Page<'_>) -> Value {
    let browser = page.browser;
    browser.until("quiet", PATIENCE, || {
        browser.run::<()>("press('#retry'); press('#ask-tag')", &[]);
        let seen = (page.results(), page.state());
        std::thread::sleep(Duration::from_millis(1500));
        let now = (page.results(), page.state());
        (seen == now && now.1 == "ready" && !browser.shows("#ask-tag")).then_some(())
    });
    browser.run(
        "press('#layers label:first-of-type input');
         const texts = (selector) => [...document.querySelectorAll(selector)].map(({ textContent }) => textContent);
         const shown = (id) => document.querySelector(id).checkVisibility();
         return {
             caption: document.querySelector('#caption').value,
             result: texts('#result'), rows: shown('#entities') && texts('#entities tbody tr'),
             sentiment: shown('#sentiment') && texts('#sentiment'), exchange: shown('#exchange') && texts('#words'),
             regions: shown('#exchange') && [...document.querySelectorAll('#regions [data-region]')].map(({ dataset }) => dataset.exchanged),
         };",
        &[],
    )
}

#[test]
fn after_all_of_it_the_page_shows_what_a_fresh_one_does() {
    run(|setup| {
        let given = std::env::var("MUSE_MONKEY").ok();
        let seed = given.map_or(SEED, |seed| seed.parse().expect("a seed is a number"));
        let site = setup.fragile_site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(TOOLS);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        let mut monkey = Monkey {
            rng: StdRng::seed_from_u64(seed),
            setup,
            site: &site,
            browser: &browser,
        };
        for action in 0..ACTIONS {
            let told = monkey.act();
            let pause = [0, 0, 20, 150, 600].choose(&mut monkey.rng).copied();
            std::thread::sleep(Duration::from_millis(pause.unwrap_or_default()));
            if action % 50 == 49 {
                say(&format!("action {}: {told}; {}", action + 1, page.state()));
            }
        }
        monkey.network(true);
        // The last word: a caption that has something in it.
        browser.run::<()>(
            "type((text) => `Barack Obama and Angela Merkel. ${text.slice(0, 200)}`)",
            &[],
        );
        let end = settled(page);
        let picture: Option<Vec<u8>> = serde_json::from_value(browser.call(
            "const { src } = document.querySelector('#image-preview');
             return src && [...new Uint8Array(await picture.arrayBuffer())];",
            &[],
        ))
        .ok();
        let uncaught: Vec<String> = browser.run("return uncaught", &[]);
        assert!(uncaught.is_empty(), "{uncaught:?}");

        // The same in a page that has seen nothing of this.
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(TOOLS);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.after(|| {
            let set = "type(() => arguments[0]); if (arguments[1]) give('drop', 'picture', '', arguments[1])";
            browser.run::<()>(set, &[end["caption"].clone(), json!(picture)]);
        });
        assert_eq!(end, settled(page));
        assert!(
            end["rows"].as_array().is_some_and(|rows| rows.len() > 1),
            "{end}"
        );
        say(&format!("with a picture: {}", picture.is_some()));
    });
}
