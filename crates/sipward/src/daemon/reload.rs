//! A configuration that is read again: its files are waited for, and its signatures compiled, beside the
//! loop. What comes of the last SIGHUP counts.

use std::{future::pending, mem, path::PathBuf, sync::Arc, time::Duration};

use sipward_signature::Tables;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use super::{ami::Account, asterisk, logs, run::Options};
use crate::{
    config::Config,
    exit::Failure,
    signatures::{self, Complaints},
};

/// The log is told of a reload that takes longer.
const LONG: Duration = Duration::from_secs(10);

/// What only needs to be put in force.
pub(super) struct Prepared {
    pub config: Config,
    pub account: Option<Account>,
    /// The logs of Asterisk that there are to follow.
    pub logs: Vec<PathBuf>,
    pub tables: Tables,
    pub complaints: Complaints,
}

/// What came of the last SIGHUP.
pub(super) struct Ready {
    pub prepared: Result<Box<Prepared>, Failure>,
    /// Other signatures came in force since the files began to be read, and may be of newer ones.
    pub has_older_signatures: bool,
}

type Prepare = dyn Fn() -> Result<Box<Prepared>, Failure> + Send + Sync;

/// The preparation that is under way, if one is.
pub(super) struct Reloading {
    prepare: Arc<Prepare>,
    under_way: Option<JoinHandle<Result<Box<Prepared>, Failure>>>,
    /// The edition of the signatures in force when the files began to be read.
    edition: u64,
    /// There was another SIGHUP since.
    is_wanted_again: bool,
    /// They are read once more because other signatures came in force. Not twice: lists may come faster
    /// than signatures are compiled, and somebody waits for the rest of the configuration.
    is_repeated: bool,
    /// The first SIGHUP of which nothing came yet.
    since: Option<Instant>,
    is_told: bool,
}

impl Reloading {
    /// Of what these options name.
    pub fn of(options: Options) -> Self {
        Self::with(move || prepare(&options))
    }

    fn with(prepare: impl Fn() -> Result<Box<Prepared>, Failure> + Send + Sync + 'static) -> Self {
        Self {
            prepare: Arc::new(prepare),
            under_way: None,
            edition: 0,
            is_wanted_again: false,
            is_repeated: false,
            since: None,
            is_told: false,
        }
    }

    /// Begins to prepare what the options name by now, or does so after what is under way.
    pub fn begin(&mut self, edition: u64) {
        if self.under_way.is_some() {
            self.is_wanted_again = true;
            return;
        }
        self.since = Some(Instant::now());
        self.is_told = false;
        self.prepare(edition);
    }

    /// Since when a reload is under way.
    pub const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Waits until a configuration can be put in force, beside signatures of this edition; for ever
    /// where none is wanted.
    pub async fn ready(&mut self, edition: u64) -> Ready {
        loop {
            let Some(under_way) = &mut self.under_way else {
                return pending().await;
            };
            let done = under_way.await;
            self.under_way = None;
            let has_older_signatures = self.edition != edition;
            if mem::take(&mut self.is_wanted_again) {
                self.is_repeated = false;
                self.prepare(edition);
            } else if has_older_signatures && !mem::replace(&mut self.is_repeated, true) {
                self.prepare(edition);
            } else {
                self.is_repeated = false;
                self.since = None;
                let unread = |error| Failure::input(format!("it was not read: {error}"));
                return Ready {
                    prepared: done.unwrap_or_else(|error| Err(unread(error))),
                    has_older_signatures,
                };
            }
        }
    }

    /// How long the reload under way has lasted, where that is long and the log was not told.
    pub fn is_long(&mut self) -> Option<Duration> {
        let lasts = self.since?.elapsed();
        let is_news = lasts >= LONG && !mem::replace(&mut self.is_told, true);
        is_news.then_some(lasts)
    }

    fn prepare(&mut self, edition: u64) {
        self.edition = edition;
        let prepare = self.prepare.clone();
        self.under_way = Some(spawn_blocking(move || prepare()));
    }
}

fn prepare(options: &Options) -> Result<Box<Prepared>, Failure> {
    let config = options.configuration()?;
    let (tables, complaints) = signatures::compile(&config.signatures)?;
    Ok(Box::new(Prepared {
        account: asterisk::account(&config)?,
        logs: logs::paths(&config.asterisk),
        config,
        tables,
        complaints,
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
            mpsc::{Sender, channel},
        },
        time::Duration,
    };

    use tempfile::TempDir;
    use tokio::time::{Instant, sleep, timeout};

    use super::{LONG, Options, Prepared, Ready, Reloading, prepare};
    use crate::{
        config::{Config, GuardMode},
        exit::Failure,
        signatures,
    };

    const PATIENCE: Duration = Duration::from_secs(60);

    /// What the files say, one reading after the other. Each comes to its end when it is let.
    struct Files {
        readings: Arc<AtomicUsize>,
        ends: Sender<Result<GuardMode, &'static str>>,
        reloading: Reloading,
    }

    impl Files {
        fn new() -> Self {
            let readings = Arc::new(AtomicUsize::new(0));
            let (ends, contents) = channel::<Result<GuardMode, &str>>();
            let (count, contents) = (readings.clone(), Mutex::new(contents));
            let reloading = Reloading::with(move || {
                count.fetch_add(1, Ordering::Relaxed);
                let read = contents.lock().unwrap().recv().unwrap();
                read.map(prepared).map_err(Failure::config)
            });
            Self {
                readings,
                ends,
                reloading,
            }
        }

        fn say(&self, mode: GuardMode) {
            self.ends.send(Ok(mode)).unwrap();
        }

        fn readings(&self) -> usize {
            self.readings.load(Ordering::Relaxed)
        }

        async fn ready(&mut self, edition: u64) -> Ready {
            let ready = timeout(PATIENCE, self.reloading.ready(edition)).await;
            ready.unwrap()
        }

        /// Waits until they are read for this time, beside signatures of this edition.
        async fn wait_for_reading(&mut self, number: usize, edition: u64) {
            let end = Instant::now() + PATIENCE;
            while self.readings() < number {
                assert!(Instant::now() < end, "waited in vain for reading {number}");
                tokio::select! {
                    _ = self.reloading.ready(edition) => panic!("ready before reading {number}"),
                    () = sleep(Duration::from_millis(1)) => {}
                }
            }
        }
    }

    fn prepared(mode: GuardMode) -> Box<Prepared> {
        let config = Config {
            mode,
            ..Config::default()
        };
        let (tables, complaints) = signatures::compile(&config.signatures).unwrap();
        Box::new(Prepared {
            config,
            account: None,
            logs: Vec::new(),
            tables,
            complaints,
        })
    }

    fn mode(ready: Ready) -> Result<GuardMode, String> {
        let prepared = ready.prepared.map_err(|failure| failure.text);
        prepared.map(|prepared| prepared.config.mode)
    }

    /// The loop does not look for them.
    #[test]
    fn the_logs_that_asterisk_writes_are_among_what_is_prepared() {
        let folder = TempDir::new().unwrap();
        let in_folder = |name| folder.path().join(name);
        let say = |name, text: String| fs::write(in_folder(name), text).unwrap();
        say("logger.conf", "[logfiles]\nsec => security\n".to_owned());
        let logs = folder.path().display();
        let directories = format!("[directories]\nastlogdir => {logs}\n");
        say("asterisk.conf", directories);
        say(
            "sipward.toml",
            format!("asterisk.config-dir = \"{logs}\"\n"),
        );
        let prepared = prepare(&Options {
            config: Some(in_folder("sipward.toml")),
            interfaces: Vec::new(),
            observe: false,
            backend: None,
            xdp_mode: None,
            state_dir: in_folder("state"),
            socket: in_folder("socket"),
            http: None,
        });
        assert_eq!(prepared.unwrap().logs.first(), Some(&in_folder("sec")));
    }

    #[tokio::test]
    async fn what_comes_of_the_last_of_several_hangups_counts() {
        let mut files = Files::new();
        files.reloading.begin(0);
        files.wait_for_reading(1, 0).await;
        // The files may be others by now.
        files.reloading.begin(0);
        files.reloading.begin(0);
        files.say(GuardMode::Observe);
        files.say(GuardMode::Protect);
        assert_eq!(mode(files.ready(0).await), Ok(GuardMode::Protect));
        assert_eq!(files.readings(), 2);
        assert_eq!(files.reloading.since(), None);
    }

    #[tokio::test]
    async fn of_a_broken_configuration_that_was_mended_meanwhile_nothing_is_told() {
        let mut files = Files::new();
        files.reloading.begin(0);
        files.wait_for_reading(1, 0).await;
        files.reloading.begin(0);
        files.ends.send(Err("broken")).unwrap();
        files.say(GuardMode::Observe);
        assert_eq!(mode(files.ready(0).await), Ok(GuardMode::Observe));

        files.reloading.begin(0);
        files.ends.send(Err("broken")).unwrap();
        assert_eq!(mode(files.ready(0).await), Err("broken".to_owned()));
    }

    #[tokio::test]
    async fn signatures_that_came_in_force_meanwhile_have_the_files_read_again() {
        let mut files = Files::new();
        files.reloading.begin(7);
        files.say(GuardMode::Observe);
        files.say(GuardMode::Protect);
        let ready = files.ready(8).await;
        assert!(!ready.has_older_signatures);
        assert_eq!(mode(ready), Ok(GuardMode::Protect));
        assert_eq!(files.readings(), 2);
    }

    /// The keeper of the lists puts newer ones in force one after the other.
    #[tokio::test]
    async fn lists_that_come_one_after_the_other_put_no_reload_off_for_ever() {
        let mut files = Files::new();
        for _ in 0..2 {
            let before = files.readings();
            files.reloading.begin(7);
            files.say(GuardMode::Observe);
            files.wait_for_reading(before + 2, 8).await;
            files.say(GuardMode::Protect);
            let ready = files.ready(9).await;
            assert!(ready.has_older_signatures);
            assert_eq!(mode(ready), Ok(GuardMode::Protect));
            assert_eq!(files.readings(), before + 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_lasts_is_told_once() {
        let mut files = Files::new();
        assert_eq!(files.reloading.is_long(), None);
        for _ in 0..2 {
            files.reloading.begin(0);
            assert!(files.reloading.since().is_some());
            tokio::time::advance(LONG - Duration::from_secs(1)).await;
            files.reloading.begin(0);
            assert_eq!(files.reloading.is_long(), None);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(files.reloading.is_long(), Some(LONG));
            assert_eq!(files.reloading.is_long(), None);
            files.say(GuardMode::Observe);
            files.say(GuardMode::Observe);
            files.ready(0).await;
            assert_eq!(files.reloading.is_long(), None);
        }
    }
}
