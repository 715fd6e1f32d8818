//! The lists that the configuration names, each fetched in its time. Files, servers and the compiler
//! are waited for beside the loop; it gets tasks, each about as long as an order by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use ipnet::IpNet;
use sipward_engine::escape;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinSet, spawn_blocking},
    time::sleep,
};

use super::guard::{Guard, seed};
use crate::{
    clock,
    config::{self, Feed},
    control::{
        api::{FeedReply, FeedRequest},
        server::{Task, call},
    },
    exit::Failure,
    feeds::{self, Had, Plan, Untaken, Update, Updated},
    signatures,
};

/// How long nobody looks whether a list has lapsed, or the clock was set.
const LOOK: Duration = Duration::from_secs(60);
/// Addresses in one task.
const BATCH: usize = 4_000;

/// Lists that are fetched at once at most: a server that says nothing is waited for beside others, and
/// those that send as much as they may do not fill the memory.
const AT_ONCE: usize = 8;

/// Fetches lists when their time has come, puts them in force one after the other, and leaves out of
/// the signatures in force what has lapsed. Ends with the daemon.
pub async fn keep_fresh(
    mut settings: watch::Receiver<config::Signatures>,
    tasks: mpsc::Sender<Task>,
) {
    let mut keeper = Keeper {
        tasks,
        plans: BTreeMap::new(),
        in_force: None,
        fetched: JoinSet::new(),
        fetching: BTreeSet::new(),
        looked: Instant::now(),
    };
    loop {
        let config = settings.borrow_and_update().clone();
        let wait = keeper.turn(&config).await;
        tokio::select! {
            changed = settings.changed() => if changed.is_err() {
                return;
            },
            Some(fetched) = keeper.fetched.join_next() => if let Ok(fetched) = fetched {
                keeper.take(fetched, &config).await;
            },
            () = sleep(wait) => {}
        }
    }
}

/// Puts what the state folder holds by now in force.
///
/// # Errors
/// Signatures that cannot be compiled; the kernel refused. Those before stay.
pub async fn swap_signatures(tasks: &mpsc::Sender<Task>) -> Result<(), Failure> {
    loop {
        let (config, edition) = call(tasks, |guard| Ok(guard.to_compile())).await?;
        let compiled = beside(move || signatures::compile(&config)).await?;
        let (tables, complaints) = compiled?;
        let take = move |guard: &mut Guard| guard.take_signatures(edition, tables, complaints);
        if call(tasks, take).await? {
            return Ok(());
        }
    }
}

/// A signature file of a list, and when it was written.
type Version = (PathBuf, Option<SystemTime>);

/// Who has lists fetched.
struct Keeper {
    tasks: mpsc::Sender<Task>,
    /// By the lists' names. What is on the disk is for the next daemon.
    plans: BTreeMap<String, Plan>,
    /// Of the lists in force.
    in_force: Option<Vec<Version>>,
    fetched: JoinSet<Fetched>,
    /// The names of the lists that are being fetched.
    fetching: BTreeSet<String>,
    /// When it was looked for lists that have lapsed.
    looked: Instant,
}

/// A list, and what came of fetching it.
struct Fetched {
    feed: Feed,
    tried: Result<Updated, Untaken>,
}

impl Keeper {
    /// Does what is due; returns how long nothing is.
    async fn turn(&mut self, config: &config::Signatures) -> Duration {
        let Some(folder) = &config.feeds_folder else {
            return LOOK;
        };
        if self.in_force.is_none() {
            // The daemon has just compiled it.
            self.in_force = versions(config).await.ok();
        }
        let now = clock::now();
        for feed in &config.feeds {
            let is_due = feeds::due(self.plan(folder, feed), feed, now) <= now;
            if is_due && self.fetching.len() < AT_ONCE && self.fetching.insert(feed.name()) {
                self.fetch(feed, folder, config);
            }
        }
        // What is old by a clock that was just set may be confirmed before it lapses.
        if self.fetching.is_empty() || self.looked.elapsed() >= LOOK {
            self.look_again(config, folder).await;
            self.looked = Instant::now();
        }
        let now = clock::now();
        let is_full = self.fetching.len() >= AT_ONCE;
        let mut wait = LOOK;
        for feed in &config.feeds {
            let next = feeds::due(self.plan(folder, feed), feed, now);
            // The end of one that is being fetched ends the wait.
            if !self.fetching.contains(&feed.name()) && (next > now || !is_full) {
                wait = wait.min(next.since(now));
            }
        }
        wait
    }

    async fn look_again(&mut self, config: &config::Signatures, folder: &Path) {
        let place = folder.to_owned();
        let aged = beside(move || feeds::age(&place, clock::now())).await;
        if let Ok(Err(error)) = aged {
            tracing::error!("{}: {error}", folder.display());
        }
        if let Err(error) = self.look(config).await {
            tracing::error!("{error}");
        }
    }

    /// The plan for this list; of another one under its name nothing is kept.
    fn plan(&mut self, folder: &Path, feed: &Feed) -> &Plan {
        let plan = self.plans.entry(feed.name()).or_default();
        if !plan.is_for(feed) {
            *plan = feeds::plan(folder, feed);
        }
        plan
    }

    /// Puts in force what is not the same as what was compiled.
    async fn look(&mut self, config: &config::Signatures) -> Result<(), Failure> {
        let in_force = Some(versions(config).await?);
        if self.in_force != in_force {
            swap_signatures(&self.tasks).await?;
            self.in_force = in_force;
        }
        Ok(())
    }

    fn fetch(&mut self, feed: &Feed, folder: &Path, config: &config::Signatures) {
        let (feed, known, place) = (feed.clone(), config.clone(), folder.to_owned());
        self.fetched.spawn(async move {
            let asked = feed.clone();
            let tried = beside(move || {
                let name = asked.name();
                feeds::update(&Update::of(&asked, &name), &place, &known)
            })
            .await;
            let tried = tried.unwrap_or_else(|failure| Err(Untaken::Failed(failure.text)));
            Fetched { feed, tried }
        });
    }

    /// Puts a list in force, and says when to ask for it again.
    async fn take(&mut self, fetched: Fetched, config: &config::Signatures) {
        let Fetched { feed, tried } = &fetched;
        let name = feed.name();
        self.fetching.remove(&name);
        let Some(folder) = &config.feeds_folder else {
            return;
        };
        let tried = match tried {
            Ok(updated) => {
                let brought = self.bring(updated, feed, config).await;
                if brought.is_err() {
                    let (place, name) = (folder.clone(), name.clone());
                    // Where nothing can be written, nothing was taken.
                    let _ = beside(move || feeds::forget(&place, &name)).await;
                }
                brought.map_err(|failure| failure.text)
            }
            // It is for who took it to have it put in force.
            Err(Untaken::Overtaken(had)) => Ok(*had),
            Err(Untaken::Failed(why)) => Err(why.clone()),
        };
        let before = self.plan(folder, feed).clone();
        match (&before.error, &tried) {
            (Some(_), Ok(_)) => tracing::info!("feed {name}: it is there again"),
            (Some(same), Err(why)) if same == why => {}
            (_, Err(why)) => {
                let why = escape(why.as_bytes());
                tracing::warn!("feed {name}: {why}; the list before stays");
            }
            (None, Ok(_)) => {}
        }
        let plan = feeds::put_off(before, feed, tried, clock::now(), chance());
        self.plans.insert(name.clone(), plan.clone());
        let place = folder.clone();
        let written = beside(move || feeds::write_plan(&place, &name, &plan)).await;
        if let Ok(Err(error)) = written {
            tracing::error!("{}: cannot write: {error}", folder.display());
        }
    }

    /// Has a list's signatures and bans in force.
    async fn bring(
        &mut self,
        updated: &Updated,
        feed: &Feed,
        config: &config::Signatures,
    ) -> Result<Had, Failure> {
        if updated.changed {
            self.look(config).await?;
        }
        let mut all = FeedReply::default();
        for prefixes in updated.prefixes.chunks(BATCH) {
            let reply = self.ban(prefixes, feed).await?;
            all.banned += reply.banned;
            all.spared += reply.spared;
        }
        if updated.changed {
            tracing::info!(
                "feed {}: {} signatures, {} of them more than evidence, {} refused; {} prefixes \
                 banned, {} spared",
                updated.name,
                updated.signatures,
                updated.promoted,
                updated.refused,
                all.banned,
                all.spared,
            );
        }
        Ok(if updated.more { Had::Part } else { Had::All })
    }

    async fn ban(&self, prefixes: &[IpNet], feed: &Feed) -> Result<FeedReply, Failure> {
        let request = FeedRequest {
            name: feed.name(),
            prefixes: prefixes.to_vec(),
            seconds: feed.ban_for.duration().as_secs(),
            signatures: false,
        };
        let feed = feed.clone();
        call(&self.tasks, move |guard| {
            // It was fetched for a while.
            if !guard.config().signatures.feeds.contains(&feed) {
                return Err(Failure::input(
                    "the configuration no longer says so, or says it otherwise",
                ));
            }
            guard.take_feed(&request)
        })
        .await
    }
}

async fn versions(config: &config::Signatures) -> Result<Vec<Version>, Failure> {
    let asked = config.clone();
    let in_force = beside(move || feeds::in_force(&asked, clock::now())).await?;
    let files = in_force.map_err(|error| unlisted(&error))?.files;
    let written = |file: &PathBuf| fs::metadata(file)?.modified();
    let version = |file: PathBuf| (file.clone(), written(&file).ok());
    Ok(files.into_iter().map(version).collect())
}

/// Does what may take its time where nobody waits for it but the caller.
///
/// # Errors
/// It has panicked.
pub async fn beside<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(what).await;
    done.map_err(|error| Failure::unreachable(format!("it was not carried out: {error}")))
}

fn unlisted(error: &io::Error) -> Failure {
    Failure::input(format!("the feeds cannot be listed: {error}"))
}

fn chance() -> u16 {
    let [first, second, ..] = seed().to_le_bytes();
    u16::from_le_bytes([first, second])
}
