//! The page of a working copy, as `cargo xtask serve` shows it: what is changed in it is there by itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use xtask::preview::{Changes, Preview};

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
        let preview = Preview::start(root, modules, models, 0).expect("the page is served");
        let sources = Changes::watch(root).expect("the files are watched");
        let browser = Browser::start(setup, Gpu::SwiftShader);
        let page = Page::ready(&browser, &preview.url());
        // WebGPU's module is not there yet, and is not asked for.
        assert_eq!(browser.text("#device"), "the CPU");
        let tagged = page.tag("Angela Merkel speaks in Berlin");
        assert_eq!(
            plain(&tagged),
            [("PER", "Angela Merkel"), ("LOC", "Berlin")]
        );

        let title = "return document.querySelector('h1').textContent";
        let changes = |file: &str, from: &str, to: &str, compiled: bool| {
            let place = root.join(file);
            let text = fs::read_to_string(&place).expect("a source");
            assert!(text.contains(from), "{file} has no {from}");
            fs::write(&place, text.replacen(from, to, 1)).expect("a change");
            assert_eq!(sources.wait(), compiled, "{file}");
        };
        changes("index.html", "<h1>Who", "<h1>Changed: who", false);
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
            false,
        );
        preview.reload();
        browser.until("the new script", Duration::from_secs(1), || {
            browser
                .run::<String>("return document.title", &[])
                .starts_with("New")
                .then_some(())
        });
        // What modules are made of.
        muse_tests::write(root, "web/src.rs", "");
        assert!(sources.wait());
        page.wait_ready();
        browser.expect_no_errors(&[]);
    });
}
