//! What WebGPU launches for a caption, counted where the module asks the browser for it; and that what it computes is what the CPU
//! does, whatever the length, with a photo and without, alone and with others.

use serde_json::{Value, json};

use crate::support::setup::{BLANK, MODEL, own_site, say, with_body};
use crate::support::{Browser, Gpu, pictures, run_alone};

/// Launches for a caption, at most.
const MOST: u64 = 70;
/// How far numbers may be apart.
const CLOSE: f64 = 1e-3;

/// In front of a worker: tells how many launches and reads there were.
const COUNT: &str = "{
    const counts = { launches: 0, reads: 0, pipelines: 0 };
    const count = (what, type, name) => {
        const original = type.prototype[name];
        type.prototype[name] = function (...rest) {
            counts[what]++;
            return original.apply(this, rest);
        };
    };
    count('launches', GPUComputePassEncoder, 'dispatchWorkgroups');
    count('launches', GPUComputePassEncoder, 'dispatchWorkgroupsIndirect');
    count('reads', GPUBuffer, 'mapAsync');
    count('pipelines', GPUDevice, 'createComputePipeline');
    const channel = new BroadcastChannel('launches');
    channel.onmessage = () => counts.launches && channel.postMessage(counts); // the CPU's has none
}
";

/// In the page: loads the model on both devices, and gives for each caption both answers and the counts.
const ASK: &str = "
    const [script, model, bytes, groups] = arguments;
    const { Muse } = await import(script);
    const [cpu, gpu] = await Promise.all(['cpu', 'webgpu'].map((device) => Muse.load(model, { device, warm: false })));
    const channel = new BroadcastChannel('launches');
    const counts = () => new Promise((resolve) => {
        channel.onmessage = ({ data }) => resolve(data);
        channel.postMessage(1);
    });
    const photos = bytes.map((bytes) => new Blob([Uint8Array.from(bytes)]));
    const told = [];
    await gpu.tag({ caption: 'a' }); // the first one compiles
    for (const group of groups) {
        const items = group.map(({ caption, photo }) => ({ caption, image: photos[photo] }));
        // The image encoder's part is not the caption's.
        for (const { image } of items) if (image) await gpu.tag({ caption: 'a', image });
        const before = await counts();
        const answers = await gpu.tagBatch(items);
        const after = await counts();
        told.push({
            answers,
            expected: await cpu.tagBatch(items),
            launches: after.launches - before.launches,
            reads: after.reads - before.reads,
            pipelines: after.pipelines - before.pipelines,
        });
    }
    return { kind: gpu.device.kind, told };";

#[test]
fn a_caption_takes_few_launches_and_is_computed_right() {
    run_alone(|setup| {
        let cdn = setup.cdn();
        let worker = std::fs::read_to_string(setup.package.join("worker.js")).expect("the worker");
        cdn.answer("/worker.js", with_body(format!("{COUNT}{worker}")));
        let own = own_site(&[BLANK]);
        let browser = Browser::start(setup, Gpu::SwiftShader);
        browser.open(&own.server.url("index.html"));

        // Each word is a piece, and there is one in front and one behind.
        let words = [
            "Angela", "met", "Obama", "in", "Berlin", "and", "London", "today",
        ];
        let item = |pieces: usize, photo: Option<usize>| {
            let caption = words.iter().cycle().take(pieces - 2).copied();
            json!({ "caption": caption.collect::<Vec<_>>().join(" "), "photo": photo })
        };
        let mut groups: Vec<Vec<Value>> = [3, 4, 8, 9, 16, 31, 32, 33, 50, 64]
            .map(|pieces| vec![item(pieces, None)])
            .into();
        groups.extend([3, 16, 32, 64].map(|pieces| vec![item(pieces, Some(0))]));
        let alone = groups.len();
        groups.push(vec![item(9, None), item(20, None), item(3, None)]);
        groups.push(vec![item(9, Some(0)), item(12, None), item(30, Some(1))]);
        groups.push(vec![
            item(64, Some(1)),
            item(64, Some(0)),
            item(40, Some(1)),
            item(64, None),
            item(5, Some(0)),
        ]);
        groups.push(vec![item(200, Some(0))]);

        let photos = [
            pictures::photo(),
            pictures::encoded(
                &pictures::halves(64, 48, [220, 60, 20], [10, 90, 200]),
                image::ImageFormat::Png,
            ),
        ];
        let answer = browser.call(
            ASK,
            &[
                json!(cdn.url("muse.js")),
                json!(cdn.url(MODEL.trim_start_matches('/'))),
                json!(photos),
                json!(groups),
            ],
        );
        assert_eq!(answer["kind"], "webgpu");
        let told = answer["told"].as_array().expect("answers");
        assert_eq!(told.len(), groups.len());
        for (index, (group, told)) in groups.iter().zip(told).enumerate() {
            let [launches, reads, pipelines] = ["launches", "reads", "pipelines"]
                .map(|what| told[what].as_u64().expect("a count"));
            let pieces = &told["answers"][0]["pieces"];
            let photo = if group[0]["photo"].is_null() {
                "no photo"
            } else {
                "a photo"
            };
            say(&format!(
                "WebGPU: {} captions, the first of {pieces} pieces with {photo}: {launches} launches, {reads} reads, {pipelines} new pipelines",
                group.len()
            ));
            if index < alone {
                assert!(
                    launches > 0 && launches <= MOST,
                    "{launches} launches for {pieces} pieces with {photo}"
                );
            }
            let apart = apart(&told["answers"], &told["expected"], "");
            assert!(apart < CLOSE, "{apart} apart: {group:?}");
        }
        // Faults of shaders are only logged.
        browser.expect_no_errors(&[]);
    });
}

/// How far the numbers of two answers are apart, infinitely where anything else differs; of times nothing is asked.
fn apart(a: &Value, b: &Value, name: &str) -> f64 {
    match (a, b) {
        _ if ["timings", "device"].contains(&name) => 0.0,
        (Value::Number(a), Value::Number(b)) => {
            let distance = a.as_f64().zip(b.as_f64()).map(|(a, b)| (a - b).abs());
            distance
                .filter(|distance| !distance.is_nan())
                .unwrap_or(f64::INFINITY)
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| apart(a, b, name)).fold(0.0, f64::max)
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            let pairs = a
                .iter()
                .map(|(name, a)| apart(a, b.get(name).unwrap_or(&Value::Null), name));
            pairs.fold(0.0, f64::max)
        }
        _ if a == b => 0.0,
        _ => f64::INFINITY,
    }
}
