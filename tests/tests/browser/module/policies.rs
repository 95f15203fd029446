//! Pages that allow little: Trusted Types, and a sandboxed frame without an origin.

use muse_tests::server::{Options, Server};
use serde_json::{Value, json};

use super::{CAPTION, NAMES, found};
use crate::support::page::PATIENCE;
use crate::support::setup::{MODEL, own_site, with_body};
use crate::support::{Browser, Gpu, run};

/// What a page with the package and the element in it leaves in `window.outcome`.
fn body(package: &str) -> String {
    format!(
        "<link rel=\"icon\" href=\"data:,\"><title>Strict</title>
         <muse-tagger src=\"{package}{model}\" device=\"cpu\" caption=\"{CAPTION}\"></muse-tagger>
         <script type=\"module\">
         window.violations = [];
         addEventListener('securitypolicyviolation', ({{ violatedDirective, sample }}) => violations.push([violatedDirective, sample]));
         try {{
             const {{ Muse }} = await import('{package}/muse.js');
             const element = new Promise((resolve, reject) => {{
                 addEventListener('muse-result', ({{ detail }}) => resolve(detail));
                 addEventListener('muse-error', ({{ detail }}) => reject(detail));
             }});
             await import('{package}/element.js');
             const muse = await Muse.load('{package}{model}', {{ device: 'cpu', warm: false }});
             const answer = await muse.tag({{ caption: '{CAPTION}' }});
             window.outcome = {{ answer, element: await element, violations }};
         }} catch (error) {{
             window.outcome = {{ error: `${{error.code}}: ${{error.message}}` }};
         }}
         (parent === window ? () => {{}} : (message) => parent.postMessage(message, '*'))(window.outcome);
         </script>",
        model = MODEL
    )
}

fn outcome(browser: &Browser) -> Value {
    browser.until("an outcome", PATIENCE, || {
        browser.run::<Option<Value>>("return window.outcome ?? null", &[])
    })
}

#[test]
fn trusted_types_are_kept() {
    run(|setup| {
        // The worker from the page's own origin, and from a Blob.
        for foreign in [false, true] {
            let cdn = setup.cdn();
            let origin = cdn.origin();
            let page = |types: &str| {
                format!(
                    "<!doctype html><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data: blob:; \
                     script-src {origin} 'unsafe-inline' 'wasm-unsafe-eval'; connect-src {origin}; worker-src blob: {origin}; \
                     require-trusted-types-for 'script'; trusted-types {types}\">{}",
                    body(&origin)
                )
            };
            let (good, bad) = (page("muse-web"), page("'none'"));
            let own = own_site(&[("good.html", good.as_bytes()), ("bad.html", bad.as_bytes())]);
            for (name, text) in [("/good.html", &good), ("/bad.html", &bad)] {
                cdn.answer(name, with_body(text.clone()));
            }
            let host = if foreign { &own.server } else { &cdn };
            let browser = Browser::start(setup, Gpu::None);
            browser.open(&host.url("good.html"));
            let good = outcome(&browser);
            assert_eq!(found(&good["answer"]), NAMES, "{foreign}: {good}");
            assert_eq!(found(&good["element"]), NAMES, "{foreign}: {good}");
            assert_eq!(good["violations"], json!([]), "{foreign}");
            // Where the policy is not allowed that is said, with a code.
            browser.open(&host.url("bad.html"));
            let bad = outcome(&browser);
            let error = bad["error"].as_str().unwrap_or_default();
            assert!(error.starts_with("unsupported: "), "{foreign}: {bad}");
        }
    });
}

#[test]
fn a_sandboxed_frame_is_enough() {
    run(|setup| {
        let cdn = setup.cdn();
        let frame = format!("<!doctype html>{}", body(&cdn.origin()));
        let page = "<!doctype html><link rel=icon href=data:,><title>Frame</title>
            <script>addEventListener('message', ({ data }) => (window.outcome = data))</script>
            <iframe sandbox=\"allow-scripts\" src=\"frame.html\"></iframe>";
        let own = own_site(&[
            ("index.html", page.as_bytes()),
            ("frame.html", frame.as_bytes()),
        ]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let told = outcome(&browser);
        assert_eq!(found(&told["answer"]), NAMES, "{told}");
        assert_eq!(found(&told["element"]), NAMES, "{told}");
    });
}

/// The page itself, in such a frame: it works, and keeps nothing.
#[test]
fn the_page_works_in_a_sandboxed_frame() {
    run(|setup| {
        let options = Options {
            headers: vec![("Access-Control-Allow-Origin".into(), "*".into())],
            ..Options::default()
        };
        let site = Server::start(&setup.dist, options).expect("the page is served");
        // A frame of another process has no ear for the driver: it tells itself.
        let index = std::fs::read_to_string(setup.dist.join("index.html")).expect("the page");
        let index = index.replace("</body>", "<script src=\"tell.js\"></script></body>");
        let tell = "setInterval(() => parent.postMessage([document.documentElement.dataset.state, document.querySelector('#status').textContent], '*'), 200)";
        for (path, text) in [("/index.html", index.as_str()), ("/tell.js", tell)] {
            site.answer(path, with_body(text));
        }
        let outer = format!(
            "<!doctype html><link rel=icon href=data:,><title>Frame</title>
             <script>addEventListener('message', ({{ data }}) => (window.told = data))</script>
             <iframe sandbox=\"allow-scripts\" src=\"{}\"></iframe>",
            site.url("index.html")
        );
        let own = own_site(&[("index.html", outer.as_bytes())]);
        let browser = Browser::start(setup, Gpu::None);
        browser.open(&own.server.url("index.html"));
        let told = browser.until("ready or failed", PATIENCE, || {
            let told: Option<(String, String)> = browser.run("return window.told ?? null", &[]);
            told.filter(|(state, _)| ["ready", "failed", "unsupported"].contains(&state.as_str()))
        });
        assert_eq!(told.0, "ready", "{}", told.1);
    });
}
