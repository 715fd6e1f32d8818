//! Where a recording is made: a lab, a PBX, the parties and a capture at the PBX's interface.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use sipward_testkit::asterisk::{Asterisk, Driver, Settings};
use sipward_testkit::count::Capture;
use sipward_testkit::kamailio::{Kamailio, Pike};
use sipward_testkit::lab::{ATTACKER, Lab};
use sipward_testkit::pcap::Frame;
use sipward_testkit::recording::{Datagram, Times, header};
use sipward_testkit::user_agent::{Exchange, Pace, UserAgents};

use crate::scenario::{BEGIN, Server};

/// All but the neighbours' finding each other.
const FILTER: &str = "udp or tcp or icmp or ip6 proto 44 or (icmp6 and ip6[40] < 128)";

/// More of the Internet, all of it the attacker's.
pub const BOTNET: &str = "100.64.0.0/10";

/// A recording in the making.
pub struct Studio<'a> {
    pub lab: &'a Lab,
    pbx: Pbx,
    pub agents: UserAgents<'a>,
    capture: Capture,
    times: Times,
    timeline: Timeline,
}

/// What serves.
enum Pbx {
    Asterisk(Box<Asterisk>, Driver),
    Kamailio { _running: Kamailio },
}

/// Where in a stretched recording everything is.
#[derive(Default)]
struct Timeline {
    begin: Duration,
    /// Where in the recording an exchange begins: by its Call-ID, from that CSeq on.
    exchanges: HashMap<String, Vec<(u32, Duration)>>,
    /// Where in the recording goes what happened since, if it belongs to no exchange.
    moments: Vec<(Duration, Duration)>,
}

impl<'a> Studio<'a> {
    pub fn open(lab: &'a Lab, settings: &Settings, server: Server, times: Times) -> Result<Self> {
        // Otherwise the checksums of what the PBX sends would not be in the recording.
        for namespace in [&lab.pbx, &lab.attacker, &lab.phones] {
            namespace.offload("eth0", "tx", false)?;
        }
        lab.router.route(BOTNET, ATTACKER)?;
        lab.attacker.own_all(BOTNET)?;
        let capture = Capture::start(&lab.pbx, "eth0", FILTER)?;
        Ok(Self {
            lab,
            pbx: match server {
                Server::Asterisk(driver) => {
                    Pbx::Asterisk(Box::new(Asterisk::start(&lab.pbx, settings)?), driver)
                }
                Server::Kamailio => Pbx::Kamailio {
                    _running: Kamailio::start(&lab.pbx, Pike::Off)?,
                },
            },
            agents: UserAgents::new(lab)?,
            capture,
            times,
            timeline: Timeline {
                begin: now(),
                ..Timeline::default()
            },
        })
    }

    /// The PBX and its driver.
    pub fn asterisk(&self) -> Result<(&Asterisk, Driver)> {
        match &self.pbx {
            Pbx::Asterisk(asterisk, driver) => Ok((asterisk, *driver)),
            Pbx::Kamailio { .. } => bail!("this is played with Asterisk only"),
        }
    }

    /// What was before is not part of the recording.
    pub fn begin(&mut self) {
        self.timeline.begin = now();
    }

    /// Plays the exchanges and returns how each ended: at their times in a live recording, one
    /// after the other in one that is stretched.
    pub fn play(&mut self, exchanges: Vec<Exchange>) -> Result<Vec<Option<u16>>> {
        let pace = match self.times {
            Times::Live => Pace::Live,
            Times::Stretched => Pace::OneByOne,
        };
        let exchanges = self.name(Duration::ZERO, exchanges);
        self.agents.play(exchanges, pace)
    }

    /// The same with all as close together as their times say, at that time of the recording.
    pub fn play_at(&mut self, at: Duration, exchanges: Vec<Exchange>) -> Result<Vec<Option<u16>>> {
        let exchanges = self.name(at, exchanges);
        self.agents.play(exchanges, Pace::Live)
    }

    /// Plays them, and each must end with one of these.
    pub fn expect(&mut self, statuses: &[u16], exchanges: Vec<Exchange>) -> Result<()> {
        let outcomes = self.play(exchanges)?;
        all_end_with(statuses, &outcomes)
    }

    /// What follows and belongs to no exchange happens then.
    pub fn moment(&mut self, at: Duration) {
        self.timeline.moments.push((now(), at));
    }

    /// Ends the recording.
    pub fn close(mut self) -> Result<Vec<Frame>> {
        // The last answer may have a last acknowledgement.
        self.agents.linger(Duration::from_millis(200))?;
        let timeline = self.timeline;
        let mut frames = self.capture.stop()?;
        frames.retain(|frame| frame.at >= timeline.begin);
        ensure!(!frames.is_empty(), "nothing was recorded");
        match self.times {
            Times::Live => {
                let first = frames[0].at;
                for frame in &mut frames {
                    frame.at = BEGIN + (frame.at - first);
                }
            }
            Times::Stretched => {
                let mut begun = HashMap::new();
                for frame in &mut frames {
                    frame.at = BEGIN + timeline.moved(frame, &mut begun);
                }
                frames.sort_by_key(|frame| frame.at);
            }
        }
        Ok(frames)
    }

    fn name(&mut self, base: Duration, exchanges: Vec<Exchange>) -> Vec<Exchange> {
        let mut named = Vec::new();
        for exchange in exchanges {
            let exchange = self.agents.name(exchange);
            let known = self
                .timeline
                .exchanges
                .entry(exchange.call_id.clone())
                .or_default();
            known.push((exchange.cseq, base + exchange.at));
            named.push(exchange);
        }
        named
    }
}

impl Timeline {
    /// When the frame was, as the recording has it. `begun` remembers when an exchange really
    /// began: with its first frame.
    fn moved(&self, frame: &Frame, begun: &mut HashMap<(String, u32), Duration>) -> Duration {
        let text = Datagram::read(&frame.bytes).map(|datagram| datagram.payload);
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        let call_id = header(&text, "Call-ID");
        let cseq = header(&text, "CSeq").split(' ').next();
        let cseq = cseq.and_then(|cseq| cseq.parse().ok()).unwrap_or(u32::MAX);
        let known = self.exchanges.get(call_id).into_iter().flatten();
        if let Some((first, at)) = known.filter(|(first, _)| *first <= cseq).max() {
            let key = (call_id.to_owned(), *first);
            return *at + (frame.at - *begun.entry(key).or_insert(frame.at));
        }
        let since = self.moments.iter().rfind(|(since, _)| *since <= frame.at);
        let (since, at) = since.copied().unwrap_or((self.begin, Duration::ZERO));
        at + (frame.at - since)
    }
}

/// All are there and ended so.
pub fn all_end_with(statuses: &[u16], outcomes: &[Option<u16>]) -> Result<()> {
    let is_other = |outcome: &&Option<u16>| !outcome.is_some_and(|one| statuses.contains(&one));
    let others: Vec<_> = outcomes.iter().filter(is_other).collect();
    ensure!(
        others.is_empty(),
        "{} of {} did not end with {statuses:?}: {others:?}",
        others.len(),
        outcomes.len()
    );
    Ok(())
}

fn now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the clock is past 1970")
}
