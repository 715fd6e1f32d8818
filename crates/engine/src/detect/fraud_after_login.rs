//! `fraud-after-login`: what a stolen account does. It alerts and never bans: the account's owner
//! decides.
//!
//! ```text
//! account refused ── accepted within 24 h from a /24 (/48) where it never was ──────► alert
//! account logged in ── 5 different outside numbers refused in 10 min ───────────────► alert
//!                   └─ 5 international calls in 1 h, none in the 30 days before ────► alert
//! ```
//!
//! Three refusals from the new place itself are needed where no other place saw any: who mistypes
//! twice in a hotel is no thief.

use std::time::Duration;

use ipnet::IpNet;

use crate::{Time, window::Distinct};

/// Numbers of the detector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether it fires at all.
    pub enabled: bool,
    /// How long refused attempts are held against a login from elsewhere.
    pub after_refusals: Duration,
    /// Refusals from the same place that say something.
    pub own_refusals: u32,
    /// Different refused outside numbers.
    pub numbers: u32,
    /// Within this time.
    pub numbers_window: Duration,
    /// A number of at least this many digits is outside.
    pub outside_digits: usize,
    /// International calls.
    pub calls: u32,
    /// Within this time.
    pub calls_window: Duration,
    /// By an account that made none for so long before.
    pub quiet: Duration,
    /// How international numbers begin.
    pub international: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            enabled: true,
            after_refusals: DAY,
            own_refusals: 3,
            numbers: 5,
            numbers_window: Duration::from_secs(600),
            outside_digits: 7,
            calls: 5,
            calls_window: Duration::from_secs(3_600),
            quiet: DAY * 30,
            international: vec!["+".to_owned(), "00".to_owned(), "011".to_owned()],
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Where the account succeeded.
    places: Vec<IpNet>,
    /// Where it was refused lately, and how often.
    refusals: Vec<(Time, IpNet, u32)>,
    refused_numbers: Distinct,
    international: Vec<Time>,
    /// The last international call before those.
    international_before: Option<Time>,
}

/// Places remembered of one account.
const MOST: usize = 16;

impl State {
    /// A refused attempt on the account.
    pub fn refuse(&mut self, place: IpNet, config: &Config, now: Time) {
        self.refusals
            .retain(|(at, _, _)| now.since(*at) < config.after_refusals);
        if let Some((at, _, count)) = self.refusals.iter_mut().find(|(_, p, _)| *p == place) {
            *at = now;
            *count = count.saturating_add(1);
            return;
        }
        if self.refusals.len() >= MOST {
            self.refusals.remove(0);
        }
        self.refusals.push((now, place, 1));
    }

    /// The account was accepted; the answer is what is wrong with that.
    pub fn accept(&mut self, place: IpNet, config: &Config, now: Time) -> Option<String> {
        if self.places.contains(&place) {
            return None;
        }
        if self.places.len() >= MOST {
            self.places.remove(0);
        }
        self.places.push(place);
        let held_against = |(at, refused, count): &&(Time, IpNet, u32)| {
            now.since(*at) < config.after_refusals
                && (*refused != place || *count >= config.own_refusals)
        };
        let count: u32 = self
            .refusals
            .iter()
            .filter(held_against)
            .map(|(_, _, count)| *count)
            .sum();
        (config.enabled && count > 0).then(|| {
            format!("logged in from {place} for the first time, after {count} refused attempts within a day")
        })
    }

    /// A number dialled with accepted credentials was refused.
    pub fn refuse_number(
        &mut self,
        number: &[u8],
        hash: u64,
        config: &Config,
        now: Time,
    ) -> Option<String> {
        let digits = number.iter().filter(|byte| byte.is_ascii_digit()).count();
        if !config.enabled || digits < config.outside_digits {
            return None;
        }
        self.refused_numbers.note(hash, true, now);
        let count = self.refused_numbers.count(config.numbers_window, now);
        if count < config.numbers {
            return None;
        }
        self.refused_numbers = Distinct::default();
        Some(format!(
            "dialled {count} different outside numbers in 10 minutes, all refused: somebody may be guessing the prefix"
        ))
    }

    /// A call with accepted credentials was put through.
    pub fn call(&mut self, number: &[u8], config: &Config, now: Time) -> Option<String> {
        let begins = |prefix: &String| number.starts_with(prefix.as_bytes());
        if !config.enabled || !config.international.iter().any(begins) {
            return None;
        }
        let window = config.calls_window;
        let outside = |at: &&Time| now.since(**at) >= window;
        let newest_outside = self.international.iter().filter(outside).max().copied();
        self.international_before = self.international_before.max(newest_outside);
        self.international.retain(|at| now.since(*at) < window);
        if self.international.len() < MOST {
            self.international.push(now);
        }
        let is_new = self
            .international_before
            .is_none_or(|before| now.since(before) >= config.quiet);
        let count = u32::try_from(self.international.len()).unwrap_or(u32::MAX);
        (is_new && count == config.calls).then(|| {
            format!("made {count} international calls in an hour and none in the 30 days before")
        })
    }
}
