//! Buckets as rules: those of each source, and those that all strangers share.

use super::super::sets::Family;
use crate::{Limits, Rate};

/// As in the kernel program: what is not a first request gets so many times the rate of all unknown
/// sources, each kind of it and what is sent again.
const OTHERS: u32 = 10;
/// All later fragments that follow no first one.
const FRAGMENTS: Rate = Rate {
    packets: 50,
    per_seconds: 1,
    burst: 200,
};
/// Seconds that a bucket is kept after it must be full again.
const SPARE: u32 = 10;

/// What sets a limit apart.
pub struct Bucket<'a> {
    pub set: &'a str,
    pub key: String,
    pub rate: Rate,
    /// Counts all packets of the source, too.
    pub counted: bool,
}

/// What answers or keeps a hole in a NAT open: up to 8 bytes; SIP/ in any case; STUN, two zero bits
/// and the cookie of RFC 8489 section 5.
pub const ANSWERS: [&str; 3] = [
    "udp length <= 16",
    "@th,64,32 & 0xdfdfdfff == 0x5349502f",
    "@th,64,6 0 @th,96,32 0x2112a442",
];

/// All unknown sources together, and what they are refused.
pub fn strangers(limits: &Limits, rule: &mut impl FnMut(&str, &str)) {
    let others = Rate {
        packets: limits.unknown.packets.saturating_mul(OTHERS),
        burst: limits.unknown.burst.saturating_mul(OTHERS),
        ..limits.unknown
    };
    let shared = [
        ("unknown", limits.unknown, "refused"),
        ("unknown-answers", others, "refused"),
        ("unknown-segments", others, "refused"),
        // Forgers may send the same bytes again, too.
        ("retransmitted", others, "rate-unknown"),
    ];
    for (chain, rate, refused) in shared {
        rule(chain, &format!("{} goto {refused}", over(rate)));
        rule(chain, "goto clean");
    }
    rule(
        "fragments",
        &format!("{} goto rate-unknown", over(FRAGMENTS)),
    );
    rule("fragments", "goto later-fragment");
    for family in Family::ALL {
        let digit = family.digit();
        let nfproto = family.protocol();
        for protocol in ["udp", "tcp"] {
            rule(
                "refused",
                &format!(
                    "meta nfproto {nfproto} meta l4proto {protocol} goto refused-{protocol}{digit}"
                ),
            );
        }
        let (source, field) = (family.source(), family.field());
        let keys = [
            ("udp", format!("{field} . udp length . udp checksum")),
            ("tcp", format!("{field} . tcp sport . tcp dport")),
        ];
        for (protocol, key) in keys {
            let chain = format!("refused-{protocol}{digit}");
            let set = format!("refused-{protocol}{digit}");
            rule(
                &chain,
                &format!("{source} @retransmitters{digit} goto retransmitted"),
            );
            rule(&chain, &format!("{key} @just-{set} goto rate-unknown"));
            rule(
                &chain,
                &format!(
                    "{key} @{set} add @retransmitters{digit} {{ {source} }} goto retransmitted"
                ),
            );
            rule(&chain, &format!("add @{set} {{ {key} }}"));
            rule(&chain, &format!("add @just-{set} {{ {key} }}"));
            rule(&chain, "goto rate-unknown");
        }
    }
}

/// Later fragments, to whatever port, follow a first one that has passed.
pub fn later_fragments(family: Family, rule: &mut impl FnMut(&str, &str)) {
    let digit = family.digit();
    let chain = format!("fragments{digit}");
    let (source, pair) = (family.source(), pair(family));
    rule(
        &chain,
        &format!("{pair} @first-fragments{digit} goto later-fragment"),
    );
    rule(
        &chain,
        &format!("{source} @trusted{digit} goto later-fragment"),
    );
    rule(&chain, "goto fragments");
}

/// Has what belongs to a first fragment that passes follow it.
pub fn first_fragments(chain: &str, rule: &mut impl FnMut(&str, &str)) {
    for family in Family::ALL {
        let first = match family {
            Family::V4 => "ip frag-off & 0x3fff == 0x2000",
            Family::V6 => "meta nfproto ipv6 frag frag-off 0 frag more-fragments 1",
        };
        let (digit, pair) = (family.digit(), pair(family));
        rule(
            chain,
            &format!("{first} update @first-fragments{digit} {{ {pair} }}"),
        );
    }
}

/// Who sends to whom.
pub fn pair(family: Family) -> String {
    format!("{} . {}", family.source(), family.destination())
}

/// Acknowledgements without data are the transport's own: a header of any length and nothing
/// behind it. What has IPv4 options or IPv6 extensions is taken for data. One rule for each length,
/// the usual one first: nft 1.0.6 takes a set of them, and crashes when it lists it.
pub fn bare(family: Family, rule: &mut impl FnMut(&str, &str)) {
    let digit = family.digit();
    let chain = format!("bare{digit}");
    let (field, header) = match family {
        Family::V4 => ("ip length", 20),
        Family::V6 => ("ip6 length", 0),
    };
    rule(&chain, &format!("{field} > {} return", header + 60));
    for words in [8, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15] {
        let length = header + 4 * words;
        rule(
            &chain,
            &format!("tcp doff {words} {field} {length} goto acknowledged{digit}"),
        );
    }
}

/// Takes a token, and goes on where there is none left.
pub fn take(bucket: &Bucket<'_>, family: Family) -> String {
    let Bucket {
        set,
        key,
        rate,
        counted,
    } = bucket;
    let full = u64::from(rate.burst) * u64::from(rate.per_seconds) / u64::from(rate.packets.max(1));
    let timeout = full + u64::from(SPARE);
    let counter = if *counted { "counter " } else { "" };
    let over = over(*rate);
    format!(
        "update @{set}{} {{ {key} timeout {timeout}s {counter}{over} }}",
        family.digit()
    )
}

fn over(rate: Rate) -> String {
    let (packets, unit) = match rate.per_seconds {
        1 => (u64::from(rate.packets), "second"),
        60 => (u64::from(rate.packets), "minute"),
        3_600 => (u64::from(rate.packets), "hour"),
        seconds => {
            let a_day = u64::from(rate.packets) * 86_400 / u64::from(seconds.max(1));
            (a_day.max(1), "day")
        }
    };
    format!(
        "limit rate over {packets}/{unit} burst {} packets",
        rate.burst
    )
}
