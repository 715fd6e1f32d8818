use std::path::{Path, PathBuf};

use clap::Args;
use ipnet::IpNet;
use sipward_engine::escape;

use super::{Daemon, table};
use crate::{
    config::Config,
    control::api::{FeedReply, FeedRequest},
    exit::{Answer, Failure},
    feeds::{self, Update, Updated},
    span::Span,
};

/// Addresses in one request to the daemon.
const BATCH: usize = 4_000;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A file, or an address that begins with https:// or http://
    #[arg(long, value_name = "FILE|URL")]
    from: String,
    /// What to call the list [default: what the file or the server is called]
    #[arg(long)]
    name: Option<String>,
    /// How long addresses on it are banned
    #[arg(long = "for", value_name = "DURATION", default_value = "2d")]
    lasts: Span,
    /// How long fetching it may take
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    timeout: Span,
    /// In PEM: the authority to believe, instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Take it although it has lost more than half of its entries, or has not changed
    #[arg(long)]
    force: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&self.from),
        };
        if !is_name(&name) {
            return Err(Failure::input(format!(
                "{:?} is no name of a list: 1 to 20 letters, digits and dashes, as --name apiban",
                escape(name.as_bytes()).to_string()
            )));
        }
        let state_dir = &self.daemon.state_dir;
        let mut config = Config::load_or_default(self.daemon.config.as_deref())?;
        config.signatures.feeds = Some(feeds::folder(state_dir));
        let asked = Update {
            name: &name,
            from: &self.from,
            ca_file: self.ca_file.as_deref(),
            longest: self.timeout.duration(),
            force: self.force,
        };
        let updated = feeds::update(&asked, state_dir, &config.signatures)?;
        let reply = match self.tell(&updated) {
            Ok(reply) => Some(reply),
            // Signatures wait in their folder; addresses are the daemon's to ban.
            Err(error) if updated.prefixes.is_empty() => {
                tracing::debug!("{error}");
                None
            }
            Err(error) => {
                feeds::forget(state_dir, &name);
                return Err(error);
            }
        };
        self.answer(&updated, reply.as_ref())
    }

    fn tell(&self, updated: &Updated) -> Result<FeedReply, Failure> {
        let client = self.daemon.client();
        let mut all = FeedReply::default();
        let mut batches: Vec<&[IpNet]> = updated.prefixes.chunks(BATCH).collect();
        if batches.is_empty() {
            batches.push(&[]);
        }
        for (number, prefixes) in batches.into_iter().enumerate() {
            let request = FeedRequest {
                name: updated.name.clone(),
                prefixes: prefixes.to_vec(),
                seconds: self.lasts.duration().as_secs(),
                signatures: number == 0 && updated.changed,
            };
            let reply: FeedReply = client.post("/v1/feed", &request)?;
            all.banned += reply.banned;
            all.spared += reply.spared;
        }
        Ok(all)
    }

    fn answer(&self, updated: &Updated, reply: Option<&FeedReply>) -> Result<Answer, Failure> {
        let mut notes = Vec::new();
        if reply.is_none() {
            notes.push("no daemon answers: it is in force with its next start".to_owned());
        }
        if let Some(first) = &updated.refused_first {
            notes.push(format!(
                "{} signatures were left out, as {}",
                table::count(updated.refused as u64),
                escape(first.as_bytes())
            ));
        }
        if updated.unread > 0 {
            notes.push(format!(
                "{} lines say nothing",
                table::count(updated.unread as u64)
            ));
        }
        if updated.more {
            notes.push("the list has more pages than one update may ask for".to_owned());
        }
        let banned = reply.map_or(0, |reply| reply.banned);
        let spared = reply.map_or(0, |reply| reply.spared);
        if spared > 0 {
            notes.push(format!(
                "{} prefixes are not banned: allowed, trusted, our own, private, or wider than /8 (IPv6 /19)",
                table::count(spared as u64)
            ));
        }
        let answer = if self.json {
            Answer::json(&serde_json::json!({
                "name": updated.name,
                "changed": updated.changed,
                "signatures": updated.signatures,
                "refused": updated.refused,
                "unread": updated.unread,
                "banned": banned,
                "spared": spared,
            }))?
        } else if updated.changed {
            Answer::data(format!(
                "{}: {} signatures, {} prefixes banned for {}\n",
                updated.name,
                table::count(updated.signatures as u64),
                table::count(banned as u64),
                self.lasts
            ))
        } else {
            Answer::data(format!("{}: not changed\n", updated.name))
        };
        Ok(Answer { notes, ..answer })
    }
}

/// What a list is called when nobody says: the server, or the file.
fn name_of(from: &str) -> String {
    let name = match from.split_once("://") {
        Some((_, rest)) => rest.split(['/', ':', '?']).next().unwrap_or_default(),
        None => Path::new(from)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    name.trim_start_matches("www.")
        .chars()
        .map(plain)
        .take(20)
        .collect()
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=20).contains(&name.len()) && name.chars().all(plain)
}
