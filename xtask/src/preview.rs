//! The page straight from the checkout: what changes there is there at the next request, and the page reloads by itself.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
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
use tower_http::{services::ServeDir, set_header::SetResponseHeaderLayer};

/// The page as browsers get it: index.html without the lines that are for trunk alone.
pub fn without_trunks(index: &str) -> String {
    let lines = index.split_inclusive('\n');
    lines.filter(|line| !line.contains("data-trunk")).collect()
}

/// What the page is made of.
const FOLDERS: [&str; 4] = ["core", "kernels", "models", "web"];
const FILES: [&str; 3] = ["Cargo.lock", "Cargo.toml", "index.html"];

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
    /// Serves the checkout `root` with the modules in the folders `cpu` and `webgpu` (which may come later); `models` gives
    /// the list of the models as JSON.
    ///
    /// # Errors
    ///
    /// The listener cannot be used.
    pub fn start(
        root: &Path,
        [cpu, webgpu]: [&Path; 2],
        models: impl Fn() -> String + Clone + Send + Sync + 'static,
        listener: TcpListener,
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
            .route(
                "/reload/{state}",
                get(async move |state| script(reload(state))),
            )
            .route("/changed/{state}", get(changed))
            .route("/sw.js", get(async move || script(NO_WORKER.to_owned())))
            .route("/models/models.json", get(async move || (json, models())))
            // Nothing of it is kept for use without network.
            .route("/precache.json", get(async || StatusCode::NO_CONTENT))
            .nest_service("/models", folder("models"))
            .nest_service("/page", folder("web/page"))
            .nest_service("/muse-web/cpu", ServeDir::new(cpu))
            .nest_service("/muse-web/webgpu", ServeDir::new(webgpu))
            .nest_service("/muse-web", folder("web/js"))
            .fallback_service(folder("web/page"))
            .with_state(Arc::clone(&page));
        let fresh = HeaderValue::from_static("no-store");
        let router = router.layer(SetResponseHeaderLayer::overriding(
            header::CACHE_CONTROL,
            fresh,
        ));
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

/// What a change is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What the browser gets as it is.
    pub page: bool,
    /// What modules are made of.
    pub modules: bool,
}

impl Changes {
    /// From now on, of all that the page and its modules are made of.
    ///
    /// # Errors
    ///
    /// The files cannot be watched.
    pub fn watch(root: &Path) -> notify::Result<Self> {
        let (sender, paths) = mpsc::channel();
        let top = root.to_owned();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let Ok(event) = event else { return };
                if !event.kind.is_access() {
                    for path in event.paths.into_iter().filter(|path| is_source(&top, path)) {
                        let _ = sender.send(path); // Nobody waits any more.
                    }
                }
            })?;
        // Files by their folder, since many an editor puts a new one into the place of the old.
        watcher.watch(root, RecursiveMode::NonRecursive)?;
        for folder in FOLDERS.iter().map(|folder| root.join(folder)) {
            if folder.exists() {
                watcher.watch(&folder, RecursiveMode::Recursive)?;
            }
        }
        Ok(Self {
            paths,
            _watcher: watcher,
        })
    }

    /// Waits for the next.
    pub fn wait(&self) -> Change {
        let first = self.paths.recv().into_iter();
        std::thread::sleep(SETTLE);
        let mut change = Change::default();
        // All of them, so that none is left for the next time.
        for path in first.chain(self.paths.try_iter()) {
            let ending = path.extension().unwrap_or_default();
            let compiled = ["rs", "toml", "lock", "wgsl"].iter().any(|e| ending == *e);
            change.modules |= compiled;
            change.page |= !compiled;
        }
        change
    }
}

/// Not the files that editors put beside.
fn is_source(root: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let editors = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913";
    let top = path.parent() == Some(root);
    !editors && (!top || FILES.iter().any(|file| name == *file))
}

async fn index(State(page): State<Arc<Page>>) -> Result<Html<String>, (StatusCode, String)> {
    let place = page.root.join("index.html");
    let text = fs::read_to_string(&place).map_err(|error| {
        let fault = format!("cannot read {}: {error}", place.display());
        (StatusCode::INTERNAL_SERVER_ERROR, fault)
    })?;
    let mut text = without_trunks(&text);
    if !page.webgpu.load(Ordering::Relaxed) {
        text = text.replace("<option value=\"cpu\">", "<option value=\"cpu\" selected>");
    }
    let state = *page.state.borrow();
    let script = format!("<script type=\"module\" src=\"reload/{state}\"></script>\n</body>");
    Ok(Html(text.replace("</body>", &script)))
}

/// Where the server is gone, it is asked again until it is there; its state is another one then.
fn reload(extract::Path(state): extract::Path<u64>) -> String {
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
