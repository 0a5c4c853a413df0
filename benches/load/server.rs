//! The server under load: the real binary as a separate process, and its cost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outrigger::admission::client::Destination;
use serde_json::Value;
use tempfile::TempDir;

/// The maximum time of the server's start and of its end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is checked.
const GLANCE: Duration = Duration::from_millis(5);

/// A measured server.
#[derive(Clone, Debug)]
pub enum Program {
    /// `outrigger` as it was just built.
    Present,
    /// An older `outrigger`.
    Old(PathBuf),
    /// The minimal server, with answers of so many bytes.
    Floor(usize),
}

/// `SidecarSets` in files.
pub struct Files {
    folder: TempDir,
}

/// A running server; stopped when it is dropped.
pub struct Server {
    child: Child,
    _ca: TempDir,
    /// The address for reviews.
    pub target: Destination,
    /// The time from the start of the process until it was ready.
    pub ready_after: Duration,
}

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub now: u64,
    /// The maximum of resident memory.
    pub peak: u64,
}

impl Files {
    /// Writes `SidecarSets`, each given as name and YAML.
    pub fn of(sets: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for (name, yaml) in sets {
            std::fs::write(folder.path().join(format!("{name}.yaml")), yaml)?;
        }
        Ok(Self { folder })
    }
}

impl Program {
    /// Returns its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Present => "outrigger",
            Self::Old(_) => "before",
            Self::Floor(_) => "floor",
        }
    }

    fn command(&self, files: &Files, ca: &Path) -> Result<Vec<String>> {
        let text = |path: &Path| path.display().to_string();
        let program = match self {
            Self::Floor(answer) => {
                return Ok(vec![text(&std::env::current_exe()?), "floor".to_owned(), text(ca), answer.to_string()]);
            }
            Self::Present => env!("CARGO_BIN_EXE_outrigger").to_owned(),
            Self::Old(path) => text(path),
        };
        let flags = "serve --listen=127.0.0.1:0 --admin-listen=127.0.0.1:0 --shutdown-delay=0 --log-format=json --log-level=info";
        let mut command = vec![program];
        command.extend(flags.split(' ').map(str::to_owned));
        command.extend([format!("--from={}", text(files.folder.path())), format!("--ca-out={}", text(ca))]);
        Ok(command)
    }
}

impl Server {
    /// Starts a program.
    pub fn start(program: &Program, files: &Files) -> Result<Self> {
        Self::start_under(&[], program, files)
    }

    /// Starts a program as the argument of another, which then runs it in the same process.
    pub fn start_under(other: &[String], program: &Program, files: &Files) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ca = folder.path().join("ca.pem");
        let command = [other, &program.command(files, &ca)?].concat();
        let started = Instant::now();
        let mut child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command[0]))?;
        let lines = log_lines(&mut child)?;
        let connected = (|| {
            let (webhook, admin) = addresses(&lines)?;
            if !matches!(program, Program::Floor(_)) {
                wait_until_ready(admin)?;
            }
            Ok(Destination::new(webhook, &std::fs::read_to_string(&ca)?)?)
        })();
        match connected {
            Ok(target) => Ok(Self { child, _ca: folder, target, ready_after: started.elapsed() }),
            Err(error) => {
                stop(&mut child);
                Err(error)
            }
        }
    }

    /// Returns the process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Reads its log to the end in a thread, so that the server never waits for this process.
fn log_lines(child: &mut Child) -> Result<mpsc::Receiver<String>> {
    let stderr = child.stderr.take().context("the server has no standard error")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nothing receives it once the server runs.
            let _nobody = sender.send(line);
        }
    });
    Ok(lines)
}

/// Returns the webhook and admin addresses, from the line that has both.
fn addresses(lines: &mpsc::Receiver<String>) -> Result<(SocketAddr, SocketAddr)> {
    let mut log = Vec::new();
    let serving = loop {
        let Ok(line) = lines.recv_timeout(PATIENCE) else {
            bail!("the server does not serve; its log:\n{}", log.join("\n"));
        };
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if event["message"] == "serving" => break event,
            _ => log.push(line),
        }
    };
    let address = |field: &str| -> Result<SocketAddr> {
        let url = serving[field].as_str().with_context(|| format!("no {field} address in {serving}"))?;
        let host = url.split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        host.parse().with_context(|| format!("{field} address {url:?}"))
    };
    Ok((address("webhook")?, address("admin")?))
}

fn wait_until_ready(admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut answer = String::new();
        let mut stream = TcpStream::connect(admin).context("the admin port")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("the server does not become ready: {answer}");
        }
        std::thread::sleep(GLANCE);
    }
}

/// Asks the process to end, and kills it when it does not.
fn stop(child: &mut Child) {
    let asked = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
    let deadline = Instant::now() + PATIENCE;
    while asked.is_ok() && Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(GLANCE),
            _ => return,
        }
    }
    let _ended = child.kill().and_then(|()| child.wait());
}

/// Returns the processor time of a process until now, user and system.
///
/// The kernel counts it in ticks, commonly of 10 ms; `ticks` is their number per second.
pub fn processor_time(pid: u32, ticks: u64) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): utime and stime are fields 14 and 15; the name, field 2, ends at the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let times: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_nanos(times.iter().sum::<u64>() * 1_000_000_000 / ticks))
}

/// Returns the ticks per second.
pub fn ticks_per_second() -> Result<u64> {
    let output = Command::new("getconf").arg("CLK_TCK").output().context("getconf CLK_TCK")?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Returns the memory of a process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("/proc/PID/status")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}
