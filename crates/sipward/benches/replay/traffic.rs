//! What the recordings hold: phones that register, call and talk, and attackers among them.

use std::{
    io::{self, Write},
    time::Duration,
};

use sipward_testkit::{packet::Packet, pcap::PcapWriter};

const SERVER: &str = "198.51.100.1";
const PHONES: u64 = 300;
const ATTACKERS: u64 = 40;
/// Between two packets of a stream of speech.
const PACE: Duration = Duration::from_millis(20);
/// Ticks of that length between two things that happen: five in a second.
const CALM: u64 = 10;
/// Packets of a stream: the calls take a minute on average, sixty go on at a time.
const SPEECH: u64 = 6_000;
/// A packet of speech, G.711.
const MEDIA: usize = 172;

/// What a recording holds besides signalling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The packets of a whole machine: of each call two streams of speech.
    Mixed,
    /// As `tcpdump port 5060` records a busy one: fifty things in a second.
    SipOnly,
}

/// A call that goes on.
struct Call {
    number: u64,
    id: String,
    speech: u64,
}

struct Recorder<W: Write> {
    pcap: PcapWriter<W>,
    kind: Kind,
    at: Duration,
    packets: u64,
    dice: u64,
    flow: u64,
    calls: Vec<Call>,
}

/// Writes a recording of this many packets.
pub fn write(out: impl Write, kind: Kind, packets: u64) -> io::Result<()> {
    let mut recorder = Recorder {
        pcap: PcapWriter::new(out)?,
        kind,
        at: Duration::from_secs(1_800_000_000),
        packets: 0,
        dice: 1,
        flow: 0,
        calls: Vec::new(),
    };
    for phone in 0..PHONES {
        recorder.registration(phone)?;
    }
    let mut tick = 0;
    while recorder.packets < packets {
        tick += 1;
        recorder.at += PACE;
        recorder.talk()?;
        if kind == Kind::SipOnly || tick % CALM == 0 {
            recorder.happen()?;
        }
    }
    recorder.pcap.finish().map(drop)
}

struct Party {
    address: String,
    user: String,
    agent: &'static str,
}

fn phone(number: u64) -> Party {
    Party {
        address: format!("203.0.113.{}:{}", number % 250 + 1, 5060 + number / 250),
        user: format!("{}", 100 + number),
        agent: "Fon 4.1",
    }
}

fn attacker(number: u64) -> Party {
    Party {
        address: format!("192.0.2.{}:5070", number + 1),
        user: format!("{}", 1_000 + number),
        agent: "Fon 4.1",
    }
}

impl<W: Write> Recorder<W> {
    fn happen(&mut self) -> io::Result<()> {
        let phone = self.roll(PHONES);
        let attacker = self.roll(ATTACKERS);
        match self.roll(100) {
            0..45 => self.registration(phone),
            45..70 => self.qualify(phone),
            70..90 => self.call(phone),
            90..94 => self.scan(attacker),
            94..97 => self.guess(attacker),
            _ => self.dial_and_vanish(attacker),
        }
    }

    fn registration(&mut self, number: u64) -> io::Result<()> {
        let party = phone(number);
        let call = self.begin();
        self.ask(&party, "REGISTER", &call, 1, "")?;
        self.answer(&party, "REGISTER", &call, 1, "401 Unauthorized")?;
        self.ask(
            &party,
            "REGISTER",
            &call,
            2,
            &credentials(&party, "REGISTER", &call),
        )?;
        self.answer(&party, "REGISTER", &call, 2, "200 OK")
    }

    fn qualify(&mut self, number: u64) -> io::Result<()> {
        let party = phone(number);
        let call = self.begin();
        let text = message(
            &party,
            "OPTIONS sip:phone SIP/2.0",
            "OPTIONS",
            &call,
            102,
            "",
        );
        self.send(&server(), &party.address, &text)?;
        let text = message(&party, "SIP/2.0 200 OK", "OPTIONS", &call, 102, "");
        self.send(&party.address, &server(), &text)
    }

    fn call(&mut self, number: u64) -> io::Result<()> {
        let party = phone(number);
        let call = self.begin();
        self.ask(&party, "INVITE", &call, 1, "")?;
        self.answer(&party, "INVITE", &call, 1, "401 Unauthorized")?;
        self.ask(&party, "ACK", &call, 1, "")?;
        self.ask(
            &party,
            "INVITE",
            &call,
            2,
            &credentials(&party, "INVITE", &call),
        )?;
        self.answer(&party, "INVITE", &call, 2, "100 Trying")?;
        self.answer(&party, "INVITE", &call, 2, "180 Ringing")?;
        self.answer(&party, "INVITE", &call, 2, "200 OK")?;
        self.ask(&party, "ACK", &call, 2, "")?;
        let speech = match self.kind {
            Kind::Mixed => self.roll(SPEECH),
            Kind::SipOnly => 0,
        };
        self.calls.push(Call {
            number,
            id: call,
            speech,
        });
        Ok(())
    }

    /// A packet of speech of each call, each way; who has said all hangs up.
    fn talk(&mut self) -> io::Result<()> {
        let mut calls = std::mem::take(&mut self.calls);
        for call in &mut calls {
            let party = phone(call.number);
            if call.speech == 0 {
                self.ask(&party, "BYE", &call.id, 3, "")?;
                self.answer(&party, "BYE", &call.id, 3, "200 OK")?;
                continue;
            }
            let host = party.address.split(':').next().unwrap_or_default();
            let (there, here) = (format!("{host}:16384"), format!("{SERVER}:10000"));
            let mut speech = [0x55; MEDIA];
            // RTP version 2, G.711 A-law.
            speech[..2].copy_from_slice(&[0x80, 8]);
            speech[2..4].copy_from_slice(&(call.speech as u16).to_be_bytes());
            self.frame(&there, &here, &speech)?;
            self.frame(&here, &there, &speech)?;
        }
        calls.retain_mut(|call| {
            let goes_on = call.speech > 0;
            call.speech = call.speech.saturating_sub(1);
            goes_on
        });
        self.calls = calls;
        Ok(())
    }

    fn scan(&mut self, number: u64) -> io::Result<()> {
        let party = Party {
            agent: "friendly-scanner",
            ..attacker(number)
        };
        let call = self.begin();
        self.ask(&party, "OPTIONS", &call, 1, "")
    }

    fn guess(&mut self, number: u64) -> io::Result<()> {
        let party = attacker(number);
        let call = self.begin();
        self.ask(&party, "REGISTER", &call, 1, "")?;
        self.answer(&party, "REGISTER", &call, 1, "401 Unauthorized")?;
        self.ask(
            &party,
            "REGISTER",
            &call,
            2,
            &credentials(&party, "REGISTER", &call),
        )?;
        self.answer(&party, "REGISTER", &call, 2, "403 Forbidden")
    }

    fn dial_and_vanish(&mut self, number: u64) -> io::Result<()> {
        let party = attacker(number);
        let call = self.begin();
        self.ask(&party, "INVITE", &call, 1, "")?;
        self.answer(&party, "INVITE", &call, 1, "401 Unauthorized")
    }

    fn begin(&mut self) -> String {
        self.flow += 1;
        format!("{:x}-{:x}", self.flow, self.flow.wrapping_mul(0x9e37_79b9))
    }

    fn ask(
        &mut self,
        party: &Party,
        method: &str,
        call: &str,
        cseq: u32,
        extra: &str,
    ) -> io::Result<()> {
        let first = format!("{method} sip:{}@{SERVER} SIP/2.0", party.user);
        let text = message(party, &first, method, call, cseq, extra);
        self.send(&party.address, &server(), &text)
    }

    fn answer(
        &mut self,
        party: &Party,
        method: &str,
        call: &str,
        cseq: u32,
        status: &str,
    ) -> io::Result<()> {
        let extra = if status.starts_with("401") {
            format!(
                "WWW-Authenticate: Digest algorithm=MD5, realm=\"pbx\", nonce=\"{}\"\r\n",
                nonce(call)
            )
        } else {
            String::new()
        };
        let text = message(
            party,
            &format!("SIP/2.0 {status}"),
            method,
            call,
            cseq,
            &extra,
        );
        self.send(&server(), &party.address, &text)
    }

    fn send(&mut self, from: &str, to: &str, text: &str) -> io::Result<()> {
        self.at += Duration::from_micros(500);
        self.frame(from, to, text.as_bytes())
    }

    fn frame(&mut self, from: &str, to: &str, payload: &[u8]) -> io::Result<()> {
        self.packets += 1;
        let frame = Packet::udp(from, to).payload(payload).build();
        self.pcap.write(self.at, &frame)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.dice >> 33) % sides
    }
}

fn server() -> String {
    format!("{SERVER}:5060")
}

fn nonce(call: &str) -> String {
    format!("n{call}")
}

fn credentials(party: &Party, method: &str, call: &str) -> String {
    format!(
        "Authorization: Digest username=\"{0}\", realm=\"pbx\", nonce=\"{1}\", uri=\"sip:{0}@{SERVER}\", \
         response=\"{2:032x}\", algorithm=MD5\r\n",
        party.user,
        nonce(call),
        u128::from(method.len() as u64) << 96 | 0x5157,
    )
}

fn message(party: &Party, first: &str, method: &str, call: &str, cseq: u32, extra: &str) -> String {
    let Party {
        address,
        user,
        agent,
    } = party;
    let is_answer = first.starts_with("SIP");
    let to_tag = if is_answer || matches!(method, "ACK" | "BYE") {
        ";tag=as51"
    } else {
        ""
    };
    let sdp = if method == "INVITE" && (!is_answer || first.contains("200")) {
        "v=0\r\no=- 1 1 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n\
         m=audio 16384 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
    } else {
        ""
    };
    format!(
        "{first}\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{call}{cseq};rport\r\nMax-Forwards: 70\r\n\
         From: \"{user}\" <sip:{user}@{SERVER}>;tag=f{call}\r\nTo: <sip:{user}@{SERVER}>{to_tag}\r\n\
         Call-ID: {call}@{SERVER}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@{address}>\r\n\
         User-Agent: {agent}\r\nAllow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY\r\n{extra}\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}
