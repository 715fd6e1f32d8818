//! When a list is asked for: decisions without a clock and without chance, which are arguments.

use std::time::Duration;

use sipward_engine::Time;

use super::{Plan, requests::WITHIN};
use crate::{clock, config};

/// The first wait after a failure, where the list is not asked for more often anyway.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// The longest wait after a failure, where the list is not asked for less often anyway.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// When to ask for a list; at once where that was put further off than it could ever have been, for
/// then the clock was wrong.
#[must_use]
pub fn due(plan: &Plan, feed: &config::Feed, now: Time) -> Time {
    at_most(plan.next.map(clock::time), feed.every.duration(), now)
}

/// How much of a list came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Had {
    /// All of it.
    All,
    /// As much as may be asked for at once.
    Part,
}

/// The plan after a try: what was wrong with it, if anything was, and when the next one is. `chance`
/// is any number.
#[must_use]
pub fn put_off(
    plan: Plan,
    feed: &config::Feed,
    tried: Result<Had, String>,
    now: Time,
    chance: u16,
) -> Plan {
    let every = feed.every.duration();
    let (failures, error, next) = match tried {
        Ok(Had::All) => (0, None, after_success(now, every, chance)),
        Ok(Had::Part) => (0, None, after_success(now, every.min(WITHIN), chance)),
        Err(why) => {
            let failures = plan.failures.saturating_add(1);
            (
                failures,
                Some(why),
                after_failure(now, every, failures, chance),
            )
        }
    };
    Plan {
        failures,
        error,
        next: Some(clock::timestamp(next)),
        ..plan
    }
}

/// After it was had: its time and at most a tenth more, so that the machines that were switched on
/// together do not all come at once. `chance` is any number.
fn after_success(now: Time, every: Duration, chance: u16) -> Time {
    now + later(every, chance)
}

/// After so many failures in a row, at least one: a minute, two, four … up to an hour, or to
/// `every` where that is more; and at most a tenth more.
fn after_failure(now: Time, every: Duration, failures: u32, chance: u16) -> Time {
    let first = FIRST_WAIT.min(every);
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = first.saturating_mul(doubled).min(LONGEST_WAIT.max(every));
    now + later(wait, chance)
}

fn at_most(written: Option<Time>, every: Duration, now: Time) -> Time {
    let furthest = now + later(LONGEST_WAIT.max(every), u16::MAX);
    written.filter(|at| *at <= furthest).unwrap_or(now)
}

fn later(wait: Duration, chance: u16) -> Duration {
    wait + wait / 10 * u32::from(chance) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sipward_engine::Time;
    use test_case::test_case;

    use super::{Had, after_failure, after_success, at_most, put_off};
    use crate::{clock, config, feeds::Plan};

    const NOW: Time = Time::from_secs(1_795_348_085);
    const HOUR: u64 = 3_600;
    const DAY: u64 = 86_400;

    fn seconds(at: Time) -> u64 {
        at.since(NOW).as_secs()
    }

    #[test_case(6 * HOUR, 0, 6 * HOUR; "no jitter")]
    #[test_case(6 * HOUR, u16::MAX, 6 * HOUR + 2_160; "a tenth at most")]
    #[test_case(3_650 * DAY, u16::MAX, 4_015 * DAY; "ten years")]
    fn what_was_had_is_asked_for_again_in_its_time(every: u64, chance: u16, wait: u64) {
        let next = after_success(NOW, Duration::from_secs(every), chance);
        assert_eq!(seconds(next), wait);
    }

    #[test_case(6 * HOUR, 1, 0, 60; "the first failure")]
    #[test_case(6 * HOUR, 2, 0, 120; "the second")]
    #[test_case(6 * HOUR, 5, 0, 960; "the fifth")]
    #[test_case(6 * HOUR, 5, u16::MAX, 1_056; "a tenth later")]
    #[test_case(6 * HOUR, 9, 0, 15_360; "nearly as long as its time")]
    #[test_case(6 * HOUR, 10, 0, 6 * HOUR; "never longer than its time")]
    #[test_case(300, 7, 0, HOUR; "an hour where its time is shorter")]
    #[test_case(300, u32::MAX, 0, HOUR; "for ever")]
    #[test_case(DAY, u32::MAX, u16::MAX, DAY + 8_640; "a day for ever")]
    #[test_case(1, 1, 0, 1; "a server of this machine")]
    #[test_case(1, 4, 0, 8; "a server of this machine again")]
    fn what_fails_is_tried_ever_later(every: u64, failures: u32, chance: u16, wait: u64) {
        let next = after_failure(NOW, Duration::from_secs(every), failures, chance);
        assert_eq!(seconds(next), wait);
    }

    #[test_case(None, 0; "never asked for")]
    #[test_case(Some(5), 5; "soon")]
    #[test_case(Some(6 * HOUR + 2_160), 6 * HOUR + 2_160; "as late as can be")]
    #[test_case(Some(6 * HOUR + 2_161), 0; "later than can be")]
    #[test_case(Some(300 * DAY), 0; "the clock was wrong")]
    fn what_was_written_down_holds_unless_it_cannot_be(written: Option<u64>, wait: u64) {
        let written = written.map(|wait| NOW + Duration::from_secs(wait));
        let at = at_most(written, Duration::from_secs(6 * HOUR), NOW);
        assert_eq!(seconds(at), wait);
    }

    #[test]
    fn what_is_overdue_is_asked_for_at_once() {
        let before = NOW - Duration::from_secs(DAY);
        assert_eq!(
            at_most(Some(before), Duration::from_secs(HOUR), NOW),
            before
        );
    }

    #[test]
    fn failures_are_counted_until_the_list_is_there_again() {
        let feed: config::Feed = toml::from_str("url = \"https://lists.example.org\"").unwrap();
        let failed = |plan| put_off(plan, &feed, Err("it is not there".to_owned()), NOW, 0);
        let next = |plan: &Plan| seconds(clock::time(plan.next.unwrap()));
        let once = failed(Plan::default());
        let twice = failed(once.clone());
        assert_eq!((once.failures, next(&once)), (1, 60));
        assert_eq!((twice.failures, next(&twice)), (2, 120));
        assert_eq!(twice.error.as_deref(), Some("it is not there"));
        let had = put_off(twice, &feed, Ok(Had::All), NOW, 0);
        assert_eq!((had.failures, next(&had), &had.error), (0, 6 * HOUR, &None));
        let part = put_off(had, &feed, Ok(Had::Part), NOW, 0);
        assert_eq!((part.failures, next(&part)), (0, 120));
    }
}
