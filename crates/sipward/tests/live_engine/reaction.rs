//! How long it takes from the packet that decides to the first packet that is dropped.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sipward_testkit::{
    guard::Guard,
    lab::{ATTACKER, Lab, PHONES},
    require::{Need, require},
};

const PBX: &str = "192.0.2.1:5060";
const BANS: usize = 1_000;
/// Half of them are requests, half are answers.
const OTHER_MESSAGES_A_SECOND: u64 = 5_000;
/// Refused attempts at once that are a ban; the last one's answer decides.
const ATTEMPTS: usize = 5;
/// Between two packets after the deciding one.
const STEP: Duration = Duration::from_micros(500);
/// Packets that were sent since the last one that arrived: it is banned.
const SILENCE: usize = 20;
const MOST_PACKETS: usize = 10_000;

/// No limit but bans: what is measured must not be a rate.
const LIMITS: &str = "
[limits.sip]
rate = \"10000/s\"
burst = 1000000
[limits.unknown]
rate = \"100000/s\"
burst = 1000000
";

/// What the server has seen of the attacker whose turn it is.
struct Server {
    socket: UdpSocket,
    /// When it sent its last refusal.
    refused: Mutex<Instant>,
    /// The number of the last packet that arrived after the refusals, plus one.
    arrived: AtomicUsize,
    end: AtomicBool,
}

impl Server {
    /// Answers as a PBX does: challenges a REGISTER without credentials, refuses one with them.
    fn serve(&self) {
        let mut buffer = [0; 2048];
        let mut nonce = 0;
        while !self.end.load(Ordering::Relaxed) {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
                continue;
            };
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some(number) = header(&request, "X-Number: ") {
                let number: usize = number.parse().unwrap();
                self.arrived.fetch_max(number + 1, Ordering::Release);
                continue;
            }
            let (status, more) = if request.starts_with("OPTIONS") {
                ("200 OK", String::new())
            } else if request.contains("Authorization: ") {
                ("403 Forbidden", String::new())
            } else {
                nonce += 1;
                let challenge = format!(
                    "WWW-Authenticate: Digest algorithm=MD5, realm=\"pbx\", nonce=\"{nonce:08x}\"\r\n"
                );
                ("401 Unauthorized", challenge)
            };
            if status.starts_with("403") {
                *self.refused.lock().unwrap() = Instant::now();
            }
            let kept: String = request
                .split("\r\n")
                .filter(|line| {
                    ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .map(|line| match line.starts_with("To:") {
                    true => format!("{line};tag=s\r\n"),
                    false => format!("{line}\r\n"),
                })
                .collect();
            let answer = format!("SIP/2.0 {status}\r\n{kept}{more}Content-Length: 0\r\n\r\n");
            let _ = self.socket.send_to(answer.as_bytes(), from);
        }
    }
}

/// Ends the other threads, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .split("\r\n")
        .find_map(|line| line.strip_prefix(name))
}

/// Everybody has an account of their own: one that several attack is watched more closely.
fn user_of(source: SocketAddr) -> String {
    source.ip().to_string().replace('.', "-")
}

fn request(method: &str, from: SocketAddr, number: usize, more: &str) -> String {
    let user = user_of(from);
    format!(
        "{method} sip:192.0.2.1 SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK{number:06x}{}\r\n\
         From: <sip:{user}@192.0.2.1>;tag=c\r\n\
         To: <sip:{user}@192.0.2.1>\r\n\
         Call-ID: call-{from}\r\n\
         CSeq: {} {method}\r\n\
         User-Agent: Yealink SIP-T46S 66.86.0.15\r\n\
         {more}Content-Length: 0\r\n\r\n",
        method.to_lowercase(),
        number + 1
    )
}

/// Guesses passwords until the deciding one, then sends on until nothing arrives any more. Returns
/// the time from the deciding answer to the first packet that did not arrive.
fn guess(lab: &Lab, guard: &Guard<'_>, server: &Server, source: Ipv4Addr) -> Duration {
    let socket = lab
        .attacker
        .enter(|| UdpSocket::bind((source, 5060)))
        .unwrap();
    socket.connect(PBX).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let from = socket.local_addr().unwrap();
    let mut buffer = [0; 2048];
    let mut ask = |text: &str| {
        socket.send(text.as_bytes()).unwrap();
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    for attempt in 0..ATTEMPTS {
        let challenge = ask(&request("REGISTER", from, 2 * attempt, ""));
        let nonce = challenge.split("nonce=\"").nth(1).unwrap();
        let nonce = nonce.split('"').next().unwrap();
        let credentials = format!(
            "Authorization: Digest username=\"{}\", realm=\"pbx\", nonce=\"{nonce}\", \
             uri=\"sip:192.0.2.1\", response=\"{attempt:032x}\", algorithm=MD5\r\n",
            user_of(from)
        );
        server.arrived.store(0, Ordering::Release);
        let refusal = ask(&request("REGISTER", from, 2 * attempt + 1, &credentials));
        assert!(refusal.contains(" 403 "), "{refusal}");
    }
    let decided = *server.refused.lock().unwrap();
    let mut sent: Vec<Instant> = Vec::new();
    while sent.len() < server.arrived.load(Ordering::Acquire) + SILENCE {
        if sent.len() >= MOST_PACKETS {
            let said = |name| guard.ask(&[name]).unwrap().stdout;
            panic!(
                "{source} was never banned\n{}\n{}\n{}",
                said("suspects"),
                said("status"),
                guard.log()
            );
        }
        let more = format!("X-Number: {}\r\n", sent.len());
        let text = request("OPTIONS", from, 100 + sent.len(), &more);
        sent.push(Instant::now());
        socket.send(text.as_bytes()).unwrap();
        thread::sleep(STEP);
    }
    let arrived = server.arrived.load(Ordering::Acquire);
    sent[arrived].duration_since(decided)
}

/// A phone system's worth of other messages, until the end.
fn chatter(lab: &Lab, end: &AtomicBool) -> u64 {
    let socket = lab
        .phones
        .enter(|| UdpSocket::bind((PHONES, 5060)))
        .unwrap();
    socket.connect(PBX).unwrap();
    socket.set_nonblocking(true).unwrap();
    let from = socket.local_addr().unwrap();
    let begin = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    let mut buffer = [0; 2048];
    while !end.load(Ordering::Relaxed) {
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap();
        let due = micros * OTHER_MESSAGES_A_SECOND / 2 / 1_000_000;
        while sent < due {
            let number = usize::try_from(sent).unwrap();
            socket
                .send(request("OPTIONS", from, number, "").as_bytes())
                .unwrap();
            sent += 1;
        }
        while socket.recv(&mut buffer).is_ok() {
            answered += 1;
        }
        thread::sleep(Duration::from_millis(2));
    }
    (sent + answered) * 1_000 / u64::try_from(begin.elapsed().as_millis()).unwrap()
}

#[test]
fn a_ban_takes_milliseconds_under_5000_other_messages_a_second() {
    if !require(&[Need::Root]) {
        return;
    }
    let lab = Lab::new().unwrap();
    lab.attacker.own_all("10.0.0.0/8").unwrap();
    lab.router.route("10.0.0.0/8", ATTACKER).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let guard = Guard::start_with(program, &lab.pbx, LIMITS).unwrap();
    assert!(guard.ask(&["allow", PHONES]).unwrap().status.success());

    let socket = lab.pbx.enter(|| UdpSocket::bind(PBX)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let server = Server {
        socket,
        refused: Mutex::new(Instant::now()),
        arrived: AtomicUsize::new(0),
        end: AtomicBool::new(false),
    };
    let (mut times, others) = thread::scope(|scope| {
        scope.spawn(|| server.serve());
        let chatter = scope.spawn(|| chatter(&lab, &server.end));
        let ends = Ends(&server.end);
        let times: Vec<Duration> = (0..BANS)
            .map(|number| {
                let number = u32::try_from(number).unwrap();
                // Each of another /24.
                guess(
                    &lab,
                    &guard,
                    &server,
                    Ipv4Addr::from_bits(0x0a00_0007 + (number << 8)),
                )
            })
            .collect();
        drop(ends);
        (times, chatter.join().unwrap())
    });
    let bans = guard.json(&["bans"]).unwrap();
    assert_eq!(bans.as_array().unwrap().len(), BANS);
    times.sort();
    let (median, p99) = (times[BANS / 2], times[BANS * 99 / 100]);
    println!(
        "{BANS} bans beside {others} other messages a second: median {:.1} ms, p99 {:.1} ms, \
         longest {:.1} ms",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        times[BANS - 1].as_secs_f64() * 1e3
    );
    assert!(median <= Duration::from_millis(5), "{median:?}");
    assert!(p99 <= Duration::from_millis(50), "{p99:?}");
}
