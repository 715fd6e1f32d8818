use std::path::Path;

use sipward_shield::{PortClass, Rate};
use test_case::test_case;

use super::{Config, DEFAULT_TEXT, Problems};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/sipward"))
        .map_err(|problems| Problems::of(Path::new("x.toml"), text, problems).to_string())
}

#[test]
fn the_printed_file_is_the_built_in_defaults() {
    assert_eq!(parse(DEFAULT_TEXT), Ok(Config::default()));
    assert_eq!(parse(""), Ok(Config::default()));
}

#[test]
fn what_the_readme_says_is_a_configuration() {
    let readme = include_str!("../../../../README.md");
    // What stands for the reader's own key.
    let key = "RWQBAgMEBQYHCAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    let readme = readme.replace("RWQ...", key);
    let blocks = readme.split("```toml\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(
        blocks
            .iter()
            .any(|text| text.contains("[[signatures.feed]]"))
    );
    for text in blocks {
        parse(text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    }
}

/// The printed file names every key: turning each line on one by one is accepted, and every field
/// that serde knows is named in the file.
#[test]
fn the_printed_file_names_every_key() {
    for table in [
        "",
        "ports",
        "limits.sip",
        "limits.responses",
        "limits.unknown",
        "limits.trusted",
        "limits.ssh",
        "bans",
        "allow",
        "detect.scanner-signature",
        "detect.tripwire",
        "detect.rate-exceeded",
        "detect.password-guessing",
        "detect.extension-enumeration",
        "detect.unanswered-invite",
        "detect.toll-fraud-probe",
        "detect.server-probing",
        "detect.malformed-flood",
        "detect.account-attacked",
        "detect.prefix-campaign",
        "detect.fraud-after-login",
        "signatures",
        "signatures.feed",
        "signatures.override.x",
        "answer",
        "sensors",
        "asterisk",
        "asterisk.ami",
        "http",
    ] {
        let text = if table.is_empty() {
            "no-such-key = 1".to_owned()
        } else if table == "signatures.feed" {
            format!("[[{table}]]\nurl = \"https://lists.example.org\"\nno-such-key = 1")
        } else {
            format!("[{table}]\nno-such-key = 1")
        };
        let error = parse(&text).unwrap_err();
        let (_, expected) = error.split_once("expected ").unwrap();
        let keys = expected
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|key| !key.contains(' '));
        for key in keys {
            let full = format!("{table}.{key}");
            let heading = full.trim_start_matches('.');
            let named = DEFAULT_TEXT.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start().starts_with('='))
                    || line.trim_start_matches('[').starts_with(heading)
            });
            assert!(named, "{heading} is not in the printed file");
        }
    }
}

#[test_case("interface = [\"eth0\"]", "x.toml:1:1: interface: unknown field `interface`, expected one of"; "an unknown key")]
#[test_case("mode = \"protect\"\n[limits.sip]\nrate = \"5 per second\"\n", "x.toml:3:8: limits.sip.rate: \"5 per second\" is no rate"; "a rate that is none")]
#[test_case("[limits.sip]\nrat = \"5/s\"\n", "x.toml:2:1: limits.sip.rat: unknown field `rat`"; "an unknown key in a table")]
#[test_case("[bans]\nladder = [\"10m\", \"soon\"]\n", "x.toml:2:10: bans.ladder: \"soon\" is no length of time"; "a length of time that is none")]
#[test_case("[bans]\nladder = [\"1h\", \"10m\"]\n", "x.toml:2:10: bans.ladder: a later rung is shorter"; "a ladder that goes down")]
#[test_case("[bans]\nladder = []\n", "x.toml:2:10: bans.ladder: at least one"; "a ladder without rungs")]
#[test_case("[limits.sip]\nburst = 0\n", "x.toml:2:9: limits.sip.burst: 0 would drop every packet"; "a burst of nothing")]
#[test_case("[limits.sip]\nburst = -1\n", "x.toml:2:9: limits.sip.burst: invalid value: integer `-1`"; "a negative burst")]
#[test_case("[limits.sip]\nrate = \"0/s\"\n", "is no rate"; "a rate of nothing")]
#[test_case("[limits.sip]\nrate = \"1000000001/s\"\n", "x.toml:2:8: limits.sip.rate: \"1000000001/s\" is more than 1000000000 packets per second"; "a rate that the kernel cannot keep")]
#[test_case("[ports]\nsip-udp = [5060]\niax2 = [5060]\n", "x.toml:3:8: ports.iax2: UDP port 5060 is in ports.sip-udp already"; "a port with two purposes")]
#[test_case("[ports]\ntripwire = [5080]\n", "x.toml:2:12: ports.tripwire: UDP port 5080 is in ports.sip-udp already"; "a tripwire on a port in use")]
#[test_case("[ports]\nsip-udp = [0]\n", "0 is no port"; "port zero")]
#[test_case("[ports]\nsip-udp = [65536]\n", "x.toml:2:12: ports.sip-udp: invalid value"; "a port too large")]
#[test_case("[allow]\naddresses = [\"10.0.0.1/8\"]\n", "x.toml:2:13: allow.addresses: \"10.0.0.1/8\": bits are set"; "host bits")]
#[test_case("interfaces = [\"an-interface-name-too-long\"]", "x.toml:1:14: interfaces: "; "a long interface name")]
#[test_case("interfaces = [\"eth0\", \"eth0\"]", "named twice"; "an interface twice")]
#[test_case("[detect.prefix-campaign]\nipv4 = 1", "x.toml:2:8: detect.prefix-campaign.ipv4: 1 is too few: at least 2"; "a campaign of one")]
#[test_case("[detect.unanswered-invite]\nwindow = \"2d\"", "x.toml:2:10: detect.unanswered-invite.window: 2d is longer than 1d"; "a window that nobody remembers")]
#[test_case("[detect.password-guessing]\nthreshold = 0", "x.toml:2:13: detect.password-guessing.threshold: 0 is too few: at least 1"; "a threshold of none")]
#[test_case("http.listen = \"localhost:8060\"", "x.toml:1:15: http.listen: \"localhost:8060\" is no address with a port: write it as \"127.0.0.1:8060\""; "a name to listen at")]
#[test_case("http.listen = \"8060\"", "x.toml:1:15: http.listen: \"8060\" is no address with a port"; "a port alone to listen at")]
#[test_case("mode = \"watch\"", "x.toml:1:8: mode: unknown variant `watch`, expected `protect` or `observe`"; "an unknown mode")]
#[test_case("mode = ", "x.toml:1:8: "; "a value left out")]
#[test_case("[limits", "x.toml:1:8: "; "a bracket left out")]
#[test_case("pin-dir = \"pins\"", "x.toml:1:11: pin-dir: the path must begin with /"; "a relative pin folder")]
#[test_case("mode = \"protect\"\nmode = \"observe\"", "x.toml:2:1: "; "a key twice")]
#[test_case("[[signatures.feed]]\nname = \"x\"", "x.toml:1:1: signatures.feed: missing field `url`"; "a feed from nowhere")]
#[test_case("[[signatures.feed]]\nurl = \"lists.example.org/x\"", "signatures.feed.url: \"lists.example.org/x\" is no web address: as \"https://"; "a feed without a scheme")]
#[test_case("[[signatures.feed]]\nurl = \"ftp://lists.example.org/x\"", "signatures.feed.url: \"ftp://lists.example.org/x\" is no web address"; "a feed over ftp")]
#[test_case("[[signatures.feed]]\nurl = \"https://\"", "signatures.feed.url: \"https://\" is no web address"; "a feed without a host")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org\"\nname = \"a/b\"", "signatures.feed.name: \"a/b\" is no name of a list"; "a feed whose name is a path")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org\"\nevery = \"4m59s\"", "signatures.feed.every: 4m59s is too often for somebody else's server: at least 5m"; "a feed too often")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org\"\nkeep = \"6h\"", "signatures.feed.keep: 6h is over before the list is fetched again"; "a feed that lapses too soon")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org\"\nban-for = \"1h\"", "signatures.feed.ban-for: 1h is over before the list is fetched again"; "bans that end too soon")]
#[test_case("[[signatures.feed]]\nurl = \"http://lists.example.org\"\npromote = true", "signatures.feed.promote: anybody on the way could have anything dropped"; "promoted over http")]
#[test_case("[[signatures.feed]]\nurl = \"http://127.0.0.1.example.org\"\nevery = \"1s\"", "signatures.feed.every: 1s is too often"; "a name that begins like loopback")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org\"\nkey = \"RWQ\"", "this is no public key of minisign"; "a key that is none")]
#[test_case("[[signatures.feed]]\nurl = \"https://lists.example.org/a\"\n[[signatures.feed]]\nurl = \"https://lists.example.org/b\"", "signatures.feed.name: \"lists-example-org\" is the name of two lists"; "two feeds of one name")]
#[test_case("[asterisk]\nlog = []", "x.toml:2:1: asterisk.log: unknown field `log`, expected one of `config-dir`"; "an unknown key of asterisk")]
#[test_case("[asterisk.ami]\nsecret = \"x\"", "x.toml:2:1: asterisk.ami.secret: unknown field `secret`"; "a secret in the configuration")]
#[test_case("[asterisk]\nlogs = [\"\"]", "x.toml:2:8: asterisk.logs: a path is empty"; "an empty log")]
#[test_case("[asterisk]\nconfig-dir = \"\"", "x.toml:2:14: asterisk.config-dir: empty"; "an empty folder")]
#[test_case("[asterisk.ami]\nhost = \"a b\"", "x.toml:2:8: asterisk.ami.host: \"a b\" is neither a name nor an address"; "a host that is none")]
#[test_case("[asterisk.ami]\nport = 0", "x.toml:2:8: asterisk.ami.port: 0 is no port"; "no port of ami")]
#[test_case("[asterisk.ami]\nuser = \"u\"", "x.toml:2:8: asterisk.ami.user: asterisk.ami.secret-file is missing"; "a user without a secret")]
#[test_case("[asterisk.ami]\nuser = \"\"\nsecret-file = \"f\"", "x.toml:2:8: asterisk.ami.user: the name of a section"; "an empty user")]
#[test_case("[asterisk.ami]\nsecret-file = \"f\"", "x.toml:2:15: asterisk.ami.secret-file: without asterisk.ami.user nobody logs in"; "a secret without a user")]
#[test_case("[asterisk.ami]\nuser = \"u\"\nsecret-file = \"f\"\ntls = true", "x.toml:4:7: asterisk.ami.tls: asterisk.ami.ca-file is missing"; "tls without a certificate")]
#[test_case("[asterisk.ami]\nuser = \"u\"\nsecret-file = \"f\"\nca-file = \"c\"", "x.toml:4:11: asterisk.ami.ca-file: only with asterisk.ami.tls"; "a certificate without tls")]
#[test_case("[allow]\nasterisk-peers = \"yes\"", "x.toml:2:18: allow.asterisk-peers: invalid type"; "peers that are neither on nor off")]
#[test_case("'\u{1b}[2J' = 1", "\\x1b[2J"; "a terminal escape in a key")]
fn a_mistake_is_one_line_with_its_place(text: &str, part: &str) {
    let error = parse(text).unwrap_err();
    assert!(error.contains(part), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn every_mistake_is_told_at_once() {
    let error = parse("[bans]\nladder = []\n[limits.ssh]\nburst = 0\n").unwrap_err();
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn strict_has_the_smaller_burst_unless_the_file_says_otherwise() {
    let burst = |text: &str| parse(text).unwrap().policy().limits.sip.burst;
    assert_eq!(burst(""), 120);
    assert_eq!(burst("[signatures]\nprofile = \"strict\""), 30);
    assert_eq!(
        burst("[limits.sip]\nburst = 50\n[signatures]\nprofile = \"strict\""),
        50
    );
}

#[test]
fn the_engine_has_the_numbers_of_the_file() {
    let defaults = sipward_engine::Config::default();
    assert_eq!(
        Config::default().engine(),
        defaults,
        "both sides have the same defaults"
    );
    let text = "[bans]\nladder = [\"5m\"]\nscope = \"sip\"\n\
                [detect.toll-fraud-probe]\nper-day = 9\n\
                [detect.password-guessing]\nleak = \"30s\"\ndictionary-per-second = 0\n\
                [detect.tripwire]\nenabled = false\nforgiven = \"1d\"\n";
    let config = parse(text).unwrap().engine();
    assert_eq!(config.ladder.rungs, [std::time::Duration::from_secs(300)]);
    assert_eq!(config.scope, sipward_engine::Scope::Sip);
    assert!(!config.tripwire.enabled && config.scanner_signature.enabled);
    assert_eq!(config.tripwire.forgiven.as_secs(), 86_400);
    assert_eq!(config.toll_fraud_probe.limits.in_day, 9);
    assert_eq!(config.password_guessing.leak.as_secs(), 30);
    assert_eq!(config.password_guessing.dictionary_per_second, 0);
}

#[test]
fn the_policy_has_every_port_with_its_class() {
    let policy = parse("[ports]\ntripwire = [5070]").unwrap().policy();
    assert_eq!(
        policy.ports.udp,
        [
            (5060, PortClass::Sip),
            (5080, PortClass::Sip),
            (4569, PortClass::SipOpaque),
            (5070, PortClass::Tripwire)
        ]
    );
    assert_eq!(
        policy.ports.tcp,
        [
            (5060, PortClass::Sip),
            (5061, PortClass::SipOpaque),
            (8088, PortClass::SipOpaque),
            (8089, PortClass::SipOpaque),
            (5070, PortClass::Tripwire),
            (22, PortClass::Ssh)
        ]
    );
    assert_eq!(
        policy.limits.ssh,
        Rate {
            packets: 3,
            per_seconds: 60,
            burst: 10
        }
    );
}

#[test]
fn where_the_metrics_are_shown() {
    let listen = |text: &str| parse(text).unwrap().http.listen.to_string();
    assert_eq!(listen(""), "127.0.0.1:8060");
    for address in ["off", "[::1]:9100", "192.0.2.1:0"] {
        assert_eq!(listen(&format!("http.listen = \"{address}\"")), address);
    }
}

#[test]
fn the_largest_rate_is_accepted() {
    parse("[limits.sip]\nrate = \"1000000000/s\"").unwrap();
    parse("[limits.sip]\nrate = \"4294967295/min\"").unwrap();
}

#[test]
fn a_range_is_allowed_as_the_fewest_prefixes() {
    let config = parse("[allow]\naddresses = [\"10.0.0.1-10.0.0.4\", \"10.0.0.1\"]").unwrap();
    let allowed: Vec<String> = config.allowed().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/32"]);
}

#[test]
fn a_signature_file_is_looked_for_beside_the_configuration() {
    let config = parse("[signatures]\nfiles = [\"own.toml\", \"/srv/list.toml\"]").unwrap();
    assert_eq!(
        config.signatures.files,
        [
            Path::new("/etc/sipward/own.toml"),
            Path::new("/srv/list.toml")
        ]
    );
}

#[test]
fn the_paths_of_asterisk_are_taken_from_the_configuration() {
    let config = parse(
        "[asterisk]\nlogs = [\"security\", \"/var/log/asterisk/full\"]\n\
         [asterisk.ami]\nuser = \"u\"\nsecret-file = \"ami.secret\"\ntls = true\nca-file = \"ca.pem\"",
    );
    let asterisk = config.unwrap().asterisk;
    assert_eq!(asterisk.config_dir, Path::new("/etc/asterisk"));
    assert_eq!(
        asterisk.logs,
        [
            Path::new("/etc/sipward/security"),
            Path::new("/var/log/asterisk/full")
        ]
    );
    assert_eq!(
        asterisk.ami.secret_file.as_deref(),
        Some(Path::new("/etc/sipward/ami.secret"))
    );
    assert_eq!(
        asterisk.ami.ca_file.as_deref(),
        Some(Path::new("/etc/sipward/ca.pem"))
    );
}

#[test]
fn a_feed_has_its_defaults() {
    let text = "[[signatures.feed]]\nurl = \"https://www.example.org/list\"\nca-file = \"ca.pem\"\n\
                [[signatures.feed]]\nurl = \"http://[::1]:8000/list\"\nname = \"own\"\nevery = \"1s\"\n\
                keep = \"2s\"\nban-for = \"2s\"\npromote = true";
    let config = parse(text).unwrap();
    let [web, own] = &config.signatures.feeds[..] else {
        panic!("two feeds");
    };
    assert_eq!(web.name(), "example-org");
    let spans = [web.every, web.keep, web.ban_for].map(|span| span.to_string());
    assert_eq!(spans, ["6h", "30d", "2d"]);
    assert!(!web.promote && web.key.is_none());
    assert_eq!(
        web.ca_file.as_deref(),
        Some(Path::new("/etc/sipward/ca.pem"))
    );
    assert!(own.promote, "nobody is on the way to this machine");
}
