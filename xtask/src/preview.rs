//! The page straight from the checkout: what changes there is there at the next request, and the page reloads by itself.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    extract::{self, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

/// A marker of the lines in index.html that are for trunk alone.
pub const FOR_TRUNK: &str = "data-trunk";

/// What the page is made of.
const SOURCES: [&str; 6] = [
    "index.html",
    "web",
    "core",
    "models",
    "Cargo.toml",
    "Cargo.lock",
];

/// An editor writes a file in several steps; they count as one change.
const SETTLE: Duration = Duration::from_millis(100);

/// A service worker of the built page, served at this address before, would go on to show that page: this one takes its place
/// and ends itself.
const NO_WORKER: &str = r#"
addEventListener("install", () => skipWaiting());
addEventListener("activate", async () => {
  await registration.unregister();
  for (const tab of await clients.matchAll()) tab.navigate(tab.url);
});
"#;

/// What the requests share.
struct Page {
    root: PathBuf,
    /// Whether WebGPU's module is there.
    webgpu: AtomicBool,
    /// Another number after each change, and in each process.
    state: watch::Sender<u64>,
}

/// The page of a working copy, served until the process ends.
pub struct Preview {
    address: SocketAddr,
    page: Arc<Page>,
}

/// What changes in a working copy.
pub struct Changes {
    paths: Receiver<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Preview {
    /// Serves the checkout `root` with the modules in the folders `cpu` and `webgpu` (which may come later), and with
    /// `models`, the list of the models as JSON.
    ///
    /// # Errors
    ///
    /// Of the kind `AddrInUse` when the port is taken.
    pub fn start(
        root: &Path,
        [cpu, webgpu]: [&Path; 2],
        models: String,
        port: u16,
    ) -> io::Result<Self> {
        let begin = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let page = Arc::new(Page {
            root: root.to_owned(),
            webgpu: AtomicBool::new(false),
            state: watch::Sender::new(begin.as_micros() as u64),
        });
        let folder = |path: &str| ServeDir::new(root.join(path));
        let script = |text: String| ([(header::CONTENT_TYPE, "text/javascript")], text);
        let json = [(header::CONTENT_TYPE, "application/json")];
        let router = Router::new()
            .route("/", get(index))
            .route("/reload.js", get(async move |page| script(reload(page))))
            .route("/changed/{state}", get(changed))
            .route("/sw.js", get(async move || script(NO_WORKER.to_owned())))
            .route("/models/models.json", get(async move || (json, models)))
            // Nothing of it is kept for use without network.
            .route("/precache.json", get(async || StatusCode::NO_CONTENT))
            .nest_service("/models", folder("models"))
            .nest_service("/page", folder("web/page"))
            .nest_service("/samples", folder("web/page/samples"))
            .nest_service("/muse-web/cpu", ServeDir::new(cpu))
            .nest_service("/muse-web/webgpu", ServeDir::new(webgpu))
            .nest_service("/muse-web", folder("web/js"))
            .route_service("/icon.svg", ServeFile::new(root.join("web/page/icon.svg")))
            .route_service(
                "/manifest.json",
                ServeFile::new(root.join("web/page/manifest.json")),
            )
            .with_state(Arc::clone(&page));
        let fresh = HeaderValue::from_static("no-store");
        let router = router.layer(SetResponseHeaderLayer::overriding(
            header::CACHE_CONTROL,
            fresh,
        ));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, router).await
            })
        });
        Ok(Self { address, page })
    }

    /// The page's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Says whether WebGPU's module is there; without it the page begins on the CPU.
    pub fn set_webgpu(&self, there: bool) {
        self.page.webgpu.store(there, Ordering::Relaxed);
    }

    /// Has the open pages load anew.
    pub fn reload(&self) {
        self.page.state.send_modify(|state| *state += 1);
    }
}

impl Changes {
    /// From now on, of all that the page and its modules are made of.
    ///
    /// # Errors
    ///
    /// The files cannot be watched.
    pub fn watch(root: &Path) -> notify::Result<Self> {
        let (sender, paths) = mpsc::channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if !event.kind.is_access() {
                    for path in event.paths {
                        let _ = sender.send(path); // Nobody waits any more.
                    }
                }
            })?;
        for source in SOURCES.iter().map(|source| root.join(source)) {
            if source.exists() {
                watcher.watch(&source, RecursiveMode::Recursive)?;
            }
        }
        Ok(Self {
            paths,
            _watcher: watcher,
        })
    }

    /// Waits for the next; returns whether modules depend on what has changed.
    pub fn wait(&self) -> bool {
        let first = self.paths.recv().into_iter();
        std::thread::sleep(SETTLE);
        let compiled = |path: PathBuf| {
            let ending = path.extension().unwrap_or_default();
            ["rs", "toml", "lock", "wgsl"].iter().any(|e| ending == *e)
        };
        // All of them, so that none is left for the next time.
        first
            .chain(self.paths.try_iter())
            .fold(false, |any, path| compiled(path) || any)
    }
}

async fn index(State(page): State<Arc<Page>>) -> Result<Html<String>, (StatusCode, String)> {
    let place = page.root.join("index.html");
    let text = fs::read_to_string(&place).map_err(|error| {
        let fault = format!("cannot read {}: {error}", place.display());
        (StatusCode::INTERNAL_SERVER_ERROR, fault)
    })?;
    let lines = text.split_inclusive('\n');
    let mut text: String = lines.filter(|line| !line.contains(FOR_TRUNK)).collect();
    if !page.webgpu.load(Ordering::Relaxed) {
        text = text.replace("<option value=\"cpu\">", "<option value=\"cpu\" selected>");
    }
    let script = "<script type=\"module\" src=\"reload.js\"></script>\n</body>";
    Ok(Html(text.replace("</body>", script)))
}

/// Where the server is gone, it is asked again until it is there; its state is another one then.
fn reload(State(page): State<Arc<Page>>) -> String {
    let state = *page.state.borrow();
    format!(
        "const wait = () => fetch(\"changed/{state}\").then(() => location.reload(), () => setTimeout(wait, 1000));\nwait();\n"
    )
}

/// Answers when the state is another one.
async fn changed(
    State(page): State<Arc<Page>>,
    extract::Path(state): extract::Path<u64>,
) -> impl IntoResponse {
    let mut states = page.state.subscribe();
    let _ = states.wait_for(|now| *now != state).await;
}
