//! The lists that the configuration names, each fetched in its time. Files, servers and the compiler
//! are waited for beside the loop; it gets tasks, each about as long as an order by hand.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use sipward_engine::{Time, escape};
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};

use super::guard::seed;
use crate::{
    clock,
    config::{self, Feed},
    control::{
        api::{FeedReply, FeedRequest},
        server::{Task, call},
    },
    exit::Failure,
    feeds::{self, Had, Plan, Update, Updated},
    signatures,
};

/// How long nobody looks whether a list has lapsed, or the clock was set.
const LOOK: Duration = Duration::from_secs(60);
/// Addresses in one task.
const BATCH: usize = 4_000;

/// Fetches lists when their time has come, one after the other, and leaves out of the signatures in
/// force what has lapsed. Ends with the daemon.
pub async fn keep_fresh(
    mut settings: watch::Receiver<config::Signatures>,
    tasks: mpsc::Sender<Task>,
) {
    let mut keeper = Keeper {
        tasks,
        plans: BTreeMap::new(),
        in_force: None,
    };
    loop {
        let config = settings.borrow_and_update().clone();
        let wait = keeper.turn(&config).await;
        tokio::select! {
            changed = settings.changed() => if changed.is_err() {
                return;
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
    let config = call(tasks, |guard| Ok(guard.config().signatures.clone())).await?;
    let (config, compiled) = beside(move || {
        let compiled = signatures::compile(&config);
        (config, compiled)
    })
    .await?;
    let (tables, complaints) = compiled?;
    call(tasks, move |guard| {
        guard.take_signatures(&config, tables, complaints)
    })
    .await
}

/// Who has lists fetched.
struct Keeper {
    tasks: mpsc::Sender<Task>,
    /// By the lists' names. What is on the disk is for the next daemon.
    plans: BTreeMap<String, Plan>,
    /// The signature files of the lists in force.
    in_force: Option<Vec<PathBuf>>,
}

impl Keeper {
    /// Does what is due, at most one list; returns how long nothing is.
    async fn turn(&mut self, config: &config::Signatures) -> Duration {
        let Some(folder) = &config.feeds_folder else {
            return LOOK;
        };
        if let Err(error) = self.look(config).await {
            tracing::error!("{error}");
        }
        let now = clock::now();
        let mut soonest: Option<(Time, &Feed)> = None;
        for feed in &config.feeds {
            let at = feeds::due(self.plan(folder, feed), feed, now);
            if soonest.is_none_or(|(before, _)| at < before) {
                soonest = Some((at, feed));
            }
        }
        match soonest {
            None => LOOK,
            Some((at, _)) if at > now => at.since(now).min(LOOK),
            Some((_, feed)) => {
                self.fetch(feed, folder, config).await;
                Duration::ZERO
            }
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

    /// Whether other lists are in force than those that were compiled.
    async fn look(&mut self, config: &config::Signatures) -> Result<(), Failure> {
        let asked = config.clone();
        let in_force = beside(move || feeds::in_force(&asked, clock::now())).await?;
        let files = in_force.map_err(|error| unlisted(&error))?.files;
        if self
            .in_force
            .as_ref()
            .is_some_and(|before| *before != files)
        {
            swap_signatures(&self.tasks).await?;
        }
        self.in_force = Some(files);
        Ok(())
    }

    async fn fetch(&mut self, feed: &Feed, folder: &Path, config: &config::Signatures) {
        let name = feed.name();
        let (asked, known, place) = (feed.clone(), config.clone(), folder.to_owned());
        let tried = beside(move || {
            let name = asked.name();
            feeds::update(&Update::of(&asked, &name), &place, &known)
        })
        .await;
        let tried = match tried {
            Ok(Ok(updated)) => {
                let brought = self.bring(updated, feed.ban_for.duration()).await;
                if brought.is_err() {
                    let (place, name) = (folder.to_owned(), name.clone());
                    // Where nothing can be written, nothing was taken.
                    let _ = beside(move || feeds::forget(&place, &name)).await;
                }
                brought.map_err(|failure| failure.text)
            }
            Ok(Err(why)) => Err(why),
            Err(failure) => Err(failure.text),
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
        let place = folder.to_owned();
        let written = beside(move || feeds::write_plan(&place, &name, &plan)).await;
        if let Ok(Err(error)) = written {
            tracing::error!("{}: cannot write: {error}", folder.display());
        }
    }

    /// Has a list's signatures and bans in force.
    async fn bring(&self, updated: Updated, lasts: Duration) -> Result<Had, Failure> {
        if updated.changed {
            swap_signatures(&self.tasks).await?;
        }
        let mut all = FeedReply::default();
        for prefixes in updated.prefixes.chunks(BATCH) {
            let reply = self.ban(&updated.name, prefixes, lasts).await?;
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

    async fn ban(
        &self,
        name: &str,
        prefixes: &[IpNet],
        lasts: Duration,
    ) -> Result<FeedReply, Failure> {
        let request = FeedRequest {
            name: name.to_owned(),
            prefixes: prefixes.to_vec(),
            seconds: lasts.as_secs(),
            signatures: false,
        };
        call(&self.tasks, move |guard| guard.take_feed(&request)).await
    }
}

/// Does what may take its time where nobody waits for it but the caller.
async fn beside<T: Send + 'static>(
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
