//! Whether there is a browser to test in, and where everything lies.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use muse_tests::server::{Answer, Options, Server};
use serde_json::Value;
use tempfile::TempDir;

use super::Browser;

/// The model's path in the built page and in the package.
pub(crate) const MODEL: &str = "/models/muse-small.muse";

/// Where everything lies.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The built page: `MUSE_DIST`.
    pub(crate) dist: PathBuf,
    /// The package's folder: `MUSE_PACKAGE`.
    pub(crate) package: PathBuf,
    /// A folder with `node_modules`: `MUSE_NPM`.
    pub(crate) npm: PathBuf,
    /// `CHROME`.
    pub(crate) chrome: PathBuf,
    /// `CHROMEDRIVER`.
    pub(crate) chromedriver: PathBuf,
}

/// What other tests wait for that is measured, or that keeps all of the processor busy.
static ALONE: RwLock<()> = RwLock::new(());

/// Runs a test where `MUSE_BROWSER=1` says that a browser is there. Elsewhere it says that nothing was tested, which in
/// CI is a failure, unless `MUSE_BROWSER=0` says that the tests are run at another place.
pub(crate) fn run(test: impl FnOnce(&Setup)) {
    if let Some(setup) = setup() {
        let _shared = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        timed(&setup, test);
    }
}

/// The same, while no other test runs: for what takes the time.
pub(crate) fn run_alone(test: impl FnOnce(&Setup)) {
    if let Some(setup) = setup() {
        let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
        timed(&setup, test);
    }
}

fn setup() -> Option<Setup> {
    let name = name();
    match env::var("MUSE_BROWSER").as_deref() {
        Ok("1") => {}
        Ok("0") => {
            say(&format!("SKIPPED {name}: MUSE_BROWSER=0"));
            return None;
        }
        _ => {
            let why =
                "MUSE_BROWSER=1 is not set; `cargo xtask test browser` sets all that is needed";
            assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "{why}");
            say(&format!("SKIPPED {name}: {why}"));
            return None;
        }
    }
    Some(Setup {
        dist: given("MUSE_DIST", None),
        package: given("MUSE_PACKAGE", None),
        npm: given("MUSE_NPM", None),
        chrome: given("CHROME", Some("/usr/bin/chromium")),
        chromedriver: given("CHROMEDRIVER", Some("/usr/bin/chromedriver")),
    })
}

fn timed(setup: &Setup, test: impl FnOnce(&Setup)) {
    let began = Instant::now();
    test(setup);
    say(&format!(
        "{}: {:.1} s",
        name(),
        began.elapsed().as_secs_f64()
    ));
}

/// The running test's.
fn name() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("a test").to_owned()
}

fn given(variable: &str, usual: Option<&str>) -> PathBuf {
    let value = env::var_os(variable).or_else(|| usual.map(Into::into));
    let value = value.unwrap_or_else(|| panic!("{variable} is not set"));
    let path = Path::new(&value).canonicalize();
    path.unwrap_or_else(|error| panic!("{variable}={}: {error}", Path::new(&value).display()))
}

/// Says something that is to be seen although the test passes: unlike `eprintln!`, it is not kept back.
pub(crate) fn say(line: &str) {
    // Where standard error is closed, nobody listens.
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Setup {
    /// The page.
    pub(crate) fn site(&self) -> Server {
        self.site_with(Options::default())
    }

    /// The page, served in another way.
    pub(crate) fn site_with(&self, options: Options) -> Server {
        Server::start(&self.dist, options).expect("the page is served")
    }

    /// The page, whose worker loses its device, or what stands for one, when [`lose_device`] says so.
    pub(crate) fn fragile_site(&self) -> Server {
        let site = self.site();
        let worker = self.module_path("worker.js");
        let source = std::fs::read_to_string(self.dist.join(&worker[1..])).expect("the worker");
        site.answer(&worker, with_body(format!("{LOSE}\n{source}")));
        site
    }

    /// The path of one of the module's files in the built page, whose folder is named by its content.
    pub(crate) fn module_path(&self, file: &str) -> String {
        let entries = self.dist.read_dir().expect("the built page");
        let mut names = entries.map(|entry| entry.expect("an entry").file_name());
        let folder = names.find(|name| name.to_string_lossy().starts_with("muse-web-"));
        let folder = folder.expect("the module's folder");
        format!("/{}/{file}", folder.to_string_lossy())
    }

    /// The package at an address of another origin than any page's, as a CDN has it.
    pub(crate) fn cdn(&self) -> Server {
        let options = Options {
            headers: vec![("Access-Control-Allow-Origin".into(), "*".into())],
            ..Options::default()
        };
        Server::start(&self.package, options).expect("the package is served")
    }

    /// The model's file.
    pub(crate) fn model(&self) -> Vec<u8> {
        let path = self.dist.join(MODEL.trim_start_matches('/'));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What `models.json` says of the model.
    pub(crate) fn model_entry(&self) -> Value {
        let list = std::fs::read(self.dist.join("models/models.json")).expect("models.json");
        let list: Vec<Value> = serde_json::from_slice(&list).expect("a list");
        list.into_iter().next().expect("a model")
    }
}

/// In front of a worker: what loses its device.
pub(crate) const LOSE: &str =
    "new BroadcastChannel('lose').onmessage = () => postMessage({ lost: 'as the test wants it' });";

/// Tells the workers that have [`LOSE`] in front of them.
pub(crate) fn lose_device(browser: &Browser) {
    browser.run::<()>("new BroadcastChannel('lose').postMessage(1)", &[]);
}

/// These bytes instead of a file's.
pub(crate) fn with_body(bytes: impl Into<Vec<u8>>) -> Answer {
    let body = Some(bytes.into());
    Answer {
        body,
        ..Answer::default()
    }
}

/// A refusal instead of a file.
pub(crate) fn with_status(status: u16) -> Answer {
    Answer {
        status: Some(status),
        ..with_body("")
    }
}

/// A page with nothing on it, not even an icon that a browser would ask for.
pub(crate) const BLANK: (&str, &[u8]) = (
    "index.html",
    b"<!doctype html><link rel=icon href=data:,><title>Plain</title>",
);

/// A site of the test's own.
pub(crate) struct Own {
    /// Its server.
    pub(crate) server: Server,
    _folder: TempDir,
}

/// Serves these files.
pub(crate) fn own_site(files: &[(&str, &[u8])]) -> Own {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        muse_tests::write(folder.path(), name, bytes);
    }
    let server = Server::start(folder.path(), Options::default()).expect("the site is served");
    Own {
        server,
        _folder: folder,
    }
}
