//! The page of a working copy, as `cargo xtask serve` shows it: what is changed in it is there by itself.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::preview::{Change, Changes, Preview};

use crate::support::page::plain;
use crate::support::{Browser, Gpu, Page, Setup, run_alone};

/// A working copy, with the modules that the build has made.
fn working_copy(setup: &Setup) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the checkout");
    for place in ["index.html", "models", "web/js", "web/page"] {
        copy_all(&root.join(place), &copy.path().join(place));
    }
    for module in ["cpu", "webgpu"] {
        let built = setup.package.join(module);
        copy_all(&built, &copy.path().join("built").join(module));
    }
    copy
}

fn copy_all(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in from.read_dir().expect("a folder") {
            let name = entry.expect("an entry").file_name();
            copy_all(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, to).expect("a copy");
    }
}

#[test]
fn a_changed_source_is_in_the_page_within_a_second() {
    run_alone(|setup| {
        let copy = working_copy(setup);
        let root = copy.path();
        let built = root.join("built");
        let models = setup.dist.join("models/models.json");
        let models = fs::read_to_string(models).expect("the list of models");
        let modules = [&*built.join("cpu"), &*built.join("webgpu")];
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let models = move || models.clone();
        let preview = Preview::start(root, modules, models, listener).expect("the page is served");
        let sources = Changes::watch(root).expect("the files are watched");
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::ready(&browser, &preview.url());
        // WebGPU's module is not there yet, and is not asked for.
        let device =
            || browser.run::<String>("return document.querySelector('#device-switch').value", &[]);
        assert_eq!(device(), "cpu");
        let tagged = page.tag("Angela Merkel speaks in Berlin");
        assert_eq!(
            plain(&tagged),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );

        let title = "return document.querySelector('h1').textContent";
        let changes = |file: &str, from: &str, to: &str| {
            let place = root.join(file);
            let text = fs::read_to_string(&place).expect("a source");
            assert!(text.contains(from), "{file} has no {from}");
            // As many an editor does it.
            let written = muse_tests::write(root, "web/.written", text.replacen(from, to, 1));
            fs::rename(written, &place).expect("a change");
            let page = Change {
                page: true,
                modules: false,
            };
            assert_eq!(sources.wait(), page, "{file}");
        };
        changes("index.html", "<h1>Who", "<h1>Changed: who");
        let began = Instant::now();
        preview.reload();
        browser.until("the new title", Duration::from_secs(1), || {
            browser
                .run::<String>(title, &[])
                .starts_with("Changed")
                .then_some(())
        });
        assert!(began.elapsed() < Duration::from_secs(1));
        page.wait_ready();
        changes(
            "web/page/page.js",
            "// The first",
            "document.title = 'New';\n// The first",
        );
        preview.reload();
        browser.until("the new script", Duration::from_secs(1), || {
            browser
                .run::<String>("return document.title", &[])
                .starts_with("New")
                .then_some(())
        });
        // What modules are made of, and what is none of the page's.
        muse_tests::write(root, "web/.src.rs.swp", "");
        muse_tests::write(root, "notes.txt", "");
        muse_tests::write(root, "web/src.rs", "");
        let modules = Change {
            page: false,
            modules: true,
        };
        assert_eq!(sources.wait(), modules);
        page.wait_ready();
        preview.set_webgpu(true);
        browser.reload();
        page.wait_ready();
        assert_eq!(device(), "auto");
        browser.expect_no_errors(&[]);
    });
}
