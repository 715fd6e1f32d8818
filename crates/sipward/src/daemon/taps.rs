//! The taps on the guarded interfaces, read together in the order of time.

use std::{
    future::poll_fn,
    io,
    os::fd::OwnedFd,
    task::Poll,
    time::{Duration, Instant},
};

use sipward_engine::Time;
use sipward_shield::{Error, Frames, Tap, TapPorts, nftables};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Guard, packets::tap_ports};
use crate::{clock, exit::Failure};

/// Frames in one turn at most: signals and the control socket wait no longer than these take.
const FRAMES: usize = 256;
/// Turns at most before what a log or the manager interface tells counts.
const DRAIN: usize = 8;
/// How often lost frames are warned of at most.
const WARN: Duration = Duration::from_secs(60);

/// The taps.
pub struct Taps {
    taps: Vec<Waking>,
    /// Interfaces that are not there yet, or refuse a tap.
    awaited: Vec<Awaited>,
    /// Frames that taps lost which are no more.
    lost_before: u64,
    warned: Option<Instant>,
    warned_of: u64,
}

/// An interface without a tap so far.
struct Awaited {
    name: String,
    /// What the log was told of why.
    told: Option<String>,
}

/// A tap that wakes the loop.
struct Waking {
    tap: Box<dyn Frames>,
    ready: AsyncFd<OwnedFd>,
    lost: u64,
}

impl Waking {
    fn on(tap: Box<dyn Frames>) -> Result<Self, Failure> {
        Ok(Self {
            ready: ready(&*tap)?,
            tap,
            lost: 0,
        })
    }
}

impl Taps {
    /// Opens a tap on each interface that is there; on the others once they are.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn open(interfaces: &[String], ports: &TapPorts) -> Result<Self, Failure> {
        let mut taps = Self::of(Vec::new());
        for name in interfaces {
            match Tap::open(name, ports) {
                Ok(tap) => taps.taps.push(Waking::on(Box::new(tap))?),
                Err(Error::NoInterface(name)) => taps.awaited.push(Awaited { name, told: None }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taps)
    }

    /// Opens the tap behind the table of nftables; where that is not there yet, its rules come with
    /// [`Self::set_ports`].
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_nftables(interfaces: &[String], ports: &TapPorts) -> Result<Self, Failure> {
        let tap = nftables::Tap::open(interfaces, ports)?;
        Ok(Self::of(vec![Waking::on(Box::new(tap))?]))
    }

    /// Reads by these from now on; what waits in those before is not read.
    pub fn replace(&mut self, next: Self) {
        let lost: u64 = self.taps.iter().map(|waking| waking.lost).sum();
        self.lost_before += lost;
        self.taps = next.taps;
        self.awaited = next.awaited;
    }

    /// A tap that is no interface's.
    #[cfg(test)]
    pub fn double(frames: super::double::WaitingFrames) -> Self {
        Self::of(vec![Waking::on(Box::new(frames)).unwrap()])
    }

    fn of(taps: Vec<Waking>) -> Self {
        Self {
            taps,
            awaited: Vec::new(),
            lost_before: 0,
            warned: None,
            warned_of: 0,
        }
    }

    /// Looks at other ports from now on.
    ///
    /// # Errors
    /// What the first tap said that refused. It goes on as it was, and the others look at these.
    pub fn set_ports(&mut self, ports: &TapPorts) -> Result<(), Failure> {
        let mut all = Ok(());
        for waking in &mut self.taps {
            all = all.and(waking.tap.set_ports(ports));
        }
        Ok(all?)
    }

    /// Waits until a tap has something to give.
    pub async fn readable(&self) {
        poll_fn(|context| {
            let mut any = Poll::Pending;
            for waking in &self.taps {
                if let Poll::Ready(Ok(mut ready)) = waking.ready.poll_read_ready(context) {
                    // Frames are taken after this: what comes meanwhile makes it ready again.
                    ready.clear_ready();
                    any = Poll::Ready(());
                }
            }
            any
        })
        .await;
    }

    /// Gives the guard the frames that wait, at most 256, and has it act on each at once. Returns
    /// the time of the next frame where more wait.
    pub fn take(&mut self, guard: &mut Guard) -> Option<Time> {
        for _ in 0..FRAMES {
            let (_, oldest) = self.oldest()?;
            if let Some(mut frame) = oldest.tap.next_frame() {
                frame.at = clock::seen(frame.at).0;
                guard.take_frame(&frame);
            }
            guard.carry_out();
        }
        self.oldest().map(|(at, _)| clock::seen(at))
    }

    /// Takes what waits, at most eight times as much.
    pub fn drain(&mut self, guard: &mut Guard) {
        for _ in 0..DRAIN {
            if self.take(guard).is_none() {
                return;
            }
        }
    }

    /// Mends taps, counts what was lost, and warns of it now and then.
    pub fn check(&mut self, guard: &mut Guard) {
        self.mend(guard);
        for waking in &mut self.taps {
            match waking.tap.statistics() {
                Ok(statistics) => waking.lost = statistics.lost,
                Err(error) => tracing::error!("{error}"),
            }
        }
        let lost = self.lost_before + self.taps.iter().map(|waking| waking.lost).sum::<u64>();
        if lost > guard.packets.lost {
            guard.overlooked();
        }
        guard.packets.lost = lost;
        if lost > self.warned_of && self.warned.is_none_or(|at| at.elapsed() >= WARN) {
            tracing::warn!(
                "{} packets came faster than they could be read: detectors did not see them \
                 (enforcement does not depend on it)",
                lost - self.warned_of
            );
            self.warned = Some(Instant::now());
            self.warned_of = lost;
        }
    }

    /// Mends taps whose interface went away and is back, or whose rules are gone, and opens those of
    /// interfaces that have come, or are known to be guarded under another name. What came through
    /// meanwhile was not seen.
    pub fn mend(&mut self, guard: &mut Guard) {
        let ports = tap_ports(guard.config());
        for waking in &mut self.taps {
            // Without an interface there is nothing to see; the next check tries again.
            if let Ok(true) = waking.tap.mend(&ports) {
                self.lost_before += std::mem::take(&mut waking.lost);
                guard.overlooked();
                match ready(&*waking.tap) {
                    Ok(ready) => waking.ready = ready,
                    Err(error) => tracing::error!("{error}"),
                }
                tracing::info!("the packets of {} are read again", waking.tap.interface());
            }
        }
        for mut awaited in std::mem::take(&mut self.awaited) {
            let called = guard.name_of(&awaited.name);
            let called = called.as_deref().unwrap_or(&awaited.name);
            let error = match Tap::open_for(&awaited.name, called, &ports) {
                Ok(tap) => match Waking::on(Box::new(tap)) {
                    Ok(waking) => {
                        guard.overlooked();
                        self.taps.push(waking);
                        continue;
                    }
                    Err(error) => Some(error.to_string()),
                },
                Err(Error::NoInterface(_)) => None,
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = error.as_ref().filter(|_| error != awaited.told) {
                tracing::error!("{error}");
            }
            // The next look tries again.
            awaited.told = error;
            self.awaited.push(awaited);
        }
    }

    /// The tap whose next frame is the oldest, and when that was seen.
    fn oldest(&mut self) -> Option<(u64, &mut Waking)> {
        self.taps
            .iter_mut()
            .filter_map(|waking| Some((waking.tap.next_at()?, waking)))
            .min_by_key(|(at, _)| *at)
    }
}

fn ready(tap: &dyn Frames) -> Result<AsyncFd<OwnedFd>, Failure> {
    readable(tap.as_fd().try_clone_to_owned())
        .map_err(|error| Failure::unsupported(format!("cannot wait for packets: {error}")))
}

/// Waits for a descriptor to become readable.
pub fn readable(fd: io::Result<OwnedFd>) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that others may close; we own this one"
    )]
    fd.and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE))
}

#[cfg(test)]
mod tests {
    use super::{Taps, Waking};
    use crate::{
        config::Config,
        daemon::{double::WaitingFrames, packets::tap_ports},
    };

    #[tokio::test]
    async fn a_tap_that_refuses_other_ports_keeps_them_from_no_other_tap() {
        let tap = || WaitingFrames::new(Vec::new(), 0);
        let (mut refusing, good) = (tap(), tap());
        refusing.refuses_ports = true;
        let told = good.ports.clone();
        let taps = [refusing, good].map(|tap| Waking::on(Box::new(tap)).unwrap());
        let ports = tap_ports(&Config::default());
        assert!(Taps::of(taps.into()).set_ports(&ports).is_err());
        assert_eq!(*told.lock().unwrap(), Some(ports));
    }
}
