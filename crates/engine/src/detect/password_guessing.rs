//! `password-guessing`: wrong passwords, whatever the method, and whether or not the PBX logs them.
//!
//! ```text
//! credentials ── fresh nonce, refused ─────────────────────────► attempt, proven
//!             ├─ old or unknown nonce, refused ── accepted credentials of the user in 10 s ──► nothing
//!             │                                 └─ none ───────► attempt, unproven
//!             └─ `stale=true`, empty nonce or response ────────► nothing
//! attempt ── same user, same device, 10 s or more after the last ──► stale phone: one in 10 min
//!         └─ otherwise ────────────────────────────────────────────► counted
//! counted ── bucket of 5, one leaks in 60 s; 100 in a day ─────────► fires
//! stale phone ── more than 5,000 in a day ─────────────────────────► fires, mildly
//! refused digest fits two listed passwords of one user ────────────► fires at once
//! ```
//!
//! Refused is: 401 or 407 without `stale=true`, 403 to a REGISTER, or exactly `403 Forbidden`
//! where the user did not succeed from here in 24 h (a PBX also forbids by policy).
//!
//! An old nonce is what an honest phone sends that has kept one; so the first two of a user wait
//! for their success. A third one within those 10 s counts all of them at once: that is the nonce
//! oracle, where each guess carries a nonce that the PBX never issued.

use std::time::Duration;

use crate::{
    Time,
    detect::{Fired, Tally},
    window::{Bucket, DAY, Progress, Proof, Rolling},
};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// Fires at this many attempts in the bucket.
    pub bucket: u32,
    /// One attempt leaks out in this time.
    pub leak: Duration,
    /// Fires at this many attempts in a day.
    pub in_day: u32,
    /// A nonce is fresh for this long.
    pub fresh: Duration,
    /// How long an attempt with an old nonce waits for accepted credentials.
    pub patience: Duration,
    /// Attempts of one user with old nonces that wait; one more and all count.
    pub waiting: usize,
    /// A phone that retries is at least this slow.
    pub stale_apart: Duration,
    /// A stale phone counts once in this time.
    pub stale_counts: Duration,
    /// Stale phones behind one address at least; more where more users succeeded here.
    pub stale_phones: usize,
    /// Attempts of a stale phone in a day at which it is banned mildly.
    pub stale_in_day: u32,
    /// Refused digests tried against the list of common passwords, per second; 0: none. Each
    /// costs two thousand MD5 sums, about a quarter of a millisecond.
    pub dictionary_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            bucket: 5,
            leak: Duration::from_secs(60),
            in_day: 100,
            fresh: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            waiting: 2,
            stale_apart: Duration::from_secs(10),
            stale_counts: Duration::from_secs(600),
            stale_phones: 3,
            stale_in_day: 5_000,
            dictionary_per_second: 50,
        }
    }
}

/// A refused attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Hash of the username.
    pub user: u64,
    /// Hash of what stays the same on one device.
    pub device: u64,
    pub proven: bool,
    /// Users that succeeded from this address lately.
    pub logged_in: usize,
    /// Hash of the listed password that the digest fits.
    pub listed_password: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    all: Counter,
    proven: Counter,
    waiting: Vec<Waiting>,
    phones: Vec<Phone>,
    /// The first listed password that was tried for a user.
    listed: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    bucket: Bucket,
    day: Rolling,
}

/// An attempt with an old nonce.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Names the request.
    request: u64,
    user: u64,
    counted: bool,
}

/// A phone with one wrong password, as it seems.
#[derive(Clone, Debug)]
struct Phone {
    user: u64,
    device: u64,
    last: Time,
    last_counted: Time,
    day: Rolling,
}

/// Users whose first listed password is remembered.
const MOST_LISTED: usize = 16;
/// Attempts that wait at one source.
const MOST_WAITING: usize = 256;

impl State {
    /// Counts a refused attempt.
    pub fn refuse(&mut self, attempt: Attempt, config: &Config, now: Time) -> Tally {
        if let Some(fired) = self.tries_the_list(attempt) {
            return self.tally(Some(fired), config, now);
        }
        match self.phone(attempt, config, now) {
            Retry::No => {
                self.all.day.add(DAY, now);
                self.fill(attempt.proven, config, now);
                if attempt.proven {
                    self.proven.day.add(DAY, now);
                }
            }
            Retry::Counts => self.fill(attempt.proven, config, now),
            Retry::Free => {}
            Retry::TooMany => {
                let summary = "repeats one wrong password more than 5,000 times a day";
                let fired = Fired {
                    mild: true,
                    ..Fired::new(proof(attempt.proven), summary.to_owned())
                };
                return self.tally(Some(fired), config, now);
            }
        }
        let fired = self.reached(config, now).map(|proof| {
            let count = self.all.day.count(DAY, now);
            Fired::new(proof, format!("tried {count} wrong passwords"))
        });
        self.tally(fired, config, now)
    }

    /// Takes in a refused attempt with an old nonce. It counts later, unless accepted credentials
    /// follow; the answer is `Some` where it counts at once, with all others of its user.
    pub fn wait(
        &mut self,
        request: u64,
        attempt: Attempt,
        config: &Config,
        now: Time,
    ) -> Option<Tally> {
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.remove(0);
        }
        self.waiting.push(Waiting {
            request,
            user: attempt.user,
            counted: false,
        });
        let of_user = |waiting: &&mut Waiting| waiting.user == attempt.user;
        if self.waiting.iter_mut().filter(of_user).count() <= config.waiting {
            return None;
        }
        let mut uncounted = 0;
        for waiting in self.waiting.iter_mut().filter(of_user) {
            uncounted += u32::from(!waiting.counted);
            waiting.counted = true;
        }
        let mut tally = None;
        for _ in 0..uncounted {
            tally = Some(self.refuse(attempt, config, now));
        }
        tally
    }

    /// The time of a waiting attempt is over; true where it counts now.
    pub fn is_over(&mut self, request: u64) -> bool {
        let Some(at) = self.waiting.iter().position(|w| w.request == request) else {
            return false;
        };
        !self.waiting.remove(at).counted
    }

    /// Accepted credentials: what waited for them does not count.
    pub fn accept(&mut self, user: u64, config: &Config, now: Time) {
        for waiting in self.waiting.iter().filter(|w| w.user == user && w.counted) {
            debug_assert!(waiting.counted);
            self.all.bucket.take_back(config.leak);
            self.all.day.take_back(DAY, now);
        }
        self.waiting.retain(|waiting| waiting.user != user);
        self.phones.retain(|phone| phone.user != user);
    }

    pub fn progress(&self, config: &Config, now: Time) -> Progress {
        let bucket = Progress {
            count: self.all.bucket.level(config.leak, now),
            fires_at: config.bucket,
        };
        let day = Progress {
            count: self.all.day.count(DAY, now),
            fires_at: config.in_day,
        };
        bucket.nearer(day)
    }

    fn tally(&self, fired: Option<Fired>, config: &Config, now: Time) -> Tally {
        Tally {
            progress: self.progress(config, now),
            fired,
        }
    }

    fn fill(&mut self, proven: bool, config: &Config, now: Time) {
        self.all.bucket.fill(config.leak, now);
        if proven {
            self.proven.bucket.fill(config.leak, now);
        }
    }

    fn reached(&self, config: &Config, now: Time) -> Option<Proof> {
        let reached = |counter: &Counter| {
            counter.bucket.level(config.leak, now) >= config.bucket
                || counter.day.count(DAY, now) >= config.in_day
        };
        if reached(&self.proven) {
            Some(Proof::Proven)
        } else if reached(&self.all) {
            Some(Proof::Unproven)
        } else {
            None
        }
    }

    fn tries_the_list(&mut self, attempt: Attempt) -> Option<Fired> {
        let password = attempt.listed_password?;
        match self.listed.iter().find(|(user, _)| *user == attempt.user) {
            Some((_, first)) if *first == password => None,
            Some(_) => Some(Fired::new(
                proof(attempt.proven),
                "tries common passwords, one after the other".to_owned(),
            )),
            None => {
                if self.listed.len() >= MOST_LISTED {
                    self.listed.remove(0);
                }
                self.listed.push((attempt.user, password));
                None
            }
        }
    }

    fn phone(&mut self, attempt: Attempt, config: &Config, now: Time) -> Retry {
        let most = config.stale_phones.max(attempt.logged_in);
        let Some(phone) = self
            .phones
            .iter_mut()
            .find(|phone| (phone.user, phone.device) == (attempt.user, attempt.device))
        else {
            self.phones.retain(|phone| now.since(phone.last) < DAY);
            if self.phones.len() < most {
                self.phones.push(Phone {
                    user: attempt.user,
                    device: attempt.device,
                    last: now,
                    last_counted: now,
                    day: Rolling::default(),
                });
            }
            return Retry::No;
        };
        phone.day.add(DAY, now);
        let apart = now.since(std::mem::replace(&mut phone.last, now));
        if apart < config.stale_apart {
            return Retry::No;
        }
        if phone.day.count(DAY, now) > config.stale_in_day {
            return Retry::TooMany;
        }
        if now.since(phone.last_counted) < config.stale_counts {
            return Retry::Free;
        }
        phone.last_counted = now;
        Retry::Counts
    }
}

/// What an attempt is to a phone that repeats one wrong password.
enum Retry {
    /// None of it: counts fully.
    No,
    /// One that is due to count, in the bucket only: a day has 144 of them.
    Counts,
    /// One that does not count.
    Free,
    /// One too many today.
    TooMany,
}

fn proof(proven: bool) -> Proof {
    if proven {
        Proof::Proven
    } else {
        Proof::Unproven
    }
}
