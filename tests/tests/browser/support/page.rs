//! The page as its user sees it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::Browser;

/// How long a visit may take to be ready, and a caption to be tagged: the machine may be busy, and SwiftShader is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Entities in the table at most.
const LISTED: usize = 100;

/// A window with the page in it.
#[derive(Clone, Copy)]
pub(crate) struct Page<'a> {
    /// The browser.
    pub(crate) browser: &'a Browser,
}

impl<'a> Page<'a> {
    /// Opens the page; it may take its time to be ready.
    #[track_caller]
    pub(crate) fn open(browser: &'a Browser, url: &str) -> Self {
        browser.open(url);
        Self { browser }
    }

    /// Opens the page and waits until it is ready.
    #[track_caller]
    pub(crate) fn ready(browser: &'a Browser, url: &str) -> Self {
        let page = Self::open(browser, url);
        page.wait_ready();
        page
    }

    /// Where the page is in its life.
    #[track_caller]
    pub(crate) fn state(self) -> String {
        self.browser
            .run("return document.documentElement.dataset.state ?? ''", &[])
    }

    /// How many results there have been.
    #[track_caller]
    pub(crate) fn results(self) -> u32 {
        self.browser
            .run("return +document.documentElement.dataset.result", &[])
    }

    /// Waits for a state; that the page says it can go no further is a fault unless it was waited for.
    #[track_caller]
    pub(crate) fn wait_state(self, wanted: &str) {
        self.browser.until(wanted, PATIENCE, || {
            let state = self.state();
            let stuck = ["failed", "unsupported"].contains(&state.as_str()) && state != wanted;
            assert!(
                !stuck,
                "{state}: {} / {}\n{:#?}",
                self.status(),
                self.message(),
                self.browser.log()
            );
            (state == wanted).then_some(())
        });
    }

    /// Waits until it can be used.
    #[track_caller]
    pub(crate) fn wait_ready(self) {
        self.wait_state("ready");
    }

    /// Does something and waits for the result of it.
    #[track_caller]
    pub(crate) fn after(self, act: impl FnOnce()) {
        let before = self.results();
        act();
        self.browser.until("a result", PATIENCE, || {
            (self.results() > before).then_some(())
        });
        // A later one may still be on its way: after the pause that the page makes, all is quiet.
        self.browser.until("quiet", PATIENCE, || {
            let seen = (self.results(), self.state());
            std::thread::sleep(Duration::from_millis(400));
            (seen == (self.results(), self.state()) && seen.1 == "ready").then_some(())
        });
    }

    /// Types a caption, instead of what is there, and waits for what is found.
    #[track_caller]
    pub(crate) fn tag(self, caption: &str) -> Vec<Found> {
        self.after(|| {
            self.browser.empty("#caption");
            self.browser.type_into("#caption", caption);
        });
        let expected = json!(caption);
        assert_eq!(self.caption(), expected);
        self.found()
    }

    /// Puts a caption in that no keyboard of the driver's can type. `caption` is an expression of JavaScript.
    #[track_caller]
    pub(crate) fn tag_expression(self, caption: &str) -> Vec<Found> {
        self.after(|| {
            let script = format!(
                "const field = document.querySelector('#caption');
                 field.value = {caption};
                 field.dispatchEvent(new Event('input', {{ bubbles: true }}));"
            );
            self.browser.run::<()>(&script, &[]);
        });
        self.found()
    }

    /// Chooses a picture and waits for the result.
    #[track_caller]
    pub(crate) fn choose(self, path: &Path) {
        self.after(|| self.browser.choose_file("#image-input", path));
    }

    /// The caption as a JSON string.
    #[track_caller]
    pub(crate) fn caption(self) -> Value {
        self.browser
            .run("return document.querySelector('#caption').value", &[])
    }

    /// What is marked in the caption; the table must tell the same.
    #[track_caller]
    pub(crate) fn found(self) -> Vec<Found> {
        let read = "
            const text = (mark) => {
                const copy = mark.cloneNode(true);
                for (const label of copy.querySelectorAll('.label')) label.remove();
                return copy.textContent;
            };
            const label = (mark) => mark.querySelector('.label')?.textContent.trim() ?? '';
            return {
                marks: [...document.querySelectorAll('#result mark.entity')].map((mark) => [mark.dataset.type, text(mark), label(mark)]),
                rows: [...document.querySelectorAll('#entities tbody tr')].filter((row) => row.checkVisibility()).map((row) => row.innerText),
            };";
        let value: Value = self.browser.run(read, &[]);
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows: Vec<String> = list("rows").iter().map(text).collect();
        let found: Vec<Found> = list("marks")
            .iter()
            .map(|mark| Found {
                kind: text(&mark[0]),
                text: text(&mark[1]),
                label: text(&mark[2]),
            })
            .collect();
        // Of very many the first are listed.
        assert_eq!(
            found.len().min(LISTED),
            rows.len(),
            "{found:?} and {rows:?}"
        );
        for (found, row) in found.iter().zip(&rows) {
            assert!(row.contains(found.text.trim()), "{found:?} in {row:?}");
            // Colour is not the only sign.
            assert!(found.label.contains('%'), "{found:?} has no confidence");
        }
        found
    }

    /// In each layer the share theta of the picture's 64 tokens but the class row took the caption's mean.
    #[track_caller]
    pub(crate) fn expect_exchange(self) {
        let browser = self.browser;
        assert!(browser.shows("#exchange"));
        let layers = browser.count("#layers input");
        assert_eq!(layers, 2);
        let mut views = Vec::new();
        for layer in 0..layers {
            browser.run::<()>(
                "document.querySelectorAll('#layers input')[arguments[0]].click()",
                &[json!(layer)],
            );
            let shares: Vec<f64> = browser.run(
            "return [...document.querySelectorAll('#exchange [data-region]')].map((cell) => +cell.dataset.exchanged)",
            &[],
        );
            assert_eq!(shares.len(), 64);
            assert!(shares.iter().all(|&share| share == 0.0 || share == 1.0));
            assert_eq!(shares.iter().sum::<f64>(), 7.0, "layer {layer}");
            let lit: Vec<f64> = browser.run(
            "return [...document.querySelectorAll('#exchange [data-region]')].map((cell) => +cell.style.getPropertyValue('--lit'))",
            &[],
        );
            let words = browser.count("#words [data-exchanged]");
            let caption = self.caption();
            assert_eq!(
                words,
                caption.as_str().map_or(0, |text| text.split(' ').count())
            );
            // Those that are attended to least are the ones that are exchanged.
            let most = |taken: bool| {
                let of = shares
                    .iter()
                    .zip(&lit)
                    .filter(move |(share, _)| (**share > 0.0) == taken);
                of.map(|(_, &lit)| lit)
            };
            let below = most(true).fold(f64::MIN, f64::max);
            let above = most(false).fold(f64::MAX, f64::min);
            assert!(below <= above, "layer {layer}: {below} and {above}");
            views.push((shares, lit));
        }
        assert_ne!(views[0], views[1], "each layer has a view of its own");
    }

    /// What the page says of its state.
    #[track_caller]
    pub(crate) fn status(self) -> String {
        self.browser.text("#status")
    }

    /// What the page has to say besides.
    #[track_caller]
    pub(crate) fn message(self) -> String {
        self.browser.text("#message")
    }

    /// Where the model runs, as the page says.
    #[track_caller]
    pub(crate) fn device(self) -> String {
        self.browser.text("#device")
    }
}

/// An entity as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: String,
    pub(crate) text: String,
    /// What stands beside it: the type in words, and the confidence.
    pub(crate) label: String,
}

/// Type and text of each.
pub(crate) fn plain(found: &[Found]) -> Vec<(&str, &str)> {
    found
        .iter()
        .map(|entity| (entity.kind.as_str(), entity.text.as_str()))
        .collect()
}
