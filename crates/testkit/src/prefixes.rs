//! A long list of prefixes as blocklists have them, none within another.

use ipnet::Ipv4Net;

/// Of how many prefixes of a hundred thousand the length is that, IPv4.
const LENGTHS: &[(u8, u64)] = &[
    (32, 60_000),
    (31, 500),
    (30, 500),
    (29, 8_000),
    (28, 5_000),
    (27, 4_000),
    (26, 3_000),
    (25, 2_000),
    (24, 15_000),
    (23, 1_000),
    (22, 700),
    (20, 250),
    (16, 50),
];
/// What benchmarks send from (RFC 2544), and what no tool takes.
const LEFT_OUT: &[&str] = &["127.0.0.0/8", "198.18.0.0/15"];
const FIRST: u32 = 0x0100_0000;
const END: u64 = 0xe000_0000;

/// So many prefixes, /16 to /32, in the order of their addresses, the same in each run.
#[must_use]
pub fn list(count: usize) -> Vec<Ipv4Net> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    };
    let left_out: Vec<Ipv4Net> = LEFT_OUT.iter().filter_map(|net| net.parse().ok()).collect();
    let all: u64 = LENGTHS.iter().map(|(_, share)| share).sum();
    let mut prefixes = Vec::with_capacity(count);
    let mut at = u64::from(FIRST);
    while prefixes.len() < count && at < END {
        let mut pick = below(all);
        let length = LENGTHS.iter().find(|(_, share)| {
            let here = pick < *share;
            pick = pick.saturating_sub(*share);
            here
        });
        let length = length.map_or(32, |(length, _)| *length);
        let size = 1_u64 << (32 - length);
        at = at.next_multiple_of(size);
        let net = u32::try_from(at)
            .ok()
            .and_then(|first| Ipv4Net::new(first.into(), length).ok());
        let Some(net) = net else { break };
        let in_the_way = |out: &&Ipv4Net| out.contains(&net) || net.contains(*out);
        if let Some(out) = left_out.iter().find(in_the_way) {
            at = u64::from(out.broadcast().to_bits()) + 1;
            continue;
        }
        prefixes.push(net);
        at += size + 1 + below(6_400);
    }
    prefixes
}
