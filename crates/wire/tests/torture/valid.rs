//! Section 3.1.1: valid messages.

use sipward_wire::sip::{
    Anomalies, HeaderName, Message, Method, StartLine, ViaTransport, percent_decode, unescape,
};

use crate::{Case, Start, nothing_more, text};

pub(crate) const CASES: &[Case] = &[
    Case {
        section: "3.1.1.1 short and tortuous",
        head: &[
            "INVITE sip:keeper@tower.example.com;beam=rotating SIP/2.0",
            "v :",
            "\tSIP /",
            "  2.0/",
            "\tUDP 192.0.2.61",
            " ; branch",
            " = 9k33",
            "CSEQ:",
            " 00017",
            "\t INVITE",
            "mAX-fORWARDS:",
            "\t000042",
            "FROM\t: \"Gull \\\\\\\" Sound\"<sip:gull@example.net>; \t",
            "\ttag =",
            " 55x",
            "t:sip:keeper@tower.example.com;tag",
            " =7fogbank",
            "Call-id \t:tortuous-7.0f2@192.0.2.61",
            "Fog-Signal:\t every",
            " thirty seconds, also a",
            "\tcontinued line",
            "Fog-Param: ;;,bell,;;;,",
            "s:",
            "M : <sip:keeper@192.0.2.61>;q = 0.71",
            "\t; lit ;wick =",
            "\t \"long; trimmed\",\"Keeper <K>\" <sip:k@192.0.2.61>",
            "l\t: {length}",
            "VIA : SIP/\t2.0 / TCP   198.51.100.4; branch=z9hG4bK~33 ,",
            "\tSIP/2.0/UDP 198.51.100.5;branch=z9hG4bK7;",
            "\t received\t=\t198.51.100.6",
        ],
        body: b"v=0\r\n",
        start: Start::Request(Method::Invite),
        headers: 12,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let to = message.to().expect("To");
            assert_eq!(text(to.tag()), Some("7fogbank"));
            assert_eq!(to.uri.host, b"tower.example.com");
            let from = message.from().expect("From");
            assert_eq!(text(from.display), Some("Gull \\\\\\\" Sound"));
            assert_eq!(
                *unescape(from.display.expect("a name")),
                *b"Gull \\\" Sound"
            );
            assert_eq!(text(from.tag()), Some("55x"));
            let cseq = message.cseq().expect("CSeq");
            assert_eq!((cseq.number, cseq.method), (Some(17), Method::Invite));
            assert_eq!(message.max_forwards(), Some(42));
            let vias: Vec<_> = message
                .vias()
                .map(|via| (via.transport, via.host))
                .collect();
            assert_eq!(
                vias,
                [
                    (ViaTransport::Udp, b"192.0.2.61".as_slice()),
                    (ViaTransport::Tcp, b"198.51.100.4"),
                    (ViaTransport::Udp, b"198.51.100.5"),
                ]
            );
            assert_eq!(
                message.vias().nth(2).and_then(|via| via.received()),
                "198.51.100.6".parse().ok()
            );
            let signal = message
                .headers()
                .find(|header| header.raw_name == b"Fog-Signal");
            let signal = signal.expect("an unknown header").value;
            assert_eq!(
                *signal.unfold(),
                *b"every thirty seconds, also a continued line"
            );
            let contacts: Vec<_> = message.contacts().collect();
            assert_eq!(text(contacts[1].display), Some("Keeper <K>"));
            assert_eq!(text(contacts[1].uri.user), Some("k"));
            let contact = contacts[0];
            assert_eq!(text(contact.params.value("wick")), Some("long; trimmed"));
            assert_eq!(text(contact.params.value("Q")), Some("0.71"));
            assert_eq!(contact.params.find("lit").expect("a flag").value, None);
            assert_eq!(message.header(HeaderName::Subject).expect("empty").raw, b"");
            assert_eq!(message.body(), b"v=0\r\n");
        },
    },
    Case {
        section: "3.1.1.2 wide range of characters",
        head: &[
            "!weird-Light.7_*+`%'~ sip:1_odd.LAMP!~*'()&=+$,;?/%5a:&a=+b$c,d@example.com:5060 SIP/2.0",
            "Via: SIP/2.0/UDP odd-1.example.com:5060;branch=z9hG4bK'*+wick!_%25.~`-",
            "To: \"ring \\\u{7}, naught \\\0, page \\\u{c}\" <sip:1_odd.LAMP!~*'()&=+$,;?/:@example.com>",
            "From: tok3n`~' !.%* 'lamp'_ +~ <sip:odd@example.com>;tag=_t*'+-.!%7'`~",
            "Max-Forwards: 70",
            "Call-ID: {odd}[%LAMP?]<\"/\\:>(!)'~`+_*.@192.0.2.62",
            "CSeq: 77001 !weird-Light.7_*+`%'~",
            "Lamp-!.'Chimney~_*+`%: \u{5854}\u{706f} \u{fc}\u{f1}\u{ef}c\u{f6}de",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Other),
        headers: 8,
        anomalies: Anomalies::NUL,
        facts: |message| {
            let request = message.request().expect("a request");
            assert_eq!(request.method_name, b"!weird-Light.7_*+`%'~");
            assert_eq!(text(request.uri.user), Some("1_odd.LAMP!~*'()&=+$,;?/%5a"));
            assert_eq!(text(request.uri.password), Some("&a=+b$c,d"));
            assert_eq!(
                (request.uri.host, request.uri.port),
                (b"example.com".as_slice(), Some(5060))
            );
            assert_eq!(
                message.cseq().expect("CSeq").method_name,
                request.method_name
            );
            let from = message.from().expect("From");
            assert_eq!(text(from.display), Some("tok3n`~' !.%* 'lamp'_ +~"));
            assert_eq!(text(from.tag()), Some("_t*'+-.!%7'`~"));
            assert_eq!(
                text(message.via().expect("Via").branch()),
                Some("z9hG4bK'*+wick!_%25.~`-")
            );
        },
    },
    Case {
        section: "3.1.1.3 escaping by %",
        head: &[
            "INVITE sip:sips%3Akeeper%40tower.example.com@example.net SIP/2.0",
            "To: sip:%6Beeper@example.net",
            "From: <sip:two%20blanks%20here@example.org>;tag=gannet79%41",
            "Max-Forwards: 87",
            "i: islet-brig/3-1-1-3",
            "CSeq: 59232 INVITE",
            "Conta%63t: <sip:mirage@example.com>",
            "Via: SIP/2.0/UDP sound.example.org;branch=z9hG4bK-quay.713",
            "Contact:",
            "  <sip:k%65eper@192.0.2.63;li%74;col%6Fur=gr%65%25%65n>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(
                uri.host, b"example.net",
                "an escaped @ does not end the user"
            );
            let user = uri.user.expect("a user");
            assert_eq!(*percent_decode(user), *b"sips:keeper@tower.example.com");
            let contacts: Vec<_> = message.contacts().collect();
            assert_eq!(
                contacts.len(),
                1,
                "an escaped header name is another header"
            );
            let name = contacts[0]
                .uri
                .params
                .value("col%6Fur")
                .expect("names are not decoded");
            assert_eq!(*percent_decode(name), *b"gre%en", "decoded once");
        },
    },
    Case {
        section: "3.1.1.4 escaped NULs",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: sip:dark%00lamp@example.com",
            "From: sip:dark%00lamp@example.com;tag=prism95",
            "Max-Forwards: 70",
            "Call-ID: horn-skiff/3-1-1-4",
            "CSeq: 61067 REGISTER",
            "Via: SIP/2.0/UDP cellar.example.com;branch=z9hG4bK-auk.499",
            "Contact: <sip:%00@cellar.example.com>",
            "Contact: <sip:%00%00@cellar.example.com>",
            "L:{length}",
        ],
        body: b"",
        start: Start::Request(Method::Register),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let users: Vec<_> = message
                .contacts()
                .filter_map(|contact| contact.uri.user)
                .map(|user| percent_decode(user).into_owned())
                .collect();
            assert_eq!(users, [b"\0".to_vec(), b"\0\0".to_vec()]);
        },
    },
    Case {
        section: "3.1.1.5 % that escapes nothing",
        head: &[
            "SUB%53CRIBE sip:lamp%53@example.com SIP/2.0",
            "To: \"%25 oil left, %Q%51\" <sip:tower%42@example.com>",
            "From: \"%25 oil left, %Q%51\" <sip:tower@example.com>;tag=islet69%62",
            "Max-Forwards: 70",
            "Call-ID: wick-prism/3-1-1-5",
            "CSeq: 2763 SUB%53CRIBE",
            "Via: SIP/2.0/TCP strait.example.com;branch=z9hG4bK%41",
            "%43ontact: <sip:mirage@example.com>",
            "Contact: <sip:landfall@strait.example.com>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Other),
        headers: 9,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(message.contacts().count(), 1);
            assert_eq!(
                text(message.to().expect("To").display),
                Some("%25 oil left, %Q%51")
            );
            assert_eq!(
                *percent_decode(b"%Z%45"),
                *b"%ZE",
                "what is no escape stays"
            );
        },
    },
    Case {
        section: "3.1.1.6 no blank between name and <",
        head: &[
            "OPTIONS sip:fog@example.com SIP/2.0",
            "To: sip:fog@example.com",
            "From: lamp<sip:lamp@example.com>;tag=prism87",
            "Max-Forwards: 70",
            "Call-ID: kelp-rope/3-1-1-6",
            "CSeq: 25401 OPTIONS",
            "Via: SIP/2.0/UDP lamp.example.com;branch=z9hG4bK-surf.626",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let from = message.from().expect("From");
            assert_eq!(
                (text(from.display), text(from.tag())),
                (Some("lamp"), Some("prism87"))
            );
        },
    },
    Case {
        section: "3.1.1.7 long values",
        head: &[
            "INVITE sip:watch@example.com SIP/2.0",
            "To: \"The light at {long}\" <sip:watch@example.com:5062;\
             glow{long}=dim{long};tag>",
            "From: sip:{long}@example.net;tag=spar37{long}424;other{long}=x;flag",
            "Call-ID: far-{long}-out",
            "CSeq: 86809 INVITE",
            "Tide-{long}: high-{long}; low-{long}",
            "Via: SIP/2.0/TCP near.example.com",
            "v: SIP/2.0/TCP far.example.com",
            "V: SIP/2.0/TCP way.{long}.example.com;branch=off{long}shore",
            "Max-Forwards: 70",
            "Contact: <sip:{long}@moor.example.net>",
            "Content-Length: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Invite),
        headers: 11,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(message.vias().count(), 3);
            let from = message.from().expect("From");
            assert_eq!(from.uri.user.map(<[u8]>::len), Some(1_000));
            assert_eq!(from.tag().map(<[u8]>::len), Some(1_009));
            assert_eq!(
                message.to().expect("To").tag(),
                None,
                "it belongs to the URI"
            );
        },
    },
    Case {
        section: "3.1.1.8 trailing bytes in the datagram",
        head: &[
            "REGISTER sip:example.com SIP/2.0",
            "To: sip:auk@example.com",
            "From: sip:auk@example.com;tag=gannet26",
            "Max-Forwards: 8",
            "I: tide-skiff/3-1-1-8",
            "Contact: sip:auk@skiff.example.com",
            "CSeq: 68882 REGISTER",
            "Via: SIP/2.0/UDP 192.0.2.68;branch=z9hG4bK-skiff.307",
            "Content-Length: 0",
        ],
        body: b"INVITE sip:hidden@example.com SIP/2.0\r\nUser-Agent: stowaway\r\n\r\n",
        start: Start::Request(Method::Register),
        headers: 8,
        anomalies: Anomalies::EXTRA_BYTES,
        facts: |message| {
            assert_eq!(message.body(), b"");
            let second = Message::parse(message.rest());
            assert_eq!(second.method(), Some(Method::Invite));
            assert_eq!(second.user_agent().expect("an agent").raw, b"stowaway");
        },
    },
    Case {
        section: "3.1.1.9 semicolons in the user part",
        head: &[
            "OPTIONS sip:fog;horn=lit%40example.net@example.com SIP/2.0",
            "To: sip:siren@example.com",
            "From: sip:ferry.office@example.org;tag=crab89",
            "Max-Forwards: 3",
            "Call-ID: horn-skiff/3-1-1-9",
            "CSeq: 49119 OPTIONS",
            "Accept: application/sdp, application/pkcs7-mime",
            "Via: SIP/2.0/UDP 192.0.2.69;branch=z9hG4bK-mist.595",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let uri = message.request().expect("a request").uri;
            assert_eq!(text(uri.user), Some("fog;horn=lit%40example.net"));
            assert_eq!(text(uri.user_name()), Some("fog"));
            assert_eq!(
                (uri.host, uri.params.iter().count()),
                (b"example.com".as_slice(), 0)
            );
        },
    },
    Case {
        section: "3.1.1.10 unknown transports",
        head: &[
            "OPTIONS sip:lamp@example.com SIP/2.0",
            "To: sip:lamp@example.com",
            "From: <sip:ferry.office@example.com>;tag=shoal79",
            "Max-Forwards: 70",
            "Call-ID: lens-gannet/3-1-1-10",
            "CSeq: 66585 OPTIONS",
            "Via: SIP/2.0/SEMAPHORE-FLAGS t6.example.com;branch=z9hG4bK-moor.425",
            "Via: SIP/2.0/SCTP t1.example.com;branch=z9hG4bK-reef.800",
            "v: SIP/2.0/tls t2.example.com:5061;branch=z9hG4bK-brig.587",
            "Via: SIP/2.0/WSS invalid.invalid;branch=z9hG4bK-mast.166, SIP/2.0/WS w.invalid",
            "Via: SIP/2.0/TCP [2001:db8::70]:5090;branch=z9hG4bK-calm.691",
            "l: {length}",
        ],
        body: b"",
        start: Start::Request(Method::Options),
        headers: 11,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let transports: Vec<_> = message.vias().map(|via| via.transport).collect();
            use ViaTransport::{Other, Sctp, Tcp, Tls, Ws, Wss};
            assert_eq!(transports, [Other, Sctp, Tls, Wss, Ws, Tcp]);
            let last = message.vias().last().expect("a Via");
            assert_eq!(
                (text(Some(last.host)), last.port),
                (Some("2001:db8::70"), Some(5090))
            );
        },
    },
    Case {
        section: "3.1.1.11 multipart body",
        head: &[
            "MESSAGE sip:gull@example.org SIP/2.0",
            "Via: SIP/2.0/UDP 192.0.2.71:5070;branch=z9hG4bK-buoy.895",
            "Max-Forwards: 70",
            "Route: <sip:192.0.2.72;lr>",
            "Organization: Lighthouse Board",
            "To: <sip:gull@example.org>",
            "From: <sip:tern@example.com>;tag=crab44",
            "Call-ID: squall-quay/3-1-1-11",
            "CSeq: 5361 MESSAGE",
            "Content-Type: multipart/mixed;boundary==_wick_42",
            "Content-Length: {length}",
        ],
        body: b"--=_wick_42\r\nContent-Type: text/plain\r\n\r\nLight\r\n\
                --=_wick_42\r\nContent-Type: application/octet-stream\r\n\r\n\
                \0\xff0\x82\x01R\x06\t*\r\n\r\n--=_wick_42--",
        start: Start::Request(Method::Message),
        headers: 10,
        anomalies: Anomalies::NONE,
        facts: |message| {
            assert_eq!(message.body().len(), 129);
            assert_eq!(text(message.content_type()), Some("multipart/mixed"));
            let route = message
                .addresses(HeaderName::Route)
                .next()
                .expect("a Route");
            assert!(route.uri.params.find("lr").is_some());
        },
    },
    Case {
        section: "3.1.1.12 unusual reason phrase",
        head: &[
            "SIP/2.0 200 \u{441}\u{432}\u{435}\u{442} {7} <;-)> \u{2014} \"lit\"",
            "Via: SIP/2.0/UDP 192.0.2.73;branch=z9hG4bK-brig.430",
            "Call-ID: kelp-surf/3-1-1-12",
            "CSeq: 41194 INVITE",
            "From: sip:watch@example.com;tag=wick80",
            "To: sip:watch@example.net;tag=wave50",
            "Content-Length: {length}",
            "Content-Type: application/sdp",
            "Contact: <sip:watch@reef.example.com>",
        ],
        body: b"v=0\r\n",
        start: Start::Response(Some(200)),
        headers: 8,
        anomalies: Anomalies::NONE,
        facts: |message| {
            let StartLine::Response(response) = message.start_line() else {
                panic!("not a response");
            };
            assert_eq!(
                text(Some(response.reason)),
                Some("свет {7} <;-)> — \"lit\"")
            );
        },
    },
    Case {
        section: "3.1.1.13 empty reason phrase",
        head: &[
            "SIP/2.0 480 ",
            "Via: SIP/2.0/UDP 192.0.2.74;branch=z9hG4bK-buoy.598",
            "Call-ID: lens-squall/3-1-1-13",
            "CSeq: 44931 INVITE",
            "From: <sip:watch@example.com>;tag=shoal36",
            "To: <sip:watch@example.edu>;tag=bell91",
            "Content-Length: {length}",
            "Contact: <sip:watch@cape.example.com>",
        ],
        body: b"",
        start: Start::Response(Some(480)),
        headers: 7,
        anomalies: Anomalies::NONE,
        facts: nothing_more,
    },
];
