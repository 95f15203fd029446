//! All that counts as a picture.

use muse_tests::server::Answer;
use serde_json::json;

use super::{CAPTION, embedded};
use crate::support::{Gpu, pictures, run};

#[test]
fn every_kind_of_image_is_taken() {
    run(|setup| {
        let (browser, _cdn, own) = embedded(setup, Gpu::None);
        // Without loss, so that all ways to the pixels must end in equal ones.
        let picture = pictures::encoded(
            &pictures::halves(96, 64, [220, 60, 20], [10, 90, 200]),
            image::ImageFormat::Png,
        );
        own.server.answer(
            "/photo.png",
            Answer {
                body: Some(picture.clone()),
                ..Answer::default()
            },
        );
        let answers = browser.call(
            "const [bytes, caption] = arguments;
             const muse = await Muse.load(model, { device: 'cpu', warm: false });
             const blob = new Blob([Uint8Array.from(bytes)], { type: 'image/png' });
             const element = Object.assign(new Image(), { src: 'photo.png' });
             await element.decode();
             const bitmap = await createImageBitmap(blob);
             const canvas = Object.assign(document.createElement('canvas'), { width: 96, height: 64 });
             canvas.getContext('2d').drawImage(bitmap, 0, 0);
             const off = new OffscreenCanvas(96, 64);
             off.getContext('2d').drawImage(bitmap, 0, 0);
             const images = {
                 blob, file: new File([blob], 'photo.png'), relative: 'photo.png', url: new URL('photo.png', location.href).href,
                 element, bitmap, pixels: canvas.getContext('2d').getImageData(0, 0, 96, 64), canvas, off,
             };
             const answers = {};
             for (const [name, image] of Object.entries(images)) {
                 const { exchange, entities } = await muse.tag({ caption, image });
                 answers[name] = { entities, attention: exchange.layers[0].regions.map(({ attention }) => attention) };
             }
             answers.bitmapLives = bitmap.width;
             const none = await muse.tag({ caption, image: null });
             answers.none = none.exchange.layers[0].regions.length;
             return answers;",
            &[json!(picture), json!(CAPTION)],
        );
        let blob = &answers["blob"];
        assert_eq!(blob["attention"].as_array().map(Vec::len), Some(64));
        for name in [
            "file", "relative", "url", "element", "bitmap", "pixels", "canvas", "off",
        ] {
            assert_eq!(&answers[name], blob, "{name}");
        }
        assert_eq!(
            answers["bitmapLives"], 96,
            "the caller's bitmap stays the caller's"
        );
        assert_eq!(answers["none"], 0);
    });
}
