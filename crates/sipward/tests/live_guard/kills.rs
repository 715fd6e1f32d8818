//! Death at any moment, over and over: under load, and in the middle of a start.
#![allow(clippy::print_stdout, reason = "it says how much was tested")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::UdpSocket,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use rusqlite::{Connection, OpenFlags};
use sipward::{
    control::{
        api::{BanReply, BanRequest, LiftReply, UnbanRequest},
        client::Client,
    },
    exit::Exit,
    ledger::FILE_NAME,
};
use sipward_testkit::{
    guard::Guard,
    lab::{Lab, PBX},
    process::wait_until,
    require::{Need, require},
};
use test_case::test_case;

/// A start is killed, too, after one in so many of the other kills.
const OF_STARTS: u64 = 2;
/// So many orders have an answer before a kill, at most; on a busy machine, too.
const MOST_ANSWERS: u64 = 8;
/// From the last of them to the kill, at most: longer than one order takes.
const LONGEST_WAIT: Duration = Duration::from_millis(50);
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Who orders at the same time, each with addresses of its own.
pub const CLIENTS: u64 = 2;

/// What has been acknowledged: banned or not. An order without an answer leaves its prefix out.
pub type Acknowledged = BTreeMap<IpNet, bool>;

/// Numbers that look random, the same in each run.
pub struct Random(pub u64);

impl Random {
    /// One below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn within(&mut self, longest: Duration) -> Duration {
        let longest = u64::try_from(longest.as_micros()).unwrap();
        Duration::from_micros(self.below(longest))
    }
}

/// Addresses and prefixes of a client, none within another.
pub fn prefixes(client: u64) -> Vec<IpNet> {
    let of = |number: u64| {
        let text = match number % 4 {
            0 => format!("198.18.{client}.{number}/32"),
            1 => format!("198.19.{client}.{number}/31"),
            2 => format!("2001:db8:{client}:{number}::/64"),
            _ => format!("2001:db8:1{client}:{number:x}00::/56"),
        };
        text.parse::<IpNet>().unwrap().trunc()
    };
    (0..80).map(of).collect()
}

/// Bans and unbans until the daemon no longer answers, and counts the answers.
pub fn order(
    socket: &Path,
    client: u64,
    random: &mut Random,
    acknowledged: &mut Acknowledged,
    answers: &AtomicU64,
) {
    let control = Client::new(socket);
    let prefixes = prefixes(client);
    loop {
        let at = usize::try_from(random.below(prefixes.len() as u64)).unwrap();
        let prefix = prefixes[at];
        let is_banned = acknowledged.remove(&prefix).unwrap_or(false);
        let answered = if is_banned {
            let unban = UnbanRequest::Prefixes(vec![prefix]);
            control.post::<LiftReply>("/v1/unban", &unban).map(drop)
        } else {
            let ban = BanRequest {
                prefixes: vec![prefix],
                seconds: (at % 2 == 0).then_some(7_200),
                scope: None,
                reason: None,
                force: false,
            };
            control.post::<BanReply>("/v1/ban", &ban).map(drop)
        };
        if let Err(failure) = answered {
            assert_eq!(failure.exit, Exit::Unreachable, "{prefix}: {failure}");
            return;
        }
        acknowledged.insert(prefix, !is_banned);
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Scans from ever other addresses, so that the daemon bans by itself, until it is told to stop.
pub fn scan(lab: &Lab, random: &mut Random, stop: &AtomicBool) {
    lab.attacker.enter(|| {
        while !stop.load(Ordering::Relaxed) {
            let socket = UdpSocket::bind((format!("203.0.113.{}", random.below(120)), 5060));
            let scan = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
            // What is lost is lost.
            let _ = socket.unwrap().send_to(scan, (PBX, 5060));
            thread::sleep(Duration::from_millis(2));
        }
    });
}

/// What the ledger says is banned, read by nobody of ours. A ban that has lapsed is told as ended
/// later.
fn in_ledger(state: &Path) -> BTreeSet<IpNet> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let ledger = Connection::open_with_flags(state.join(FILE_NAME), flags).unwrap();
    ledger.busy_timeout(PATIENCE).unwrap();
    let mut bans = ledger
        .prepare(
            "select prefix from ban where ended is null
             and (until is null or until > unixepoch('subsec') * 1e9)",
        )
        .unwrap();
    let prefix = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let prefixes = bans.query_map([], prefix).unwrap();
    prefixes
        .map(|text| text.unwrap().parse().unwrap())
        .collect()
}

/// What is acknowledged is there at once; kernel and ledger are the same as soon as the daemon has
/// taken what the kernel had for its predecessor.
pub fn check(guard: &Guard<'_>, acknowledged: &mut Acknowledged, kill: usize) {
    let (kernel, ledger) = (guard.enforced().unwrap(), in_ledger(&guard.state()));
    for (prefix, banned) in acknowledged.iter() {
        let held = (kernel.contains(prefix), ledger.contains(prefix));
        assert_eq!(
            held,
            (*banned, *banned),
            "{prefix}, kill {kill}: {}",
            guard.log()
        );
    }
    let agree = || guard.enforced().unwrap() == in_ledger(&guard.state());
    let waited = wait_until("kernel and ledger to agree", PATIENCE, agree);
    if let Err(error) = waited {
        let (kernel, ledger) = (guard.enforced().unwrap(), in_ledger(&guard.state()));
        let differ: Vec<_> = kernel.symmetric_difference(&ledger).collect();
        panic!("kill {kill}: {error}: {differ:?}: {}", guard.log());
    }
    // Of the orders that had no answer it is known now what became of them.
    let ledger = in_ledger(&guard.state());
    for prefix in (0..CLIENTS).flat_map(prefixes) {
        acknowledged.insert(prefix, ledger.contains(&prefix));
    }
    // Reconciled at the start, and not mended by the self-check later.
    assert!(
        !guard.log().contains("were missing in the kernel"),
        "{}",
        guard.log()
    );
}

/// Two hundred together.
#[test_case("", 110; "xdp")]
#[test_case("backend = \"nftables\"", 90; "nftables")]
fn kernel_and_ledger_agree_after_each_of_two_hundred_kills(backend: &str, wanted: usize) {
    if !require(&[Need::Root, Need::Program("nft")]) {
        return;
    }
    let lab = Lab::new().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_sipward"));
    let mut guard = Guard::start_with(program, &lab.pbx, backend).unwrap();
    let mut random = Random(0x5349_5057_4152_4421);
    let mut acknowledged = Acknowledged::new();
    let (mut orders, mut of_starts, mut kills) = (0, 0, 0);
    let begun = Instant::now();
    let mut longest_start = Duration::from_millis(1);
    while kills < wanted {
        let stop = AtomicBool::new(false);
        let socket = guard.socket();
        let answers = AtomicU64::new(0);
        let (enough, load) = (random.below(MOST_ANSWERS), random.within(LONGEST_WAIT));
        let mut seeds = || Random(random.below(u64::MAX - 1) + 1);
        let (scanner, clients) = (seeds(), [seeds(), seeds()]);
        let results = thread::scope(|scope| {
            let scanning = scope.spawn(|| scan(&lab, &mut { scanner }, &stop));
            let ordering: Vec<_> = (0..CLIENTS)
                .zip(clients)
                .map(|(client, mut random)| {
                    let own = prefixes(client).into_iter();
                    let mut own: Acknowledged = own
                        .filter_map(|prefix| Some((prefix, *acknowledged.get(&prefix)?)))
                        .collect();
                    let (socket, answers) = (&socket, &answers);
                    scope.spawn(move || {
                        order(socket, client, &mut random, &mut own, answers);
                        own
                    })
                })
                .collect();
            let answered = wait_until("orders to be answered", PATIENCE, || {
                answers.load(Ordering::Relaxed) >= enough
            });
            // At no moment in particular: that is what is tested.
            thread::sleep(load);
            guard.kill();
            stop.store(true, Ordering::Relaxed);
            scanning.join().unwrap();
            answered.unwrap();
            ordering
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect::<Vec<_>>()
        });
        kills += 1;
        acknowledged = results.into_iter().flatten().collect();
        orders += answers.into_inner();
        if kills < wanted && random.below(OF_STARTS) == 0 {
            guard.launch().unwrap();
            thread::sleep(random.within(longest_start));
            guard.kill();
            kills += 1;
            of_starts += 1;
        }
        let start = Instant::now();
        guard.run().unwrap();
        longest_start = longest_start.max(start.elapsed().min(Duration::from_secs(1)));
        check(&guard, &mut acknowledged, kills);
    }
    println!(
        "{kills} kills, {of_starts} of them during a start, {orders} acknowledged orders, \
         {} bans in the end, {:.0} s",
        in_ledger(&guard.state()).len(),
        begun.elapsed().as_secs_f64()
    );
}
