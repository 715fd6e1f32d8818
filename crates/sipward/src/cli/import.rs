use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::{Daemon, table};
use crate::{
    address,
    config::{Config, DEFAULT_PATH},
    control::api::{ImportReply, ImportRequest, ImportedBan, Status},
    exit::{Answer, Failure},
    import::{self, Adopted, Context, Entry, Found, Searched, Why},
    signatures,
    span::Span,
};

/// Bans in one request. Each is one transaction; the daemon reads packets between two.
const BATCH: usize = 4_000;

/// Things of one kind that are named.
const NAMED: usize = 5;

/// The file for imported signatures, beside the configuration.
const SIGNATURES: &str = "imported.toml";

/// Take over the bans and signatures of other tools
///
/// What a file is, its content says: a Fail2Ban database, output of iptables-save, scripts with lines
/// of iptables, output of ipset save, addresses, prefixes and ranges one a line, or APIBAN's JSON.
/// What a Fail2Ban ban or an element of an ipset has left of its time is kept. Texts that iptables
/// rules look for become signatures where the lint has nothing against them. A file that is none of
/// these is refused, and then nothing of any file is taken.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sipward import /var/lib/fail2ban/fail2ban.sqlite3
  sipward import /etc/iptables/rules.v4 /etc/iptables/rules.v6
  sipward import --for 10d blocklist.txt
  sipward import --dry-run firewall.sh")]
pub struct Arguments {
    /// What to take over
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How long bans last whose file does not say [default: for ever; APIBAN's: 7d]
    #[arg(long = "for", value_name = "DURATION")]
    span: Option<Span>,
    /// The ipset whose elements are bans, where a file has several or its name says it lets through
    #[arg(long = "set", value_name = "NAME")]
    sets: Vec<String>,
    /// Say what would be taken, and take nothing
    #[arg(long)]
    dry_run: bool,
    /// The file that gets the signatures [default: imported.toml beside the configuration]
    #[arg(long, value_name = "FILE")]
    signatures: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// `import`
#[derive(Debug, Serialize)]
struct Report {
    files: Vec<FileView>,
    /// Prefixes that are banned now.
    banned: usize,
    /// Prefixes that were banned already, at least as long.
    already: usize,
    /// Of those banned now, what loses SIP only: somebody there has just connected by SSH.
    sip_only: Vec<String>,
    /// What was not taken, by the reason.
    skipped: Vec<SkippedView>,
    signatures: SignaturesView,
    dry_run: bool,
    seconds: SecondsView,
}

/// What the import took, the reading of the files included.
#[derive(Debug, Default, Serialize)]
struct SecondsView {
    all: f64,
    /// Until the kernel had the bans.
    kernel: f64,
    /// Until the ledger had them on disk.
    ledger: f64,
}

#[derive(Debug, Serialize)]
struct FileView {
    file: String,
    kind: String,
    bans: usize,
    searched: usize,
    skipped: usize,
}

#[derive(Debug, Default, Serialize)]
struct SkippedView {
    why: String,
    count: usize,
    /// Some of them, with their places.
    examples: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct SignaturesView {
    /// Names of the new ones.
    taken: Vec<String>,
    refused: Vec<RefusedView>,
    /// Where the new ones are.
    file: Option<String>,
}

#[derive(Debug, Serialize)]
struct RefusedView {
    text: String,
    why: String,
}

/// Counts what is not taken.
#[derive(Default)]
struct Skips(BTreeMap<String, SkippedView>);

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let began = Instant::now();
        let config = Config::load_or_default(self.daemon.config.as_deref())?;
        let context = Context {
            now: Timestamp::now(),
            lasts: self.span.map(Span::duration),
            ports: &config.ports,
            sets: &self.sets,
        };
        let mut found: Vec<(&Path, Found)> = Vec::new();
        for file in &self.files {
            found.push((file, import::read(file, context)?));
        }
        let files = found
            .iter()
            .map(|(file, found)| view(file, found))
            .collect();
        let mut skips = Skips::default();
        for (file, found) in &found {
            skips.read(file, found);
        }
        let mut searched: Vec<Searched> = Vec::new();
        let mut bans: Vec<Entry> = Vec::new();
        for (_, found) in found {
            searched.extend(found.searched);
            bans.extend(found.bans);
        }
        let bans = once(bans);

        // Most files have bans only, and the lint takes a part of a second.
        let adopted = if searched.is_empty() {
            Adopted::default()
        } else {
            let (known, _) = signatures::load(&config.signatures)?;
            import::adopt(&searched, &known, config.signatures.profile.into())?
        };
        let mut notes = Vec::new();
        let mut report = Report {
            files,
            banned: if self.dry_run { bans.len() } else { 0 },
            already: 0,
            sip_only: Vec::new(),
            skipped: Vec::new(),
            signatures: SignaturesView::of(&adopted),
            dry_run: self.dry_run,
            seconds: SecondsView::default(),
        };
        if !self.dry_run {
            let client = self.daemon.client();
            if !bans.is_empty() {
                // Where nobody answers nothing is written either.
                let _: Status = client.get("/v1/status")?;
            }
            if !adopted.signatures.is_empty() {
                let file = self.signature_file();
                write_signatures(&file, &adopted)?;
                notes.extend(in_force(&file, &config));
                report.signatures.file = Some(file.display().to_string());
            }
            let bar = progress_bar(bans.len());
            for batch in bans.chunks(BATCH) {
                let reply: ImportReply = client
                    .post("/v1/import", &request(batch))
                    .map_err(|failure| Failure {
                        text: format!(
                            "{}; {} of {} bans were taken before, and a second import takes the rest",
                            failure.text,
                            report.banned,
                            bans.len()
                        ),
                        ..failure
                    })?;
                report.banned += reply.banned;
                report.already += reply.already;
                report
                    .sip_only
                    .extend(reply.sip_only.iter().map(address::show));
                report.seconds.kernel += seconds(reply.kernel_us);
                report.seconds.ledger += seconds(reply.ledger_us);
                bar.inc(count(batch.len()));
                for skipped in reply.skipped {
                    skips.add(&skipped.why, address::show(&skipped.prefix));
                }
            }
            bar.finish_and_clear();
        }
        report.skipped = skips.0.into_values().collect();
        report.seconds.all = began.elapsed().as_secs_f64();
        if self.json {
            return Ok(Answer {
                notes,
                ..Answer::json(&report)?
            });
        }
        Ok(Answer {
            notes,
            ..Answer::data(text(&report))
        })
    }

    fn signature_file(&self) -> PathBuf {
        let beside = || {
            let config = self.daemon.config.as_deref();
            config
                .unwrap_or_else(|| Path::new(DEFAULT_PATH))
                .with_file_name(SIGNATURES)
        };
        self.signatures.clone().unwrap_or_else(beside)
    }
}

fn progress_bar(bans: usize) -> ProgressBar {
    let target = if bans > BATCH && io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(count(bans)), target);
    let style = "{bar:40} {human_pos} of {human_len} bans, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn view(file: &Path, found: &Found) -> FileView {
    FileView {
        file: file.display().to_string(),
        kind: found.kind.to_string(),
        bans: found.bans.len(),
        searched: found.searched.len(),
        skipped: found.skipped.len(),
    }
}

/// Each prefix once, with the latest of its ends.
fn once(mut bans: Vec<Entry>) -> Vec<Entry> {
    let key = |ban: &Entry| (ban.prefix, ban.scope.map(|scope| scope as u8));
    let end = |ban: &Entry| ban.until.unwrap_or(Timestamp::MAX);
    bans.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| end(b).cmp(&end(a))));
    bans.dedup_by(|later, earlier| key(later) == key(earlier));
    bans
}

fn request(bans: &[Entry]) -> ImportRequest {
    let ban = |entry: &Entry| ImportedBan {
        prefix: entry.prefix,
        until: entry.until,
        scope: entry.scope,
        reason: entry.reason.to_string(),
    };
    ImportRequest {
        bans: bans.iter().map(ban).collect(),
    }
}

/// Adds to what the file has.
fn write_signatures(file: &Path, adopted: &Adopted) -> Result<(), Failure> {
    let failure = |error: std::io::Error| {
        Failure::input(format!(
            "{}: cannot write the signatures: {error}",
            file.display()
        ))
    };
    let before = if file.exists() {
        signatures::read(file)?;
        fs::read_to_string(file).map_err(failure)?
    } else {
        "# Signatures that `sipward import` made of other tools' rules.\n".to_owned()
    };
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .map_err(failure)?;
    }
    let text = format!("{before}\n{}", import::signature_file(&adopted.signatures)?);
    // A reader sees the old file or the new one.
    let new = file.with_extension("toml.new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .map_err(failure)
}

/// What is left to do until the signatures are in force.
fn in_force(file: &Path, config: &Config) -> [String; 1] {
    let shown = file.display();
    let same = |listed: &PathBuf| {
        listed == file
            || fs::canonicalize(listed)
                .is_ok_and(|real| fs::canonicalize(file).is_ok_and(|file| file == real))
    };
    [if config.signatures.files.iter().any(same) {
        format!("{shown} is written: `systemctl reload sipward`, or SIGHUP, puts it in force")
    } else {
        format!(
            "{shown} is written: to put it in force name it in the configuration, [signatures] \
             files = [\"{shown}\"], and reload"
        )
    }]
}

impl SignaturesView {
    fn of(adopted: &Adopted) -> Self {
        let refused = adopted.refused.iter().map(|refused| RefusedView {
            text: refused.text.clone(),
            why: refused.why.clone(),
        });
        Self {
            taken: adopted
                .signatures
                .iter()
                .map(|new| new.name.clone())
                .collect(),
            refused: refused.collect(),
            file: None,
        }
    }
}

impl Skips {
    fn read(&mut self, file: &Path, found: &Found) {
        for skipped in &found.skipped {
            let place = match skipped.line {
                Some(line) => format!("{}:{line}", file.display()),
                None => file.display().to_string(),
            };
            let what = match &skipped.why {
                Why::Garbage(mend) => format!("{place}: {mend}"),
                Why::TooShort
                | Why::Expired
                | Why::NoBan
                | Why::Narrower
                | Why::OfFail2Ban
                | Why::Accepted
                | Why::UnnamedSet
                | Why::Withdrawn
                | Why::OtherSet => format!("{place}: {}", skipped.what),
            };
            self.add(skipped.why.words(), what);
        }
    }

    fn add(&mut self, why: &str, what: String) {
        let view = self.0.entry(why.to_owned()).or_insert_with(|| SkippedView {
            why: why.to_owned(),
            ..SkippedView::default()
        });
        view.count += 1;
        if view.examples.len() < NAMED {
            view.examples.push(what);
        }
    }
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    for file in &report.files {
        let FileView {
            file,
            kind,
            bans,
            searched,
            skipped,
        } = file;
        lines.push(format!(
            "{file}: {kind}: {bans} bans, {searched} texts to look for, {skipped} not taken"
        ));
    }
    let banned = table::count(count(report.banned));
    lines.push(if report.dry_run {
        format!("{banned} prefixes would be banned")
    } else {
        format!(
            "{banned} prefixes are banned now, {} were already",
            table::count(count(report.already))
        )
    });
    lines.extend(report.sip_only.iter().map(|prefix| {
        format!(
            "{prefix} loses only what goes to the SIP ports, for somebody there has just connected by \
             SSH: `sipward ban --force` bans every packet"
        )
    }));
    let SecondsView {
        all,
        kernel,
        ledger,
    } = report.seconds;
    // Where it was worth a progress bar.
    if !report.dry_run && report.banned > BATCH {
        lines.push(format!(
            "{all:.1} s, of which {kernel:.1} s for the kernel and {ledger:.1} s for the ledger"
        ));
    }
    for skipped in &report.skipped {
        lines.push(format!(
            "skipped {}: {}",
            table::count(count(skipped.count)),
            skipped.why
        ));
        lines.extend(
            skipped
                .examples
                .iter()
                .map(|example| format!("  {example}")),
        );
        let more = skipped.count - skipped.examples.len();
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }
    let SignaturesView { taken, refused, .. } = &report.signatures;
    if !taken.is_empty() || !refused.is_empty() {
        lines.push(format!(
            "{} new signatures, {} texts not taken",
            taken.len(),
            refused.len()
        ));
        lines.extend(taken.iter().map(|name| format!("  + {name}")));
        lines.extend(
            refused
                .iter()
                .map(|refused| format!("  - {}: {}", refused.text, refused.why)),
        );
    }
    lines.push(String::new());
    lines.join("\n")
}

fn seconds(microseconds: u64) -> f64 {
    Duration::from_micros(microseconds).as_secs_f64()
}

fn count(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
