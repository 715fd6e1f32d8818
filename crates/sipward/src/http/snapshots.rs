//! The figures of the guard, as fresh as it can be asked for them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout},
};

use super::{exposition::Format, metrics, process::Process};
use crate::{
    control::server::{Task, call},
    daemon::Figures,
    exit::Failure,
};

/// The guard is asked once in this time at most.
const FRESH: Duration = Duration::from_secs(1);
/// The guard spends one part in so many of its time on figures, as long as they stay fresh enough so:
/// a million bans are not counted at once.
const SHARE: u32 = 100;
/// The guard is asked again after this time, whatever figures cost: in trouble, too, an alarm has to
/// see them change.
const LONGEST: Duration = Duration::from_secs(10);
/// How long the loop may take to answer. Nobody gets figures that are older than this and [`LONGEST`]
/// together, 15 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is shown of the figures, written once for all who ask.
#[derive(Debug)]
pub struct Page {
    figures: Figures,
    process: Process,
    prometheus: OnceLock<Bytes>,
    openmetrics: OnceLock<Bytes>,
}

impl Page {
    /// Of figures that were just taken.
    fn new(figures: Figures) -> Arc<Self> {
        Arc::new(Self {
            figures,
            process: Process::now(),
            prometheus: OnceLock::new(),
            openmetrics: OnceLock::new(),
        })
    }

    /// In this format.
    #[must_use]
    pub fn text(&self, format: Format) -> Bytes {
        let written = match format {
            Format::Prometheus => &self.prometheus,
            Format::OpenMetrics => &self.openmetrics,
        };
        let write = || metrics::write(&self.figures, &self.process, format);
        written.get_or_init(|| write().into()).clone()
    }
}

/// What the guard answered, good or bad, and until when nobody gets another answer.
struct Snapshot {
    answer: Result<Arc<Page>, Failure>,
    until: Instant,
}

impl Snapshot {
    /// Of an answer on which the guard spent this time.
    fn new(answer: Result<Figures, Failure>, took: Duration) -> Self {
        let answer = match answer {
            Ok(_) if took > PATIENCE => Err(late()),
            answer => answer.map(Page::new),
        };
        let rests = took.saturating_mul(SHARE).clamp(FRESH, LONGEST);
        let until = Instant::now() + rests;
        Self { answer, until }
    }
}

/// The last answer, for everybody.
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

    /// The figures of this second; of the last 15 where they cost the guard much.
    ///
    /// # Errors
    /// The kernel cannot be asked; the loop does not answer in time.
    pub async fn take(&self) -> Result<Arc<Page>, Failure> {
        let taken = timeout(PATIENCE, self.fresh()).await;
        taken.unwrap_or_else(|_| Err(late()))
    }

    async fn fresh(&self) -> Result<Arc<Page>, Failure> {
        let mut last = self.last.clone().lock_owned().await;
        if let Some(snapshot) = last.as_ref().filter(|last| Instant::now() < last.until) {
            return snapshot.answer.clone();
        }
        let tasks = self.tasks.clone();
        // In a task of its own, which keeps the lock: whoever hangs up meanwhile, the loop has one
        // question of ours at most.
        let asked = tokio::spawn(async move {
            let answer = call(&tasks, |guard| {
                let began = Instant::now();
                let figures = guard.figures();
                Ok((figures, began.elapsed()))
            });
            let (figures, took) = answer
                .await
                .unwrap_or_else(|failure| (Err(failure), Duration::ZERO));
            last.insert(Snapshot::new(figures, took)).answer.clone()
        });
        let failed = |error| Failure::unreachable(format!("no figures: {error}"));
        asked.await.unwrap_or_else(|error| Err(failed(error)))
    }
}

fn late() -> Failure {
    Failure::unreachable("the daemon did not answer in time")
}

#[cfg(test)]
mod tests {
    use test_case::test_case;
    use tokio::{task::JoinHandle, time::advance};

    use super::*;
    use crate::daemon::Bench;

    /// What reaches the loop.
    fn snapshots() -> (Snapshots, mpsc::Receiver<Task>) {
        let (tasks, asked) = mpsc::channel(64);
        (Snapshots::new(tasks), asked)
    }

    fn scrape(snapshots: &Snapshots) -> JoinHandle<Result<Arc<Page>, Failure>> {
        let snapshots = snapshots.clone();
        tokio::spawn(async move { snapshots.take().await })
    }

    #[tokio::test(start_paused = true)]
    async fn all_scrapes_of_a_second_share_the_figures() {
        let mut guard = Bench::new().guard();
        let (snapshots, mut asked) = snapshots();
        let scrapes = [(); 9].map(|()| scrape(&snapshots));
        asked.recv().await.unwrap()(&mut guard);
        let mut texts = Vec::new();
        for scrape in scrapes {
            texts.push(scrape.await.unwrap().unwrap().text(Format::Prometheus));
        }
        assert!(texts[0].starts_with(b"# HELP "));
        assert!(texts.iter().all(|text| text.as_ptr() == texts[0].as_ptr()));
        assert!(asked.try_recv().is_err());
        advance(FRESH).await;
        let next = scrape(&snapshots);
        asked.recv().await.unwrap()(&mut guard);
        next.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn all_scrapes_of_a_second_share_a_failure() {
        let (snapshots, mut asked) = snapshots();
        let first = scrape(&snapshots);
        // As a daemon that stops: nobody answers it.
        drop(asked.recv().await.unwrap());
        let failure = first.await.unwrap().unwrap_err();
        for _ in 0..9 {
            assert_eq!(snapshots.take().await.unwrap_err(), failure);
        }
        assert!(asked.try_recv().is_err());
        advance(FRESH).await;
        let next = scrape(&snapshots);
        asked.recv().await.unwrap()(&mut Bench::new().guard());
        next.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_leaves_the_loop_with_one_question() {
        let (snapshots, mut asked) = snapshots();
        let first = scrape(&snapshots);
        let task = asked.recv().await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = scrape(&snapshots);
        // Time passes when nothing else is left to do.
        assert_eq!(second.await.unwrap().unwrap_err(), late());
        assert!(asked.try_recv().is_err());
        let third = scrape(&snapshots);
        task(&mut Bench::new().guard());
        third.await.unwrap().unwrap();
        assert!(asked.try_recv().is_err());
    }

    #[test_case(0 => 1_000; "nothing")]
    #[test_case(10 => 1_000; "what a second has room for")]
    #[test_case(50 => 5_000; "more")]
    #[test_case(3_000 => 10_000; "so much that they would be old")]
    #[test_case(u64::MAX => 10_000; "no end of time")]
    #[tokio::test(start_paused = true)]
    async fn how_long_an_answer_rests_that_took(milliseconds: u64) -> u128 {
        let took = Duration::from_millis(milliseconds);
        let snapshot = Snapshot::new(Err(late()), took);
        (snapshot.until - Instant::now()).as_millis()
    }

    #[test_case(PATIENCE => true; "as long as that")]
    #[test_case(PATIENCE + Duration::from_millis(1) => false; "longer")]
    fn figures_are_shown_that_took(took: Duration) -> bool {
        let figures = Bench::new().guard().figures().unwrap();
        Snapshot::new(Ok(figures), took).answer.is_ok()
    }
}
