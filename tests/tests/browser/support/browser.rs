//! One Chromium with a fresh profile. Every fault is a panic that tells what the page looked like.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thirtyfour::{
    BrowserLogEntry, By, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel,
    WebDriver, WebElement,
};
use tokio::runtime::{Builder, Runtime};

use super::chromedriver::Chromedriver;
use super::outside::Outside;
use super::setup::Setup;

/// What the browser has for WebGPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gpu {
    /// No adapter.
    None,
    /// A GPU in software.
    SwiftShader,
}

/// A running browser with one window; dropping it closes it.
pub(crate) struct Browser {
    /// Who it asked for outside of the test's own servers.
    pub(crate) outside: Outside,
    runtime: Runtime,
    driver: Option<WebDriver>,
    _chromedriver: Chromedriver,
}

impl Browser {
    /// Opens one.
    pub(crate) fn start(setup: &Setup, gpu: Gpu) -> Self {
        Self::with_preferences(setup, gpu, &json!({}))
    }

    /// Opens one whose user has set these of Chromium's preferences.
    pub(crate) fn with_preferences(setup: &Setup, gpu: Gpu, preferences: &Value) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let chromedriver = Chromedriver::start(&setup.chromedriver);
        let outside = Outside::start();
        let driver = runtime.block_on(async {
            let mut wishes = DesiredCapabilities::chrome();
            wishes.set_binary(&setup.chrome.to_string_lossy())?;
            for argument in [
                "--headless=new",
                "--no-sandbox", // it is run as root in containers
                "--window-size=1280,1000",
                "--disable-component-update",
                "--disable-background-networking",
                "--disable-features=AutofillServerCommunication,NetworkTimeServiceQuerying,OptimizationHints",
            ] {
                wishes.add_arg(argument)?;
            }
            for argument in outside.arguments() {
                wishes.add_arg(&argument)?;
            }
            if gpu == Gpu::SwiftShader {
                wishes.add_arg("--enable-unsafe-webgpu")?;
                wishes.add_arg("--use-webgpu-adapter=swiftshader")?;
            }
            wishes.add_experimental_option("prefs", preferences)?;
            wishes.set_browser_log_level(LoggingPrefsLogLevel::All)?;
            let driver = WebDriver::builder(chromedriver.url(), wishes)
                .request_timeout(Duration::from_secs(600))
                .connect()
                .await?;
            driver.set_script_timeout(Duration::from_secs(580)).await?;
            driver
                .set_page_load_timeout(Duration::from_secs(60))
                .await?;
            Ok::<_, thirtyfour::error::WebDriverError>(driver)
        });
        Self {
            outside,
            runtime,
            driver: Some(driver.expect("the browser starts")),
            _chromedriver: chromedriver,
        }
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("open until it is dropped")
    }

    /// Waits for a command of the driver.
    #[track_caller]
    fn wait<T>(
        &self,
        what: &str,
        work: impl Future<Output = thirtyfour::error::WebDriverResult<T>>,
    ) -> T {
        match self.runtime.block_on(work) {
            Ok(value) => value,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Goes to an address and waits for the page's `load` event.
    #[track_caller]
    pub(crate) fn open(&self, url: &str) {
        self.wait(url, self.driver().goto(url));
    }

    /// Loads the page again.
    #[track_caller]
    pub(crate) fn reload(&self) {
        self.wait("reload", self.driver().refresh());
    }

    /// Runs the body of a function in the page; `arguments` are its arguments.
    #[track_caller]
    pub(crate) fn run<T: DeserializeOwned>(&self, body: &str, arguments: &[Value]) -> T {
        let value = self.wait(body, self.driver().execute(body, arguments));
        value
            .convert()
            .unwrap_or_else(|error| panic!("{body} gives {}: {error}", value.json()))
    }

    /// Runs the body of an asynchronous function in the page; what it throws is the error, its `code` first.
    #[track_caller]
    pub(crate) fn try_call(&self, body: &str, arguments: &[Value]) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async function () {{ {body} }}).apply(null, arguments).then(
                 (value) => done({{ value: value === undefined ? null : value }}),
                 (error) => done({{ error: `${{error.code ?? error.name}}: ${{error.message}}` }}));"
        );
        let answer = self.wait(body, self.driver().execute_async(script, arguments));
        match answer.json().get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer.json()["value"].clone()),
        }
    }

    /// As [`Self::try_call`]; an error is a fault.
    #[track_caller]
    pub(crate) fn call(&self, body: &str, arguments: &[Value]) -> Value {
        self.try_call(body, arguments)
            .unwrap_or_else(|error| panic!("{body}\nfails: {error}"))
    }

    /// Runs a script in every later page before its own.
    #[track_caller]
    pub(crate) fn before_each_page(&self, source: &str) {
        self.cdp(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": source }),
        );
    }

    /// A command of the Chrome DevTools Protocol.
    #[track_caller]
    pub(crate) fn cdp(&self, method: &str, parameters: Value) -> Value {
        self.wait(method, self.driver().cdp().send_raw(method, parameters))
    }

    #[track_caller]
    fn find(&self, selector: &str) -> WebElement {
        self.wait(selector, self.driver().find(By::Css(selector)))
    }

    /// How many elements there are.
    #[track_caller]
    pub(crate) fn count(&self, selector: &str) -> usize {
        self.run(
            "return document.querySelectorAll(arguments[0]).length",
            &[json!(selector)],
        )
    }

    /// Whether a user can see the element.
    #[track_caller]
    pub(crate) fn shows(&self, selector: &str) -> bool {
        let elements = self.wait(selector, self.driver().find_all(By::Css(selector)));
        elements
            .first()
            .is_some_and(|element| self.wait(selector, element.is_displayed()))
    }

    /// Clicks on it.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.wait(selector, self.find(selector).click());
    }

    /// Types into it, key by key.
    #[track_caller]
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        self.wait(selector, self.find(selector).send_keys(text));
    }

    /// Empties a field as a user does, with the keyboard.
    #[track_caller]
    pub(crate) fn empty(&self, selector: &str) {
        let keys = thirtyfour::Key::Control + "a";
        self.wait(selector, self.find(selector).send_keys(keys));
        let key = thirtyfour::Key::Backspace;
        self.wait(selector, self.find(selector).send_keys(key));
    }

    /// Chooses a file.
    #[track_caller]
    pub(crate) fn choose_file(&self, selector: &str, path: &Path) {
        self.type_into(selector, &path.to_string_lossy());
    }

    /// Presses keys where the focus is.
    #[track_caller]
    pub(crate) fn press(&self, keys: impl Into<thirtyfour::TypingData>) {
        let chain = self.driver().action_chain().send_keys(keys);
        self.wait("keys", chain.perform());
    }

    /// Its text as it is in the document, seen or not.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let body = "return document.querySelector(arguments[0])?.textContent ?? ''";
        self.run::<String>(body, &[json!(selector)])
            .trim()
            .to_owned()
    }

    /// What console and engine wrote since the last call.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<BrowserLogEntry> {
        self.wait("log", self.driver().browser_log())
    }

    /// Fails if an error was logged since the last call, but for those that hold one of `expected`.
    #[track_caller]
    pub(crate) fn expect_no_errors(&self, expected: &[&str]) {
        let errors: Vec<String> = self
            .log()
            .into_iter()
            .filter(|entry| entry.level == "SEVERE")
            .map(|entry| entry.message)
            .filter(|message| !expected.iter().any(|part| message.contains(part)))
            .collect();
        assert!(errors.is_empty(), "the browser logged {errors:#?}");
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub(crate) fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ask: impl FnMut() -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            if began.elapsed() > patience {
                let page = "return document.documentElement.outerHTML.slice(0, 6000)";
                panic!(
                    "{what}: not after {} s\n{:#?}\n{}",
                    patience.as_secs(),
                    self.log(),
                    self.run::<String>(page, &[])
                );
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take()
            && let Err(error) = self.runtime.block_on(driver.quit())
        {
            eprintln!("the browser does not close: {error}");
        }
    }
}
