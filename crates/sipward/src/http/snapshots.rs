//! The figures of the guard, as fresh as it can be asked for them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout},
};

use crate::{
    control::server::{Task, call},
    daemon::Figures,
    exit::Failure,
};

/// Figures are as old as this at most, where they are cheap.
const FRESH: Duration = Duration::from_secs(1);
/// The guard spends one part in so many of its time on figures, at most: a million bans are not
/// counted at once.
const SHARE: u32 = 100;
/// How long the loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Figures, and until when nobody gets others.
struct Snapshot {
    figures: Arc<Figures>,
    until: Instant,
}

/// The last figures, for everybody.
#[derive(Clone)]
pub struct Snapshots {
    tasks: mpsc::Sender<Task>,
    last: Arc<Mutex<Option<Snapshot>>>,
}

impl Snapshots {
    /// None yet.
    #[must_use]
    pub fn new(tasks: mpsc::Sender<Task>) -> Self {
        let last = Arc::default();
        Self { tasks, last }
    }

    /// The figures of this second.
    ///
    /// # Errors
    /// The kernel cannot be asked; the loop does not answer in time.
    pub async fn take(&self) -> Result<Arc<Figures>, Failure> {
        let late = || Failure::unreachable("the daemon did not answer in time");
        let taken = timeout(PATIENCE, self.fresh()).await;
        taken.unwrap_or_else(|_| Err(late()))
    }

    async fn fresh(&self) -> Result<Arc<Figures>, Failure> {
        let mut last = self.last.clone().lock_owned().await;
        if let Some(snapshot) = last.as_ref().filter(|last| Instant::now() < last.until) {
            return Ok(snapshot.figures.clone());
        }
        let tasks = self.tasks.clone();
        // In a task of its own, which keeps the lock: whoever hangs up meanwhile, the loop has one
        // question of ours at most.
        let asked = tokio::spawn(async move {
            let figures = call(&tasks, |guard| {
                let began = Instant::now();
                let figures = guard.figures()?;
                Ok((figures, began.elapsed()))
            });
            let (figures, took) = figures.await?;
            let figures = Arc::new(figures);
            *last = Some(Snapshot {
                figures: figures.clone(),
                until: Instant::now() + FRESH.max(took * SHARE),
            });
            Ok(figures)
        });
        let failed = |error| Failure::unreachable(format!("no figures: {error}"));
        asked.await.unwrap_or_else(|error| Err(failed(error)))
    }
}
