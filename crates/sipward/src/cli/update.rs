use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use ipnet::IpNet;
use serde_json::{Value, json};
use sipward_engine::escape;

use super::{Daemon, table};
use crate::{
    config::{Config, Feed},
    control::api::{FeedReply, FeedRequest},
    exit::{Answer, Exit, Failure},
    feeds::{self, Key, Terms, Untaken, Update, Updated},
    span::Span,
};

/// Addresses in one request to the daemon.
const BATCH: usize = 4_000;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A file, or an address that begins with https:// or http:// [default: the feeds that the
    /// configuration names]
    #[arg(long, value_name = "FILE|URL")]
    from: Option<String>,
    /// What to call the list, or which one of the configuration [default: what the file or the
    /// server is called]
    #[arg(long)]
    name: Option<String>,
    /// How long addresses on it are banned
    #[arg(long = "for", value_name = "DURATION", default_value_t = Feed::ban_for(), requires = "from")]
    lasts: Span,
    /// How long its signatures are in force, unless it is updated again
    #[arg(long, value_name = "DURATION", default_value_t = Feed::keep(), requires = "from")]
    keep: Span,
    /// The minisign key that must have signed it, as FILE.minisig or URL.minisig beside it
    #[arg(long, requires = "from")]
    key: Option<Key>,
    /// Make what no genuine device is known to send `certain`: dropped, and its sender banned
    #[arg(long, requires = "from")]
    promote: bool,
    /// How long fetching it may take
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    timeout: Span,
    /// In PEM: the authority to believe, instead of the system's
    #[arg(long, value_name = "FILE", requires = "from")]
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

/// A list that was taken, and what the daemon made of it, if there is one.
struct Taken {
    updated: Updated,
    lasts: Span,
    reply: Option<FeedReply>,
}

impl Arguments {
    pub fn run(self) -> Result<Answer, Failure> {
        let mut config = Config::load_or_default(self.daemon.config.as_deref())?;
        config.signatures.feeds_folder = Some(feeds::folder(&self.daemon.state_dir));
        match &self.from {
            Some(from) => {
                let taken = self.take_from(from, &config)?;
                let mut answer = if self.json {
                    Answer::json(&taken.json())?
                } else {
                    Answer::data(taken.text())
                };
                answer.notes = taken.notes();
                Ok(answer)
            }
            None => self.take_configured(&config),
        }
    }

    fn take_from(&self, from: &str, config: &Config) -> Result<Taken, Failure> {
        let name = self.name.clone().unwrap_or_else(|| feeds::name_of(from));
        if !feeds::is_name(&name) {
            return Err(Failure::input(format!(
                "{:?} is no name of a list: 1 to 20 letters, digits and dashes, as --name apiban",
                escape(name.as_bytes()).to_string()
            )));
        }
        let asked = Update {
            name: &name,
            from,
            ca_file: self.ca_file.as_deref(),
            terms: Terms {
                key: self.key.clone(),
                promote: self.promote,
            },
            keep: self.keep.duration(),
            longest: self.timeout.duration(),
            force: self.force,
        };
        self.take(&asked, self.lasts, config)
    }

    /// Each list that the configuration names, or the one of `--name`; what fails keeps none of the
    /// others away.
    fn take_configured(&self, config: &Config) -> Result<Answer, Failure> {
        let asked = |feed: &&Feed| self.name.as_ref().is_none_or(|name| *name == feed.name());
        let feeds: Vec<&Feed> = config.signatures.feeds.iter().filter(asked).collect();
        if feeds.is_empty() {
            return Err(Failure::input(
                "the configuration names no such feed: [[signatures.feed]] in it, or --from FILE|URL",
            ));
        }
        let (mut text, mut json) = (String::new(), Vec::new());
        let (mut notes, mut exit) = (Vec::new(), Exit::Done);
        for feed in feeds {
            let name = feed.name();
            let update = Update {
                longest: self.timeout.duration(),
                force: self.force,
                ..Update::of(feed, &name)
            };
            match self.take(&update, feed.ban_for, config) {
                Ok(taken) => {
                    notes.extend(taken.notes().iter().map(|note| format!("{name}: {note}")));
                    text.push_str(&taken.text());
                    json.push(taken.json());
                }
                Err(failure) => {
                    notes.push(failure.text);
                    exit = failure.exit;
                }
            }
        }
        let answer = if self.json {
            Answer::json(&json)?
        } else {
            Answer::data(text)
        };
        Ok(Answer {
            notes,
            exit,
            ..answer
        })
    }

    fn take(&self, asked: &Update<'_>, lasts: Span, config: &Config) -> Result<Taken, Failure> {
        let folder = feeds::folder(&self.daemon.state_dir);
        let updated = feeds::update(asked, &folder, &config.signatures);
        let updated = updated.map_err(|untaken| {
            let why = match untaken {
                Untaken::Overtaken(_) => {
                    "another update took it meanwhile, of which this answer says nothing: ask again"
                        .to_owned()
                }
                Untaken::Failed(why) => {
                    format!("{}; the list before stays", escape(why.as_bytes()))
                }
            };
            Failure::input(format!("{}: {why}", asked.from))
        })?;
        let reply = match self.tell(&updated, lasts) {
            Ok(reply) => Some(reply),
            // Signatures wait in their folder; addresses are the daemon's to ban.
            Err(error) if updated.prefixes.is_empty() => {
                tracing::debug!("{error}");
                None
            }
            Err(error) => {
                feeds::forget(&folder, asked.name);
                return Err(error);
            }
        };
        Ok(Taken {
            updated,
            lasts,
            reply,
        })
    }

    fn tell(&self, updated: &Updated, lasts: Span) -> Result<FeedReply, Failure> {
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
                seconds: lasts.duration().as_secs(),
                signatures: number == 0 && updated.changed,
            };
            let reply: FeedReply = client.post("/v1/feed", &request)?;
            all.banned += reply.banned;
            all.spared += reply.spared;
        }
        Ok(all)
    }
}

impl Taken {
    fn notes(&self) -> Vec<String> {
        let updated = &self.updated;
        let mut notes = Vec::new();
        if self.reply.is_none() {
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
            notes.push("the list has more pages than one update may ask for: the next one, in 2 minutes, goes on there"
                    .to_owned());
        }
        let spared = self.spared();
        if spared > 0 {
            notes.push(format!(
                "{} prefixes are not banned: allowed, trusted, our own, private, lifted by hand, or wider \
                 than /8 (IPv6 /19)",
                table::count(spared as u64)
            ));
        }
        notes
    }

    fn json(&self) -> Value {
        let updated = &self.updated;
        json!({
            "name": updated.name,
            "changed": updated.changed,
            "signatures": updated.signatures,
            "promoted": updated.promoted,
            "refused": updated.refused,
            "unread": updated.unread,
            "banned": self.banned(),
            "spared": self.spared(),
        })
    }

    fn text(&self) -> String {
        let updated = &self.updated;
        if !updated.changed {
            return format!("{}: not changed\n", updated.name);
        }
        let mut text = format!(
            "{}: {} signatures",
            updated.name,
            table::count(updated.signatures as u64)
        );
        if updated.promoted > 0 {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                " ({} more than evidence)",
                table::count(updated.promoted as u64)
            );
        }
        let banned = table::count(self.banned() as u64);
        format!("{text}, {banned} prefixes banned for {}\n", self.lasts)
    }

    fn banned(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.banned)
    }

    fn spared(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.spared)
    }
}
