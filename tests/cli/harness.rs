//! Runs the binary: commands that end, and servers that are stopped with the test.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outrigger::admission::client::{Client, Destination};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

/// The maximum time that a test waits.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The time between two checks of a condition that has no event.
const PAUSE: Duration = Duration::from_millis(10);

/// The repository's examples.
pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// A folder with files written by the test.
pub struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    pub fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder") };
        for (name, text) in files {
            this.write(name, text);
        }
        this
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes or replaces a file atomically.
    pub fn write(&self, name: &str, text: &str) {
        let draft = self.path().join(".draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.path().join(name)).expect("renamed");
    }
}

/// The output and exit code of a command.
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Returns the standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout
    }

    /// Returns the standard error of a command that must have ended with this exit code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Returns the binary of this build, or another one to compare with it.
pub fn binary() -> OsString {
    std::env::var_os("OUTRIGGER_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_outrigger").into())
}

/// Returns a command with these arguments and without environment variables that change its output.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(binary());
    command.args(args);
    unset(&mut command);
    command
}

fn unset(command: &mut Command) {
    for variable in ["RUST_LOG", "OUTRIGGER_LOG_FORMAT", "SOURCE_DATE_EPOCH", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
}

/// Runs a command to its end with `input` as standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().expect("the binary starts"));
    let (stdout, stderr) = (running.0.stdout.take().expect("piped"), running.0.stderr.take().expect("piped"));
    let mut stdin = running.0.stdin.take().expect("piped");
    let texts = thread::scope(|scope| {
        // A command that fails early does not read it.
        scope.spawn(move || _ = stdin.write_all(input.as_bytes()));
        let stderr = scope.spawn(|| text(stderr));
        // The process's end ends everything, so it is watched while reading.
        let status = scope.spawn(|| running.wait());
        (text(stdout), stderr.join().expect("read"), status.join().expect("waited for"))
    });
    Output { code: texts.2.code().expect("not ended by a signal"), stdout: texts.0, stderr: texts.1 }
}

/// Runs a command whose standard output is a terminal. Returns what it prints there.
pub fn run_on_terminal(mut command: Command) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("a name");
    let end = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other end");
    command.stdin(Stdio::null()).stdout(end).stderr(Stdio::null());
    let mut running = Running(command.spawn().expect("the binary starts"));
    drop(command); // otherwise this process keeps the other end open
    let (mut terminal, mut printed) = (File::from(terminal), Vec::new());
    // On Linux, the end of a terminal is the error EIO.
    let read = terminal.read_to_end(&mut printed);
    assert!(read.as_ref().err().is_none_or(|error| error.raw_os_error() == Some(Errno::IO.raw_os_error())), "{read:?}");
    assert!(running.wait().success(), "{}", String::from_utf8_lossy(&printed));
    String::from_utf8(printed).expect("UTF-8").replace("\r\n", "\n")
}

fn text(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("UTF-8");
    text
}

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn wait(&mut self) -> ExitStatus {
        wait_for("the process ends", || self.0.try_wait().expect("a child"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Calls the function repeatedly until it returns a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(PAUSE);
    }
}

/// `outrigger serve --from FOLDER` on free ports.
pub struct Server {
    running: Running,
    log: Arc<Log>,
    webhook: SocketAddr,
    admin: SocketAddr,
    ca: String,
}

/// The lines of standard error so far, as JSON.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    grown: Condvar,
}

impl Server {
    /// Starts it with further arguments, and waits until it serves. Without `--tls-dir` its CA is read.
    pub fn start<A: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = A>) -> Self {
        Self::start_as(command([""; 0]), folder, args)
    }

    /// The same with at most this many file descriptors.
    pub fn with_descriptors(descriptors: u32, folder: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]).arg(binary());
        unset(&mut shell);
        Self::start_as(shell, folder, [""; 0])
    }

    fn start_as<A: AsRef<OsStr>>(mut command: Command, folder: &Path, args: impl IntoIterator<Item = A>) -> Self {
        let files = Files::new([]);
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let ca_file = files.path().join("ca.pem");
        command.args(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--log-format=json"]);
        command.arg("--from").arg(folder).args(&args);
        let own_certificate = args.iter().any(|arg| arg == "--tls-dir");
        if !own_certificate {
            command.arg("--ca-out").arg(&ca_file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut running = Running(command.spawn().expect("the binary starts"));
        let log = Arc::<Log>::default();
        let stderr = BufReader::new(running.0.stderr.take().expect("piped"));
        thread::spawn({
            let log = log.clone();
            move || log.fill(stderr)
        });
        let serving = log.wait("it serves", |line| line["message"] == "serving");
        let address = |name: &str| {
            let url = serving[name].as_str().expect("a URL");
            let address = url.split('/').nth(2).expect("scheme://address");
            address.parse().expect("an address")
        };
        let ca = if own_certificate { String::new() } else { std::fs::read_to_string(ca_file).expect("--ca-out") };
        Self { webhook: address("webhook"), admin: address("admin"), running, log, ca }
    }

    /// Returns the webhook's address.
    pub fn webhook(&self) -> SocketAddr {
        self.webhook
    }

    /// Returns the peak resident memory in KiB.
    #[allow(dead_code, reason = "only tests/hostile measures it")]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.0.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Returns the admin port's address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Returns the CA that it created.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// The same with clients that trust this CA.
    pub fn trusting(self, ca: String) -> Self {
        Self { ca, ..self }
    }

    pub fn target(&self) -> Destination {
        Destination::new(self.webhook, &self.ca).expect("a CA")
    }

    /// Returns the `response` of a review in admission.k8s.io/v1 that creates this Pod.
    pub fn review(&self, pod: &Value) -> Value {
        let (status, body) = self.post(review_of("v1", pod).to_string());
        assert_eq!(status, 200, "{body}");
        let mut answer: Value = serde_json::from_str(&body).expect("JSON");
        answer["response"].take()
    }

    /// Returns the Pod after its review, which must allow it.
    pub fn admit(&self, pod: &Value) -> Value {
        patched(pod, &self.review(pod))
    }

    /// Sends this body as a review on its own connection.
    pub fn post(&self, body: String) -> (u16, String) {
        let answer = in_time(async {
            let mut client: Client = self.target().connect().await.expect("a connection");
            client.post("/mutate-pod", Bytes::from(body)).await.expect("an answer")
        });
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).expect("text"))
    }

    /// Returns status and body of a page of the admin port.
    pub fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").expect("sent");
        let answer = text(stream);
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).expect("a status line").parse().expect("a number");
        (status, body.to_owned())
    }

    /// Returns the value of a counter, given with its printed labels.
    pub fn metric(&self, name: &str) -> u64 {
        let (_, metrics) = self.page("/metrics");
        let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no metric {name} in\n{metrics}"));
        line[name.len() + 1..].parse().expect("a number")
    }

    /// Waits for a log line whose message contains all of these texts, and returns it.
    pub fn logged(&self, level: &str, texts: &[&str]) -> Value {
        let fits = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == level && texts.iter().all(|text| message.contains(text))
        };
        self.log.wait(&format!("{level} {texts:?} in the log"), fits)
    }

    /// Waits until the files have been read this many times.
    pub fn files_read(&self, times: usize) {
        let mut left = times;
        self.log.wait_mut("the files are read again", |line| {
            left -= usize::from(line["message"] == "files read");
            left == 0
        });
    }

    /// Sends a signal with a name of `kill`.
    pub fn signal(&self, name: &str) {
        let id = self.running.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().expect("kill").success());
    }

    /// Waits for its end, and returns the exit code.
    pub fn exit_code(&mut self) -> i32 {
        self.running.wait().code().expect("not ended by a signal")
    }
}

impl Log {
    fn fill(&self, stderr: impl BufRead) {
        for line in stderr.lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or_else(|_| json!({"message": line}));
            self.lines.lock().expect("not poisoned").0.push(line);
            self.grown.notify_all();
        }
        self.lines.lock().expect("not poisoned").1 = true;
        self.grown.notify_all();
    }

    #[track_caller]
    fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_mut(what, fits)
    }

    /// Passes each line once, from the first on, until one matches.
    #[track_caller]
    fn wait_mut(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let mut seen = 0;
        let mut found = None;
        let waited = self.grown.wait_timeout_while(
            self.lines.lock().expect("not poisoned"),
            PATIENCE,
            |(lines, ended): &mut (Vec<Value>, bool)| {
                found = lines[seen..].iter().find(|line| fits(line)).cloned();
                seen = lines.len();
                found.is_none() && !*ended
            },
        );
        let log: Vec<_> = waited.expect("not poisoned").0.0.iter().map(Value::to_string).collect();
        found.unwrap_or_else(|| panic!("not in time: {what}; the log:\n{}", log.join("\n")))
    }
}

/// Runs a future on its own runtime with a time limit.
pub fn in_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("it takes too long") })
}

/// An AdmissionReview of this version of admission.k8s.io that creates a Pod.
pub fn review_of(version: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": format!("admission.k8s.io/{version}"),
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "operation": "CREATE",
            "namespace": pod["metadata"]["namespace"].as_str().unwrap_or("default"),
            "object": pod,
        }
    })
}

/// Returns the Pod with the patch of a review's `response` applied like in the API server.
pub fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!(response["allowed"], true, "{response}");
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(patch).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON Patch");
        json_patch::patch(&mut pod, &patch).expect("it applies");
    }
    pod
}

/// Returns the only object of a YAML text.
#[track_caller]
pub fn object(yaml: &str) -> Value {
    let [object] = <[Value; 1]>::try_from(objects(yaml)).expect("one object");
    object
}

/// Returns the objects of a YAML text.
#[track_caller]
pub fn objects(yaml: &str) -> Vec<Value> {
    let documents = outrigger::documents::parse("test.yaml", yaml.as_bytes()).expect("YAML of objects");
    documents.into_iter().map(|document| document.value).collect()
}

/// Returns the names of a list, in order.
pub fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item["name"].as_str().expect("a name")).collect()
}

/// Fails unless the text contains all of these.
#[track_caller]
pub fn assert_says(text: &str, parts: &[impl AsRef<str> + Debug]) {
    for part in parts {
        assert!(text.contains(part.as_ref()), "{part:?} is not in: {text}");
    }
}
