//! What the recordings hold: phones that register, call and talk, and attackers among them.

use std::{
    io::{self, Write},
    time::Duration,
};

use sipward_testkit::{packet::Packet, pcap::PcapWriter};

const SERVER: &str = "198.51.100.1";
const PHONES: u64 = 300;
const ATTACKERS: u64 = 40;
/// Between two things that happen.
const PACE: Duration = Duration::from_millis(20);
/// A packet of speech.
const MEDIA: usize = 172;

/// What a recording holds besides signalling.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The packets of a whole machine: of each call two streams of speech.
    Mixed,
    /// As `tcpdump port 5060` records it.
    SipOnly,
}

struct Recorder<W: Write> {
    pcap: PcapWriter<W>,
    kind: Kind,
    at: Duration,
    packets: u64,
    dice: u64,
    flow: u64,
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
    };
    for phone in 0..PHONES {
        recorder.registration(phone)?;
    }
    while recorder.packets < packets {
        let phone = recorder.roll(PHONES);
        let attacker = recorder.roll(ATTACKERS);
        match recorder.roll(100) {
            0..45 => recorder.registration(phone)?,
            45..70 => recorder.qualify(phone)?,
            70..90 => recorder.call(phone)?,
            90..94 => recorder.scan(attacker)?,
            94..97 => recorder.guess(attacker)?,
            _ => recorder.dial_and_vanish(attacker)?,
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
        if self.kind == Kind::Mixed {
            self.talk(&party)?;
        }
        self.ask(&party, "BYE", &call, 3, "")?;
        self.answer(&party, "BYE", &call, 3, "200 OK")
    }

    /// A few seconds of speech, each way.
    fn talk(&mut self, party: &Party) -> io::Result<()> {
        let host = party.address.split(':').next().unwrap_or_default();
        let (there, here) = (format!("{host}:16384"), format!("{SERVER}:10000"));
        let speech = [0x80; MEDIA];
        for _ in 0..100 {
            self.at += PACE;
            self.frame(&there, &here, &speech)?;
            self.frame(&here, &there, &speech)?;
        }
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
        self.at += PACE;
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
