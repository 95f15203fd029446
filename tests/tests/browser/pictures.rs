//! Pictures that are hard to take: each gives a result or a clear word, and the page lives on.

use serde_json::{Value, json};

use image::{ImageFormat, imageops};

use crate::support::page::plain;
use crate::support::setup::{BLANK, own_site, say};
use crate::support::{Browser, Gpu, Page, pictures, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// The size of those that are beyond the limit.
fn too_large(name: &str) -> Option<&'static str> {
    match name {
        "claims.png" => Some("60000×60000"),
        "large.png" => Some("9000×9000"),
        _ => None,
    }
}

#[test]
fn the_page_survives_every_picture() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        page.tag(CAPTION);
        let folder = tempfile::tempdir().expect("a folder");
        let photo = pictures::photo();
        let mut cut = photo.clone();
        cut.truncate(100);
        // Whether it can be taken.
        let trials: [(&str, Vec<u8>, bool); 9] = [
            ("claims.png", pictures::claiming_png(60_000, 60_000), false),
            ("large.png", pictures::grey_png(9_000, 9_000), false),
            ("cut.jpg", cut, false),
            (
                "noise.png",
                (0..4096_u32)
                    .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                    .collect(),
                false,
            ),
            ("empty.jpg", Vec::new(), false),
            (
                "text.jpg",
                b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(),
                false,
            ),
            ("dot.png", pictures::grey_png(1, 1), true),
            (
                "moving.gif",
                pictures::gif(40, 30, &[[200, 30, 30], [30, 30, 200]]),
                true,
            ),
            ("photo.jpg", photo, true),
        ];
        for (name, bytes, good) in trials {
            let path = muse_tests::write(folder.path(), name, bytes);
            page.choose(&path);
            say(&format!("{name}: {}", page.message()));
            if let Some(size) = too_large(name) {
                assert!(page.message().contains(size), "{name}: its size is told");
            }
            assert_eq!(
                browser.shows("#exchange"),
                good,
                "{name}: {}",
                page.message()
            );
            assert_eq!(
                page.message().is_empty(),
                good,
                "{name}: {}",
                page.message()
            );
            assert_eq!(page.caption(), json!(CAPTION), "{name}");
            assert!(!page.found().is_empty(), "{name}");
            if good {
                page.after(|| browser.click("#image-remove"));
            }
            assert_eq!(plain(&page.found()), NAMES, "{name}");
        }
    });
}

/// Of a moving picture the first frame is seen, and a turned photograph is turned back: the answers are those of the
/// plain pictures, to the last digit.
#[test]
fn what_is_seen_is_what_is_shown() {
    run(|setup| {
        let cdn = setup.cdn();
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let upright = pictures::halves(64, 48, [220, 40, 40], [40, 40, 220]);
        let jpeg = |picture: &_| pictures::encoded(picture, ImageFormat::Jpeg);
        // Orientation 3 is half a turn: of two halves each keeps its blocks, so that both JPEGs decode to equal pixels.
        let trials = json!({
            "upright": jpeg(&upright),
            "turned": pictures::with_orientation(&jpeg(&imageops::rotate180(&upright)), 3),
            "as it lies": jpeg(&imageops::rotate180(&upright)),
            "first": pictures::gif(64, 48, &[[200, 30, 30]]),
            "moving": pictures::gif(64, 48, &[[200, 30, 30], [30, 30, 200]]),
            "second": pictures::gif(64, 48, &[[30, 30, 200]]),
        });
        let answers = browser.call(
            "const [module, model, files, caption] = arguments;
             const { Muse } = await import(module);
             const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const answers = {};
             for (const [name, bytes] of Object.entries(files)) {
                 const { exchange } = await muse.tag({ caption, image: new Blob([Uint8Array.from(bytes)]) });
                 answers[name] = exchange.layers[0].regions.map(({ attention }) => attention);
             }
             return answers;",
            &[json!(cdn.url("muse.js")), json!(cdn.url("models/muse-small.muse")), trials, json!(CAPTION)],
        );
        let numbers = |name: &str| -> Vec<f64> {
            let list: &[Value] = answers[name].as_array().expect("numbers");
            list.iter().filter_map(Value::as_f64).collect()
        };
        let apart = |a: &str, b: &str| {
            let pairs = numbers(a).into_iter().zip(numbers(b));
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        assert_eq!(numbers("upright").len(), 64);
        assert!(
            apart("upright", "turned") < 1e-5,
            "{}",
            apart("upright", "turned")
        );
        assert!(
            apart("upright", "as it lies") > 3e-5,
            "{}",
            apart("upright", "as it lies")
        );
        assert_eq!(numbers("first"), numbers("moving"));
        assert!(
            apart("second", "moving") > 3e-5,
            "{}",
            apart("second", "moving")
        );
    });
}
