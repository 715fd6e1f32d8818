//! Section 3.1.2: invalid messages.

use sipward_wire::sip::{Anomalies, HeaderName, Method, Scheme, StartLine};

use crate::{Case, Start, nothing_more, text};

pub(crate) const CASES: &[Case] = &[
    Case {
        section: "3.1.2.1 extraneous separators",
        head: &[
            "INVITE sip:keeper@example.com SIP/2.0",
            "To: sip:keeper@example.com",
            "From: sip:ferry.office@example.net;tag=gannet65",
            "Max-Forwards: 7",
            "Call-ID: mist-auk/3-1-2-1",
            "CSeq: 70985 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.80;;,;,,",
            "Contact: \"Lens\" <sip:lens@example.com>;;;;, ,,<sip:wick@example.com>",
            "Content-Length: {length}",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(message.via().expect("Via").host, b"192.0.2.80");
            let users: Vec<_> = message.contacts().map(|it| text(it.uri.user)).collect();
            assert_eq!(users, [Some("lens"), Some("wick")]);
        },
    },
    Case {
        section: "3.1.2.2 Content-Length beyond the message",
        head: &[
            "INVITE sip:keeper@example.com SIP/2.0",
            "Max-Forwards: 80",
            "To: sip:keeper@example.com",
            "From: sip:ferry.office@example.net;tag=buoy21",
            "Contact: <sip:ferry.office@squall.example.net>",
            "Call-ID: pier-harbour/3-1-2-2",
            "CSeq: 24590 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.81;branch=z9hG4bK-lamp.647",
            "Content-Type: application/sdp",
            "Content-Length: 9999",
        ],
        body: b"v=0\r\ns=-\r\n",
        start: Start::Request(Method::Invite),
        headers: 9,
        anomalies: Anomalies::SHORT_BODY,
        facts: |message| {
            assert_eq!(message.content_length(), Some(9999));
            assert_eq!(message.body(), b"v=0\r\ns=-\r\n");
        },
    },
    Case {
        section: "3.1.2.3 negative Content-Length",
        head: &[
            "INVITE sip:keeper@example.com SIP/2.0",
            "Max-Forwards: 254",
            "To: sip:keeper@example.com",
            "From: sip:ferry.office@example.net;tag=cove65",
            "Call-ID: cape-islet/3-1-2-3",
            "CSeq: 0 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.82;branch=z9hG4bK-brig.575",
            "Content-Length: -999",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 7,
        anomalies: Anomalies::BAD_CONTENT_LENGTH,
        facts: |message| {
            assert_eq!(message.content_length(), None);
            assert_eq!(message.body(), b"v=0\r\n");
        },
    },
    Case {
        section: "3.1.2.4 overlarge numbers in a request",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "Via: SIP/2.0/TCP gannet.example.com:99999;branch=z9hG4bK-ferry.737",
            "To: <sip:watch@example.com>",
            "From: <sip:watch@example.com>;tag=oar97",
            "CSeq: 73786976294838206465 REGISTER",
            "Call-ID: pier-bell/3-1-2-4",
            "Max-Forwards: 300",
            "Expires: 6000000000000000000000000000000000",
            "Contact: <sip:watch@gannet.example.com>",
            "  ;expires=99999999999999",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 9,
        anomalies: Anomalies::BAD_CSEQ.union(Anomalies::BAD_NUMBER),
        facts: |message| {
            let cseq = message.cseq().expect("CSeq");
            assert_eq!((cseq.number, cseq.method), (None, Method::Register));
            assert_eq!(
                (message.expires(), message.max_forwards()),
                (None, Some(300))
            );
            assert_eq!(message.via().expect("Via").port, None);
        },
    },
    Case {
        section: "3.1.2.5 overlarge numbers in a response",
        head: &[
            "SIP/2.0 503 Lamp Out",
            "Via: SIP/2.0/TCP gannet.example.com;branch=z9hG4bK-mist.962",
            "To: <sip:watch@example.com>;tag=surf52",
            "From: <sip:second.watch@example.net>;tag=squall48",
            "CSeq: 8888777766665555444433 OPTIONS",
            "Call-ID: brig-cove/3-1-2-5",
            "Retry-After: 31536000000000000000000000000",
            "Warning: 39900 tower \"Still Dark\"",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Response(Some(503)),
        headers: 8,
        anomalies: Anomalies::BAD_CSEQ,
        facts: |message| {
            assert!(message.header(HeaderName::RetryAfter).is_some());
            assert!(message.header(HeaderName::Warning).is_some());
        },
    },
    Case {
        section: "3.1.2.6 unterminated quote",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "To: \"Old Pharos <sip:keeper@example.com>",
            "From: sip:ferry.office@example.net;tag=reef69",
            "Max-Forwards: 10",
            "Call-ID: tern-oar/3-1-2-6",
            "Contact: <sip:ferry.office@islet.example.net>",
            "CSeq: 9439 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.83:5050;branch=z9hG4bK-auk.949",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 8,
        anomalies: Anomalies::OPEN_QUOTE,
        facts: |message| {
            let to = message.to().expect("To");
            assert_eq!(text(to.uri.user), Some("keeper"));
            assert_eq!(text(to.display), Some("Old Pharos"));
        },
    },
    Case {
        section: "3.1.2.7 request URI in angle brackets",
        head: &[
            "INVITE <sip:watch@example.com> SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=moor85",
            "Max-Forwards: 23",
            "Call-ID: reef-islet/3-1-2-7",
            "CSeq: 78896 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.84",
            "Contact: <sip:ferry.office@moor.example.net>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 8,
        anomalies: Anomalies::ODD_URI,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(uri.raw, b"<sip:watch@example.com>");
            assert_eq!(
                (text(uri.user), uri.host),
                (Some("watch"), b"example.com".as_slice())
            );
        },
    },
    Case {
        section: "3.1.2.8 blank in the request URI",
        head: &[
            "INVITE sip:watch@example.com; lr SIP/2.0",
            "To: sip:watch@example.com;tag=jetty75",
            "From: sip:ferry.office@example.net;tag=auk91",
            "Max-Forwards: 5",
            "Call-ID: horn-wick/3-1-2-8",
            "CSeq: 2019283746 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.85:5060;branch=z9hG4bK-cape.669",
            "Contact: <sip:ferry.office@pier.example.net>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 8,
        anomalies: Anomalies::ODD_URI,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(text(uri.user), Some("watch"));
            assert!(uri.params.find("lr").is_some());
        },
    },
    Case {
        section: "3.1.2.9 more than one blank in the request line",
        head: &[
            "INVITE  sip:watch@example.com  SIP/2.0",
            "Max-Forwards: 8",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=tide18",
            "Call-ID: cape-horn/3-1-2-9",
            "CSeq: 84143 INVITE",
            "Via: SIP/2.0/UDP pier.example.com;branch=z9hG4bK-wick.893",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 7,
        anomalies: Anomalies::LOOSE_START_LINE,
        facts: |message| {
            assert_eq!(
                message.request().expect("a request").uri.raw,
                b"sip:watch@example.com"
            );
        },
    },
    Case {
        section: "3.1.2.10 blanks at the end of the request line",
        head: &[
            "OPTIONS sip:lens@example.com SIP/2.0  ",
            "Via: SIP/2.0/TCP pier.example.com;branch=z9hG4bK-kelp.610",
            "To: <sip:lens@example.com>",
            "From: <sip:boathouse@example.com>;tag=skiff86",
            "Call-ID: pier-rope/3-1-2-10",
            "Accept: application/sdp",
            "CSeq: 5649 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 8,
        anomalies: Anomalies::LOOSE_START_LINE,
        facts: |message| {
            assert_eq!(message.request().expect("a request").version, b"SIP/2.0");
        },
    },
    Case {
        section: "3.1.2.11 headers in the request URI",
        head: &[
            "INVITE sip:watch@example.com?Priority=urgent SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=mast28",
            "Max-Forwards: 7",
            "Contact: <sip:ferry.office@dune.example.net>",
            "Call-ID: gale-quay/3-1-2-11",
            "CSeq: 5236 INVITE",
            "Via: SIP/2.0/UDP tide.example.com;branch=z9hG4bK-kelp.512",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 8,
        anomalies: Anomalies::ODD_URI,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(uri.headers, b"Priority=urgent");
            assert_eq!(uri.host, b"example.com");
        },
    },
    Case {
        section: "3.1.2.12 time zone in Date",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:ferry.office@example.net;tag=reef26",
            "Max-Forwards: 70",
            "Call-ID: quay-lens/3-1-2-12",
            "CSeq: 4166 INVITE",
            "Via: SIP/2.0/UDP skiff.example.com;branch=z9hG4bK-sail.553",
            "Date: Tue, 04 Mar 2014 06:30:00 CET",
            "Contact: <sip:ferry.office@moor.example.net>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let date = message.header(HeaderName::Date).expect("Date");
            assert_eq!(date.raw, b"Tue, 04 Mar 2014 06:30:00 CET");
        },
    },
    Case {
        section: "3.1.2.13 URI with headers and without brackets in Contact",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: sip:watch@example.com",
            "From: sip:watch@example.com;tag=spar62",
            "Max-Forwards: 70",
            "Call-ID: squall-fjord/3-1-2-13",
            "CSeq: 5803 REGISTER",
            "Via: SIP/2.0/UDP 192.0.2.86:5060;branch=z9hG4bK-beam.325",
            "Contact: sip:watch@example.com?Subject=%46og",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let contact = message.contacts().next().expect("a Contact");
            assert_eq!(text(contact.uri.user), Some("watch"));
            assert_eq!(contact.uri.headers, b"Subject=%46og");
        },
    },
    Case {
        section: "3.1.2.14 blanks within the brackets",
        head: &[
            "OPTIONS sip:lens@example.com SIP/2.0",
            "Via: SIP/2.0/UDP jetty.example.com:5060;branch=z9hG4bK-wharf.452",
            "Max-Forwards: 70",
            "From: \"Horn, F.\" <sip:horn@example.com>;tag=crab45",
            "To: \"Tern, A.\" < sip:tern@example.org >",
            "Call-ID: harbour-surf/3-1-2-14",
            "Accept: application/sdp",
            "CSeq: 11234 OPTIONS",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let to = message.to().expect("To");
            assert_eq!(to.uri.raw, b"sip:tern@example.org");
            assert_eq!(text(message.from().expect("From").tag()), Some("crab45"));
        },
    },
    Case {
        section: "3.1.2.15 comma in an unquoted name",
        head: &[
            "OPTIONS sip:tern@example.org SIP/2.0",
            "Via: SIP/2.0/UDP fjord.example.com:5060;branch=z9hG4bK-calm.172",
            "Max-Forwards: 70",
            "From: Light, Fog & Sons <sip:f.light@example.com>;tag=mast17",
            "To: The Tern <sip:tern@example.org>",
            "Call-ID: kelp-shoal/3-1-2-15",
            "Accept: application/sdp",
            "CSeq: 28824 OPTIONS",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let from = message.from().expect("From");
            assert_eq!(text(from.display), Some("Light, Fog & Sons"));
            assert_eq!(
                (text(from.uri.user), text(from.tag())),
                (Some("f.light"), Some("mast17"))
            );
        },
    },
    Case {
        section: "3.1.2.16 unknown version",
        head: &[
            "OPTIONS sip:tern@example.org SIP/7.0",
            "Via: SIP/7.0/UDP fjord.example.com;branch=z9hG4bK-gannet.177",
            "Max-Forwards: 70",
            "From: Fog Horn <sip:horn@example.com>;tag=fjord64",
            "To: Arctic Tern <sip:tern@example.org>",
            "Call-ID: calm-mast/3-1-2-16",
            "CSeq: 12327 OPTIONS",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::ODD_VERSION,
        facts: |message| assert_eq!(message.via().expect("Via").host, b"fjord.example.com"),
    },
    Case {
        section: "3.1.2.17 methods of request line and CSeq differ",
        head: &[
            "OPTIONS sip:watch@example.com SIP/2.0",
            "To: sip:oil.delivery@example.com",
            "From: sip:ferry.office@example.net;tag=tide48",
            "Max-Forwards: 6",
            "Call-ID: fjord-skiff/3-1-2-17",
            "CSeq: 54289 INVITE",
            "Via: SIP/2.0/UDP skiff.example.com;branch=z9hG4bK-wave.471",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::CSEQ_METHOD,
        facts: |message| assert_eq!(message.cseq().expect("CSeq").method, Method::Invite),
    },
    Case {
        section: "3.1.2.18 unknown method, another one in CSeq",
        head: &[
            "KINDLE sip:watch@example.com SIP/2.0",
            "To: sip:oil.delivery@example.com",
            "From: sip:ferry.office@example.net;tag=fjord35",
            "Max-Forwards: 6",
            "Call-ID: tern-oar/3-1-2-18",
            "CSeq: 26966 INVITE",
            "Contact: <sip:ferry.office@skiff.example.net>",
            "Via: SIP/2.0/UDP skiff.example.net;branch=z9hG4bK-tern.335",
            "Content-Length: {length}",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Other),
        headers: 8,
        anomalies: Anomalies::CSEQ_METHOD,
        facts: nothing_more,
    },
    Case {
        section: "3.1.2.19 overlarge status code",
        head: &[
            "SIP/2.0 4294967816 Far Beyond The Horizon",
            "Via: SIP/2.0/UDP 192.0.2.87;branch=z9hG4bK-cove.576",
            "Call-ID: eddy-gale/3-1-2-19",
            "CSeq: 424 INVITE",
            "From: <sip:watch@example.com>;tag=surf60",
            "To: <sip:watch@example.net>;tag=eddy20",
            "Content-Length: {length}",
            "Contact: <sip:watch@cape.example.com>",
        ],
        body: b"",
        start: Start::Response(None),
        headers: 7,
        anomalies: Anomalies::ODD_STATUS,
        facts: |message| {
            let StartLine::Response(response) = message.start_line() else {
                panic!("not a response");
            };
            assert_eq!(response.reason, b"Far Beyond The Horizon");
            assert_eq!(message.from().expect("From").uri.scheme, Scheme::Sip);
        },
    },
];
