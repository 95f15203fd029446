//! The annotation styles of a model, on either device.

use muse_core::file::Precision;
use muse_tests::tiny_model_of_styles;
use serde_json::json;

use crate::support::setup::own_site;
use crate::support::{Browser, Gpu, run};

const CAPTION: &str = "Eileen Collins at Kennedy Space Center";

#[test]
fn a_caption_is_tagged_in_the_style_that_is_asked_for() {
    run(|setup| {
        let cdn = setup.cdn();
        let model = tiny_model_of_styles().to_bytes(Precision::F32);
        let page = b"<!doctype html><link rel=\"icon\" href=\"data:,\"><title>Styles</title>";
        let own = own_site(&[("index.html", &page[..]), ("styles.muse", &model[..])]);
        let browser = Browser::start(setup, Gpu::SwiftShader);
        browser.open(&own.server.url("index.html"));
        for device in ["cpu", "webgpu"] {
            let told = browser.call(
                "const [script, model, device, caption] = arguments;
                 const { Muse } = await import(script);
                 const muse = await Muse.load(model, { device, warm: false });
                 const count = async (style) => (await muse.tag({ caption, style })).entities.length;
                 const both = await muse.tagBatch([{ caption }, { caption }], { style: 'second' });
                 const wrong = await muse.tag({ caption, style: 'third' }).catch(({ code, message }) => [code, message]);
                 const counts = [await count(), await count('first'), await count('second'), both[1].entities.length];
                 const { styles, style } = muse.info;
                 muse.dispose();
                 return { counts, wrong, styles, style };",
                &[
                    json!(cdn.url("muse.js")),
                    json!(own.server.url("styles.muse")),
                    json!(device),
                    json!(CAPTION),
                ],
            );
            assert_eq!(told["counts"], json!([2, 2, 0, 0]), "{device}");
            assert_eq!(told["styles"], json!(["first", "second"]));
            assert_eq!(told["style"], "first");
            assert_eq!(told["wrong"][0], "argument");
            let message = told["wrong"][1].as_str().expect("a message");
            assert!(
                message.contains("its styles are first, second"),
                "{message}"
            );
        }
    });
}
