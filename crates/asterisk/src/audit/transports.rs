//! Ports, TLS.

use super::sip_general::loaded;
use super::{Findings, Model, Rule, Severity};
use crate::config::{is_false, is_true};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "transport-port-5060",
        severity: Severity::Low,
        title: "SIP on its standard port",
        risk: "Scanners look for SIP on 5060 first; mass scans of the internet look nowhere else.",
        fix: "; sip.conf, [general]\nbindport=<a port of your own>\n; or pjsip.conf, \
              type=transport\nbind=0.0.0.0:<a port of your own>",
        advice: "Another port keeps mass scanners away, not somebody who looks closely. Phones \
                 and providers must know it. A router that does telephony itself often holds 5060.",
        bad: "== sip.conf ==\n[general]\nbindport=5060 ; <<\n",
        good: "== sip.conf ==\n[general]\nbindport=47160\n",
        check: port,
    },
    Rule {
        id: "transport-no-tls",
        severity: Severity::Low,
        title: "No TLS",
        risk: "Whoever sits on the way reads who calls whom and records logins to guess their \
               passwords at leisure.",
        fix: "; sip.conf, [general]\ntlsenable=yes\ntlsbindaddr=0.0.0.0:5061\n\
              tlscertfile=/etc/asterisk/keys/asterisk.pem",
        advice: "Phones on the road gain most. For PJSIP write a transport with protocol=tls.",
        bad: "== sip.conf ==\n[general]\ntlsenable=no ; <<\n",
        good: "== sip.conf ==\n[general]\ntlsenable=yes\n",
        check: no_tls,
    },
    Rule {
        id: "transport-tls-old",
        severity: Severity::Medium,
        title: "A TLS version that is broken",
        risk: "Somebody on the way reads what TLS should hide.",
        fix: "; sip.conf, [general]: remove tlsclientmethod= and write\ntlsdisablev1=yes\n\
              tlsdisablev11=yes\n; or pjsip.conf, type=transport\nmethod=tlsv1_2",
        advice: "SSL 2 and 3 and TLS 1.0 and 1.1 are withdrawn (RFC 7568, RFC 8996). Very old \
                 phones may know nothing newer.",
        bad: "== sip.conf ==\n[general]\ntlsenable=yes\ntlsclientmethod=sslv3 ; <<\n",
        good: "== sip.conf ==\n[general]\ntlsenable=yes\ntlsdisablev1=yes\n",
        check: old_tls,
    },
    Rule {
        id: "transport-tls-verify",
        severity: Severity::Low,
        title: "The other side's certificate is not checked",
        risk: "Somebody on the way to the provider answers in its place and gets your login.",
        fix: "; sip.conf, [general]\ntlsdontverifyserver=no\n; or pjsip.conf, type=transport\n\
              verify_server=yes",
        advice: "It matters where Asterisk itself calls or registers over TLS. Set the CA list \
                 with tlscafile= or ca_list_file=.",
        bad: "== sip.conf ==\n[general]\ntlsenable=yes\ntlsdontverifyserver=yes ; <<\n",
        good: "== sip.conf ==\n[general]\ntlsenable=yes\ntlsdontverifyserver=no\n",
        check: verify,
    },
];

fn port(model: &Model<'_>, found: &mut Findings<'_>) {
    let keys = ["udpbindaddr", "bindport", "bindaddr"];
    if let Some(s) = model.setting("sip.conf", "general", &keys)
        && loaded(model)
    {
        let general = model.section("sip.conf", "general");
        let value = |key: &str| general.and_then(|g| g.last(key)).map(|v| (&*v.value, v.at));
        let in_address = value("udpbindaddr").and_then(|(v, at)| Some((port_of(v)?, at)));
        let set = in_address.or(value("bindport"));
        if set.is_none_or(|(p, _)| p == "5060") {
            let at = set.map_or(s.at, |(_, at)| at);
            found.add(at, "general", "chan_sip listens on port 5060");
        }
    }
    for transport in model.objects("transport") {
        let tls = matches!(transport.value("protocol"), Some("tls" | "ws" | "wss"));
        let bind = transport.value("bind").unwrap_or_default();
        if !tls && port_of(bind).is_none_or(|p| p == "5060") {
            let what = format!("Transport {} listens on port 5060", transport.name());
            found.add(transport.at("bind"), transport.name(), what);
        }
    }
}

/// The port of `192.0.2.7:5060`, `[2001:db8::7]:5060`; none where there is none.
fn port_of(address: &str) -> Option<&str> {
    let after_bracket = address.rsplit(']').next()?;
    let (host, port) = after_bracket.rsplit_once(':')?;
    // More colons without brackets: a bare IPv6 address.
    (!host.contains(':')).then_some(port)
}

fn no_tls(model: &Model<'_>, found: &mut Findings<'_>) {
    let phones = model.accounts.iter().any(|a| a.dynamic);
    if let Some(s) = model.setting("sip.conf", "general", &["tlsenable"])
        && loaded(model)
        && !s.value().is_some_and(is_true)
    {
        let severity = if phones || s.variable.is_some() {
            Severity::Low
        } else {
            Severity::Info
        };
        found.add(s.at, "general", s.shown()).grade(severity);
    }
    let mut transports = model.objects("transport").peekable();
    let Some(first) = transports.peek().copied() else {
        return;
    };
    if !transports.any(|t| matches!(t.value("protocol"), Some("tls" | "wss"))) {
        found.add(
            first.section.at,
            first.name(),
            "No transport has protocol=tls",
        );
    }
}

fn old_tls(model: &Model<'_>, found: &mut Findings<'_>) {
    let old = |v: &str| {
        ["sslv2", "sslv3", "tlsv1", "tlsv1_1"]
            .iter()
            .any(|m| v.eq_ignore_ascii_case(m))
    };
    if let Some(s) = model.setting(
        "sip.conf",
        "general",
        &["tlsclientmethod", "sslclientmethod"],
    ) && loaded(model)
        && s.value().is_some_and(old)
    {
        found.add(s.at, "general", s.shown());
    }
    for transport in model.objects("transport") {
        if let Some(method) = transport.value("method").filter(|m| old(m)) {
            found.add(
                transport.at("method"),
                transport.name(),
                format!("method={method}"),
            );
        }
    }
}

fn verify(model: &Model<'_>, found: &mut Findings<'_>) {
    if let Some(s) = model.setting("sip.conf", "general", &["tlsdontverifyserver"])
        && loaded(model)
        && s.value().is_some_and(is_true)
    {
        found.add(s.at, "general", s.shown());
    }
    for transport in model.objects("transport") {
        let tls = transport.value("protocol") == Some("tls");
        if tls && transport.value("verify_server").is_none_or(is_false) {
            let what = format!("Transport {}: verify_server is not on", transport.name());
            found.add(transport.at("verify_server"), transport.name(), what);
        }
    }
}
