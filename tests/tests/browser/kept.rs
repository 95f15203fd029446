//! What the page says of its caches is what is in them; and a page that is older than its server finds that out.

use muse_tests::server::Server;
use serde_json::{Value, json};

use crate::support::page::{PATIENCE, plain};
use crate::support::setup::{MODEL, with_body, with_status};
use crate::support::{Browser, Gpu, Page, Setup, run};

const CAPTION: &str = "Angela Merkel speaks in Berlin";
const NAMES: [(&str, &str); 2] = [("PER", "Angela Merkel"), ("LOC", "Berlin")];

/// Writes down what nobody catches.
const WATCH: &str = "window.uncaught = [];
     addEventListener('unhandledrejection', ({ reason }) => uncaught.push(String(reason)));
     addEventListener('error', ({ message }) => uncaught.push(message));";

/// Names and numbers of files of all caches.
fn caches(browser: &Browser) -> Value {
    browser.call(
        "const names = await caches.keys();
         return Promise.all(names.map(async (name) => [name, (await (await caches.open(name)).keys()).length]));",
        &[],
    )
}

/// Waits for what is said once all has been tried.
fn settle() {
    std::thread::sleep(std::time::Duration::from_secs(3));
}

#[test]
fn a_full_disk_is_not_called_a_cache() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(WATCH);
        browser.open(&site.url("models/models.json"));
        browser.cdp(
            "Storage.overrideQuotaForOrigin",
            json!({ "origin": site.origin(), "quotaSize": 8_000_000 }),
        );
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        settle();
        let status = page.status();
        assert!(status.contains("does not keep"), "{status}");
        assert_eq!(browser.text("#offline"), "");
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        // And so it is.
        browser.reload();
        page.wait_ready();
        assert_eq!(site.count(MODEL), 2);
        let uncaught: Vec<String> = browser.run("return uncaught", &[]);
        assert!(uncaught.is_empty(), "{uncaught:?}");
    });
}

#[test]
fn a_browser_that_blocks_site_data_is_told_so() {
    run(|setup| {
        let site = setup.site();
        let blocked = json!({ "profile.default_content_setting_values.cookies": 2 });
        let browser = Browser::with_preferences(setup, Gpu::None, &blocked);
        browser.before_each_page(WATCH);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        settle();
        assert!(
            browser
                .try_call("return (await caches.keys()).length", &[])
                .is_err(),
            "site data is blocked"
        );
        assert!(page.status().contains("does not keep"), "{}", page.status());
        assert_eq!(browser.text("#offline"), "");
        assert!(!browser.shows("#clear-cache"), "there is nothing to clear");
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        let uncaught: Vec<String> = browser.run("return uncaught", &[]);
        assert!(uncaught.is_empty(), "{uncaught:?}");
    });
}

#[test]
fn what_is_cleared_stays_cleared() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        browser.until("the page is kept", PATIENCE, || {
            (!browser.text("#offline").is_empty()).then_some(())
        });
        browser.click("#clear-cache");
        browser.until("cleared", PATIENCE, || {
            page.status().contains("empty").then_some(())
        });
        // Another device starts another worker, from the model in memory.
        for device in ["webgpu", "auto", "cpu"] {
            browser.run::<()>(
                "const select = document.querySelector('#device-switch');
                 select.value = arguments[0];
                 select.dispatchEvent(new Event('change'));",
                &[json!(device)],
            );
            page.wait_ready();
        }
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
        page.after(|| browser.click("#samples button"));
        settle();
        assert_eq!(caches(&browser), json!([]));
        assert_eq!(browser.text("#offline"), "");
        assert!(!browser.shows("#clear-cache"));
        assert_eq!(site.count(MODEL), 1);
    });
}

/// The page's files under a new version, and the model with another header: as good, but not the same.
fn deploy(setup: &Setup, site: &Server) {
    let read = |name: &str| std::fs::read_to_string(setup.dist.join(name)).expect(name);
    let precache: Value = serde_json::from_str(&read("precache.json")).expect("JSON");
    let version = precache["version"].as_str().expect("a version");
    let index = read("index.html").replace(version, "0123456789abcdef");
    let index = index.replace("</title>", " (new)</title>");
    let mut model = setup.model();
    let header = u64::from_le_bytes(*model.first_chunk().expect("a length")) + 8;
    model.splice(header as usize..header as usize, [b' '; 8]);
    model[..8].copy_from_slice(&header.to_le_bytes());
    let mut models: Value = serde_json::from_str(&read("models/models.json")).expect("JSON");
    models[0]["bytes"] = model.len().into();
    models[0]["sha256"] = sha256(&model).into();
    let precache = precache.to_string().replace(version, "0123456789abcdef");
    for (path, text) in [
        ("/", index.clone()),
        ("/index.html", index),
        ("/precache.json", precache),
        ("/models/models.json", models.to_string()),
    ] {
        site.answer(path, with_body(text));
    }
    site.answer(MODEL, with_body(model));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(bytes))
}

#[test]
fn an_old_page_gives_way_to_the_new_one() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        browser.before_each_page(WATCH);
        let page = Page::ready(&browser, &site.url("?device=cpu"));
        browser.until("the page is kept", PATIENCE, || {
            (!browser.text("#offline").is_empty()).then_some(())
        });
        // The browser has made room, and the server has gone on.
        browser.call("await caches.delete('muse-web')", &[]);
        deploy(setup, &site);
        browser.reload();
        browser.until("the new page", PATIENCE, || {
            let title: String = browser.run("return document.title", &[]);
            title.ends_with("(new)").then_some(())
        });
        page.wait_ready();
        assert_eq!(plain(&page.tag(CAPTION)), NAMES);
    });
}

/// A server whose parts do not agree is not asked for ever.
#[test]
fn it_gives_way_but_once() {
    run(|setup| {
        let site = setup.site();
        site.answer(MODEL, with_status(404));
        let list = std::fs::read_to_string(setup.dist.join("precache.json")).expect("the list");
        let mut list: Value = serde_json::from_str(&list).expect("JSON");
        list["version"] = "0123456789abcdef".into();
        site.answer("/precache.json", with_body(list.to_string()));
        let browser = Browser::start(setup, Gpu::None);
        let page = Page::open(&browser, &site.url("?device=cpu"));
        settle();
        page.wait_state("failed");
        assert_eq!(site.count(MODEL), 2);
    });
}

/// Without a service worker a browser may have kept any file of an older version: no two versions share a name.
#[test]
fn scripts_of_two_versions_have_two_names() {
    run(|setup| {
        let site = setup.site();
        let browser = Browser::start(setup, Gpu::None);
        Page::ready(&browser, &site.url("?device=cpu"));
        let loaded: Vec<String> = browser.run(
            "return performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname)",
            &[],
        );
        let scripts: Vec<_> = loaded
            .iter()
            .filter(|name| name.ends_with(".js") && *name != "/sw.js")
            .collect();
        assert!(scripts.len() > 8, "{scripts:?}");
        for script in scripts {
            let folder = script.split('/').nth(1).unwrap_or_default();
            let hash = folder.rsplit('-').next().unwrap_or_default();
            assert!(
                hash.len() == 10 && hash.chars().all(|c| c.is_ascii_hexdigit()),
                "{script}"
            );
        }
    });
}

#[test]
fn a_part_that_does_not_arrive_is_named_as_what_it_is() {
    run(|setup| {
        let page_folder = setup.dist.read_dir().expect("the page").find_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.starts_with("page-").then_some(name)
        });
        let page_folder = page_folder.expect("the page's folder");
        for part in [
            format!("/{page_folder}/app.js"),
            format!("/{page_folder}/result.js"),
            setup.module_path("muse.js"),
            setup.module_path("engine.js"),
        ] {
            let site = setup.site();
            let browser = Browser::start(setup, Gpu::None);
            site.answer(&part, with_status(404));
            let page = Page::open(&browser, &site.url("?device=cpu"));
            page.wait_state("failed");
            let said = page.status();
            assert!(
                said.contains("part of this page did not arrive"),
                "{part}: {said}"
            );
            // As soon as it is there again, a reload or the button is enough.
            site.restore(&part);
            if browser.shows("#retry") {
                browser.click("#retry");
            } else {
                browser.reload();
            }
            browser.until("ready", PATIENCE, || {
                (page.state() == "ready").then_some(())
            });
        }
    });
}
