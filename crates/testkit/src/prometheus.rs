//! Prometheus' own judgement of what a program shows it: `promtool` for the form, its Python client
//! for the figures.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use tempfile::TempDir;

use crate::{namespace::Namespace, require::prometheus};

/// What every client of these tests waits at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where sipward shows its metrics when nobody says otherwise.
pub const DEFAULT: &str = "127.0.0.1:8060";

const READER: &str = "\
import json, sys
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
read = openmetrics if sys.argv[1] == 'openmetrics' else parser
samples = [
    [sample.name, sample.labels, sample.value]
    for family in read.text_string_to_metric_families(sys.stdin.read())
    for sample in family.samples
]
json.dump(samples, sys.stdout)
";

/// Which format is asked for, and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The type of its content.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code; 0 where it said nothing.
    pub status: u16,
    /// Start line and headers.
    pub head: String,
    /// The rest.
    pub body: String,
}

/// Samples by their names and labels, written as `name{label=\"value\"}` with the labels in order.
pub type Samples = BTreeMap<String, f64>;

/// Sends these bytes from inside the namespace, and reads until the server has closed.
///
/// # Errors
/// If nobody listens there.
pub fn exchange(namespace: &Namespace, at: SocketAddr, request: &[u8]) -> Result<Answer> {
    let mut stream = namespace.enter(|| TcpStream::connect_timeout(&at, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Whoever asks too much is answered, and cut off, before all of it is sent; what was said
    // before that counts.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).context("an answer in UTF-8")?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.unwrap_or_default(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Asks for a path as a scraper does.
///
/// # Errors
/// As [`exchange`].
pub fn get(namespace: &Namespace, at: SocketAddr, path: &str, format: Format) -> Result<Answer> {
    let accept = format.content_type();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nAccept: {accept}\r\n\r\n");
    exchange(namespace, at, request.as_bytes())
}

/// Scrapes both formats, has Prometheus judge both, and returns the samples, of which both formats must
/// have the same.
///
/// # Errors
/// As [`exchange`], [`lint`] and [`read`].
pub fn scrape(namespace: &Namespace, at: SocketAddr) -> Result<Samples> {
    let mut both = Vec::new();
    for format in [Format::Text, Format::OpenMetrics] {
        let answer = get(namespace, at, "/metrics", format)?;
        ensure!(answer.status == 200, "{}{}", answer.head, answer.body);
        let is_typed = |line: &str| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("content-type") && value == format.content_type()
            })
        };
        ensure!(answer.head.lines().any(is_typed), "{}", answer.head);
        lint(&answer.body, format).with_context(|| answer.body.clone())?;
        both.push(read(&answer.body, format).with_context(|| answer.body.clone())?);
    }
    let other = both.pop().context("two formats")?;
    let samples = both.pop().context("two formats")?;
    ensure!(samples.keys().eq(other.keys()), "{samples:#?}, {other:#?}");
    Ok(samples)
}

/// Reads the samples of a format.
///
/// # Errors
/// What the reader does not understand; a sample that is there twice.
pub fn read(text: &str, format: Format) -> Result<Samples> {
    let mut python = Command::new(prometheus().join("bin/python"));
    python.args(["-c", READER]).arg(match format {
        Format::Text => "text",
        Format::OpenMetrics => "openmetrics",
    });
    let samples: Vec<(String, BTreeMap<String, String>, f64)> =
        serde_json::from_str(&feed(&mut python, text)?)?;
    let mut read = Samples::new();
    for (name, labels, value) in samples {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let key = if labels.is_empty() {
            name
        } else {
            format!("{name}{{{}}}", labels.join(","))
        };
        ensure!(
            read.insert(key.clone(), value).is_none(),
            "{key} is there twice"
        );
    }
    Ok(read)
}

/// Has `promtool` look at it. Its lint knows the text format only; OpenMetrics it imports, as samples of
/// one moment.
///
/// # Errors
/// What it does not understand, or would do otherwise.
pub fn lint(text: &str, format: Format) -> Result<()> {
    let mut promtool = Command::new(prometheus().join("bin/promtool"));
    match format {
        Format::Text => feed(promtool.args(["check", "metrics"]), text).map(drop),
        Format::OpenMetrics => {
            let folder = TempDir::new()?;
            let [samples, blocks] = ["samples", "blocks"].map(|name| folder.path().join(name));
            let at_one_moment = |line: &str| {
                let moment = if line.starts_with('#') {
                    ""
                } else {
                    " 1700000000"
                };
                format!("{line}{moment}\n")
            };
            fs::write(
                &samples,
                text.lines().map(at_one_moment).collect::<String>(),
            )?;
            promtool.args(["tsdb", "create-blocks-from", "openmetrics"]);
            feed(promtool.args([samples, blocks]), "").map(drop)
        }
    }
}

/// Gives a program its standard input, and returns what it printed.
fn feed(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    // Both read all of it before they print.
    let mut stdin = child.stdin.take().context("a pipe")?;
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "{}: {said}{printed}",
        output.status
    );
    written?;
    ensure!(said.is_empty(), "{said}");
    Ok(printed)
}
