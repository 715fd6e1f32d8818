//! What Asterisk says about its own address.

use super::sip_general::loaded;
use super::{Findings, Model, Rule, Severity};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "nat-localnet",
        severity: Severity::Low,
        title: "An outside address without a list of inside networks",
        risk: "Phones inside are told the outside address: their media leaves the house and comes \
               back, where anybody on the way can listen.",
        fix: "; sip.conf, [general]\nlocalnet=192.168.0.0/255.255.0.0\n; or pjsip.conf, \
              type=transport\nlocal_net=192.168.0.0/16",
        advice: "Write one line for each network inside.",
        bad: "== sip.conf ==\n[general]\nexternaddr=192.0.2.7 ; <<\n",
        good: "== sip.conf ==\n[general]\nexternaddr=192.0.2.7\nlocalnet=192.168.0.0/16\n",
        check: no_localnet,
    },
    Rule {
        id: "nat-external-media",
        severity: Severity::Low,
        title: "Signalling knows the outside address, media does not",
        risk: "SDP shows inside addresses to everybody who calls, and calls from outside stay \
               silent.",
        fix: "; pjsip.conf, type=transport\nexternal_signaling_address=<outside address>\n\
              external_media_address=<outside address>",
        advice: "Both are needed behind a router.",
        bad: "== pjsip.conf ==\n[udp]\ntype=transport\nprotocol=udp\n\
              external_signaling_address=192.0.2.7 ; <<\nlocal_net=192.168.0.0/16\n",
        good: "== pjsip.conf ==\n[udp]\ntype=transport\nprotocol=udp\n\
               external_signaling_address=192.0.2.7\nexternal_media_address=192.0.2.7\n\
               local_net=192.168.0.0/16\n",
        check: media_address,
    },
    Rule {
        id: "nat-externaddr",
        severity: Severity::Info,
        title: "Inside networks are listed, the outside address is not",
        risk: "Answers to callers outside show inside addresses.",
        fix: "; sip.conf, [general]\nexternaddr=<outside address>",
        advice: "With a changing address use externhost= with a dynamic name and externrefresh=.",
        bad: "== sip.conf ==\n[general]\nlocalnet=192.168.0.0/16 ; <<\n",
        good: "== sip.conf ==\n[general]\nexternaddr=192.0.2.7\nlocalnet=192.168.0.0/16\n",
        check: no_externaddr,
    },
];

const OUTSIDE: [&str; 4] = ["externaddr", "externip", "externhost", "media_address"];

fn no_localnet(model: &Model<'_>, found: &mut Findings<'_>) {
    if let Some(s) = model.setting("sip.conf", "general", &OUTSIDE)
        && loaded(model)
        && s.variable.is_some()
        && model
            .section("sip.conf", "general")
            .is_some_and(|g| g.last("localnet").is_none())
    {
        found.add(s.at, "general", format!("{} without localnet", s.shown()));
    }
    for transport in model.objects("transport") {
        let outside = transport.section.last("external_signaling_address");
        if let (Some(variable), None) = (outside, transport.value("local_net")) {
            let what = format!("{}={} without local_net", variable.name, variable.value);
            found.add(variable.at, transport.name(), what);
        }
    }
}

fn media_address(model: &Model<'_>, found: &mut Findings<'_>) {
    for transport in model.objects("transport") {
        let signalling = transport.section.last("external_signaling_address");
        if let (Some(variable), None) = (signalling, transport.value("external_media_address")) {
            let what = format!(
                "{}={} without external_media_address",
                variable.name, variable.value
            );
            found.add(variable.at, transport.name(), what);
        }
    }
}

fn no_externaddr(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(general) = model.section("sip.conf", "general") else {
        return;
    };
    let outside = OUTSIDE.iter().any(|k| general.last(k).is_some());
    if let Some(variable) = general
        .last("localnet")
        .filter(|_| loaded(model) && !outside)
    {
        found.add(variable.at, "general", "localnet is set, externaddr is not");
    }
}
