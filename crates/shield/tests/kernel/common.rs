//! A private instance of the kernel program with the rules that an administrator gets by default.

use std::sync::OnceLock;

use ipnet::IpNet;
use sipward_shield::{
    Ban, BootTime, Judgement, Reason, Scope, Shield as _, Simulator, Target, Verdict,
};
use sipward_signature::{Profile, SignatureSet, Tables};
use sipward_testkit::{packet::Packet, require};

pub use crate::policy::policy;

pub const STRANGER: &str = "203.0.113.7:5060";
pub const STRANGER6: &str = "[2001:db8:1:2::7]:5060";
pub const PBX: &str = "192.0.2.1:5060";
pub const PBX6: &str = "[2001:db8::1]:5060";

/// The program under [`policy`] and the built-in signatures; `None`, with the reason printed, where
/// this machine cannot load it.
pub fn simulator(profile: Profile) -> Option<Simulator> {
    if !require::require(&[require::Need::Root]) {
        return None;
    }
    let mut simulator = Simulator::new().expect("the kernel takes the program");
    simulator.set_policy(&policy()).expect("a policy");
    simulator
        .set_signatures(tables(profile))
        .expect("signatures");
    Some(simulator)
}

/// The built-in signatures, compiled once for all tests.
pub fn tables(profile: Profile) -> &'static Tables {
    static STANDARD: OnceLock<Tables> = OnceLock::new();
    static STRICT: OnceLock<Tables> = OnceLock::new();
    let cell = match profile {
        Profile::Standard => &STANDARD,
        Profile::Strict => &STRICT,
    };
    cell.get_or_init(|| {
        SignatureSet::builtin()
            .compile(profile, &[])
            .expect("the built-in list")
    })
}

pub fn judge(simulator: &mut Simulator, frame: &[u8]) -> (Verdict, Reason) {
    let Judgement {
        verdict, reason, ..
    } = simulator.run(frame).expect("a judgement");
    (verdict, reason)
}

/// A request as a phone sends it, with this User-Agent.
pub fn request(user_agent: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:pbx.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK7f2e;rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Anna\" <sip:101@pbx.example>;tag=41fe\r\n\
         To: \"Anna\" <sip:101@pbx.example>\r\n\
         Call-ID: 5f1c8a@203.0.113.7\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:101@203.0.113.7:5060>\r\n\
         User-Agent: {user_agent}\r\n\
         Expires: 300\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

pub fn phone() -> Packet {
    Packet::udp(STRANGER, PBX).payload(&request("Snom D785/10.1.64"))
}

pub fn scanner() -> Packet {
    Packet::udp(STRANGER, PBX).payload(&request("friendly-scanner"))
}

pub const PASS: Verdict = Verdict::Pass;
pub const DROP: Verdict = Verdict::Drop;

pub struct Row {
    pub name: &'static str,
    pub frame: Vec<u8>,
    pub verdict: Verdict,
    pub reason: Reason,
}

pub fn row(name: &'static str, packet: &Packet, verdict: Verdict, reason: Reason) -> Row {
    Row {
        name,
        frame: packet.build(),
        verdict,
        reason,
    }
}

pub fn check(simulator: &mut Simulator, rows: &[Row]) {
    for row in rows {
        assert_eq!(
            judge(simulator, &row.frame),
            (row.verdict, row.reason),
            "{}",
            row.name
        );
    }
}

pub fn target(prefix: &str) -> Target {
    let prefix = prefix
        .parse::<IpNet>()
        .unwrap_or_else(|_| IpNet::from(prefix.parse::<std::net::IpAddr>().unwrap()));
    Target { prefix, port: None }
}

pub fn ban(simulator: &mut Simulator, prefix: &str, scope: Scope, until: BootTime) {
    simulator
        .ban(&Ban {
            target: target(prefix),
            scope,
            until,
        })
        .unwrap();
}

pub use crate::limits::in_an_hour;

pub const LAPSED: BootTime = BootTime(1);
