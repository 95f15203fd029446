//! The browser's answers are the native ones: on posts of the test's own making, on the CPU and on WebGPU.

mod posts;

use std::time::{Duration, Instant};

use burn::tensor::Device;
use muse_core::pixels::decode;
use muse_core::{Caption, Tagged, Tagger};
use muse_tests::server::Answer;
use serde_json::{Value, json};

use self::posts::{Post, posts};
use crate::support::setup::{BLANK, MODEL, own_site, say};
use crate::support::{Browser, Gpu, Setup, run_alone};

/// Posts that are compared on the CPU.
const POSTS: usize = 200;
/// How far scores on WebGPU may be apart.
const CLOSE: f64 = 1e-3;
/// On the CPU they have the same digits, of which the JSON has six.
const EQUAL: f64 = 6e-7;
/// A choice between tokens whose attention is closer together than this may be turned by rounding.
const TIE: f32 = 1e-5;
/// How long WebGPU may take: on a GPU in software, a post takes seconds.
const BUDGET: Duration = Duration::from_secs(100);

/// Native answers, by the same file.
struct Native {
    tagger: Tagger,
    runtime: tokio::runtime::Runtime,
}

impl Native {
    fn new(setup: &Setup) -> Self {
        Self {
            tagger: Tagger::from_bytes(&setup.model(), &Device::flex()).expect("the shipped model"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime"),
        }
    }

    fn tag(&self, post: &Post) -> Tagged {
        let pixels = decode(&post.photo).expect("the photo");
        let picture = self.tagger.encode_picture(&pixels);
        let request = [(Caption::Text(post.caption.clone()), Some(picture))];
        let reading = self
            .runtime
            .block_on(self.tagger.read_async(&request, true))
            .expect("the CPU does not fail");
        self.tagger.decode(reading).remove(0)
    }
}

/// A browser that has loaded the package's model on a device.
struct InBrowser {
    browser: Browser,
    own: crate::support::setup::Own,
    _cdn: muse_tests::server::Server,
}

impl InBrowser {
    fn new(setup: &Setup, gpu: Gpu, device: &str) -> Self {
        let cdn = setup.cdn();
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, gpu);
        browser.open(&own.server.url("index.html"));
        let kind = browser.call(
            "const { Muse } = await import(arguments[0]);
             window.muse = await Muse.load(arguments[1], { device: arguments[2], warm: false });
             return muse.device.kind;",
            &[
                json!(cdn.url("muse.js")),
                json!(cdn.url(MODEL.trim_start_matches('/'))),
                json!(device),
            ],
        );
        assert_eq!(kind, device);
        Self {
            browser,
            own,
            _cdn: cdn,
        }
    }

    fn tag(&self, posts: &[Post]) -> Vec<Value> {
        for (index, post) in posts.iter().enumerate() {
            let body = Some(post.photo.clone());
            let answer = Answer {
                body,
                ..Answer::default()
            };
            self.own.server.answer(&format!("/photo/{index}"), answer);
        }
        let captions: Vec<&str> = posts.iter().map(|post| post.caption.as_str()).collect();
        let answers = self.browser.call(
            "const answers = [];
             for (const [index, caption] of arguments[0].entries()) {
                 const image = await (await fetch(`photo/${index}`, { cache: 'no-store' })).blob();
                 answers.push(await muse.tag({ caption, image }));
             }
             return answers;",
            &[json!(captions)],
        );
        answers.as_array().expect("answers").clone()
    }
}

/// What a comparison has found.
#[derive(Debug, Default)]
struct Tally {
    posts: usize,
    entities: usize,
    /// Layers of a stream where a near-tie fell another way.
    ties: usize,
    /// The greatest distances.
    score: f64,
    mood: f64,
    attention: f64,
    /// What must not be.
    faults: Vec<String>,
}

impl Tally {
    fn compare(&mut self, post: &Post, native: &Tagged, web: &Value) {
        self.posts += 1;
        self.entities += native.entities.len();
        let units = utf16(&post.caption);
        let spans = |list: &Value| -> Vec<(u64, u64)> {
            let list = list.as_array().map_or(&[][..], Vec::as_slice);
            let at = |span: &Value, name: &str| span[name].as_u64().unwrap_or(u64::MAX);
            list.iter()
                .map(|s| (at(s, "start"), at(s, "end")))
                .collect()
        };
        let words: Vec<_> = native
            .words
            .iter()
            .map(|w| (units[w.start], units[w.end]))
            .collect();
        self.expect(post, "words", &words, &spans(&web["words"]));

        // A tie that fell another way changes all that comes after it a little.
        let turned = self.compare_exchange(post, native, web);
        let entities: Vec<_> = native
            .entities
            .iter()
            .map(|e| {
                (
                    e.kind.as_str(),
                    units[e.start],
                    units[e.end],
                    e.text.as_str(),
                )
            })
            .collect();
        let list = web["entities"].as_array().cloned().unwrap_or_default();
        let found: Vec<_> = list
            .iter()
            .zip(spans(&web["entities"]))
            .map(|(e, (start, end))| {
                let text = |name: &str| e[name].as_str().unwrap_or_default();
                (text("type"), start, end, text("text"))
            })
            .collect();
        self.expect(post, "entities", &entities, &found);
        if turned {
            return;
        }
        for (entity, found) in native.entities.iter().zip(&list) {
            self.score = self.score.max(apart(entity.score, &found["score"]));
        }
        let mood = native.sentiment.as_ref().expect("the shipped model's head");
        for (class, share) in &mood.probabilities {
            let other = &web["sentiment"]["probabilities"][class.as_str()];
            self.mood = self.mood.max(apart(*share, other));
        }
    }

    /// Whether any choice was another.
    fn compare_exchange(&mut self, post: &Post, native: &Tagged, web: &Value) -> bool {
        let exchange = native.exchange.as_ref().expect("it was asked for");
        let layers = web["exchange"]["layers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        self.expect(post, "layers", &exchange.layers.len(), &layers.len());
        let mut turned = false;
        for (layer, other) in exchange.layers.iter().zip(&layers) {
            let streams = [
                ("words", &layer.words, layer.margins.words),
                ("regions", &layer.regions, layer.margins.regions),
            ];
            for (name, tokens, margin) in streams {
                let others = other[name].as_array().cloned().unwrap_or_default();
                self.expect(post, name, &tokens.len(), &others.len());
                let mut same = true;
                for (token, other) in tokens.iter().zip(&others) {
                    same &= apart(token.exchanged, &other["exchanged"]) < 1e-6;
                    if !turned {
                        let distance = apart(token.attention, &other["attention"]);
                        self.attention = self.attention.max(distance);
                    }
                }
                if same {
                    continue;
                }
                if turned || margin.is_some_and(|margin| margin < TIE) {
                    self.ties += 1;
                    turned = true;
                } else {
                    let fault = format!(
                        "{:?}: {name} exchanged otherwise, margin {margin:?}",
                        post.caption
                    );
                    self.faults.push(fault);
                }
            }
        }
        turned
    }

    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, post: &Post, what: &str, a: &T, b: &T) {
        if a != b {
            let fault = format!(
                "{:?}: {what} {a:?} natively, {b:?} in the browser",
                post.caption
            );
            self.faults.push(fault);
        }
    }

    #[track_caller]
    fn settle(self, device: &str, close: f64, time: Duration) {
        say(&format!(
            "{device}: {} posts with {} entities in {:.0} s; scores within {:.1e}, moods {:.1e}, attention {:.1e}; \
             {} near-ties turned",
            self.posts,
            self.entities,
            time.as_secs_f64(),
            self.score,
            self.mood,
            self.attention,
            self.ties
        ));
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
        assert!(self.score < close && self.mood < close && self.attention < close);
        // Exceptions are to stay exceptions.
        assert!(self.ties * 20 <= self.posts * 4, "{} near-ties", self.ties);
    }
}

/// How far a number is from the browser's; infinitely if that is none.
fn apart(native: f32, web: &Value) -> f64 {
    let distance = web.as_f64().map(|web| (f64::from(native) - web).abs());
    distance.filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY)
}

/// Where each Unicode scalar begins in UTF-16 units, and where the last one ends.
fn utf16(text: &str) -> Vec<u64> {
    let mut at = 0;
    let mut offsets = vec![0];
    for scalar in text.chars() {
        at += scalar.len_utf16() as u64;
        offsets.push(at);
    }
    offsets
}

#[test]
fn the_cpu_answers_as_natively() {
    run_alone(|setup| {
        let native = Native::new(setup);
        let web = InBrowser::new(setup, Gpu::None, "cpu");
        let posts = posts(POSTS);
        let began = Instant::now();
        let mut tally = Tally::default();
        for some in posts.chunks(20) {
            for (post, answer) in some.iter().zip(web.tag(some)) {
                tally.compare(post, &native.tag(post), &answer);
            }
        }
        // Else all of this would say little.
        assert!(tally.entities > POSTS, "{} entities", tally.entities);
        assert_eq!(tally.posts, POSTS);
        assert_eq!(tally.ties, 0);
        tally.settle("CPU", EQUAL, began.elapsed());
        web.browser.expect_no_errors(&[]);
    });
}

#[test]
fn webgpu_answers_as_natively() {
    run_alone(|setup| {
        let native = Native::new(setup);
        let began = Instant::now();
        let web = InBrowser::new(setup, Gpu::SwiftShader, "webgpu");
        let mut tally = Tally::default();
        for post in &posts(POSTS) {
            let answers = web.tag(std::slice::from_ref(post));
            assert_eq!(answers[0]["device"]["kind"], "webgpu");
            tally.compare(post, &native.tag(post), &answers[0]);
            if began.elapsed() > BUDGET {
                break;
            }
        }
        tally.settle("WebGPU", CLOSE, began.elapsed());
        web.browser.expect_no_errors(&[]);
    });
}
