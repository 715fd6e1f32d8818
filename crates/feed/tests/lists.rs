//! Lists as they are published, and what is read of them.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use ipnet::IpNet;
use proptest::prelude::*;
use sipward_feed::{Error, Extent, Format, List, MOST_ENTRIES, Place, grows, guard, read, shrinks};
use sipward_signature::{Confidence, Field, MatchKind};
use test_case::test_case;

fn prefixes(list: &List) -> Vec<String> {
    list.prefixes.iter().map(ToString::to_string).collect()
}

fn texts(list: &List) -> Vec<&str> {
    list.texts
        .iter()
        .map(|text| text.written.as_str())
        .collect()
}

#[test_case("192.0.2.7\n2001:db8::7\n", &["192.0.2.7/32", "2001:db8::7/128"]; "plain")]
#[test_case("\u{feff}192.0.2.7\r\n198.51.100.0/24\r\n", &["192.0.2.7/32", "198.51.100.0/24"]; "CRLF and a byte order mark")]
#[test_case("# a netset\n#\n192.0.2.7/31 # two\n\n198.51.100.9/24\t; SBL1\n", &["192.0.2.6/31", "198.51.100.0/24"]; "netset comments, host bits")]
#[test_case("# VoIPBL\n\"192.0.2.7\"\n192.0.2.8/32\n", &["192.0.2.7/32", "192.0.2.8/32"]; "VoIPBL")]
#[test_case("192.0.2.0-192.0.2.3\n192.0.2.8 - 192.0.2.9\n", &["192.0.2.0/30", "192.0.2.8/31"]; "ranges")]
#[test_case("ip,seen,port\n192.0.2.7,2026-11-22,5060\n192.0.2.8,2026-11-21,5060\n", &["192.0.2.7/32", "192.0.2.8/32"]; "CSV")]
#[test_case("::ffff:192.0.2.7\n", &["192.0.2.7/32"]; "IPv4 in IPv6 clothes")]
#[test_case("0.0.0.0/0\n", &["0.0.0.0/0"]; "everything, which is the guard's to refuse")]
fn addresses_are_read(text: &str, expected: &[&str]) {
    let list = read(text.as_bytes()).unwrap();
    assert_eq!(list.format, Format::Addresses);
    assert_eq!(prefixes(&list), expected);
    assert_eq!(list.unread.count, 0, "{:?}", list.unread);
}

#[test]
fn lines_that_say_nothing_are_counted_and_the_first_is_shown() {
    let list = read(b"192.0.2.7\n192.0.2.256\n192.0.2.8\nevil\x1b[2J\n").unwrap();
    assert_eq!(prefixes(&list), ["192.0.2.7/32", "192.0.2.8/32"]);
    assert_eq!(list.unread.count, 2);
    let (line, problem) = list.unread.first.unwrap();
    assert_eq!(
        (line, problem.as_str()),
        (2, "\"192.0.2.256\" is no address")
    );
}

#[test_case("friendly-scanner\nEvil Phone, v2\n", &["friendly-scanner", "Evil Phone, v2"]; "plain")]
#[test_case("Avaya%20IP%20Phone\n\"sundayddr\"\n", &["Avaya%20IP%20Phone", "sundayddr"]; "as written")]
#[test_case("User Agent Used,Count\nsipcli/v1.8,17\n\"Z 3, rv\"\"2\"\"\",4\n", &["sipcli/v1.8", "Z 3, rv\"2\""]; "CSV")]
#[test_case("count;user_agent\n17;sipcli\n", &["sipcli"]; "CSV with semicolons")]
fn user_agents_are_read(text: &str, expected: &[&str]) {
    let list = read(text.as_bytes()).unwrap();
    assert_eq!(list.format, Format::UserAgents);
    assert_eq!(texts(&list), expected);
    assert!(list.texts.iter().all(|text| text.place == Place::UserAgent));
}

const PAGE: &str = "<!DOCTYPE html>\n<html><head><style>td { color: red }</style></head><body>\n\
    <table><tr><th>Country</th><th>Hits</th></tr><tr><td>NL</td><td>5</td></tr></table>\n\
    <TABLE class='x'><thead>\n<tr><th>#</th><th><b>User Agent Used</b></th></tr></thead>\n\
    <tr><td>1</td><td>friendly-scanner</td></tr>\n\
    <tr><td>2</td>\n<td>Avaya%20one-X &amp; &#34;co&#x22;</td></tr>\n\
    <tr><td>3</td><td></td></tr></TABLE></body></html>";

#[test]
fn the_table_of_a_web_page_is_read() {
    let list = read(PAGE.as_bytes()).unwrap();
    assert_eq!(list.format, Format::Html);
    assert_eq!(texts(&list), ["friendly-scanner", "Avaya%20one-X & \"co\""]);
}

#[test]
fn a_table_of_addresses_is_read_with_or_without_a_heading() {
    let rows = "<tr><td>192.0.2.7</td><td>NL</td></tr><tr><td>192.0.2.8</td></tr>";
    for head in ["", "<tr><th>IP Address</th><th>Country</th></tr>"] {
        let page = format!("<html><table>{head}{rows}</table></html>");
        let list = read(page.as_bytes()).unwrap();
        assert_eq!(prefixes(&list), ["192.0.2.7/32", "192.0.2.8/32"]);
    }
}

#[test]
fn a_page_of_apiban_is_read_and_says_where_the_next_begins() {
    let list = read(br#"{"ipaddress":["192.0.2.7","192.0.2.8"],"ID":"1583000000"}"#).unwrap();
    assert_eq!(prefixes(&list), ["192.0.2.7/32", "192.0.2.8/32"]);
    assert_eq!(list.next.as_deref(), Some("1583000000"));
    let last = read(br#"{"ipaddress":["no new bans"],"ID":"none"}"#).unwrap();
    assert_eq!((last.len(), last.next), (0, None));
}

#[test]
fn a_script_of_iptables_rules_is_read() {
    let script = "#!/bin/sh\niptables -F\n\
        iptables -I INPUT -j DROP -p udp --dport 5060 -m string --string \"Test Agent\" --algo bm\n\
        # iptables -I INPUT -j DROP -m string --string \"off\"\n\
        iptables -A INPUT -m string --string 'sip:nm@nm' --algo kmp -j REJECT\n\
        iptables -A INPUT -m string --string \"From: sipp <sip:\" --algo bm -j DROP\n\
        iptables -A INPUT -s 92.204.184.94 -j DROP\n\
        iptables -A INPUT ! -s 10.0.0.0/8 -j DROP\n\
        iptables -D INPUT -s 192.0.2.9 -j DROP\n\
        iptables -A INPUT -s 192.0.2.10 -j ACCEPT\n\
        iptables -A INPUT -m iprange --src-range 87.119.220.200-87.119.220.203 -j DROP\n";
    let list = read(script.as_bytes()).unwrap();
    assert_eq!(list.format, Format::Rules);
    assert_eq!(
        texts(&list),
        ["Test Agent", "sip:nm@nm", "From: sipp <sip:"]
    );
    assert_eq!(prefixes(&list), ["92.204.184.94/32", "87.119.220.200/30"]);
    assert_eq!(list.texts[0].line, 3);

    let from = list.texts[2].as_written().swap_remove(0);
    assert_eq!((from.field, from.kind), (Field::From, MatchKind::Prefix));
    assert_eq!(from.pattern, "sipp <sip:");
    let uri = list.texts[1].as_written();
    assert_eq!(uri.len(), 3);
    assert!(
        uri.iter()
            .all(|one| one.kind == MatchKind::Exact && one.pattern == "sip:nm@nm")
    );
}

#[test]
fn what_a_feed_says_is_decoded_and_is_evidence_only() {
    let list = read(b"Avaya%20IP%20Phone%201120E%20\nAvaya IP Phone\n%ff%fe\n").unwrap();
    let made: Vec<_> = list
        .texts
        .iter()
        .flat_map(|text| text.as_evidence("kwancro"))
        .collect();
    let patterns: Vec<&str> = made.iter().map(|one| one.pattern.as_str()).collect();
    assert_eq!(
        patterns,
        ["Avaya IP Phone 1120E", "Avaya IP Phone", "%ff%fe"]
    );
    for one in &made {
        assert_eq!(one.confidence, Confidence::Shared);
        assert_eq!(one.kind, MatchKind::Exact);
        assert!(one.name.starts_with("kwancro."), "{}", one.name);
    }
    let again = list.texts[0].as_evidence("kwancro");
    assert_eq!(again[0].name, made[0].name);
    assert_ne!(made[0].name, made[1].name);
}

#[test]
fn a_signature_file_is_read_and_its_mistakes_are_told() {
    let text = "# ours\n[[signature]]\nname = \"x\"\nfield = \"user-agent\"\nmatch = \"exact\"\n\
        pattern = \"evil\"\nconfidence = \"certain\"\nsource = \"us\"\n";
    let list = read(text.as_bytes()).unwrap();
    assert_eq!(list.signatures.iter().len(), 1);
    let error = read(text.replace("exact", "near").as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("unknown variant `near`"),
        "{error}"
    );
}

#[test_case(b"", "the list is empty"; "nothing")]
#[test_case(b"# only\n; comments\n", "the list is empty"; "comments only")]
#[test_case(b"192.0.2.7\n192.0.2.\xff\n", "line 2 is not text (UTF-8)"; "invalid UTF-8")]
#[test_case(b"<html><body><h1>404</h1></body></html>", "a web page without a table of addresses or User-Agents, not a list"; "a web page")]
#[test_case(b"<html><table><tr><td>Log in</td></tr></table>", "a web page without a table of addresses or User-Agents, not a list"; "a page with another table")]
#[test_case(br#"{"error": 1}"#, "JSON that is neither APIBAN's nor an array of strings: no such keys"; "other JSON")]
#[test_case(br#"{"ipaddress": ["#, "JSON that is neither APIBAN's nor an array of strings: EOF while parsing"; "JSON that breaks off")]
#[test_case(br#"{"ipaddress":["rate limit exceeded"],"ID":"unauthorized"}"#, "the server says: \"rate limit exceeded\""; "a refusal of APIBAN")]
fn what_is_no_list_is_refused_in_one_line(bytes: &[u8], says: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.starts_with(says), "{error}");
    assert!(!error.contains('\n'));
}

#[test]
fn two_million_entries_are_too_many() {
    let text = "192.0.2.7\n".repeat(2_000_000);
    assert_eq!(read(text.as_bytes()).unwrap_err(), Error::TooMany);
    let text = "192.0.2.7\n".repeat(MOST_ENTRIES);
    assert_eq!(read(text.as_bytes()).unwrap().len(), MOST_ENTRIES);
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_feed_never_bans_the_protected_nor_half_the_internet() {
    let feed = nets(&[
        "0.0.0.0/0",
        "10.0.0.0/7",
        "12.0.0.0/8",
        "::/0",
        "2000::/18",
        "2a00::/19",
        "203.0.113.0/24",
        "203.0.113.7/32",
        "192.0.2.0/24",
        "192.0.2.7/32",
        "198.51.100.9/32",
        "2001:db8::1/128",
    ]);
    let never = nets(&["192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32"]);
    let guarded = guard(&feed, &never);
    assert_eq!(
        guarded.kept,
        nets(&["12.0.0.0/8", "203.0.113.0/24", "2a00::/19"])
    );
    assert_eq!(
        guarded.too_wide,
        nets(&["0.0.0.0/0", "10.0.0.0/7", "::/0", "2000::/18"])
    );
    assert_eq!(
        guarded.protected,
        nets(&[
            "192.0.2.0/24",
            "192.0.2.7/32",
            "198.51.100.9/32",
            "2001:db8::1/128"
        ])
    );
}

#[test]
fn a_feed_never_bans_private_networks() {
    let private = nets(&[
        "10.1.2.0/24",
        "100.64.0.1/32",
        "172.31.0.0/16",
        "192.168.1.5/32",
        "fd00::/48",
    ]);
    let guarded = guard(&private, &[]);
    assert_eq!(guarded.kept, nets(&[]));
    assert_eq!(guarded.protected, private);
}

#[test]
fn a_feed_that_loses_more_than_half_is_suspicious() {
    assert!(shrinks(10, 4) && shrinks(1, 0));
    assert!(!shrinks(10, 5) && !shrinks(0, 0) && !shrinks(4, 100));
}

proptest! {
    #[test]
    fn nothing_that_anybody_publishes_is_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }

    #[test]
    fn nothing_like_a_list_is_fatal(text in "[<>{}\\[\\]\"'\\\\&;,#a-z%0-9./: \n-]{0,300}") {
        for start in ["", "<table><tr><td>", "{\"ipaddress\":[\"", "iptables -j DROP --string ", "user agent,x\n"] {
            if let Ok(list) = read(format!("{start}{text}").as_bytes()) {
                for text in &list.texts {
                    for signature in text.as_evidence("feed").iter().chain(&text.as_written()) {
                        prop_assert!(signature.name.len() <= 64, "{}", signature.name);
                        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                        prop_assert!(signature.name.chars().all(plain), "{}", signature.name);
                    }
                }
            }
        }
    }

    #[test]
    fn addresses_are_read_back(octets in proptest::collection::vec(any::<[u8; 4]>(), 1..50)) {
        let expected: Vec<IpNet> = octets.iter().map(|it| std::net::IpAddr::from(*it).into()).collect();
        let text: String = expected.iter().map(|net| format!("{}\n", net.addr())).collect();
        prop_assert_eq!(read(text.as_bytes()).unwrap().prefixes, expected);
    }

    #[test]
    fn what_is_kept_is_what_was_listed_and_hits_nobody_protected(
        feed in proptest::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..30),
        never in proptest::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..5),
    ) {
        let nets = |of: &[([u8; 4], u8)]| -> Vec<IpNet> {
            of.iter().map(|(a, len)| IpNet::new(std::net::IpAddr::from(*a), *len).unwrap().trunc()).collect()
        };
        let (feed, never) = (nets(&feed), nets(&never));
        let guarded = guard(&feed, &never);
        for kept in &guarded.kept {
            prop_assert!(feed.contains(kept) && kept.prefix_len() >= 8);
            prop_assert!(!never.iter().any(|it| it.contains(kept) || kept.contains(it)));
        }
        for prefix in &feed {
            let all = guarded.kept.iter().chain(&guarded.too_wide).chain(&guarded.protected);
            prop_assert!(all.clone().any(|it| it.contains(prefix)));
        }
    }
}

#[test_case(10, 1_000, false; "few entries")]
#[test_case(10, 1_001, true; "from ten to a thousand")]
#[test_case(1_000, 10_000, false; "ten times as many")]
#[test_case(1_000, 10_010, true; "more than ten times as many")]
#[test_case(10_000, 5, false; "a list that shrank")]
fn a_list_that_grew_manyfold_is_recognised(before: usize, after: usize, expected: bool) {
    assert_eq!(grows(before, after), expected);
}

fn extent(prefixes: &[&str]) -> Extent {
    Extent::of(prefixes.iter().map(|text| text.parse().unwrap()))
}

#[test]
fn an_extent_counts_each_address_once() {
    let twice = [
        "198.51.100.0/24",
        "198.51.100.7/32",
        "192.0.2.1/32",
        "192.0.2.1/32",
        "2001:db8::/48",
        "2001:db8:1::1/128",
        "2001:db8:0:1::/64",
    ];
    let expected = Extent {
        ipv4: 257,
        ipv6: 65_537,
    };
    assert_eq!(extent(&twice), expected);
    assert_eq!(extent(&["0.0.0.0/0"]).ipv4, 1 << 32);
    assert_eq!(extent(&["::/0"]).ipv6, u64::MAX);
}

#[test_case(&["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8"], false; "a 64th of IPv4")]
#[test_case(&["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8", "5.0.0.0/32"], true; "one more")]
#[test_case(&["2400::/16"], false; "a /16 of IPv6")]
#[test_case(&["2400::/16", "2600::/128"], true; "and one more")]
fn more_than_lists_may_ban_is_recognised(prefixes: &[&str], expected: bool) {
    assert_eq!(extent(prefixes).is_too_much(), expected);
}

#[test_case(&["192.0.2.1/32"], &["198.51.0.0/16"], false; "from one to a /16")]
#[test_case(&["192.0.2.1/32"], &["198.50.0.0/15"], true; "from one to more")]
#[test_case(&["198.51.0.0/16"], &["198.48.0.0/13"], false; "eight times as much")]
#[test_case(&["198.51.0.0/16"], &["198.48.0.0/12"], true; "sixteen times as much")]
#[test_case(&["2001:db8::/48"], &["2001:db8::/44"], true; "sixteen times as much of IPv6")]
fn a_list_that_covers_manyfold_is_recognised(before: &[&str], after: &[&str], expected: bool) {
    assert_eq!(extent(after).outgrows(extent(before)), expected);
}
