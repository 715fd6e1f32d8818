//! The table as a whole: what is in it, and how it is written.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, Stdio},
};

use super::{
    netlink::{INET, Message, NFTABLES, Socket},
    sets::COUNTER_PACKETS,
};
use crate::Error;

/// The table that is ours.
pub const TABLE: &str = "sipward";

const GET_CHAIN: u8 = 4;
const GET_RULE: u8 = 7;
const GET_OBJECT: u8 = 19;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_DATA: u16 = 4;

/// Removes the table, whether it is there or not.
pub fn removal() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The chains of our table; none where it is not there.
pub fn chains(socket: &mut Socket) -> io::Result<Vec<String>> {
    let mut question = Message::new(NFTABLES, GET_CHAIN, INET, 0);
    question.put_name(CHAIN_TABLE, TABLE);
    let mut found = Vec::new();
    socket.dump(&question, &mut |answer| {
        let attributes = answer.attributes();
        // A dump of chains has those of all tables.
        if attributes.name(CHAIN_TABLE) == Some(TABLE) {
            found.extend(attributes.name(CHAIN_NAME).map(str::to_owned));
        }
    })?;
    Ok(found)
}

/// How many rules each chain of our table has.
pub fn rules(socket: &mut Socket) -> io::Result<BTreeMap<String, usize>> {
    let mut question = Message::new(NFTABLES, GET_RULE, INET, 0);
    question.put_name(RULE_TABLE, TABLE);
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    socket.dump(&question, &mut |answer| {
        let attributes = answer.attributes();
        if attributes.name(RULE_TABLE) == Some(TABLE)
            && let Some(chain) = attributes.name(RULE_CHAIN)
        {
            let handles = found.entry(chain.to_owned()).or_default();
            // A dump that begins anew shows a rule again.
            handles.insert(attributes.number(RULE_HANDLE));
        }
    })?;
    let counted = found.into_iter();
    Ok(counted
        .map(|(chain, handles)| (chain, handles.len()))
        .collect())
}

/// Packets of each named counter.
pub fn counters(socket: &mut Socket) -> io::Result<HashMap<String, u64>> {
    let mut question = Message::new(NFTABLES, GET_OBJECT, INET, 0);
    question.put_name(OBJECT_TABLE, TABLE);
    let mut found = HashMap::new();
    socket.dump(&question, &mut |answer| {
        let attributes = answer.attributes();
        if attributes.name(OBJECT_TABLE) == Some(TABLE)
            && let Some(name) = attributes.name(OBJECT_NAME)
            && let Some(packets) = attributes
                .within(OBJECT_DATA)
                .and_then(|data| data.number(COUNTER_PACKETS))
        {
            found.insert(name.to_owned(), packets);
        }
    })?;
    Ok(found)
}

/// Has `nft` carry out all of the text or none of it. A signal for our process group, as Ctrl-C in a
/// terminal is, does not reach it: it is needed to detach.
pub fn run_nft(text: &str) -> Result<(), Error> {
    let spawned = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut nft = spawned.map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            return Error::NoNft;
        }
        failed("cannot run nft")(source)
    })?;
    if let Some(mut stdin) = nft.stdin.take() {
        // Where it ends early, its own words say why.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = nft.wait_with_output().map_err(failed("cannot run nft"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().take(3).collect();
    let why = match output.status.signal() {
        Some(signal) => format!("it was ended by signal {signal}"),
        None => said.join("; "),
    };
    Err(failed("nft refused the rules")(io::Error::other(why)))
}

/// Names what failed.
pub fn failed(what: &str) -> impl Fn(io::Error) -> Error + use<> {
    let what = what.to_owned();
    move |source| Error::Nftables {
        what: what.clone(),
        source,
    }
}

/// An error of listening to a log group. The kernel answers EPERM where somebody else listens; that
/// we may use netfilter at all is asked before.
pub fn busy_or(group: u16) -> impl Fn(io::Error) -> Error {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EBUSY) => Error::LogGroup(group),
        Some(_) | None => failed("cannot listen to packets that rules log (nfnetlink_log)")(source),
    }
}
