//! Sections 3.2 (transactions), 3.3 (applications) and 3.4 (RFC 2543).

use sipward_wire::sip::{Anomalies, HeaderName, Method, Scheme};

use crate::{Case, Start, nothing_more, text};

pub(crate) const CASES: &[Case] = &[
    Case {
        section: "3.2.1 branch without an identifier",
        head: &[
            "OPTIONS sip:watch@example.com SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.org;tag=prism67",
            "Max-Forwards: 3",
            "Via: SIP/2.0/UDP 192.0.2.90;branch=z9hG4bK",
            "Accept: application/sdp",
            "Call-ID: bell-squall/3-2-1",
            "CSeq: 2905 OPTIONS",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(text(message.via().expect("Via").branch()), Some("z9hG4bK"));
        },
    },
    Case {
        section: "3.3.1 required headers missing",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "CSeq: 23407 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.91;branch=z9hG4bK-gannet.612",
            "Content-Type: application/sdp",
            "l: {length}",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 4,
        anomalies: Anomalies::MISSING_HEADER,
        facts: |message| {
            assert!(message.anomalies().intersects(Anomalies::UNPARSABLE));
            assert_eq!(
                (message.from(), message.to(), message.call_id()),
                (None, None, None)
            );
        },
    },
    Case {
        section: "3.3.2 unknown scheme in the request URI",
        head: &[
            "OPTIONS semaphore:flags-left-and-right SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=tern14",
            "Max-Forwards: 3",
            "Call-ID: bell-tern/3-3-2",
            "CSeq: 65768 OPTIONS",
            "Via: SIP/2.0/TCP quay.example.com;branch=z9hG4bK-gannet.782",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!((uri.scheme, uri.user), (Scheme::Other, None));
        },
    },
    Case {
        section: "3.3.3 known scheme that is no SIP",
        head: &[
            "OPTIONS coap://192.0.2.92:5683/lamp SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=mist97",
            "Max-Forwards: 3",
            "Call-ID: gannet-ferry/3-3-3",
            "CSeq: 50873 OPTIONS",
            "Via: SIP/2.0/TCP quay.example.com;branch=z9hG4bK-moor.502",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(
                (uri.scheme, uri.raw),
                (Scheme::Other, b"coap://192.0.2.92:5683/lamp".as_slice())
            );
        },
    },
    Case {
        section: "3.3.4 unknown schemes in headers",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: urn:lighthouse:42",
            "From: <ftp://charts.example.com/north>;tag=islet57",
            "Call-ID: buoy-prism/3-3-4",
            "CSeq: 31045 REGISTER",
            "Max-Forwards: 70",
            "Via: SIP/2.0/UDP 192.0.2.93:5060;branch=z9hG4bK-auk.210",
            "Contact: <flag:alpha-bravo>",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let from = message.from().expect("From");
            assert_eq!(
                (from.uri.scheme, text(from.tag())),
                (Scheme::Other, Some("islet57"))
            );
            assert_eq!(message.to().expect("To").uri.raw, b"urn:lighthouse:42");
        },
    },
    Case {
        section: "3.3.5 Require and Proxy-Require",
        head: &[
            "OPTIONS sip:watch@example.com SIP/2.0",
            "To: sip:oil.delivery@example.com",
            "From: sip:ferry.office@example.net;tag=spar10",
            "Max-Forwards: 6",
            "Call-ID: calm-reef/3-3-5",
            "Require: fog-signal-9, fog-signal-10",
            "Proxy-Require: relay-by-flag, relay-by-gull",
            "CSeq: 82016 OPTIONS",
            "Via: SIP/2.0/TLS prism.example.com;branch=z9hG4bK-beam.483",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert!(message.header(HeaderName::Require).is_some());
            assert!(message.header(HeaderName::ProxyRequire).is_some());
        },
    },
    Case {
        section: "3.3.6 unknown Content-Type",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "Contact: <sip:ferry.office@moor.example.net>",
            "To: sip:oil.delivery@example.com",
            "From: sip:ferry.office@example.net;tag=rope55",
            "Max-Forwards: 70",
            "Call-ID: gannet-prism/3-3-6",
            "CSeq: 91230 INVITE",
            "Via: SIP/2.0/UDP buoy.example.com;branch=z9hG4bK-wharf.694",
            "Content-Type: application/x-tide-table ; version=7",
            "Content-Length: {length}",
        ],
        body: b"<lamp><wick/></lamp>",
        start: Start::Request(Method::Invite),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(
                text(message.content_type()),
                Some("application/x-tide-table")
            );
            assert_eq!(message.body(), b"<lamp><wick/></lamp>");
        },
    },
    Case {
        section: "3.3.7 unknown authorization scheme",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: sip:oil.delivery@example.com",
            "From: sip:oil.delivery@example.com;tag=quay47",
            "Max-Forwards: 8",
            "Call-ID: lamp-buoy/3-3-7",
            "CSeq: 60390 REGISTER",
            "Via: SIP/2.0/TCP 192.0.2.94;branch=z9hG4bK-keel.350",
            "Authorization: Lantern colour=green, b=\"c, d\"",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let credentials: Vec<_> = message.credentials().collect();
            assert_eq!(credentials.len(), 1);
            assert!(!credentials[0].is_digest());
            assert_eq!(credentials[0].scheme, b"Lantern");
            assert_eq!(text(credentials[0].value("b")), Some("c, d"));
        },
    },
    Case {
        section: "3.3.8 headers that may stand only once",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "Contact: <sip:ferry.office@brig.example.net>",
            "Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bK-pier.773",
            "Max-Forwards: 70",
            "CSeq: 5 INVITE",
            "Call-ID: first-tide/3-3-8",
            "CSeq: 59 INVITE",
            "Call-ID: second-tide/3-3-8",
            "From: sip:ferry.office@example.com;tag=buoy35",
            "To: sip:watch@example.com",
            "To: sip:second.watch@example.net",
            "From: sip:ferry.office@example.net;tag=pier24",
            "Max-Forwards: 5",
            "l: {length}",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 13,
        anomalies: Anomalies::DUPLICATE_HEADER,
        facts: |message| {
            assert_eq!(
                message.cseq().expect("CSeq").number,
                Some(5),
                "the first one"
            );
            assert_eq!(message.values(HeaderName::CSeq).count(), 2);
            assert_eq!(message.values(HeaderName::To).count(), 2);
        },
    },
    Case {
        section: "3.3.9 two Content-Lengths",
        head: &[
            "OPTIONS sip:watch@example.com SIP/2.0",
            "Via: SIP/2.0/UDP moor.example.net;branch=z9hG4bK-brig.428",
            "To: sip:watch@example.com",
            "From: sip:second.watch@example.net;tag=pier98",
            "Call-ID: lens-islet/3-3-9",
            "CSeq: 82751 OPTIONS",
            "Content-Length: 13",
            "Max-Forwards: 60",
            "Content-Length: 5",
            "Content-Type: text/plain",
        ],
        body: b"The first thirteen, or five, or all of it?",
        start: Start::Request(Method::Options),
        headers: 9,
        anomalies: Anomalies::DUPLICATE_CONTENT_LENGTH.union(Anomalies::EXTRA_BYTES),
        facts: |message| assert_eq!(message.body(), b"The first thi", "the first one counts"),
    },
    Case {
        section: "3.3.10 response with a broadcast address in Via",
        head: &[
            "SIP/2.0 200 OK",
            "Via: SIP/2.0/UDP 192.0.2.96;branch=z9hG4bK-wharf.324",
            "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK-ferry.973",
            "Call-ID: crab-surf/3-3-10",
            "CSeq: 1244 INVITE",
            "From: sip:watch@example.com;tag=islet83",
            "To: sip:watch@example.net;tag=horn16",
            "Content-Length: {length}",
            "Contact: <sip:watch@cove.example.com>",
        ],
        body: b"v=0\r\n",
        start: Start::Response(Some(200)),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(
                message.vias().nth(1).expect("a second Via").host,
                b"255.255.255.255"
            );
        },
    },
    Case {
        section: "3.3.11 Max-Forwards of zero",
        head: &[
            "OPTIONS sip:watch@example.com SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=kelp58",
            "Call-ID: skiff-tern/3-3-11",
            "CSeq: 12181 OPTIONS",
            "Via: SIP/2.0/UDP pier.example.com;branch=z9hG4bK-pier.711",
            "Max-Forwards: 0",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: |message| assert_eq!(message.max_forwards(), Some(0)),
    },
    Case {
        section: "3.3.12 REGISTER with a Contact parameter",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "Via: SIP/2.0/UDP ferry.example.com:5060;branch=z9hG4bK-prism.506",
            "Max-Forwards: 70",
            "From: sip:fog@example.com;tag=cove93",
            "To: sip:fog@example.com",
            "Call-ID: skiff-auk/3-3-12",
            "CSeq: 67791 REGISTER",
            "Contact: sip:+41555017070@gate.example.net;lantern",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let contact = message.contacts().next().expect("a Contact");
            assert!(contact.params.find("lantern").is_some());
            assert!(contact.uri.params.find("lantern").is_none());
        },
    },
    Case {
        section: "3.3.13 REGISTER with a URI parameter",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "Via: SIP/2.0/UDP ferry.example.com:5060;branch=z9hG4bK-eddy.186",
            "Max-Forwards: 70",
            "From: sip:fog@example.com;tag=tide58",
            "To: sip:fog@example.com",
            "Call-ID: wave-wick/3-3-13",
            "CSeq: 36123 REGISTER",
            "Contact: <sip:+41555017070@gate.example.net;lantern>",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let contact = message.contacts().next().expect("a Contact");
            assert!(contact.params.find("lantern").is_none());
            assert!(contact.uri.params.find("lantern").is_some());
        },
    },
    Case {
        section: "3.3.14 REGISTER with headers in the Contact URI",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:watch@example.com;tag=mist32",
            "Max-Forwards: 70",
            "Call-ID: mist-jetty/3-3-14",
            "CSeq: 86372 REGISTER",
            "Via: SIP/2.0/UDP moor.example.com;branch=z9hG4bK-rope.394",
            "M: <sip:watch@example.com?Subject=%46og>",
            "L:{length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let contact = message.contacts().next().expect("a Contact");
            assert_eq!(contact.uri.headers, b"Subject=%46og");
        },
    },
    Case {
        section: "3.3.15 nothing acceptable in Accept",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "To: sip:oil.delivery@example.com",
            "Contact: <sip:ferry.office@wharf.example.net>",
            "From: sip:ferry.office@example.net;tag=wick41",
            "Max-Forwards: 5",
            "Call-ID: buoy-skiff/3-3-15",
            "Accept: text/morse",
            "CSeq: 47859 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.98;branch=z9hG4bK-surf.139",
            "Content-Length: {length}",
            "Content-Type: application/sdp",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 10,
        anomalies: Anomalies::NONE,
        facts: nothing_more,
    },
    Case {
        section: "3.4.1 INVITE of RFC 2543",
        head: &[
            "INVITE sip:night.watch@example.com SIP/2.0",
            "Via: SIP/2.0/UDP trunk.example.com",
            "From: <sip:+41555016161@trunk.example.net;user=phone>",
            "Record-Route: <sip:night.watch@example.com;maddr=hop.example.com>",
            "To: sip:+41555015252@hop.example.net;user=phone",
            "Call-ID: crab-gannet/3-4-1",
            "CSeq: 16218 INVITE",
            "Content-Type: application/sdp",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(message.via().expect("Via").branch(), None);
            assert_eq!(message.from().expect("From").tag(), None);
            let to = message.to().expect("To");
            assert_eq!(
                text(to.params.value("user")),
                Some("phone"),
                "a header parameter"
            );
            assert_eq!(
                message.body(),
                b"v=0\r\n",
                "without Content-Length: all that is there"
            );
        },
    },
];
