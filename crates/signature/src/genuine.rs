//! What honest devices send.

/// User-Agents of genuine phones, softphones, adapters, gateways, PBXs and border controllers, in
/// the form in which their makers' firmware builds them. No signature but a `shared` one may match
/// any of them.
pub const GENUINE_USER_AGENTS: &[&str] = &[
    // Desk and cordless phones
    "Yealink SIP-T46S 66.86.0.15",
    "Yealink SIP-T21P_E2 52.84.0.15",
    "Yealink W60B 77.85.0.20",
    "snom370/8.7.5.35",
    "snomD785/10.1.64.14",
    "PolycomVVX-VVX_411-UA/5.9.5.0614",
    "PolycomSoundPointIP-SPIP_550-UA/4.0.14.1388",
    "PolyEdge-Edge_E350-UA/8.1.2.5643",
    "Cisco/SPA504G-7.6.2f",
    "Cisco-CP7841/12.5.1",
    "Cisco-CP8861-3PCC/11.3.7",
    "Linksys/SPA942-6.1.5(a)",
    "Grandstream GXP2170 1.0.11.64",
    "Grandstream WP820 1.0.7.6",
    "Mitel-6867i-SIP/5.1.0.2051 08000F-ABCDEF",
    "Aastra 6757i/3.3.1.4365",
    "Avaya J129 IP Phone 4.0.10.3.2",
    "Avaya one-X Deskphone 7.1.15.0.14",
    "Avaya IP Phone 1120E (SIP1120e.04.04.33.00)",
    "Fanvil X5U 2.12.1.2",
    "Gigaset N510 IP PRO/42.262.00.000.000;7C2F80ABCDEF",
    "DX800A/41.175.00.000.000;7C2F80ABCDEF",
    "Panasonic_KX-TGP600/01.156 (0080f0abcdef)",
    "Htek UC926E V2.0.4.6.25",
    "Alcatel-Lucent IP Touch 4038/5.40.45",
    "ALE 8018 SIP/1.10.30",
    "OpenScape Desk Phone CP600 V1R9.4.0",
    "unify-OpenStage_40_V3 R5.15.0",
    "elmeg IP640 V5.20",
    "Auerswald COMfortel 3600 IP 2.8D",
    "Escene ES410-V2.0.6.2",
    "Jitsi2.11.5633Linux",
    // Softphones
    "Z 5.6.4 v2.10.20.4",
    "Z 3.14.38765 rv2.8.3",
    "Zoiper rv2.10.11.1",
    "MicroSIP/3.21.3",
    "Bria 6 release 6.5.4 stamp 112233",
    "X-Lite release 5.8.3 stamp 97566",
    "eyeBeam release 1102q stamp 51814",
    "CSipSimple_SM-G900F-23/r2457",
    "LinphoneAndroid/5.2.5 (Galaxy S21) LinphoneSDK/5.3.40",
    "Linphone-Desktop/5.1.2 (workstation) ubuntu/22.04 Qt/5.15.2 LinphoneSDK/5.3.6",
    "Blink 6.0.4 (Windows)",
    "PhonerLite 3.21",
    "PhonerLite/2.95",
    "Acrobits Softphone/6.3.2",
    "Groundwire/6.1.0",
    "3CXPhone for Windows 16.3.0.264",
    "PortSIP UC Client Android - v13.2.1",
    "Avaya Communicator for iPhone/2.1.3",
    "baresip v3.10.1 (x86_64/linux)",
    "JsSIP 3.10.1",
    "SIP.js/0.21.2",
    "Telephone 1.6.1",
    "Ekiga/4.0.1",
    "Twinkle/1.10.2",
    "sipgate CLINQ 2.4.0",
    // Terminal adapters, routers and gateways
    "AVM FRITZ!Box 7590 154.07.57 TAL (Nov 20 2023)",
    "AVM FRITZ!Box Fon WLAN 7270 v3 (UI) 74.06.06",
    "Speedport Smart 4 010139.5.2.010.5",
    "Sphairon-SL5501-4.38.2.04.01",
    "Cisco/SPA112-1.4.1(SR5)",
    "OBIHAI/OBi202-3.2.2.8680EX",
    "Grandstream HT802 1.0.39.4",
    "Patton SN4960 1E15V MxSF v3.2.8.45 00A0BA0ABCDE R6.T",
    "Audiocodes-Sip-Gateway-Mediant 1000/v.7.20A.258.459",
    "Cisco-SIPGateway/IOS-15.5.3.M",
    "Cisco-SIPGateway/IOS-12.x",
    "beroNet VoIP Gateway 22.01",
    "Mediatrix 4102S/v2.0.43.729",
    "Dlink DVG-5121SP 1.00",
    "bintec be.IP plus 10.2.9",
    "LANCOM 1783VAW 10.50.0635",
    "TELES.iGATE 16.2",
    // PBXs, switches and border controllers
    "Asterisk PBX 16.28.0~dfsg-0+deb11u3",
    "Asterisk PBX 20.5.2",
    "Asterisk",
    "FPBX-16.0.40(18.20.0)",
    "FPBX-2.11.0(11.8.1)",
    "FreeSWITCH-mod_sofia/1.10.11-release~64bit",
    "3CXPhoneSystem 18.0.9.20 (18.0.9.20)",
    "3CXPhoneSystem 15.0.59950.0 (59299)",
    "AGFEO SIP V3.00.15 b",
    "Auerswald COMpact 5500R 8.2C",
    "Starface PBX 7.3.0.10",
    "innovaphone IP811/13r3 [135678]",
    "kamailio (5.6.4 (x86_64/linux))",
    "OpenSIPS (3.4.2 (x86_64/linux))",
    "Sipwise NGCP Application Server",
    "SylkServer-5.2.0",
    "Alcatel-Lucent 5060 MGC-89.3.0.7.0.4",
    "Huawei SoftX3000 V300R603",
    "ZTE Softswitch/1.0.0",
    "OracleCommunicationsSBC SCZ8.4.0",
    "Sonus_UAC",
    "Ribbon SBC 5400 V09.02.03",
    "AnyNode SBC 4.8.20",
    "Epygi Quadro SIP User Agent/v6.1.21",
    "Grandstream UCM6304 1.0.21.9",
    "Yeastar P-Series 37.12.0.23",
    "MiVoice Office 400/7.0",
    "RTC/7.0 MediationServer",
    "Ozeki VoIP SIP SDK v10.4.5",
    "SmartMedia SBC 6.2",
];

/// Header fields of the corpus of genuine messages (`crates/testkit/corpus`), one a line: the name
/// that signatures have for the field, and a value.
pub(crate) const CORPUS: &str = include_str!("corpus.txt");

/// Words that names of honest devices are made of, and that ordinary messages are full of, in lower
/// case. A name with nothing else in it tells no scanner apart.
pub(crate) const ORDINARY_WORDS: &[&str] = &[
    // Methods, header fields and parameters
    "invite",
    "ack",
    "bye",
    "cancel",
    "register",
    "options",
    "prack",
    "subscribe",
    "notify",
    "publish",
    "info",
    "refer",
    "message",
    "update",
    "via",
    "from",
    "to",
    "contact",
    "call",
    "cseq",
    "expires",
    "allow",
    "supported",
    "server",
    "user",
    "agent",
    "useragent",
    "branch",
    "rport",
    "received",
    "transport",
    "udp",
    "tcp",
    "tls",
    "ws",
    "wss",
    "sip",
    "sips",
    "tel",
    "audio",
    "video",
    "rtp",
    "avp",
    "sdp",
    "application",
    "content",
    "length",
    "type",
    "realm",
    "nonce",
    "digest",
    "uri",
    "response",
    "algorithm",
    // What devices call themselves
    "phone",
    "softphone",
    "telephone",
    "voip",
    "voice",
    "ip",
    "pbx",
    "ims",
    "sbc",
    "proxy",
    "gateway",
    "router",
    "device",
    "client",
    "dialer",
    "adapter",
    "ata",
    "desktop",
    "mobile",
    "android",
    "iphone",
    "ios",
    "windows",
    "linux",
    "mac",
    "app",
    "web",
    "webrtc",
    "sdk",
    "stack",
    "library",
    "engine",
    "version",
    "release",
    "build",
    "test",
    "tester",
    "testing",
    "testagent",
    "admin",
    "default",
    "unknown",
    "none",
    "asterisk",
    "trunk",
    "line",
    "account",
];

/// Whole messages of honest parties, in which no signature may match.
pub(crate) const GENUINE_MESSAGES: &[&str] = &[
    "REGISTER sip:pbx.example.com SIP/2.0\r\n\
     Via: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bK-524287-1---a1b2c3d4e5f60718;rport\r\n\
     Max-Forwards: 70\r\n\
     Contact: <sip:1001@192.0.2.21:5060;rinstance=0123456789abcdef>\r\n\
     To: \"Anna Schmidt\" <sip:1001@pbx.example.com>\r\n\
     From: \"Anna Schmidt\" <sip:1001@pbx.example.com>;tag=1b2c3d4e\r\n\
     Call-ID: 98765432NjY3ZDA5ZmYxNzUzYjQ5ZjA1ZTk5\r\n\
     CSeq: 2 REGISTER\r\n\
     Expires: 300\r\n\
     Content-Length: 0\r\n\r\n",
    "INVITE sip:0049301234567@sip.example.net;user=phone SIP/2.0\r\n\
     Via: SIP/2.0/TCP 198.51.100.7:5060;branch=z9hG4bK3f2a\r\n\
     From: <sip:+49309876543@sip.example.net>;tag=8fd1\r\n\
     To: <sip:0049301234567@sip.example.net;user=phone>\r\n\
     Call-ID: 4b1c8c3e-5d17-4a3a-b7d5-7f3e2d1c0b9a@198.51.100.7\r\n\
     CSeq: 1 INVITE\r\n\
     Contact: <sip:trunk@198.51.100.7:5060;transport=tcp>\r\n\
     Supported: timer, 100rel, replaces\r\n\
     Content-Type: application/sdp\r\n\r\n\
     v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
     m=audio 16384 RTP/AVP 8 0 101\r\n",
    "OPTIONS sip:pbx.example.com:5060 SIP/2.0\r\n\
     v: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK77asjd\r\n\
     f: \"monitoring\" <sip:ping@203.0.113.9>;tag=as3c5a\r\n\
     t: <sip:pbx.example.com:5060>\r\n\
     m: <sip:ping@203.0.113.9:5060>\r\n\
     i: 1b5e7d12@203.0.113.9\r\n\
     CSeq: 102 OPTIONS\r\n\r\n",
    "SUBSCRIBE sip:1002@pbx.example.com SIP/2.0\r\n\
     Via: SIP/2.0/TLS 192.0.2.33:5061;branch=z9hG4bK1a2b3c\r\n\
     From: sip:1003@pbx.example.com;tag=1928301774\r\n\
     To: sip:1002@pbx.example.com\r\n\
     Call-ID: 313234353637383930\r\n\
     CSeq: 7 SUBSCRIBE\r\n\
     Event: dialog\r\n\
     Contact: sip:1003@192.0.2.33:5061;transport=tls\r\n\r\n",
    "INVITE sip:test@pbx.example.com SIP/2.0\r\n\
     Via: SIP/2.0/WSS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks\r\n\
     From: \"Test User\" <sips:test@pbx.example.com>;tag=asdyka899\r\n\
     To: <sip:cisco-lobby@pbx.example.com>\r\n\
     Call-ID: asidkj3ss\r\n\
     CSeq: 1 INVITE\r\n\
     Contact: <sip:ck0k2l3m@df7jal23ls0d.invalid;transport=ws;ob>\r\n\r\n",
    "SIP/2.0 200 OK\r\n\
     Via: SIP/2.0/UDP 192.0.2.1:5060;rport=5060;branch=z9hG4bKPj0\r\n\
     From: <sip:asterisk@192.0.2.1>;tag=as0f\r\n\
     To: <sip:1001@192.0.2.21:5060>;tag=9a8b\r\n\
     Call-ID: 5f6e7d8c@192.0.2.1:5060\r\n\
     CSeq: 102 OPTIONS\r\n\
     Contact: <sip:1001@192.0.2.21:5060>\r\n\
     Server: Asterisk PBX 18.19.0\r\n\r\n",
];
